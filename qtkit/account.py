"""One account as it is set: of which kind, where its exchange is, how far the desk may go on it, and where its keys come from."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from qtkit.core.context import RiskMode
from qtkit.core.desired import Traits
from qtkit.core.model import PolicyError, Scope
from qtkit.venue.capabilities import ADDRESSES as ELSEWHERE
from qtkit.venue.capabilities import BINANCE, capabilities

Kind = Literal["paper", "demo", "live"]
KeySource = Literal["env", "file", "keyring"]

ADDRESSES: Mapping[Kind, str] = MappingProxyType(
    {"paper": "http://127.0.0.1:8560", "demo": "https://demo-fapi.binance.com", "live": "https://fapi.binance.com"}
)
"""Where the exchange of each kind is. Those of Binance are ccxt's own (a test compares them), which finds the hosts beside them."""

KEY_VARIABLE = re.compile(r"QTKIT_(READ_)?(KEY|SECRET)_[A-Z0-9_]{1,24}")
"""Variables that hold keys, QTKIT_KEY_MAIN and QTKIT_SECRET_MAIN for account main, QTKIT_READ_... of its pair for looking. No settings."""

_BY_KIND: Any = None  # a default that the kind decides


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What the risk gate lets in: it stands before entries, and shapes their plans; nothing that is open is held back by it.

    `max_positions` counts all open positions of the account, adopted ones too. `min_confidence_bps` judges signals that name a confidence.
    `risk_mode` narrows target and stop of new plans, ESS_ACTIVE refuses entries; `max_loss_bps` is the widest stop of a new plan.
    """

    max_positions: int = 10
    min_confidence_bps: int = 0
    risk_mode: RiskMode | None = None
    max_loss_bps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account the desk looks after. `max_notional` is in the quote coin; `None` policies are the planner's own defaults.

    `kind` is paper (the embedded exchange), demo (the exchange's own demo, no money) or live. Left out, `base_url` and `scope` follow from
    it: full on paper, watch on demo and live. A demo or live account may be pointed at loopback, to rehearse on the paper exchange.
    `symbols`: those on which something may be written; None is all, on live nothing. `keys` names where the keys come from; None is the
    first of environment, file and keyring that has them. `traits` say what its exchange allows, where that is known to differ from the
    capability table. `venue` is ccxt's name of the exchange; besides Binance USD-M the desk only looks.
    """

    name: str = field(default="paper", metadata={"hidden": True})
    venue: str = BINANCE
    kind: Kind = "paper"
    base_url: str = _BY_KIND
    scope: Scope = _BY_KIND
    symbols: tuple[str, ...] | None = None
    keys: KeySource | None = None
    policy: str | None = None
    guard_policy: str | None = None
    risk_per_trade_bps: int = 25
    max_notional: Decimal = Decimal(10_000)
    leverage: int = 5
    gate: GateLimits = GateLimits()
    traits: Traits | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]{1,24}", self.name):
            raise PolicyError(f"accounts.{self.name}: a name of an account is 1 to 24 of a-z, 0-9 and _")
        self._refuse_venue()
        self._follow_the_kind()
        self._refuse_writes()
        within(f"accounts.{self.name}.risk_per_trade_bps", self.risk_per_trade_bps, 1, 1_000)
        within(f"accounts.{self.name}.leverage", self.leverage, 1, 125)
        within(f"accounts.{self.name}.gate.max_positions", self.gate.max_positions, 0, 1_000)
        within(f"accounts.{self.name}.gate.min_confidence_bps", self.gate.min_confidence_bps, 0, 10_000)
        if self.gate.max_loss_bps is not None:
            within(f"accounts.{self.name}.gate.max_loss_bps", self.gate.max_loss_bps, 1, 9_999)
        if not (self.max_notional.is_finite() and self.max_notional > 0):
            raise PolicyError(f"accounts.{self.name}.max_notional: must be above zero, got {self.max_notional}")
        if self.scope is Scope.WATCH and (self.policy or self.guard_policy):
            raise PolicyError(f"accounts.{self.name}: scope watch sends nothing, so it has no policy; remove it, or choose guard or full")
        for symbol in self.symbols or ():
            if not re.fullmatch(r"[A-Z0-9_-]{2,40}", symbol):
                raise PolicyError(f"accounts.{self.name}.symbols: a symbol is written as the exchange does, BTCUSDT, got {symbol!r}")
        self._refuse_address()

    def _refuse_venue(self) -> None:
        try:
            capabilities(self.venue)
        except PolicyError as error:
            raise PolicyError(f"accounts.{self.name}.venue: {error}") from None
        if self.venue != BINANCE and self.kind == "paper":
            raise PolicyError(f"accounts.{self.name}.kind: the paper exchange speaks {BINANCE}; an account of {self.venue} is demo or live")

    def _refuse_writes(self) -> None:
        why = capabilities(self.venue).read_only
        if why and self.scope is not Scope.WATCH:
            raise PolicyError(f"accounts.{self.name}.scope: {why}")

    def _addresses(self) -> Mapping[Any, str]:
        """Where the venue's exchange is, by kind."""
        return ADDRESSES if self.venue == BINANCE else ELSEWHERE[self.venue]

    def _follow_the_kind(self) -> None:
        """Fill in what was left out; a frozen object is written only here."""
        if self.base_url is None:
            object.__setattr__(self, "base_url", self._addresses()[self.kind])
        if self.scope is None:
            object.__setattr__(self, "scope", Scope.FULL if self.kind == "paper" else Scope.WATCH)
        if self.symbols is None and self.kind == "live":
            object.__setattr__(self, "symbols", ())

    def _refuse_address(self) -> None:
        name, url = f"accounts.{self.name}.base_url", self.base_url
        if "@" in url:
            raise PolicyError(f"{name}: an address holds no user and no password; keys are read from elsewhere (`qtkit init` says where)")
        if self.kind == "paper" and not _near(url):
            raise PolicyError(f"{name}: {url} is not where a paper exchange is: http on loopback or the local network")
        right = self._addresses()[self.kind]
        if self.kind == "paper" or url == right or _loopback(url):
            return
        for kind, address in self._addresses().items():
            if urlsplit(url).netloc == urlsplit(address).netloc:
                raise PolicyError(f"{name}: {url} is the {kind} exchange, the account is {self.kind}; leave base_url out, or set kind")
        raise PolicyError(f"{name}: {url} is not the {self.kind} exchange, {right}; leave base_url out, or rehearse on loopback")

    @property
    def place(self) -> tuple[str, str]:
        """Its venue, and the host and port of its exchange."""
        return self.venue, urlsplit(self.base_url).netloc

    @property
    def rehearsal(self) -> bool:
        """True for a demo or live account that is pointed at a paper exchange."""
        return self.kind != "paper" and _loopback(self.base_url)

    @property
    def on_paper(self) -> bool:
        """True where the paper exchange is: it speaks Binance's protocol, so that other venues are never rehearsed there."""
        return self.kind == "paper" or (self.rehearsal and self.venue == BINANCE)

    @property
    def real(self) -> bool:
        """True for demo and live: what protects real accounts applies, in a rehearsal too."""
        return self.kind != "paper"


def within(name: str, value: int, low: int, high: int) -> None:
    """Raise ``PolicyError`` unless a number lies between two others, both included."""
    if not low <= value <= high:
        raise PolicyError(f"{name}: must be between {low} and {high}, got {value}")


def _loopback(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return parts.scheme in ("http", "https") and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def _near(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" and ipaddress.ip_address(host).is_private
    except ValueError:
        return parts.scheme == "http" and bool(re.fullmatch(r"[a-z0-9-]+", host))
