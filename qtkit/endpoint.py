"""The desk's door on loopback: signals, flattening and questions, for those who can read its token."""

import asyncio
import hmac
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from aiohttp import web

from qtkit.core.context import MarketData
from qtkit.core.model import Instrument, Key, PolicyError, PositionSide
from qtkit.core.names import suggestion
from qtkit.desk import Desk
from qtkit.ledger import Ledger, lines_of, orders_of, said_of, steps_of
from qtkit.operate import Wish, operate, sends
from qtkit.policy_use import PolicyWish, carried_out
from qtkit.signals import Signal
from qtkit.store import codec
from qtkit.store.disk import StoreError
from qtkit.venue.budget import asked
from qtkit.venue.gateway import GatewayError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(desk: Desk) -> AsyncIterator[str]:
    """Serve the desk on loopback while open; its URL and token lie in a file that only the owner can read."""
    token = secrets.token_urlsafe(32)
    runner = web.AppRunner(application(desk, token), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", desk.settings.endpoint_port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise PolicyError(
            f"port {desk.settings.endpoint_port} is in use; set endpoint_port = 0 in qtkit.toml, or end what uses it"
        ) from None
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    _publish(desk, url, token)
    desk.lease.announce(url)
    try:
        yield url
    finally:
        desk.places.endpoint_token.unlink(missing_ok=True)
        await runner.cleanup()


def _publish(desk: Desk, url: str, token: str) -> None:
    door = desk.places.endpoint_token
    draft = door.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"url": url, "token": token}, file)
    os.replace(draft, door)


def application(desk: Desk, token: str) -> web.Application:
    """All routes behind the token; what people asked wrongly is answered with 400 and one sentence."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            return web.json_response({"error": "the token is wrong; it lies in endpoint.token beside the desk's journal"}, status=401)
        try:
            return await handler(request)
        except PolicyError as error:
            return web.json_response({"error": str(error)}, status=400)
        except GatewayError as error:
            return web.json_response({"error": str(error)}, status=502)
        except StoreError as error:
            return web.json_response({"error": str(error)}, status=503)

    door = _Door(desk)
    app = web.Application(middlewares=[guarded])
    app.add_routes(
        [
            web.post("/signal", door.signal),
            web.post("/flatten", door.flatten),
            web.post("/adjust", door.adjust),
            web.post("/operate", door.operate),
            web.post("/policy", door.policy),
            web.get("/preview", door.preview),
            web.get("/cover", door.cover),
            web.get("/orders", door.orders),
            web.get("/facts/{symbol}", door.facts),
        ]
    )
    return app


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise PolicyError(f"{request.path} takes a JSON object")
    return body


class _Door:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def _instruments(self) -> Mapping[str, Instrument]:
        return self._desk.monitor.gateway.instruments

    async def signal(self, request: web.Request) -> web.Response:
        body = await _body(request)
        dry_run = bool(body.pop("dry_run", False))
        execution = await self._desk.executor.execute(Signal.from_dict(body), dry_run=dry_run)
        return web.json_response(asdict(execution))

    async def flatten(self, request: web.Request) -> web.Response:
        body = await _body(request)
        keys = chosen(self._desk, body.get("symbol"))
        left = await self._desk.flatten(keys)
        return web.json_response({"closed": [str(key) for key in keys if key not in left], "open": [str(key) for key in left]})

    async def adjust(self, request: web.Request) -> web.Response:
        body = await _body(request)
        symbol, slot = body.get("symbol"), str(body.get("position_side"))
        if not isinstance(symbol, str) or slot not in PositionSide.__members__:
            raise PolicyError("adjusting needs a symbol and a position_side: BOTH, LONG or SHORT")
        key = Key(self._desk.account.name, symbol, PositionSide(slot))
        return web.json_response({"adjusted": await self._desk.monitor.adjust(key)})

    async def operate(self, request: web.Request) -> web.Response:
        body = await _body(request)
        dry_run = bool(body.pop("dry_run", True))
        wish = codec.decode(Wish, body)
        if sends(wish):
            self._desk.must_write()
        said = await operate(self._desk.monitor, wish, dry_run=dry_run)
        return web.json_response(asdict(said))

    async def policy(self, request: web.Request) -> web.Response:
        body = await _body(request)
        dry_run = bool(body.pop("dry_run", True))
        return web.json_response(asdict(await carried_out(self._desk, codec.decode(PolicyWish, body), dry_run=dry_run)))

    async def preview(self, request: web.Request) -> web.Response:
        with asked():
            decision = await self._desk.monitor.preview()
        steps = steps_of(decision.actions, decision.book, self._desk.monitor.health.snapshots, self._instruments, self._desk.settings.desk)
        return web.json_response([asdict(step) for step in steps])

    async def cover(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(cover_of(self._desk)))

    async def orders(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(order) for order in cover_of(self._desk).orders])

    async def facts(self, request: web.Request) -> web.Response:
        symbol = request.match_info["symbol"]
        if symbol not in self._instruments:
            raise PolicyError(f"there is no symbol '{symbol}': {suggestion(symbol, self._instruments)}")
        market = await asyncio.wait_for(self._desk.monitor.market(symbol), 5)
        rules = codec.encode(Instrument, self._instruments[symbol])
        return web.json_response({"instrument": rules, "market": codec.encode(MarketData, market)})


def cover_of(desk: Desk) -> Ledger:
    """The ledger of the desk's newest pass, with every resting order of the account."""
    health, instruments = desk.monitor.health, desk.monitor.gateway.instruments
    now_ms = desk.applier.clock_ms()
    released, notes = said_of(desk.applier.book, desk.account.name, now_ms)
    held = [line for line in health.coverage if line.key in desk.applier.book.episodes]
    return Ledger(
        account=desk.account.name, scope=desk.account.scope.value, access=desk.access, running=True, at_ms=now_ms,
        last_pass_ms=health.last_pass_ms, tick_ms=int(desk.settings.tick_seconds * 1000), fault=health.fault, alarms=health.alarms,
        released=released,
        notes=(*notes, *desk.permit.notes(), *desk.executor.hints.notes(desk.account, desk.router.policies.names(), now_ms)),
        unread_ms=now_ms - min((*health.unread.values(), health.silent_ms or now_ms)),
        lines=lines_of(held, desk.applier.book.episodes, health.snapshots, instruments, slips=desk.applier.book.slips),
        orders=orders_of(health.snapshots, instruments, desk.settings.desk),
    )  # fmt: skip


def chosen(desk: Desk, symbol: str | None) -> tuple[Key, ...]:
    """Open positions of a symbol, or all. Raises ``PolicyError`` naming those that are."""
    held = tuple(key for key, episode in desk.applier.book.episodes.items() if episode.opened)
    found = tuple(key for key in held if symbol in (None, key.symbol))
    if not found and symbol is not None:
        raise PolicyError(
            f"no position is open in {symbol}: {suggestion(symbol, {key.symbol for key in held}) if held else 'nothing is open'}"
        )
    return found
