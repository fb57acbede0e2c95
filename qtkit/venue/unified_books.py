"""Where each exchange besides Binance keeps positions and open orders: which calls read all of them, page by page, and how to see that.

ccxt reads an answer without its list as an empty list (``openOrders`` of Kraken, ``data`` of OKX, ``result`` of Bybit): to a desk that
would be "no order, no position". So each answer is looked at as it came, and one without its list is no answer.

What is read: linear contracts, perpetual and dated. A held coin-margined contract that an answer shows makes the reading unavailable, for
its risk cannot be counted here. Not read: options, margin and spot; coin-margined contracts of Bitget; builder-deployed exchanges of
Hyperliquid; executions by algorithm (iceberg, TWAP, chase), which are no protection.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Params = Mapping[str, Any]
Rows = Callable[[Any], list[Any] | None]
Next = Callable[[Any, Sequence[Any]], Params | None]

MOST_PAGES = 50  # an account with more orders than that is not read by half: the reading fails


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """How an account is read whole at one exchange.

    ``positions`` and ``everywhere`` are the parameters of one ``fetch_positions`` or ``fetch_open_orders`` each, all of which together
    show the account; ``kinds`` those of each book of orders, the conditional ones first: an order that triggers between two readings is
    then seen in both rather than in neither. ``by_symbol``: orders of one symbol can be asked for. ``next_page`` gives the parameters of
    the following page, None after the last. ``candles``: bars a request, of the last price and of the mark (0: there are none). ``pace``:
    settings of ccxt's own request limiter, where its default is too slow for a pass every two seconds.
    """

    options: Params
    positions: tuple[Params, ...]
    everywhere: tuple[Params, ...]
    kinds: tuple[Params, ...]
    by_symbol: bool
    page: int | None
    position_rows: Rows
    order_rows: Rows
    next_page: Next
    candles: tuple[int, int]
    pace: Params = field(default_factory=lambda: MappingProxyType({}))


def _at(*keys: str) -> Rows:
    """The list under these keys of an answer; None where it is not there."""

    def rows(body: Any) -> list[Any] | None:
        for key in keys:
            body = body.get(key) if isinstance(body, Mapping) else None
        return body if isinstance(body, list) else None

    return rows


def _no_more(body: Any, rows: Sequence[Any]) -> Params | None:
    return None


def _bybit_next(body: Any, rows: Sequence[Any]) -> Params | None:
    """Bybit gives a cursor after the last rows too; the page that it leads to is empty."""
    cursor = body["result"].get("nextPageCursor")
    return {"cursor": cursor} if cursor and rows else None


def _okx_next(body: Any, rows: Sequence[Any]) -> Params | None:
    return {"after": rows[-1].get("algoId") or rows[-1]["ordId"]} if len(rows) >= OKX_PAGE else None


def _bitget_rows(body: Any) -> list[Any] | None:
    """``entrustedList`` is null where there are none; the answer without it is none."""
    data = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(data, Mapping) or "entrustedList" not in data:
        return None
    found = data["entrustedList"]
    return [] if found is None else found if isinstance(found, list) else None


def _bitget_next(body: Any, rows: Sequence[Any]) -> Params | None:
    return {"idLessThan": body["data"]["endId"]} if len(rows) >= BITGET_PAGE else None


def _whole(body: Any) -> list[Any] | None:
    return body if isinstance(body, list) else None


OKX_PAGE = BITGET_PAGE = 100
_LINEAR = {"type": "swap", "subType": "linear"}

BOOKS: Mapping[str, Books] = MappingProxyType(
    {
        "bybit": Books(
            options={"fetchMarkets": {"types": ["linear", "inverse"]}},
            positions=({**_LINEAR, "settleCoin": "USDT"}, {**_LINEAR, "settleCoin": "USDC"}, {"type": "swap", "subType": "inverse"}),
            everywhere=({**_LINEAR, "settleCoin": "USDT"}, {**_LINEAR, "settleCoin": "USDC"}),
            kinds=({"trigger": True}, {}),
            by_symbol=True,
            page=50,
            position_rows=_at("result", "list"),
            order_rows=_at("result", "list"),
            next_page=_bybit_next,
            candles=(1_000, 1_000),
        ),
        "okx": Books(
            options={"fetchMarkets": {"types": ["swap", "future"]}},
            positions=({"instType": "SWAP"}, {"instType": "FUTURES"}),
            everywhere=({"instType": "SWAP"}, {"instType": "FUTURES"}),
            kinds=(*({"trigger": True, "ordType": kind} for kind in ("conditional", "oco", "trigger", "move_order_stop")), {}),
            by_symbol=True,
            page=OKX_PAGE,
            position_rows=_at("data"),
            order_rows=_at("data"),
            next_page=_okx_next,
            candles=(300, 100),
        ),
        "bitget": Books(
            options={"defaultType": "swap", "fetchMarkets": {"types": ["swap"]}},
            positions=({"productType": "USDT-FUTURES"}, {"productType": "USDC-FUTURES"}),
            everywhere=({"productType": "USDT-FUTURES", "type": "swap"}, {"productType": "USDC-FUTURES", "type": "swap"}),
            kinds=(*({"trigger": True, "planType": kind} for kind in ("profit_loss", "normal_plan", "track_plan")), {}),
            by_symbol=True,
            page=BITGET_PAGE,
            position_rows=_at("data"),
            order_rows=_bitget_rows,
            next_page=_bitget_next,
            candles=(200, 200),
        ),
        "hyperliquid": Books(
            options={"fetchMarkets": {"types": ["swap"]}},
            positions=({},),
            everywhere=({},),
            kinds=({},),
            by_symbol=False,
            page=None,
            position_rows=_at("assetPositions"),
            order_rows=_whole,
            next_page=_no_more,
            candles=(5_000, 0),
        ),
        "krakenfutures": Books(
            options={},
            positions=({},),
            everywhere=({},),
            kinds=({},),
            by_symbol=False,
            page=None,
            position_rows=_at("openPositions"),
            order_rows=_at("openOrders"),
            next_page=_no_more,
            candles=(2_000, 2_000),
            pace={"rateLimit": 250},  # ccxt waits 600 ms; 500 tokens are given every 10 s, and a reading of the account costs 2
        ),
    }
)
