"""Dicts of callers -> typed inputs of the planner. What is not known stays unknown; what is misspelt is refused with the right key.

Percentages are fractions here (0.03 is 3 %), as the callers' keys ``*_pct`` always meant; every other unit is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import TypeVar

from qtkit.core.context import ExitContext, MarketData, RiskContext, RiskMode, RLHints
from qtkit.core.model import E8, ONE, Bps, Instrument, Lots, PolicyError, Position, PositionSide, Side
from qtkit.core.names import suggestion
from qtkit.core.policy import ExitPolicy, Regime

Raw = Mapping[str, object]
E = TypeVar("E", bound=Enum)
_GATE = "the risk gate of entries reads this, not the plan; leave it out"

_DIALECTS: dict[str, dict[str, str]] = {
    "rl_hints": {
        "tp_target_pct": "use 'tp_pct'",
        "sl_target_pct": "use 'sl_pct'",
        "trail_callback_pct": "use 'trail_pct'",
        "tp": "use 'tp_pct'",
        "sl": "use 'sl_pct'",
        "trail": "use 'trail_pct'",
    },
    "risk_context": {
        "risk_mode": "use 'mode'",
        "max_loss_pct": "use 'max_loss'",
        "daily_pnl_pct": _GATE,
        "position_count": _GATE,
        "max_positions": _GATE,
        "max_leverage": _GATE,
    },
    "market_data": {
        "current_price": "the price is the position's 'markPrice'",
        "trend_strength": "use 'trend'",
        "market_regime": "use 'regime'",
        "atr_pct": "use 'atr', a distance in price",
        "funding": "use 'funding_paid', money of the quote coin",
    },
}
_REGIMES = {"TRENDING": Regime.TREND, "RANGE_BOUND": Regime.RANGE, "RANGING": Regime.RANGE, "CHOPPY": Regime.CHOP}


def _only(raw: Raw, allowed: tuple[str, ...], what: str) -> None:
    for key in raw:
        if key not in allowed:
            known = _DIALECTS[what].get(key) or suggestion(str(key), allowed)
            raise PolicyError(f"{what} has no key '{key}': {known}")


def _number(value: object, what: str) -> Decimal | None:
    """An exact number, or None for None and empty text. Raises ``PolicyError`` for anything else."""
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value)) if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise PolicyError(f"{what} must be a number, got {value!r}")
    return number


def _fraction(raw: Raw, key: str, what: str, *, most: Decimal = Decimal(1)) -> Bps | None:
    """A fraction as bps, rounded down."""
    number = _number(raw.get(key), f"{what}['{key}']")
    if number is None:
        return None
    if not 0 <= number <= most:
        raise PolicyError(f"{what}['{key}'] is a fraction (0.03 means 3 %) between 0 and {most}, got {number}")
    return Bps(int(number * 10_000))


def _distance(raw: Raw, key: str, what: str) -> Bps | None:
    """A fraction of the price above zero and below one, as bps."""
    bps = _fraction(raw, key, what)
    if bps is not None and not 0 < bps < 10_000:
        raise PolicyError(f"{what}['{key}'] is a fraction of the price (0.03 means 3 %): at least 0.0001 and below 1, got {raw[key]!r}")
    return bps


def _word(value: object, words: Mapping[str, E], what: str) -> E | None:
    if value is None:
        return None
    for member in words.values():
        if member is value:
            return member
    if str(value).upper() not in words:
        raise PolicyError(f"{what} '{value}' is not known: {suggestion(str(value), words)}")
    return words[str(value).upper()]


def _e8(number: Decimal) -> E8:
    return E8(int((number * ONE).to_integral_value()))


def hints_from_dict(raw: Raw | RLHints | None) -> RLHints:
    """``tp_pct``, ``sl_pct``, ``trail_pct``, ``confidence`` -> hints. Raises ``PolicyError`` for other keys and wrong units."""
    if raw is None or isinstance(raw, RLHints):
        return raw or RLHints()
    what = "rl_hints"
    _only(raw, ("tp_pct", "sl_pct", "trail_pct", "confidence"), what)
    return RLHints(
        tp=_distance(raw, "tp_pct", what),
        sl=_distance(raw, "sl_pct", what),
        trail=_distance(raw, "trail_pct", what),
        confidence=_fraction(raw, "confidence", what),
    )


def risk_from_dict(raw: Raw | RiskContext | None) -> RiskContext:
    """``mode``, ``max_loss`` -> risk context. Raises ``PolicyError`` for other keys, unknown modes and wrong units."""
    if raw is None or isinstance(raw, RiskContext):
        return raw or RiskContext()
    what = "risk_context"
    _only(raw, ("mode", "max_loss"), what)
    modes = {mode.value: mode for mode in RiskMode}
    return RiskContext(mode=_word(raw.get("mode"), modes, "risk mode"), max_loss=_distance(raw, "max_loss", what))


def market_from_dict(raw: Raw | MarketData | None) -> MarketData:
    """``volatility`` (fraction a day), ``trend`` (-1 to 1), ``atr`` (price), ``regime``, ``funding_paid`` (money) -> market data."""
    if raw is None or isinstance(raw, MarketData):
        return raw or MarketData()
    what = "market_data"
    _only(raw, ("volatility", "trend", "atr", "regime", "funding_paid"), what)
    trend = _number(raw.get("trend"), "market_data['trend']")
    if trend is not None and abs(trend) > 1:
        raise PolicyError(f"market_data['trend'] lies between -1 and 1, got {trend}")
    atr, paid = _number(raw.get("atr"), "market_data['atr']"), _number(raw.get("funding_paid"), "market_data['funding_paid']")
    regimes = {**{regime.value: regime for regime in Regime}, **_REGIMES}
    return MarketData(
        volatility=_fraction(raw, "volatility", what, most=Decimal(10)),
        trend=None if trend is None else Bps(int(trend * 10_000)),
        atr=None if atr is None else _e8(atr),
        regime=_word(raw.get("regime"), regimes, "regime"),
        funding_paid=None if paid is None else _e8(paid),
    )


def exchange_symbol(symbol: str) -> str:
    """``BTC/USDT:USDT`` (ccxt) or ``BTCUSDT`` -> ``BTCUSDT``."""
    return symbol.split(":")[0].replace("/", "")


@dataclass(frozen=True, slots=True)
class _Fields:
    """A position's dict, unified or raw, with the raw one as second source."""

    raw: Raw
    info: Raw
    symbol: str

    def number(self, *names: str) -> Decimal | None:
        for source in (self.raw, self.info):
            for name in names:
                number = _number(source.get(name), f"{self.symbol} position['{name}']")
                if number is not None:
                    return number
        return None

    def price(self, name: str) -> E8:
        number = self.number(name)
        if number is None or number <= 0:
            raise PolicyError(f"{self.symbol}: the position's '{name}' must be a price above zero, got {self.raw.get(name)!r}")
        return E8(max(1, _e8(number)))


