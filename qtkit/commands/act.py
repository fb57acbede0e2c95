"""Commands that trade: ``signal`` and ``flatten``. The running desk carries them out; without one its place is taken for that act."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from qtkit.commands.look import ACCOUNT, JSON, ledger_now, say, steps_now

if TYPE_CHECKING:
    from qtkit.ledger import Ledger, Line
    from qtkit.signals import Execution, Signal


def signal(
    symbol: Annotated[str, typer.Argument(help="As the exchange writes it, BTCUSDT.")],
    side: Annotated[str, typer.Option(help="long, short, buy or sell.")],
    quantity: Annotated[str, typer.Option(help="Coins; default: what --risk loses at the stop.")] = "",
    risk: Annotated[str, typer.Option(help="Part of the equity lost at the stop, 0.25%; default: the account's.")] = "",
    stop: Annotated[str, typer.Option(help="Stop as 2.5%, 250bps, 3atr or @91000; default: the policy's.")] = "",
    policy: Annotated[str, typer.Option(help="Exit policy by name: `qtkit policy list` tells them.")] = "",
    strategy: Annotated[str, typer.Option(help="Who asks: the profiles of qtkit.toml choose the policy by it.")] = "",
    confidence: Annotated[str, typer.Option(help="How sure the model is, 0 to 1.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and size it, send nothing.")] = False,
    account: ACCOUNT = "",
    as_json: JSON = False,
) -> None:
    """Open a position at the market together with its stop.

    Examples: `qtkit signal BTCUSDT --side long --risk 0.25% --dry-run`, `qtkit signal XRPUSDT --side short --quantity 500 --stop 2%`
    """
    from qtkit import logs
    from qtkit.core.names import of_account

    logs.quiet()
    wish = _signal(symbol, side, quantity, risk, stop, policy, strategy, confidence)
    done, access = asyncio.run(_send(wish, account, dry_run))
    say(access, as_json)
    if as_json:
        print(json.dumps(asdict(done), indent=1))
        return
    print(f"{done.symbol} {done.side} {done.quantity}: {done.outcome}; stop {done.stop}, {done.risk} USDT at risk there")
    shows = of_account(f"`qtkit plan {done.symbol}` shows it", account)
    print(f"plan {done.plan} ({done.strategy}); {shows}" if not dry_run else f"policy {done.strategy}")
    for warning in done.warnings:
        print(f"warning: {warning}")


def _signal(symbol: str, side: str, quantity: str, risk: str, stop: str, policy: str, strategy: str, confidence: str) -> "Signal":
    from qtkit.policies import Policies
    from qtkit.settings import Paths
    from qtkit.signals import Signal

    if policy:
        Policies(Paths.here()).named(policy)  # a wrong name is refused before anybody is asked
    raw = {"symbol": symbol.upper(), "side": side, "quantity": quantity or None, "stop": stop or None, "policy": policy or None}
    raw["strategy"] = strategy or None
    raw["risk_bps"] = None if not risk else _bps(risk.removesuffix("%"), "--risk is a percentage such as 0.25%", 100)
    raw["confidence"] = None if not confidence else _bps(confidence, "--confidence is a fraction such as 0.8", 10_000)
    return Signal.from_dict(raw)


def _bps(text: str, rule: str, scale: int) -> str:
    """Exact text of a number in basis points; finer than that is refused."""
    from decimal import Decimal, InvalidOperation

    from qtkit.core.model import PolicyError

    try:
        number = Decimal(text.strip()) * scale
    except InvalidOperation:
        raise PolicyError(f"{rule}, got '{text}'") from None
    if not number.is_finite() or number != number.to_integral_value():
        raise PolicyError(f"{rule}, in whole basis points, got '{text}'")
    return str(int(number))


async def _send(wish: "Signal", account: str, dry_run: bool) -> "tuple[Execution, str]":
    from qtkit.client import access, send_signal

    return await send_signal(wish, account=account, dry_run=dry_run), access(account)


def flatten(
    symbol: Annotated[str, typer.Argument(help="As the exchange writes it, BTCUSDT; all its position sides.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Close every open position of the account.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    account: ACCOUNT = "",
    as_json: JSON = False,
) -> None:
    """Close positions at the market, stops last. Reduce-only. Shows what will be closed and asks.

    What rests of ours in a closed slot is taken away, released or not. Where no desk runs this takes its place, which also covers what
    else is open: that is shown as well.

    Examples: `qtkit flatten BTCUSDT`, `qtkit flatten --all --yes`
    """
    from qtkit.core.model import PolicyError

    if bool(symbol) is everything:
        raise typer.BadParameter("name a symbol, or --all", param_hint="SYMBOL")
    it = asyncio.run(ledger_now(account))
    chosen = _chosen(it, symbol.upper())
    say(it.access, as_json)
    if not chosen:
        print("nothing is open" if not as_json else json.dumps({"closed": [], "open": []}))
        return
    out = sys.stderr if as_json else sys.stdout
    for line in chosen:
        print(f"closes {line.key} {line.side} {line.size} at the market, mark {line.mark}, entry {line.entry}", file=out, flush=True)
    for text in () if it.running or it.owner else _besides(account, chosen):
        print(text, file=out, flush=True)
    if not yes:
        typer.confirm("Close?", abort=True)
    closed, left = asyncio.run(_flatten(account, symbol.upper() or None))
    if as_json:
        print(json.dumps({"closed": closed, "open": left}))
    else:
        print(f"closed: {', '.join(closed) or 'nothing'}")
    if left:
        raise PolicyError(f"still open: {', '.join(left)}; `qtkit check` shows what covers them, then flatten again")


def _chosen(it: "Ledger", symbol: str) -> "list[Line]":
    from qtkit.core.model import PolicyError

    chosen = [line for line in it.lines if symbol in ("", line.symbol)]
    if symbol and not chosen:
        held = sorted({line.symbol for line in it.lines})
        raise PolicyError(f"no position is open in {symbol}; open: {', '.join(held) or 'none'}")
    return chosen


def _besides(account: str, chosen: "Sequence[Line]") -> Sequence[str]:
    """What is done besides the closing where no desk runs: who takes its place protects all that is open, as it would."""
    from qtkit.venue.gateway import GatewayError

    closing = {line.key for line in chosen}
    try:
        foreseen = asyncio.run(steps_now(account))[0]
    except GatewayError as error:  # to close is urgent: it does not wait for a preview
        return (f"no desk runs, so this takes its place, which also covers what else is open; what that takes is not known: {error}",)
    steps = [step for step in foreseen if step.do != "keep" and step.key not in closing]
    told = [f"  {it.do} {it.key} {it.leg} {it.kind} {it.side} {it.size} {'' if it.trigger is None else f'at {it.trigger}'}" for it in steps]
    return ("no desk runs, so this takes its place, which also covers the rest:", *told) if told else ()


async def _flatten(account: str, symbol: str | None) -> tuple[Sequence[str], Sequence[str]]:
    """Keys that were closed and that are still open, by the running desk or in its place."""
    from qtkit.client import NoDesk, call, stand_in
    from qtkit.endpoint import chosen

    try:
        said = await call("POST", "/flatten", {"symbol": symbol}, account=account)
        return said["closed"], said["open"]
    except NoDesk:
        async with stand_in(account, closing=True) as desk:
            keys = chosen(desk, symbol)
            left = await desk.flatten(keys)
            return [str(key) for key in keys if key not in left], [str(key) for key in left]
