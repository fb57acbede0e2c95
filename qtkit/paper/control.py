"""The control endpoint of a running paper exchange, beside Binance's paths: ``POST /qtkit/<command>``, ``GET /qtkit/state`` and ``truth``.

Only for whoever can read the token's file, and only under a loopback name, so that no page of a browser gets at it. The status page
(``GET /qtkit/``) shows no key and changes nothing, so it asks for no token.
"""

import asyncio
import hmac
import re
from collections.abc import Callable, Mapping

from aiohttp import web
from pydantic import BaseModel, ValidationError

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion
from qtkit.paper import status
from qtkit.paper.control_answers import Done
from qtkit.paper.deeds import DEEDS
from qtkit.paper.rows import ExchangeError
from qtkit.paper.server import CONTROL
from qtkit.paper.session import Session
from qtkit.paper.truth import state, truth

LONGEST = 100_000  # bytes of a command
ASKED: Mapping[str, Callable[[Session], BaseModel]] = {"state": state, "truth": truth}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class ControlDoor:
    """Answers what is asked under ``CONTROL``; hand it to ``PaperServer.control``."""

    def __init__(self, session: Session, token: str) -> None:
        if len(token) < 20:
            raise PolicyError("the token of the control endpoint must have at least 20 characters")
        self._session, self._token = session, token
        self._turn = asyncio.Lock()  # one command after the other: time is not stepped while the exchange becomes another one

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        host = re.sub(r":\d+$", "", request.headers.get("Host", ""))
        if host not in LOOPBACK:
            return _no(403, f"this is {host or 'nameless'} to you; ask under 127.0.0.1")
        word = request.path.removeprefix(CONTROL).strip("/")
        if not word and request.method == "GET":
            return status.answer(self._session)
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return _no(401, "the token is wrong; it lies in paper.token in the home of this exchange")
        try:
            return await self._asked(request, word)
        except PolicyError as error:
            return _no(400, str(error))
        except ExchangeError as refusal:
            return _no(400, f"the exchange refuses: {refusal}")

    async def _asked(self, request: web.BaseRequest, word: str) -> web.StreamResponse:
        if word in ASKED and request.method == "GET":
            return web.Response(text=ASKED[word](self._session).model_dump_json(), content_type="application/json")
        if word not in DEEDS or request.method != "POST":
            if word in DEEDS or word in ASKED:
                return _no(405, f"{word} is asked with {'POST' if word in DEEDS else 'GET'}")
            return _no(404, f"there is no {word!r}: {suggestion(word, (*DEEDS, *ASKED))}")
        deed = DEEDS[word]
        body = await self._body(request)
        try:
            asked = deed.takes.model_validate_json(body or b"{}")
        except ValidationError as wrong:
            raise PolicyError(f"{word}: {sentence(wrong, deed.takes)}") from None
        async with self._turn:
            done = Done(done=await deed.does(self._session, asked))
        return web.Response(text=done.model_dump_json(), content_type="application/json")

    @staticmethod
    async def _body(request: web.BaseRequest) -> bytes:
        if (request.content_length or 0) > LONGEST:
            raise PolicyError(f"a command has at most {LONGEST:,} bytes")
        body = await request.content.read(LONGEST + 1)
        if len(body) > LONGEST:
            raise PolicyError(f"a command has at most {LONGEST:,} bytes")
        return body


def sentence(wrong: ValidationError, takes: type[BaseModel]) -> str:
    """The first thing that is wrong with a command, in one sentence, with the nearest right name."""
    first = wrong.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "extra_forbidden":
            return f"there is no {where!r}: {suggestion(where, takes.model_fields)}" if takes.model_fields else "it takes nothing"
        case "missing":
            return f"{where} is missing"
        case "json_invalid" | "model_type" | "model_attributes_type":
            return "it takes a JSON object"
        case "value_error":
            return first["msg"].removeprefix("Value error, ")
        case _:
            given = f", got {first['input']!r}" if isinstance(first["input"], str | int | float | bool | None) else ""
            return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}{given[:120]}"


def _no(code: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=code)
