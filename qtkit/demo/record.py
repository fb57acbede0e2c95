"""What the demonstration leaves for the notebook: prices, levels of the stops, orders and fills by the exchange's own books."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtkit.core.ids import parse_client_order_id
from qtkit.core.model import E8, ONE, Key, OrderKind, PositionSide, Ticks
from qtkit.paper.exchange import Exchange
from qtkit.paper.meter import Meter
from qtkit.paper.rows import ADL, LIQUIDATION, AccountEvent, AlgoRow, AlgoUpdate, OrderUpdate

if TYPE_CHECKING:
    import polars as pl

PRICE_EVERY_MS = 5_000
PREFIX = "q1"
LEGS = {"f": "floor", "s": "stop", "t": "target", "e": "entry", "x": "close"}


@dataclass(slots=True)
class Recorder:
    """Listens to an exchange after its meter. Prices are kept every five seconds of exchange time; the rest is whole.

    ``on_exit`` is called with a sentence for each fill of an exit of the desk's.
    """

    exchange: Exchange
    meter: Meter
    prices: list[tuple[int, str, float, float]] = field(default_factory=list)
    stops: list[tuple[int, str, float | None]] = field(default_factory=list)
    orders: list[tuple[int, str, str, str, str, float, float, str]] = field(default_factory=list)
    fills: list[tuple[int, str, str, str, float, float, float, str]] = field(default_factory=list)
    kills: list[dict[str, Any]] = field(default_factory=list)
    told: list[tuple[int, str]] = field(default_factory=list)
    on_exit: Callable[[str], None] = lambda sentence: None
    _price_ms: dict[str, int] = field(default_factory=dict)
    _levels: dict[Key, E8 | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.exchange.price_listeners.append(self._on_price)
        self.exchange.listeners.append(self._on_event)

    def _on_price(self, symbol: str, last: Ticks, mark: E8, at_ms: int) -> None:
        if at_ms - self._price_ms.get(symbol, -PRICE_EVERY_MS) >= PRICE_EVERY_MS:
            self._price_ms[symbol] = at_ms
            self.prices.append((at_ms, symbol, last * self.exchange.facts[symbol].instrument.tick / ONE, mark / ONE))

    def _on_event(self, event: AccountEvent) -> None:
        match event:
            case AlgoUpdate(algo=algo, at_ms=at_ms):
                who, leg = whose(algo.client_id)
                size = algo.quantity / ONE
                name = slot_name(algo.symbol, algo.position_side)
                self.orders.append((at_ms, name, who, leg or _kind(algo), algo.client_id, algo.trigger / ONE, size, algo.status.value))
            case OrderUpdate(order=order, trade=trade, at_ms=at_ms) if trade is not None:
                who, leg = whose(order.client_id)
                name = slot_name(order.symbol, order.position_side)
                price, size, profit = trade.price / ONE, trade.quantity / ONE, trade.realised / ONE
                self.fills.append((at_ms, name, who, leg or order.kind.value.lower(), price, size, profit, order.side.value))
                if who == "desk" and leg in ("stop", "target", "floor", "close"):
                    self.on_exit(f"{name}: {leg} filled, {size:g} at {price:g}, {profit:+,.2f} USDT")
            case _:
                pass
        self._follow_levels(event.at_ms)

    def _follow_levels(self, at_ms: int) -> None:
        """The level at which each open position is covered whole, as the meter sees it, whenever it changes."""
        for line in self.meter.ledger():
            level = line.standing.level if line.closed_ms is None else None
            if line.key not in self._levels or self._levels[line.key] != level:
                self._levels[line.key] = level
                self.stops.append((at_ms, slot_name(line.key.symbol, line.key.position_side), None if level is None else level / ONE))

    def say(self, at_ms: int, text: str) -> None:
        """A moment of the play."""
        self.told.append((at_ms, text))

    def frames(self) -> dict[str, "pl.DataFrame"]:
        """The tables by name: prices, stops, orders, fills."""
        import polars as pl

        columns: dict[str, tuple[list[Any], list[str]]] = {
            "prices": (self.prices, ["time_ms", "symbol", "last", "mark"]),
            "stops": (self.stops, ["time_ms", "position", "level"]),
            "orders": (self.orders, ["time_ms", "position", "who", "leg", "client_id", "trigger", "size", "status"]),
            "fills": (self.fills, ["time_ms", "position", "who", "leg", "price", "size", "realised", "side"]),
        }
        return {name: pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None) for name, (rows, names) in columns.items()}

    def write(self, folder: Path, story: dict[str, Any]) -> None:
        """Write the tables as parquet files and ``story.json`` beside them."""
        for name, frame in self.frames().items():
            frame.write_parquet(folder / f"{name}.parquet")
        told = [{"time_ms": at_ms, "text": text} for at_ms, text in self.told]
        (folder / "story.json").write_text(json.dumps(story | {"kills": self.kills, "told": told}, indent=1) + "\n")


def whose(client_id: str) -> tuple[str, str]:
    """Who sent an order, desk or stranger, and which leg of a plan it is (empty for the stranger's)."""
    parsed = parse_client_order_id(client_id)
    if parsed is None:
        return ("exchange" if client_id.startswith((LIQUIDATION, ADL)) else "stranger"), ""
    return "desk", LEGS.get(parsed[1][0], parsed[1])


def slot_name(symbol: str, position_side: PositionSide) -> str:
    """A position slot as tables name it: the symbol, in hedge mode with its side."""
    return symbol if position_side is PositionSide.BOTH else f"{symbol}:{position_side.value}"


def _kind(algo: AlgoRow) -> str:
    return "stop" if algo.kind is OrderKind.STOP_MARKET else algo.kind.value.lower()
