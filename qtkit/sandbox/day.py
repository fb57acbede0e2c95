"""A short day on the embedded exchange for research: prices wander by seed, a stranger opens positions, the desk gives them their exits."""

from random import Random

import polars as pl

from qtkit.core.model import Side
from qtkit.recorded import Recorded
from qtkit.sandbox.sandbox import Sandbox

STARTS = {"AVAXUSDT": "14.58", "ADAUSDT": "0.4693", "SOLUSDT": "142.4"}
SIZES = {"AVAXUSDT": "600", "ADAUSDT": "9000", "SOLUSDT": "50"}
STEP = 10  # minutes from one turn of the prices to the next


async def paper_day(seed: int = 7, minutes: int = 90, policy: str = "staged") -> tuple[Recorded, pl.DataFrame]:
    """What a desk saw and did, and the account's own fills. Trails follow closed bars, the only thing that a reference on bars can tell."""
    draw, sandbox = Random(f"day:{seed}"), await Sandbox.open(STARTS, seed=seed, policy=policy, closed_bars=True)
    try:
        for _ in range(0, minutes, STEP):
            held = {position.symbol for position in sandbox.market.exchange.positions(sandbox.market.account)}
            for symbol, size in SIZES.items():
                if symbol not in held:
                    sandbox.stranger(symbol, draw.choice((Side.LONG, Side.SHORT)), size)
            await sandbox.passes(2)
            await sandbox.play({symbol: [(3, draw.uniform(-3, 3)), (STEP, draw.uniform(-6, 6))] for symbol in STARTS})
        return await sandbox.day(), sandbox.fills()
    finally:
        await sandbox.close()
