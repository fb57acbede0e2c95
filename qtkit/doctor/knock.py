"""The exchange's clock and request counter, asked without a key: one request, before anything else is asked."""

import asyncio
import os
import time
from dataclasses import dataclass

from qtkit.account import Account
from qtkit.desk import VENUE, gateway_of
from qtkit.doctor.finding import Finding, Limits, Unread, fine, graded, look, unread, wrong
from qtkit.home import Secret
from qtkit.keys import Keys
from qtkit.settings import Settings
from qtkit.venue.budget import WEIGHT_A_MINUTE
from qtkit.venue.ccxt_unified import CcxtUnifiedGateway
from qtkit.venue.gateway import Unavailable

CLOCK = "/fapi/v1/time"  # Binance USD-M, weight 1; every answer carries the address's counter
COUNTER = "X-MBX-USED-WEIGHT-1M"
WITHIN_S = 4.0
NO_ANSWER = Unread(why="the exchange does not tell it")
NOBODY = Keys("-", Secret("-:-"))  # what is asked here needs no key; a passphrase is written behind a colon
TOLD = 160  # characters of a client's own words: they may hold a whole page


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """An answer: how far this computer's clock is ahead (negative: behind), its round trip, and the weight used by this address.

    Times in ms. ``ahead_ms`` is None where the exchange told no time: it sent us away (banned), or has no call for it. ``used`` is None
    where it did not count.
    """

    url: str
    ahead_ms: int | None
    round_trip_ms: int
    used: int | None = None
    status: int = 200
    venue: str = VENUE


async def knock(account: Account) -> Knock | Unread:
    """Ask the exchange of an account for its time; ``Unread`` if nobody answers as that exchange does."""
    if account.venue == VENUE:
        return await _knock_binance(account.base_url)
    gateway = gateway_of(account, NOBODY, Settings(), writes=False)
    assert isinstance(gateway, CcxtUnifiedGateway)
    try:
        async with asyncio.timeout(WITHIN_S):
            return await _knock_unified(gateway, account)
    except Unavailable as error:
        return Unread(why=f"{account.base_url} does not answer as an exchange: {' '.join(str(error).split())[:TOLD]}")
    except TimeoutError:
        return Unread(why=f"{account.base_url} does not answer as an exchange: no answer in time")
    finally:
        await gateway.close()


async def _knock_unified(gateway: CcxtUnifiedGateway, account: Account) -> Knock:
    """An exchange that tells no time is known by its trading rules."""
    began = time.monotonic()
    server = await gateway.time_ms()
    if server is None:
        await gateway.load()
    here_ms, took_ms = time.time_ns() // 1_000_000, int((time.monotonic() - began) * 1000)
    ahead_ms = None if server is None else here_ms - took_ms // 2 - server
    return Knock(url=account.base_url, ahead_ms=ahead_ms, round_trip_ms=took_ms, venue=account.venue)


async def _knock_binance(url: str) -> Knock | Unread:
    """As it comes, without the client: its counter and its ban stand beside the answer."""
    import aiohttp

    began = time.monotonic()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN_S)) as session, session.get(url + CLOCK) as answer:
            row = await answer.json()
            here_ms, took_ms = time.time_ns() // 1_000_000, int((time.monotonic() - began) * 1000)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Unread(why=f"{url} does not answer as an exchange: {_reason(error)}")
    server = row.get("serverTime") if isinstance(row, dict) else None
    if answer.status not in (200, 418, 429) or (answer.status == 200 and not isinstance(server, int)):
        return Unread(why=f"{url} does not answer as an exchange: HTTP {answer.status} without a time")
    used = answer.headers.get(COUNTER, "")
    return Knock(
        url=url, ahead_ms=here_ms - took_ms // 2 - server if isinstance(server, int) else None, round_trip_ms=took_ms,
        used=int(used) if used.isdigit() else None, status=answer.status,
    )  # fmt: skip


def _reason(error: Exception) -> str:
    """Why a request failed, without the client's own words where the system has some."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number > 0:
        return os.strerror(number)
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


def exchange(fact: Knock | Unread, remedy: str) -> Finding:
    """Does the exchange answer."""
    name = "exchange"
    if isinstance(fact, Unread):
        return wrong(name, fact.why, remedy)
    if fact.status != 200:
        told = f"{fact.url} sends this address away (HTTP {fact.status}): too many requests were made from it"
        return wrong(name, told, "end other bots of this address; wait two minutes without any request, then `qtkit doctor`")
    return fine(name, f"{fact.url} answers in {fact.round_trip_ms} ms")


def clock(fact: Knock | Unread, limits: Limits) -> Finding:
    """Is this computer's clock the exchange's. Half the round trip is what the measurement may be wrong by."""
    name = "clock"
    if isinstance(fact, Knock) and fact.ahead_ms is None and fact.status == 200:
        return look(name, f"not known: {fact.venue} does not tell its time", "`timedatectl` says whether this clock is set by the network")
    if isinstance(fact, Unread) or fact.ahead_ms is None:
        return unread(name, NO_ANSWER)
    within = fact.round_trip_ms // 2
    off = max(0, abs(fact.ahead_ms) - within)
    side = "ahead of" if fact.ahead_ms > 0 else "behind"
    found = f"{abs(fact.ahead_ms):,} ms {side} the exchange's, give or take {within} ms"
    remedy = "set the clock by the network: `timedatectl set-ntp true`, or `chronyc makestep`"
    return graded(name, found, remedy, is_wrong=off >= limits.clock_wrong_ms, is_look=off >= limits.clock_look_ms)


def weight(fact: Knock | Unread, limits: Limits, share_bps: int) -> Finding:
    """How much of the address's request weight is left this minute."""
    name = "request weight"
    if isinstance(fact, Unread) or fact.used is None:
        return unread(name, NO_ANSWER)
    left = max(0, WEIGHT_A_MINUTE - fact.used)
    ours = f"our share is {WEIGHT_A_MINUTE * share_bps // 10_000:,}"
    found = f"{fact.used:,} of {WEIGHT_A_MINUTE:,} used this minute by all of this address, {left:,} left; {ours}"
    percent = fact.used * 100 // WEIGHT_A_MINUTE
    remedy = "slow down or move the other bots of this address; `qtkit doctor` again in a minute"
    return graded(name, found, remedy, is_wrong=percent >= limits.weight_wrong, is_look=percent >= limits.weight_look)


def is_crowded(fact: Knock | Unread, limits: Limits) -> bool:
    """True if what is left of the minute is to be left to the desk: then nothing more is asked."""
    return isinstance(fact, Knock) and (fact.status != 200 or (fact.used or 0) * 100 >= limits.weight_wrong * WEIGHT_A_MINUTE)
