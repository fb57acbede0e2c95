"""A running paper exchange held by its control endpoint, from a test, a script or a notebook::

    paper = Remote.at(".qtkit")
    paper.do("trade", symbol="BTCUSDT", side="SHORT", quantity="0.4")
    paper.do("price", symbol="BTCUSDT", last="91000")
    paper.truth().positions[0].covered

Every command is one request and one sentence; what is refused raises ``PolicyError`` with the reason.
"""

import http.client
import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from qtkit.core.model import PolicyError
from qtkit.paper.control_answers import Done, State, Truth

TOKEN = "paper.token"
TIMEOUT_S = 60.0
Side = Literal["LONG", "SHORT"]
Money = str | int | Decimal


@dataclass(frozen=True, slots=True)
class Remote:
    """``url`` is the exchange's address, ``token`` what lets in. Calls block; each has a connection of its own."""

    url: str
    token: str = field(repr=False)

    @staticmethod
    def at(home: Path | str) -> "Remote":
        """The exchange that runs in this home. Raises ``PolicyError`` if none does."""
        file = Path(home).expanduser() / TOKEN
        try:
            told = json.loads(file.read_text())
            return Remote(told["url"], told["token"])
        except FileNotFoundError:
            raise PolicyError(f"no paper exchange runs in {home}: there is no {TOKEN}; start `qtkit paper`") from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise PolicyError(f"{file} is no token of a paper exchange ({type(error).__name__})") from None

    def state(self) -> State:
        """Time, prices, money, faults."""
        return State.model_validate_json(self._ask("GET", "state"))

    def truth(self) -> Truth:
        """Positions with what covers them, orders, fills, and the judge's ledger and verdict."""
        return Truth.model_validate_json(self._ask("GET", "truth"))

    def do(self, command: str, /, **particulars: object) -> str:
        """Any command by name; answers what was done. Decimals may be given as ``Decimal``, text or integer."""
        return Done.model_validate_json(self._ask("POST", command, particulars)).done

    # the usual ones, with their types

    def pause(self) -> str:
        """Hold time."""
        return self.do("pause")

    def resume(self) -> str:
        """Let time go on."""
        return self.do("resume")

    def speed(self, speed: float) -> str:
        """Exchange seconds in a wall second."""
        return self.do("speed", speed=speed)

    def step(self, *, ticks: int | None = None, ms: int | None = None) -> str:
        """Step time by hand, while it is held."""
        return self.do("step", ticks=ticks, ms=ms)

    def price(self, symbol: str, last: Money, mark: Money | None = None, *, stays: bool = True) -> str:
        """Set a price; without ``mark`` it keeps its distance."""
        return self.do("price", symbol=symbol, last=last, mark=mark, stays=stays)

    def opens(self, symbol: str, side: Side, quantity: Money, *, account: str = "paper") -> str:
        """A stranger opens or adds at the market, in coins."""
        return self.do("trade", symbol=symbol, side=side, quantity=quantity, account=account)

    def reduces(self, symbol: str, side: Side, quantity: Money, *, account: str = "paper") -> str:
        """A stranger reduces at the market, in coins."""
        return self.do("trade", symbol=symbol, side=side, action="reduce", quantity=quantity, account=account)

    def closes(self, symbol: str, side: Side, *, account: str = "paper") -> str:
        """A stranger closes at the market."""
        return self.do("trade", symbol=symbol, side=side, action="close", account=account)

    def cancels(self, symbol: str, client_id: str | None = None, *, account: str = "paper") -> str:
        """A stranger cancels one order, or all of the symbol."""
        return self.do("cancel", symbol=symbol, client_id=client_id, all=client_id is None, account=account)

    def save(self, file: str) -> str:
        """Write a snapshot under this name."""
        return self.do("save", file=file)

    def restore(self, file: str) -> str:
        """Become what was saved."""
        return self.do("restore", file=file)

    def _ask(self, method: str, word: str, body: dict[str, Any] | None = None) -> bytes:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        text = None if body is None else json.dumps(body, default=str)
        try:
            connection.request(method, f"/qtkit/{word}", text, {"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            said = answer.read()
        except OSError as error:
            raise PolicyError(f"the paper exchange at {self.url} does not answer ({error.strerror or error})") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise PolicyError(_why(said, answer.status))
        return said


def _why(said: bytes, status: int) -> str:
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the paper exchange answered with status {status}"
