"""ccxt's clients of the exchanges besides Binance, for reading: what may leave is decided here, and every answer is kept as it came."""

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from qtkit.core.model import PolicyError
from qtkit.venue.ccxt_calls import redirect
from qtkit.venue.ccxt_errors import redact
from qtkit.venue.gateway import Unavailable
from qtkit.venue.unified_books import BOOKS, MOST_PAGES, Next, Params, Rows

PASSPHRASE = ("okx", "bitget")  # their keys have a third part: it is written behind the secret, after a colon
_answers: ContextVar[list[Any]] = ContextVar("qtkit_unified_answers")


@functools.cache
def client_class(venue: str) -> Any:
    """ccxt's client of a venue, in three things otherwise.

    Its answers are kept as they came, ``writes`` decides what may leave, and it does nothing that nobody asked for.
    """
    import ccxt.async_support as ccxt

    class Client(getattr(ccxt, venue)):  # type: ignore[misc]  # ccxt is not typed
        writes = False

        async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            reads = method == "GET" or (venue == "hyperliquid" and method == "POST" and urlsplit(url).path == "/info")
            if not (reads or self.writes):
                raise PolicyError(f"{venue} is only read: {method} {urlsplit(url).path} was not sent")
            answer = await super().fetch(url, method, headers, body)
            _answers.get([]).append(answer)
            return answer

        async def initialize_client(self) -> bool:
            """Hyperliquid's: it signs an approval of a builder's fee and a referral. Not ours to give."""
            return False

    return Client


def make_client(venue: str, *, base_url: str | None, demo: bool, key: str, secret: str, timeout_s: float) -> Any:
    """A client that reads. ``base_url`` sends everything to loopback. Raises ``PolicyError`` for keys that lack their passphrase."""
    settings: dict[str, Any] = {"apiKey": key, "secret": secret}
    if venue in PASSPHRASE:
        settings["secret"], _, settings["password"] = secret.partition(":")
        if not settings["password"]:
            raise PolicyError(f"a key of {venue} has a passphrase: write it behind the secret, after a colon, as in secret:passphrase")
    if venue == "hyperliquid":  # an account is read by its address; a private key is not asked for, and not handed on
        settings = {"walletAddress": key}
    books = BOOKS[venue]
    limits = {"enableRateLimit": True, "timeout": int(timeout_s * 1000), **books.pace}
    client = client_class(venue)(settings | limits | {"number": str, "options": dict(books.options)})
    client.has["fetchCurrencies"] = False
    client.options["maxRetriesOnFailure"] = 0
    if demo:
        client.enable_demo_trading(True) if venue == "bybit" else client.set_sandbox_mode(True)
    if base_url is not None:
        parts = urlsplit(base_url)
        client.urls["api"] = redirect(client.urls["api"], parts.scheme, parts.netloc)
        client.verify = parts.scheme == "https"
    client.logger = logging.Logger("ccxt", logging.WARNING)  # its debug lines hold keys and signatures
    return client


class Reader:
    """Reads through one client. Whatever goes wrong is ``Unavailable``, in a sentence without ``secrets``."""

    __slots__ = ("_secrets", "client", "closed", "venue")

    def __init__(self, venue: str, client: Any, secrets: tuple[str, ...]) -> None:
        self.venue, self.client, self.closed = venue, client, False
        self._secrets = secrets

    async def pages(self, method: str, symbol: str | None, params: Params, rows_of: Rows) -> list[dict[str, Any]]:
        """Every row of one book: all pages, each checked against the answer as it came."""
        out: list[dict[str, Any]] = []
        following: Params | None = {}
        for _ in range(MOST_PAGES):
            arguments = ([symbol] if symbol else None,) if method == "fetch_positions" else (symbol, None, BOOKS[self.venue].page)
            rows, bodies = await self.read(method, *arguments, {**params, **(following or {})})
            came = rows_of(bodies[-1]) if bodies else None
            if came is None:
                raise Unavailable(f"{self.venue}: {method} was answered without its list: nothing is concluded from that")
            if symbol is None and len(came) != len(rows):
                raise Unavailable(f"{self.venue}: of {len(came)} rows of {method} only {len(rows)} could be read")
            out += rows
            following = _following(BOOKS[self.venue].next_page, bodies[-1], came)
            if following is None:
                return out
        raise Unavailable(f"{self.venue}: {method} did not end within {MOST_PAGES} pages")

    async def read(self, method: str, *arguments: Any) -> tuple[Any, list[Any]]:
        """One reading through ccxt, and its answers as they came. Raises ``Unavailable``, whatever went wrong."""
        if self.closed:
            raise Unavailable(f"the gateway to {self.venue} is closed")
        answers: list[Any] = []
        token = _answers.set(answers)
        try:
            return await getattr(self.client, method)(*arguments), answers
        except PolicyError:
            raise
        except Exception as fault:  # noqa: BLE001 - ccxt raises anything while it reads; what could not be read is unavailable
            why = redact(f"{type(fault).__name__}: {fault}", self._secrets)
        finally:
            _answers.reset(token)
        # Raised outside of the handler: the caught error may hold a signed address, it must not travel as context.
        raise Unavailable(f"{self.venue}: {method} could not be read: {why}")

    @contextlib.contextmanager
    def readable(self, what: str) -> Iterator[None]:
        """A row that cannot be read makes the whole reading unavailable: a partial answer would look like absence."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError) as fault:
            raise Unavailable(f"{self.venue}: {what} could not be read: {fault}") from None


def _following(next_page: Next, body: Any, rows: Sequence[Any]) -> Params | None:
    try:
        return next_page(body, rows)
    except (KeyError, TypeError, AttributeError) as fault:
        raise Unavailable(f"the answer does not tell its next page: {fault}") from None
