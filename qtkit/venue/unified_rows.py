"""ccxt's unified contracts and positions of the exchanges besides Binance -> the model. Pure, exact, without ccxt and without IO.

Where ccxt's form estimates or loses something (liquidation price, position slot), the exchange's own row is read, which ccxt hands along as
``info``. Sizes off the grid are read as larger, as ``ccxt_wire`` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType

from qtkit.core.model import (
    E8,
    Bps,
    Instrument,
    Lots,
    Position,
    PositionSide,
    Side,
    Ticks,
)
from qtkit.venue.ccxt_wire import Row, WireError, decimal_of, on_grid, to_e8
from qtkit.venue.gateway import KeyRights

MANY = 10**12  # lots or ticks, where an exchange tells no limit
ZERO = Decimal(0)
_ANY_BPS = (Bps(100_000), Bps(0))  # no price band is told
_BOTH, _LONG, _SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A contract as it is traded: our name of it, ccxt's, its rules, and how much of the base coin one contract is."""

    name: str
    unified: str
    rules: Instrument
    contract_size: Decimal


def number(row: Row, *keys: str) -> Decimal:
    """The first number above zero under these keys, 0 if there is none."""
    return next((value for key in keys if (value := decimal_of(row, key, default=ZERO)) > 0), ZERO)


def _said(row: Row, key: str, word: str) -> bool:
    return str(row.get(key, "")).lower() == word


# --- contracts -----------------------------------------------------------------------------------------------------

_MARKET_MAX: Mapping[str, tuple[str, ...]] = MappingProxyType(
    # Largest market order, by exchange: where its own row of the contract tells it (in contracts).
    {"bybit": ("lotSizeFilter", "maxMktOrderQty"), "okx": ("maxMktSz",), "bitget": ("maxMarketOrderQty",)}
)


def listed(venue: str, market: Row) -> Listed:
    """A row of ccxt's ``markets``; raises ``WireError`` for one whose grid is not told. Linear contracts alone have such lots."""
    info, limits, precision = market["info"], market.get("limits") or {}, market.get("precision") or {}
    size = number(market, "contractSize") or Decimal(1)
    tick, lot = to_e8(decimal_of(precision, "price")), to_e8(decimal_of(precision, "amount") * size)
    name = str(info.get("name") or market["baseName"]) if venue == "hyperliquid" else str(market["id"])
    if tick <= 0 or lot <= 0:
        raise WireError(f"{name}: tick size and lot step are below 1e-8")
    amounts, biggest = limits.get("amount") or {}, info
    for key in _MARKET_MAX.get(venue, ()):
        biggest = biggest.get(key) if isinstance(biggest, Mapping) else None
    most = _lots(number(amounts, "max") * size, lot)
    market_most = _lots(number({"max": biggest}, "max") * size, lot) if _MARKET_MAX.get(venue) else most
    rules = Instrument(
        symbol=name,
        tick=tick,
        lot=lot,
        min_lots=Lots(max(1, on_grid(number(amounts, "min") * size, lot, ROUND_CEILING))),
        max_lots=most,
        market_max_lots=min(market_most, most),
        min_notional=to_e8(number(limits.get("cost") or {}, "min")),
        min_price=Ticks(1),
        max_price=Ticks(MANY),
        percent_up=_ANY_BPS[0],
        percent_down=_ANY_BPS[1],
        taker_fee=to_e8(decimal_of(market, "taker", default=Decimal("0.0006"))),
        maker_fee=to_e8(decimal_of(market, "maker", default=Decimal("0.0002"))),
    )
    return Listed(name=name, unified=str(market["symbol"]), rules=rules, contract_size=size)


def _lots(amount: Decimal, lot: E8) -> Lots:
    return Lots(on_grid(amount, lot, ROUND_FLOOR) or MANY)


# --- positions -----------------------------------------------------------------------------------------------------


def hedged(venue: str, info: Row) -> bool:
    """True if a row of positions, or of orders, names a slot of its own."""
    if venue == "bybit":
        return str(info.get("positionIdx", "0")) in ("1", "2")
    if venue == "okx":
        return str(info.get("posSide", "net")) in ("long", "short")
    return venue == "bitget" and _said(info, "posMode", "hedge_mode")


_LIQUIDATION: Mapping[str, str] = MappingProxyType(
    # ccxt estimates one where the exchange gives none (Bitget, isolated): the exchange's own word, or unknown.
    {"bybit": "liqPrice", "okx": "liqPx", "bitget": "liquidationPrice", "hyperliquid": "liquidationPx"}
)


_SIZE: Mapping[str, str] = MappingProxyType(
    # ccxt works one out of the notional where the exchange tells none: the exchange's own word, or the row cannot be read.
    {"bybit": "size", "okx": "pos", "bitget": "total", "hyperliquid": "szi", "krakenfutures": "size"}
)


def _own(venue: str, row: Row) -> Row:
    """The exchange's own row of a position."""
    info: Row = row["info"]
    return info["position"] if venue == "hyperliquid" else info


def is_flat(venue: str, row: Row) -> bool:
    """True for a row that says it holds nothing; one that does not say is no such row, and raises ``WireError``."""
    return decimal_of(_own(venue, row), _SIZE[venue]) == 0


def position(venue: str, row: Row, contract: Listed, mark: Decimal | None = None) -> Position:
    """An open row of ``fetch_positions``. ``mark`` is the mark price where the row has none (Kraken).

    Without an entry price the stop is measured from the mark; a missing or zero liquidation price is unknown.
    """
    own = _own(venue, row)
    sides = {"long": Side.LONG, "short": Side.SHORT}
    if row.get("side") not in sides:
        raise WireError(f"side {row.get('side')} of a position in {contract.name} is unknown to this version")
    side = sides[row["side"]]
    price = to_e8(number(row, "markPrice") or mark or ZERO)
    if price <= 0:
        raise WireError(f"there is no mark price for the position in {contract.name}")
    liquidation = to_e8(number(own, _LIQUIDATION[venue])) if venue in _LIQUIDATION else E8(0)
    amount = abs(decimal_of(own, _SIZE[venue])) * contract.contract_size
    return Position(
        symbol=contract.name,
        position_side=(_LONG if side is Side.LONG else _SHORT) if hedged(venue, own) else _BOTH,
        side=side,
        lots=Lots(on_grid(amount, contract.rules.lot, ROUND_CEILING)),
        entry=to_e8(number(row, "entryPrice")) or price,
        mark=price,
        liquidation=liquidation or None,
        leverage=int(number(row, "leverage")) or None,
        isolated=row.get("marginMode") == "isolated",
    )


# --- keys ----------------------------------------------------------------------------------------------------------


def key_rights(venue: str, answer: Row) -> KeyRights:
    """What Bybit's ``user/query-api`` or OKX's ``account/config`` says of a key.

    OKX's right to trade is one to move funds between the trader's own accounts too, which is not told apart: unknown.
    """
    if venue == "okx":
        row = answer["data"][0]
        may = str(row["perm"]).split(",")
        return KeyRights(read=True, trade="trade" in may, withdraw="withdraw" in may, ip_restricted=bool(row.get("ip")))
    row = answer["result"]
    wallet = row["permissions"].get("Wallet") or []
    reads_only = str(row["readOnly"]) == "1"
    return KeyRights(
        read=True,
        trade=not reads_only and bool(row["permissions"].get("ContractTrade") or row["permissions"].get("Derivatives")),
        withdraw=not reads_only and "Withdraw" in wallet,
        transfer=not reads_only and any("Transfer" in word for word in wallet),
        ip_restricted=bool(row.get("ips")) and "*" not in row["ips"],
    )