def position_from_dict(raw: Raw, instrument: Instrument) -> Position:
    """A position from Binance's raw dict (``positionAmt`` signed) or ccxt's unified one (``contracts``, ``side``).

    A size off the lot step is rounded up, so that what covers it covers it all. Raises ``PolicyError`` when the position is flat, is of
    another symbol, or lacks its size, entry price or mark price.
    """
    symbol = exchange_symbol(str(raw.get("symbol", "")))
    if symbol != instrument.symbol:
        raise PolicyError(f"position of '{raw.get('symbol', '')}' read with the rules of {instrument.symbol}")
    info = raw.get("info")
    fields = _Fields(raw, info if isinstance(info, Mapping) else {}, symbol)
    amount, side = _amount(fields)
    slot = _slot(fields)
    if slot is not PositionSide.BOTH:
        hedged = Side.LONG if slot is PositionSide.LONG else Side.SHORT
        if side is not hedged and hedged is Side.LONG:
            raise PolicyError(f"{symbol}: position side LONG with a negative amount {amount}; which is right?")
        side = hedged
    liquidation, leverage = fields.number("liquidationPrice"), fields.number("leverage")
    lots = -(-_e8(abs(amount)) // instrument.lot)
    return Position(
        symbol=symbol,
        position_side=slot,
        side=side,
        lots=Lots(lots),
        entry=fields.price("entryPrice"),
        mark=fields.price("markPrice"),
        liquidation=_e8(liquidation) if liquidation is not None and liquidation > 0 else None,
        leverage=int(leverage) if leverage is not None and leverage >= 1 else None,
        isolated=_isolated(fields),
    )


def _amount(fields: _Fields) -> tuple[Decimal, Side]:
    """Size in the base coin and direction."""
    amount = _number(fields.raw.get("positionAmt"), f"{fields.symbol} position['positionAmt']")
    side = None
    if amount is None and fields.raw.get("contracts") is not None:
        contracts = fields.number("contracts") or Decimal(0)
        amount = contracts * (fields.number("contractSize") or Decimal(1))
        words = {"LONG": Side.LONG, "SHORT": Side.SHORT}
        side = _word(fields.raw.get("side"), words, f"{fields.symbol}: position side") if amount != 0 else Side.LONG
        if side is None:
            raise PolicyError(f"{fields.symbol}: the position has contracts but no 'side'; it must be 'long' or 'short'")
    if amount is None:
        raise PolicyError(f"{fields.symbol}: the position has neither 'positionAmt' nor 'contracts'; its size is unknown")
    if amount == 0:
        raise PolicyError(f"{fields.symbol}: the position is flat; there is nothing to plan")
    return amount, side or (Side.LONG if amount > 0 else Side.SHORT)


def _slot(fields: _Fields) -> PositionSide:
    """Position side as told; ccxt's ``hedged`` where the raw one is missing; else one-way."""
    told = fields.raw.get("positionSide") or fields.info.get("positionSide")
    if told is not None:
        slot = _word(told, {slot.value: slot for slot in PositionSide}, f"{fields.symbol}: positionSide")
        return slot or PositionSide.BOTH
    if fields.raw.get("hedged") is True:
        return PositionSide.SHORT if str(fields.raw.get("side")).lower() == "short" else PositionSide.LONG
    return PositionSide.BOTH


def _isolated(fields: _Fields) -> bool:
    told = fields.raw.get("marginMode") or fields.raw.get("marginType") or fields.info.get("marginType")
    return str(told).lower() == "isolated" or str(fields.raw.get("isolated", "")).lower() == "true"


def build_context_from_position(
    position: Raw | Position,
    rl_hints: Raw | RLHints | None = None,
    risk_context: Raw | RiskContext | None = None,
    market_data: Raw | MarketData | None = None,
    *,
    instrument: Instrument,
    account: str,
    now_ms: int,
    episode: int = 1,
    revision: int = 0,
    policy: ExitPolicy | None = None,
    strategy: str | None = None,
    adopted: bool = False,
    provisional: bool = False,
    expires_ms: int | None = None,
) -> ExitContext:
    """Context of the planner from a position and the three inputs, each a dict of the caller, typed, or None (not known)."""
    return ExitContext(
        account=account,
        instrument=instrument,
        position=position if isinstance(position, Position) else position_from_dict(position, instrument),
        now_ms=now_ms,
        episode=episode,
        revision=revision,
        policy=policy,
        strategy=strategy,
        adopted=adopted,
        provisional=provisional,
        expires_ms=expires_ms,
        hints=hints_from_dict(rl_hints),
        risk=risk_from_dict(risk_context),
        market=market_from_dict(market_data),
    )
