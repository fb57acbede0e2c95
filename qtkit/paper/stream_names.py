"""Names of market streams: which exist, whose symbol they carry, under which path they are served.

Binance accepts any name and is silent on those that do not exist; here a name that is not documented is refused, so that a typing error
does not look like a quiet market. Documented names of what the paper exchange has no notion of are accepted and silent.
"""

import re

from qtkit.paper.intervals import INTERVALS, LONG

ALL = frozenset({"market", "public"})
_SPEED = r"(@(100|250|500)ms)?"
_INTERVAL = f"({'|'.join((*INTERVALS, *LONG))})"
_OF_SYMBOL = (
    r"markPrice(@1s|@3s)?|miniTicker|ticker|bookTicker|trade|aggTrade|forceOrder"
    rf"|(kline|markPriceKline|continuousKline)_{_INTERVAL}|depth(5|10|20)?{_SPEED}|compositeIndex|rpiDepth@500ms"
)
_OF_ALL = r"!markPrice@arr(@1s|@3s)?|!(miniTicker|ticker|forceOrder|assetIndex)@arr|!bookTicker|!contractInfo|tradingSession"
_NAME = re.compile(rf"[0-9a-z_]+@({_OF_SYMBOL})|{_OF_ALL}")
_PUBLIC = re.compile(r"@(depth|rpiDepth|bookTicker|trade)(@|\d|$)|^!bookTicker$")
_LISTEN_KEY = re.compile(r"[A-Za-z0-9_-]{32,}")


def category(stream: str) -> str:
    """Path prefix a stream belongs to since 2026-04-23: ``public`` for books and trades, else ``market``."""
    return "public" if _PUBLIC.search(stream) else "market"


def known(stream: str) -> bool:
    """True if Binance documents such a stream."""
    return _NAME.fullmatch(stream) is not None


def is_listen_key(name: str) -> bool:
    """True if a name can be a listen key: no market stream looks like one."""
    return _LISTEN_KEY.fullmatch(name) is not None


def symbol_of(stream: str) -> str:
    """Symbol of a stream in lower case, empty for a stream of all symbols; a continuous contract is its perpetual."""
    name = "" if stream.startswith("!") else stream.partition("@")[0]
    return name.removesuffix("_perpetual")
