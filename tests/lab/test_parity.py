"""A paper day told again: the reference leaves every position in the minute, and for the reason, in which the desk left it."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

import qtkit
from qtkit import lab
from qtkit.bars import BarsError
from qtkit.core.distance import InAtr, InBps
from qtkit.core.events import EpisodeOpened, Event, Ratcheted
from qtkit.core.model import E8, ONE, Bps, Side, Ticks
from qtkit.core.policy import RANGE, SCALED_TP, STAGED, TRAILING_TP, ExitPolicy, TrailRule
from qtkit.desk import EVENT_TYPES
from qtkit.home import Paths
from qtkit.lab.seen import BARS, PRICES
from qtkit.recorded import BAR, PRICE, Recorded, recorded
from qtkit.store.journal import Journal
from qtkit.store.tape import Tape, TapeReader
from tests.story.rig import PRICES as BEGIN
from tests.story.rig import SIDES, START_MS, Rig, World, desk, story

SIZES = {"AVAXUSDT": "600", "ADAUSDT": "9000", "SOLUSDT": "50", "DOTUSDT": "2000"}
TIMED = replace(STAGED, name="timed", max_hold_ms=17 * 60_000)
POLICIES = (TRAILING_TP, SCALED_TP, RANGE, TIMED)
FOREVER = 10**15


class Played:
    """A day on the paper exchange: prices that wander, a stranger who opens positions, a desk that gives them their exits."""

    def __init__(self, folder: Path, policy: ExitPolicy, *, hedge: bool = False, own: bool = False, by_hand: float = 0.0) -> None:
        self.folder, self.policy, self.own, self.by_hand = folder, policy, own, by_hand
        self.world, self.rnd = World(hedge=hedge), random.Random(policy.name)
        self.level = {symbol: Decimal(BEGIN[symbol]) for symbol in SIZES}

    async def through(self, minutes: int) -> None:
        tape = Tape(self.folder / "tape")
        async with desk(self.world, self.folder, bars=True, adopted=self.policy, tape=tape) as rig:
            rig.executor.sizing = replace(rig.executor.sizing, policy=self.policy)
            for _ in range(minutes):
                for gap_ms in (11_000, 13_000, 13_000, 13_000):
                    self.world.now_ms += gap_ms
                    for symbol in SIZES:
                        self.step(rig, symbol)
                    await rig.passes(2, ms=1_250)
                await self.deal(rig)
        tape.close()

    def step(self, rig: Rig, symbol: str) -> None:
        self.level[symbol] *= 1 + Decimal(self.rnd.gauss(0, 0.005)).quantize(Decimal("1e-6"))
        tick = Decimal(rig.paper.instruments[symbol].tick) / ONE
        last = (self.level[symbol] / tick).to_integral_value() * tick
        self.world.price(symbol, last, last * (1 + Decimal(self.rnd.choice((-3, 3))) / 10_000))

    async def deal(self, rig: Rig) -> None:
        for symbol, size in SIZES.items():
            side = self.rnd.choice(SIDES)
            if self.world.held(symbol):
                if self.rnd.random() < self.by_hand:
                    held = next(it for it in SIDES if self.world.held(symbol, it))
                    self.world.leaves(symbol, held, size)
            elif self.rnd.random() < 0.5 and self.own and rig.key(symbol) not in rig.applier.book.episodes:
                await rig.executor.place_order(symbol, "BUY" if side.sign > 0 else "SELL", size)
            elif self.rnd.random() < 0.5:
                self.world.stranger(symbol, side, size)

    def day(self) -> Recorded:
        with Journal.read(self.folder / "journal.sqlite", EVENT_TYPES, account="paper") as journal:
            rows = tuple(journal.events())
        return recorded(TapeReader(self.folder / "tape").between(0, FOREVER), rows, "paper")

    def trades(self) -> pl.DataFrame:
        rows = [
            {
                "time": it.time_ms, "symbol": it.symbol, "position_side": it.position_side.value, "side": it.side.value,
                "price": Decimal(it.price) / ONE, "size": Decimal(it.quantity) / ONE, "fee": Decimal(it.commission) / ONE,
            }
            for it in self.world.account.trades
        ]  # fmt: skip
        return lab.fills(pl.DataFrame(rows))


@story
async def play(played: Played, minutes: int) -> None:
    await played.through(minutes)


def told(played: Played, minutes: int = 60) -> lab.Parity:
    play(played, minutes)
    return lab.parity(**played.day(), trades=played.trades())


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_every_position_of_a_paper_day_is_left_alike(policy: ExitPolicy, tmp_path: Path) -> None:
    it = told(Played(tmp_path, policy, hedge=policy is SCALED_TP))
    assert it.differences == (), it.sentence
    left = it.frame.filter(pl.col("exit_bar").is_not_null())
    assert left.height >= 4 and set(left["side"]) == {"LONG", "SHORT"} and set(left["note"]) == {""}
    assert left["why"].to_list() == left["reference_why"].to_list()
    if policy is TIMED:
        assert "time" in left["why"].to_list()
    assert left["net"].null_count() == 0
    for row in left.iter_rows(named=True):
        assert row["net"] - row["reference_net"] == row["slippage"] + row["fee"] + row["funding"]
        assert abs(row["fee"]) < 1, "fees of both sides are of nearly the same prices"
    assert "every decision is the same" in repr(it)


def test_callbacks_that_moved_with_atr_are_told_too(tmp_path: Path) -> None:
    callback = InAtr(1_500, least=Bps(50), most=Bps(1_500), fallback=Bps(250))
    trail = TrailRule(activation=InBps(Bps(200)), callback=callback, share=Bps(10_000), moves=True)
    played = Played(tmp_path, ExitPolicy(name="chandelier", stop=InBps(Bps(1_200)), trail=trail))
    it = told(played, 260)
    assert it.differences == (), it.sentence
    moved = [event for _, event in played.day()["events"] if isinstance(event, Ratcheted) and event.callback is not None]
    trailed = it.frame.filter((pl.col("why") == "trail") & (pl.col("note") == ""))
    assert len(moved) >= 4 and trailed.height >= 4 and set(trailed["side"]) == {"LONG", "SHORT"}


def test_own_entries_and_positions_closed_by_hand_are_told_too(tmp_path: Path) -> None:
    it = told(Played(tmp_path, STAGED, own=True, by_hand=0.08), 30)
    assert it.differences == (), it.sentence
    assert "hand" in it.frame["why"].to_list() and it.first is None
    known = it.frame.filter(pl.col("net").is_not_null())
    assert known.height
    for row in known.iter_rows(named=True):
        assert row["net"] - row["reference_net"] == row["slippage"] + row["fee"] + row["funding"]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Played:
    played = Played(tmp_path_factory.mktemp("staged"), STAGED)
    play(played, 40)
    return played


def changed(day: Recorded, number: int) -> tuple[tuple[int, Event], ...]:
    """The journal with the stop of its ``number``-th move nearer by a tick than the desk had it."""
    events = list(day["events"])
    moves = [row for row, (_, event) in enumerate(events) if isinstance(event, Ratcheted) and event.reason == "bar closed"]
    at_ms, event = events[moves[number]]
    assert isinstance(event, Ratcheted)
    events[moves[number]] = at_ms, replace(event, trail=replace(event.trail, stop=Ticks(event.trail.stop + 1)))
    return tuple(events)


@pytest.mark.parametrize("number", [3, 20, 41])
def test_one_tick_of_one_stop_is_found(staged: Played, number: int) -> None:
    day = staged.day()
    events = changed(day, number)
    it = lab.parity(events, day["prices"], day["bars"], day["rules"], trades=staged.trades())
    moved = next(event for (_, event), (_, was) in zip(events, day["events"], strict=True) if event != was)
    assert isinstance(moved, Ratcheted) and it.first is not None
    assert (it.first.key, it.first.at_ms) == (str(moved.key), moved.trail.at_ms)
    assert "the desk had its stop at" in it.sentence and len(it.differences) == 1


def test_another_exit_is_found(staged: Played) -> None:
    """A market that came nearer than the desk was shown: the reference is stopped, the desk was not."""
    day = staged.day()
    at_ms = int(day["prices"]["at"].max()) - 60_000  # type: ignore[arg-type]
    fall = pl.when(pl.col("at") >= at_ms).then(pl.col("mark") // 2).otherwise(pl.col("mark")).alias("mark")
    it = lab.parity(day["events"], day["prices"].with_columns(fall), day["bars"], day["rules"])
    assert it.first is not None and it.first.desk == "held it" and "the reference left it by" in str(it.first)


def test_what_the_entry_cost_is_slippage(staged: Played) -> None:
    day, trades = staged.day(), staged.trades()
    before = lab.parity(**day, trades=trades).frame
    events = tuple(
        (at_ms, replace(event, entry=E8(event.entry + ONE // 1_000)) if isinstance(event, EpisodeOpened) else event)
        for at_ms, event in day["events"]
    )
    after = lab.parity(events, day["prices"], day["bars"], day["rules"], trades=trades).frame
    assert after["slippage"].to_list() != before["slippage"].to_list()
    for row, was in zip(after.iter_rows(named=True), before.iter_rows(named=True), strict=True):
        if row["net"] is not None:
            worse = (1 if row["side"] == "LONG" else -1) * Decimal("0.001") * Decimal(SIZES[row["key"].rpartition("/")[2]])
            assert row["net"] - was["net"] == row["slippage"] - was["slippage"] == -worse


@story
async def spike(played: Played) -> None:
    """A minute that rose by 3 % before a position was opened in it, and had fallen back by then."""
    base = Decimal(BEGIN["SOLUSDT"])
    tape = Tape(played.folder / "tape")
    async with desk(played.world, played.folder, bars=True, adopted=STAGED, tape=tape) as rig:
        path = [(5, 1), (10, 3), (10, 0)] + [(10, -0.2)] * 20 + [(10, -1)] * 6 + [(10, -8)] * 12
        for number, (seconds, percent) in enumerate(path):
            played.world.now_ms += (seconds - 2) * 1_000
            played.world.price("SOLUSDT", round(base * (100 + Decimal(str(percent))) / 100, 2))
            if number == 2:
                played.world.stranger("SOLUSDT", Side.LONG, "50")
            await rig.passes(2, ms=1_000)
    tape.close()


def test_prices_from_before_a_position_move_its_stop_and_sell_it_never(tmp_path: Path) -> None:
    played = Played(tmp_path, STAGED)
    spike(played)
    it = lab.parity(**played.day(), trades=played.trades())
    (row,) = it.frame.to_dicts()
    assert it.differences == (), it.sentence
    assert row["why"] == row["reference_why"] and row["exit_bar"].minute > 3


def test_without_fills_the_decisions_are_compared_and_no_money_is_told(staged: Played) -> None:
    it = lab.parity(**staged.day())
    assert it.differences == () and it.frame["net"].null_count() == it.frame.height


def test_funding_that_was_paid_is_told_apart(staged: Played) -> None:
    day, trades = staged.day(), staged.trades()
    row = lab.parity(**day, trades=trades).frame.filter(pl.col("net").is_not_null()).row(0, named=True)
    symbol = row["key"].rpartition("/")[2]
    paid = lab.funding_paid(pl.DataFrame({"time": [row["exit_bar"]], "symbol": [symbol], "paid": ["1.25"]}))
    this = (pl.col("key") == row["key"]) & (pl.col("opened") == row["opened"])
    again = lab.parity(**day, trades=trades, funding=paid).frame.row(by_predicate=this, named=True)
    assert (row["funding"], again["funding"], again["net"]) == (0, Decimal("-1.25"), row["net"] - Decimal("1.25"))


def test_what_cannot_be_compared_says_why(staged: Played) -> None:
    day = staged.day()
    late = day["prices"].filter(pl.col("at") > START_MS + 20 * 60_000)
    notes = lab.parity(day["events"], late, day["bars"], day["rules"]).frame["note"].to_list()
    assert "it was open when the recording began" in notes
    dark = pl.col("at").is_between(START_MS + 20 * 60_000, START_MS + 23 * 60_000)
    notes = lab.parity(day["events"], day["prices"].filter(~dark), day["bars"], day["rules"]).frame["note"].to_list()
    assert any(note.startswith("no price of it was seen from 00:19:") for note in notes) and "" in notes
    assert set(lab.parity(day["events"], day["prices"], day["bars"], {}).frame["note"]) == {"no trading rules of it were seen"}
    with pytest.raises(BarsError, match="column 'mark' has to be Int64"):
        lab.parity(day["events"], day["prices"].drop("mark"), day["bars"], day["rules"])


def test_the_journal_alone_knows_the_fills_of_what_our_orders_closed(staged: Played) -> None:
    """Its episodes are those of the exchange's own fills, as far as they go: the same coins, entry and stop at the same average."""
    known = lab.episodes(lab.journal_fills(staged.day()["events"]))
    real = lab.episodes(staged.trades()).filter(pl.col("closed").is_not_null())
    assert 0 < known.height <= real.height and set(known["tag"]) == {"staged"}
    same = ["symbol", "side", "size", "entry", "exit", "gross"]
    assert known.select(same).join(real.select(same), on=same, how="anti").is_empty()
    assert known["net"].null_count() == known.height


def test_both_ends_speak_of_the_same_columns() -> None:
    assert PRICES == PRICE and BARS == BAR


def test_a_notebook_reads_a_day_from_the_home(staged: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTKIT_HOME", str(tmp_path))
    places = Paths(tmp_path).of("paper").made()
    places.tape.symlink_to(staged.folder / "tape")
    for file in staged.folder.glob("journal.sqlite*"):
        (places.folder / file.name.replace("journal.sqlite", places.journal.name)).write_bytes(file.read_bytes())
    day = qtkit.open("paper").day(datetime.fromtimestamp(START_MS / 1000, UTC))
    assert lab.parity(**day).sentence == lab.parity(**staged.day()).sentence
