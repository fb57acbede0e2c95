"""What each exchange can do for an exit, as a table, each entry with its evidence. Flags of client libraries are hints only.

Where nobody has proven a rule the entry is the one that can leave no position naked (no floor beside the stop, orders reserve, nothing
while flat), and its evidence says so. A proof of the canary, or an account's own ``traits``, stands above the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from qtkit.core.model import Bps, PolicyError, TriggerBy
from qtkit.core.names import suggestion


class Mark(Enum):
    """How well an entry is known."""

    DOCUMENTED = "documented"
    REPORTED = "reported"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why an entry is believed: by whom it was said, and when it was read."""

    mark: Mark
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRule:
    """What a client order id may be. ``reuse`` says what the exchange does with one that it knows.

    ``comes_back``: the id that we send is the one that the lists show. Where it is not, the desk cannot tell its orders from others'.
    """

    pattern: str
    longest: int
    reuse: str
    comes_back: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Rules of one exchange that shape an exit.

    close_modes           position modes with stops that close whatever the position is then, and carry a client id of ours
    floor_beside_stop     a close-position stop and a quantity stop can rest side by side
    stop_while_flat       a reduce-only quantity stop is accepted before there is a position
    conditional_reserves  resting conditional reduce-only orders reserve the position's quantity
    amend                 a resting conditional order can be changed in place
    native_trailing       the exchange trails by a callback rate through ccxt; its bounds are ``callback_min`` and ``callback_max``
    max_conditional       open conditional orders of the account, all symbols together; a limit by symbol is taken for it
    trigger_by            price series that can trigger
    ids                   client order ids
    modes                 position modes: one-way, hedge
    proven_writes         orders were sent to this exchange, or to a model of it, by this version; elsewhere the desk only looks
    evidence              by name of an entry above
    """

    venue: str
    close_modes: tuple[str, ...]
    floor_beside_stop: bool
    stop_while_flat: bool
    conditional_reserves: bool
    amend: bool
    native_trailing: bool
    callback_min: Bps
    callback_max: Bps
    max_conditional: int
    trigger_by: tuple[TriggerBy, ...]
    ids: IdRule
    modes: tuple[str, ...]
    proven_writes: bool = False
    evidence: Mapping[str, Evidence]

    @property
    def close_position(self) -> bool:
        """True where stops close whatever the position is, in one position mode at least."""
        return bool(self.close_modes)

    @property
    def read_only(self) -> str | None:
        """Why the desk may only look here, in one sentence; None where it may do more."""
        if self.proven_writes:
            return None
        if not self.ids.comes_back:
            return (
                f"{self.venue} keeps only 128 bits of an order id, so the desk could not tell its own orders from others': "
                "nothing is written there, use scope watch"
            )
        return f"the canary exists for Binance only so far, so {self.venue} can be looked at only: use scope watch"


def _documented(source: str) -> Evidence:
    return Evidence(Mark.DOCUMENTED, source)


def _reported(source: str) -> Evidence:
    return Evidence(Mark.REPORTED, source)


_UNPROVEN = Evidence(Mark.UNPROVEN, "said nowhere that was read (2026-11); the safe value stands in until a canary asks")
_SAFE = {"floor_beside_stop": _UNPROVEN, "stop_while_flat": _UNPROVEN, "conditional_reserves": _UNPROVEN}
_CCXT = "ccxt 4.5.90"
_BOTH, _ONE_WAY = ("one-way", "hedge"), "one-way"
_MARK, _LAST = TriggerBy.MARK, TriggerBy.LAST

_BINANCE = Capabilities(
    venue="binanceusdm",
    close_modes=_BOTH,
    floor_beside_stop=True,
    stop_while_flat=True,
    conditional_reserves=False,
    amend=False,
    native_trailing=True,
    callback_min=Bps(10),
    callback_max=Bps(2_000),
    max_conditional=200,
    trigger_by=(_MARK, _LAST),
    ids=IdRule(pattern=r"[.A-Z:/a-z0-9_-]{1,36}", longest=36, reuse="refused with -4116 while known"),
    modes=_BOTH,
    proven_writes=True,
    evidence=MappingProxyType(
        {
            "close_position": _documented("New Algo Order: closePosition of STOP_MARKET and TAKE_PROFIT_MARKET (-4136, -4137)"),
            "floor_beside_stop": Evidence(Mark.UNPROVEN, "a switch of the paper exchange, given here as it sets it"),
            "stop_while_flat": Evidence(Mark.UNPROVEN, "a switch of the paper exchange, given here as it sets it"),
            "conditional_reserves": Evidence(Mark.UNPROVEN, "a switch of the paper exchange, given here as it sets it"),
            "amend": _documented("conditional orders are algo orders since 2025-12-09; there is no amend endpoint for them"),
            "native_trailing": _documented("TRAILING_STOP_MARKET; callbackRate 0.1 to 20 since 2026-10-23 (-2007)"),
            "max_conditional": _documented("200 over all symbols since 2025-12-09 (-4045)"),
            "trigger_by": _documented("workingType: MARK_PRICE, CONTRACT_PRICE"),
            "ids": _documented("clientAlgoId and newClientOrderId: pattern and length; -4116 for how long is not said"),
            "modes": _documented("positionSide/dual"),
        }
    ),
)

_BYBIT = Capabilities(
    venue="bybit",
    close_modes=_BOTH,
    floor_beside_stop=False,
    stop_while_flat=False,
    conditional_reserves=True,
    amend=True,
    native_trailing=False,
    callback_min=Bps(0),
    callback_max=Bps(0),
    max_conditional=10,
    trigger_by=(_MARK, _LAST),
    ids=IdRule(pattern=r"[A-Za-z0-9_-]{1,36}", longest=36, reuse="refused with 110072 (duplicate), for how long is not said"),
    modes=_BOTH,
    evidence=MappingProxyType(
        _SAFE
        | {
            "close_position": _documented(
                "v5 Place Order: qty 0 with reduceOnly and closeOnTrigger closes up to the largest market order; "
                "that it does so from a conditional order is for the canary"
            ),
            "amend": _documented(f"v5 Amend Order takes triggerPrice; {_CCXT}: editOrder"),
            "native_trailing": _documented(
                "v5 Set Trading Stop trails by a price distance on the position, without an id of ours: not used"
            ),
            "max_conditional": _documented("v5 Place Order: 10 active conditional orders a symbol; refused with 110009"),
            "trigger_by": _documented("triggerBy: LastPrice, IndexPrice, MarkPrice"),
            "ids": _documented(f"orderLinkId: 36 of letters, digits, - and _; code 110072 in {_CCXT}"),
            "modes": _documented("positionIdx 0, 1, 2; set for each symbol or coin"),
        }
    ),
)

_OKX = Capabilities(
    venue="okx",
    close_modes=(_ONE_WAY,),
    floor_beside_stop=False,
    stop_while_flat=False,
    conditional_reserves=True,
    amend=True,
    native_trailing=True,
    callback_min=Bps(10),
    callback_max=Bps(10_000),
    max_conditional=100,
    trigger_by=(_MARK, _LAST),
    ids=IdRule(pattern=r"[A-Za-z0-9]{1,32}", longest=32, reuse="refused with 51016 (duplicate), for how long is not said"),
    modes=_BOTH,
    evidence=MappingProxyType(
        _SAFE
        | {
            "close_position": _documented(
                f"Place algo order: closeFraction 1, reduceOnly (51328), stop market (51330), in net mode alone (51329): codes in {_CCXT}"
            ),
            "conditional_reserves": _reported("51112 and 51117 of regular close orders; of conditional ones nothing is said"),
            "amend": _documented(f"Amend algo order (trade/amend-algos in {_CCXT})"),
            "native_trailing": _documented(f"move_order_stop with callbackRatio; {_CCXT}: trailingPercent. Its bounds are unproven"),
            "max_conditional": Evidence(Mark.UNPROVEN, "500 pending orders a symbol since 2023-08-14 (51174); for conditional orders less"),
            "trigger_by": _documented("slTriggerPxType, tpTriggerPxType: last, index, mark"),
            "ids": _documented("algoClOrdId and clOrdId: 32 letters and digits; code 51016"),
            "modes": _documented("posMode: net_mode, long_short_mode"),
        }
    ),
)

_BITGET = Capabilities(
    venue="bitget",
    close_modes=_BOTH,
    floor_beside_stop=False,
    stop_while_flat=False,
    conditional_reserves=True,
    amend=True,
    native_trailing=True,
    callback_min=Bps(1),
    callback_max=Bps(1_000),
    max_conditional=50,
    trigger_by=(_MARK, _LAST),
    ids=IdRule(pattern=r"[A-Za-z0-9_-]{1,36}", longest=36, reuse="not said"),
    modes=_BOTH,
    evidence=MappingProxyType(
        _SAFE
        | {
            "close_position": _documented("Place TP/SL plan order: pos_loss and pos_profit need no size, and take clientOid"),
            "amend": _documented(f"Modify TP/SL plan order (in {_CCXT}: editOrder)"),
            "native_trailing": _documented(f"track_plan with callbackRatio, at most 10; {_CCXT}: trailingPercent"),
            "max_conditional": _UNPROVEN,
            "trigger_by": _documented("triggerType: fill_price, mark_price"),
            "ids": Evidence(Mark.UNPROVEN, "clientOid has no stated pattern; ours fit any of the other exchanges'"),
            "modes": _documented("posMode: one_way_mode, hedge_mode"),
        }
    ),
)

_HYPERLIQUID = Capabilities(
    venue="hyperliquid",
    close_modes=(_ONE_WAY,),
    floor_beside_stop=False,
    stop_while_flat=False,
    conditional_reserves=True,
    amend=True,
    native_trailing=False,
    callback_min=Bps(0),
    callback_max=Bps(0),
    max_conditional=1_000,
    trigger_by=(_MARK,),
    ids=IdRule(pattern=r"0x[0-9a-f]{32}", longest=34, reuse="not said", comes_back=False),
    modes=(_ONE_WAY,),
    evidence=MappingProxyType(
        _SAFE
        | {
            "close_position": _reported(f"grouping positionTpsl with size 0 follows the position: kits for the exchange, {_CCXT}"),
            "amend": _documented(f"Exchange endpoint: modify, batchModify (in {_CCXT}: editOrder)"),
            "native_trailing": _documented("no trailing order exists"),
            "max_conditional": _documented("Rate limits: at 1,000 open orders a reduce-only or trigger order is rejected"),
            "trigger_by": _reported(
                "TP/SL trigger on the mark price and fill within 10 %: its TP/SL page as kits cite it; Nautilus says the last price"
            ),
            "ids": _documented("cloid: 128 bits as hexadecimal; our ids hold more, so that they can only be sent hashed"),
            "modes": _documented("assetPositions: oneWay"),
        }
    ),
)

_KRAKEN = Capabilities(
    venue="krakenfutures",
    close_modes=(),
    floor_beside_stop=False,
    stop_while_flat=False,
    conditional_reserves=True,
    amend=True,
    native_trailing=False,
    callback_min=Bps(0),
    callback_max=Bps(0),
    max_conditional=50,
    trigger_by=(_MARK, _LAST),
    ids=IdRule(pattern=r"[\x20-\x7e]{1,100}", longest=100, reuse="refused with clientOrderIdAlreadyExist"),
    modes=(_ONE_WAY,),
    evidence=MappingProxyType(
        _SAFE
        | {
            "close_position": _documented("Send order: every order has a size"),
            "floor_beside_stop": _documented("there is no floor"),
            "amend": _documented(f"Edit order takes stopPrice (in {_CCXT}: editOrder)"),
            "native_trailing": _documented(f"trailing_stop exists on the exchange, not in {_CCXT}"),
            "max_conditional": _UNPROVEN,
            "trigger_by": _documented("triggerSignal: mark, index (spot), last"),
            "ids": _documented(f"cliOrdId: 100 characters; clientOrderIdAlreadyExist in {_CCXT}"),
            "modes": _documented("one position a contract"),
        }
    ),
)

VENUES: Mapping[str, Capabilities] = MappingProxyType({row.venue: row for row in (_BINANCE, _BYBIT, _OKX, _BITGET, _HYPERLIQUID, _KRAKEN)})
"""The table by ccxt's id of the exchange."""


BINANCE = "binanceusdm"
"""The venue that the paper exchange speaks as, and the only one that is written to."""

ADDRESSES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "bybit": {"live": "https://api.bybit.com", "demo": "https://api-demo.bybit.com"},
        "okx": {"live": "https://www.okx.com", "demo": "https://www.okx.com"},
        "bitget": {"live": "https://api.bitget.com", "demo": "https://api.bitget.com"},
        "hyperliquid": {"live": "https://api.hyperliquid.xyz", "demo": "https://api.hyperliquid-testnet.xyz"},
        "krakenfutures": {"live": "https://futures.kraken.com", "demo": "https://demo-futures.kraken.com"},
    }
)
"""Where the exchanges besides Binance are: ccxt's own addresses (a test compares them). OKX and Bitget tell a demo by a header."""


def capabilities(venue: str) -> Capabilities:
    """The table's row of a venue, by ccxt's id of it. Raises ``PolicyError`` with the nearest name for an unknown one."""
    if venue in VENUES:
        return VENUES[venue]
    longer = next((name for name in VENUES if venue and name.startswith(venue.lower())), None)  # binance, kraken
    raise PolicyError(f"venue {venue!r} is not supported; {suggestion(longer or venue, VENUES)}")
