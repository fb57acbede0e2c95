"""One position: the price as candles, its entry, the stop in force bar by bar, its targets and what was filled."""

from typing import TYPE_CHECKING

from qtkit.core.model import ONE, PolicyError
from qtkit.core.plan import WHOLE
from qtkit.lab.plots.layers import WHYS, WIDTH, Layer, axis, labels, layer, layered, line, signed, times, title
from qtkit.lab.plots.names import policy_words
from qtkit.lab.replay import Replayed, replay_one
from qtkit.picture import ENTRY, FLOOR, STOP, TARGET, Label, Picture, padded

if TYPE_CHECKING:
    from qtkit.lab.result import Result

CANDLES = 110  # at most; a longer position is drawn by candles of several bars
DAY_MS = 86_400_000


def position(result: "Result", policy: int, entry: int) -> Picture:
    """What became of one entry under one policy, by the reference that the sweep is equal to. ``entry`` is its number, from 0.

    Raises ``PolicyError`` for a number that is not there.
    """
    if not 0 <= entry < len(result.entries) or not 0 <= policy < len(result):
        counts = f"{len(result.entries)} entries and {len(result)} policies"
        raise PolicyError(f"there are {counts}, numbered from 0; got entry {entry}, policy {policy}")
    own = result.grid.own_stop
    told = replay_one(result.bars, result.entries, entry, result.grid.policies[policy], result.costs, fill=result.fill, own_stop=own)
    return _Drawing(result, policy, entry, told).picture()


