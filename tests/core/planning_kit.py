"""Instruments, positions and strategies that the planning tests share."""

from decimal import Decimal

from hypothesis import strategies as st

from qtkit.core.context import ExitContext, MarketData
from qtkit.core.model import E8, ONE, Bps, Instrument, Lots, Position, PositionSide, Side, Ticks

BOTH_SIDES = (Side.LONG, Side.SHORT)


def e8(text: str | int) -> E8:
    return E8(int(Decimal(text) * ONE))


def instrument(symbol: str = "ETHUSDT", *, tick: str = "0.01", lot: str = "0.001", min_lots: int = 1, fee: int = 50_000) -> Instrument:
    return Instrument(
        symbol=symbol,
        tick=e8(tick),
        lot=e8(lot),
        min_lots=Lots(min_lots),
        max_lots=Lots(10**9),
        market_max_lots=Lots(10**9),
        min_notional=e8(5),
        min_price=Ticks(1),
        max_price=Ticks(0),
        percent_up=Bps(10_500),
        percent_down=Bps(9_500),
        taker_fee=E8(fee),
    )


def position(
    side: Side = Side.LONG,
    *,
    entry: str = "3500",
    mark: str = "3500",
    lots: int = 1_000,
    liquidation: str | None = None,
    symbol: str = "ETHUSDT",
    leverage: int | None = None,
    isolated: bool = False,
) -> Position:
    return Position(
        symbol=symbol,
        position_side=PositionSide.BOTH,
        side=side,
        lots=Lots(lots),
        entry=e8(entry),
        mark=e8(mark),
        liquidation=None if liquidation is None else e8(liquidation),
        leverage=leverage,
        isolated=isolated,
    )


def context(pos: Position | None = None, *, rules: Instrument | None = None, **given: object) -> ExitContext:
    values: dict[str, object] = {
        "account": "paper",
        "instrument": rules or instrument(),
        "position": pos or position(),
        "now_ms": 1_700_000_000_000,
        **given,
    }
    return ExitContext(**values)  # type: ignore[arg-type]


def mirrored(side: Side, entry: str, percent: str) -> str:
    """A price ``percent`` in the favour of the side (negative: against it)."""
    return str(Decimal(entry) * (1 + side.sign * Decimal(percent) / 100))


@st.composite
def any_position(draw: st.DrawFn) -> tuple[Instrument, Position]:
    """Any well-formed position: every grid, size, drift, and a liquidation price that may be near, far, missing or absurd."""
    tick = 10 ** draw(st.integers(0, 8))
    entry = draw(st.integers(1, min(450_000_000_000_000, tick * 10**7)))
    mark = draw(st.one_of(st.just(entry), st.integers(max(1, entry // 3), entry * 2)))
    liquidation = draw(st.one_of(st.none(), st.integers(0, entry * 2)))
    rules = Instrument(
        symbol="XUSDT",
        tick=E8(tick),
        lot=E8(10 ** draw(st.integers(0, 8))),
        min_lots=Lots(draw(st.integers(1, 20))),
        max_lots=Lots(10**9),
        market_max_lots=Lots(10**9),
        min_notional=e8(5),
        min_price=Ticks(draw(st.sampled_from((0, 1, 5)))),
        max_price=Ticks(0),
        percent_up=Bps(10_500),
        percent_down=Bps(9_500),
        taker_fee=E8(draw(st.sampled_from((0, 20_000, 45_000, 50_000, 1_000_000)))),
    )
    pos = Position(
        symbol="XUSDT",
        position_side=PositionSide.BOTH,
        side=draw(st.sampled_from(BOTH_SIDES)),
        lots=Lots(draw(st.integers(1, 10**7))),
        entry=E8(entry),
        mark=E8(mark),
        liquidation=None if liquidation is None else E8(liquidation),
    )
    return rules, pos


def any_market(entry: int) -> st.SearchStrategy[MarketData]:
    return st.builds(
        MarketData,
        volatility=st.one_of(st.none(), st.integers(0, 2_000).map(Bps)),
        trend=st.one_of(st.none(), st.integers(-10_000, 10_000).map(Bps)),
        atr=st.one_of(st.none(), st.integers(1, max(1, entry)).map(E8)),
        funding_paid=st.one_of(st.none(), st.integers(-(10**12), 10**12).map(E8)),
    )