class _Drawing:
    """Levels and times of a position, and the layers made of them."""

    def __init__(self, result: "Result", policy: int, entry: int, told: Replayed) -> None:
        self.result, self.bars, self.policy, self.told, self.plan = result, result.bars, policy, told, told.plan
        self.first, self.last = int(result.entries.bar[entry]), told.end.bar
        held = self.last - self.first + 1
        self.start, self.until = max(0, self.first - max(10, held // 8)), min(len(self.bars), self.last + 1 + max(6, held // 12))
        self.each = -(-(self.until - self.start) // CANDLES)
        self.inside = bool(result.entries.inside[entry])
        self.entry = int(result.entries.price[entry]) / ONE
        self.digits = max(0, len(f"{self.bars.tick / ONE:.8f}".rstrip("0").partition(".")[2]))
        self.ends = int(self.bars.time_ms[self.start]), int(self.bars.time_ms[self.until - 1]) + self.bars.step_ms
        self.x = times("at", self.ends, "UTC", "%d %b" if self.ends[1] - self.ends[0] > 4 * DAY_MS else "%d %b %H:%M")
        window = slice(self.start, self.until)
        shown = [self.bars.price(int(it)) for it in (self.bars.low[window].min(), self.bars.high[window].max())]
        levels = [self.bars.price(level) for level in (*self._path(), *self._near(shown))]
        self.y = axis("price", None, form=f",.{self.digits}~f", domain=padded([*shown, *levels, self.entry]))

    def picture(self) -> Picture:
        plan, tick, end = self.plan, self.bars.tick, self.told.end
        net = (self.told.gross - self.told.fees - self.told.paid) / plan.entry
        held = (int(self.bars.closes_ms()[self.last]) - int(self.bars.closes_ms()[self.first])) / 3_600_000
        side = plan.side.name.lower()
        found = f"{self.bars.symbol} {side}: {_WAYS[end.why]} after {held:,.1f} h, net {signed(net)} bps"
        risk = WHOLE * abs(plan.entry - plan.stop * tick) / plan.entry
        under = policy_words(self.result.grid.policies[self.policy])
        each = f"candles of {self.each} bars" if self.each > 1 else "one candle a bar"
        layers = [*self._candles(), *self._levels(), self._stop(), self._entry(), self._fills(), *labels(self._names(), self.y)]
        return layered(title(found, [under, f"risk to the initial stop {risk:,.0f} bps; {each}, hollow rose, full fell"]), layers, found)

    def _path(self) -> list[int]:
        """The stop in force in each bar after the entry's, ticks."""
        return [int(self.plan.stop), *self.told.stops][self.inside :][: self.last - self.first or None]

    def _near(self, shown: list[float]) -> list[int]:
        """Targets that are not far outside the prices that are drawn."""
        room = 0.6 * (shown[1] - shown[0])
        return [int(it.price) for it in self.plan.targets if shown[0] - room <= self.bars.price(it.price) <= shown[1] + room]

    def _candles(self) -> list[Layer]:
        rows = []
        for at in range(self.start, self.until, self.each):
            part = slice(at, min(at + self.each, self.until))
            ends = int(self.bars.open[at]), int(self.bars.close[part][-1])
            fill = "#ffffff" if ends[1] >= ends[0] else "#a8a8a8"
            rows.append({
                "at": int(self.bars.time_ms[at]) + self.each * self.bars.step_ms // 2,
                "low": self.bars.price(int(self.bars.low[part].min())), "high": self.bars.price(int(self.bars.high[part].max())),
                "price": self.bars.price(ends[0]), "close": self.bars.price(ends[1]), "fill": fill,
            })  # fmt: skip
        width = max(1.5, 0.62 * WIDTH / max(1, len(rows)))
        wick, low = {"type": "rule", "color": "#8a8a8a", "strokeWidth": 1}, self.y | {"field": "low"}
        body = {"type": "bar", "size": min(width, 14), "stroke": "#8a8a8a", "strokeWidth": 1}
        return [
            layer(rows, wick, x=self.x, y=low, y2={"field": "high"}),
            layer(rows, body, x=self.x, y=self.y, y2={"field": "close"}, fill={"field": "fill", "type": "nominal", "scale": None}),
        ]

    def _stop(self) -> Layer:
        path = self._path()
        begins = self.first if self.inside else self.first + 1
        rows = [
            {"at": int(self.bars.time_ms[min(begins + number, self.last)]), "price": self.bars.price(level)}
            for number, level in enumerate(path)
            if number == 0 or level != path[number - 1]
        ]
        rows.append({"at": int(self.bars.closes_ms()[self.last]), "price": self.bars.price(path[-1])})
        return line(rows, STOP, self.x, self.y, interpolate="step-after", strokeWidth=2.2)

    def _entry(self) -> Layer:
        ends = int(self.bars.closes_ms()[self.first]), int(self.bars.closes_ms()[self.last])
        rows = [{"at": at, "price": self.entry} for at in ends]
        return line(rows, ENTRY, self.x, self.y, strokeWidth=1.5, strokeDash=[6, 3])

    def _levels(self) -> list[Layer]:
        """Targets until they are filled, and where the trail begins."""
        low, high = self.y["scale"]["domain"]
        since, done = int(self.bars.closes_ms()[self.first]), [leg.bar for leg in self.told.legs if leg.why == "target"]
        rows = [(int(it.price), done[number] if number < len(done) else self.last, TARGET) for number, it in enumerate(self.plan.targets)]
        if self.plan.trail is not None:
            rows.append((int(self.plan.trail.activation), self.last, FLOOR))
        drawn = []
        for level, bar, colour in rows:
            if low <= self.bars.price(level) <= high:
                row = {"at": since, "to": int(self.bars.closes_ms()[bar]), "price": self.bars.price(level)}
                mark = {"type": "rule", "color": colour, "strokeWidth": 1.4, "strokeDash": [2, 2] if colour == TARGET else [1, 3]}
                drawn.append(layer([row], mark, x=self.x, x2={"field": "to"}, y=self.y))
        return drawn

    def _fills(self) -> Layer:
        step = self.bars.step_ms
        opened = int(self.bars.closes_ms()[self.first]) - (step // 2 if self.inside else 0)
        rows = [{"at": opened, "price": self.entry, "what": "opened"}]
        for leg in self.told.legs:
            late = leg.why in ("time", "asked", "end of data")
            at = int(self.bars.time_ms[leg.bar]) + (step if late else step // 2)
            rows.append({"at": at, "price": self.bars.price(leg.price), "what": leg.why})
        looks = {"opened": (ENTRY, "circle"), **WHYS}
        names = [name for name in looks if any(row["what"] == name for row in rows)]
        mark = {"type": "point", "filled": True, "size": 110, "opacity": 1, "stroke": "#ffffff", "strokeWidth": 1.2}

        def look(index: int) -> Layer:
            scale = {"domain": names, "range": [looks[name][index] for name in names]}
            return {"field": "what", "type": "nominal", "scale": scale, "legend": {"title": "fills"}}

        return layer(rows, mark, x=self.x, y=self.y, color=look(0), shape=look(1))

    def _names(self) -> list[Label]:
        def told(level: float, word: str, colour: str) -> Label:
            return Label(level, f"{word} {level:,.{self.digits}f}", colour)

        low, high = self.y["scale"]["domain"]
        found = [told(self.entry, "entry", ENTRY), told(self.bars.price(self._path()[-1]), "last stop", STOP)]
        found += [told(self.bars.price(int(it.price)), f"target {n}", TARGET) for n, it in enumerate(self.plan.targets, 1)]
        if self.plan.trail is not None:
            found.append(told(self.bars.price(int(self.plan.trail.activation)), "trail from", FLOOR))
        return [label for label in found if low <= label.price <= high]


_WAYS = {
    "stop": "left by its initial stop", "trail": "left by its trail", "stage": "left by a stage of its stop",
    "break-even": "left at break-even", "target": "left at its last target", "time": "left by time", "asked": "left as asked",
    "end of data": "still open at the end of the data",
}  # fmt: skip
