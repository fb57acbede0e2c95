"""A short play with everything in it, for a notebook that was given no other story."""

from qtkit.charts.story import Story
from qtkit.core.model import Side
from qtkit.sandbox.sandbox import Sandbox

STARTS = {"AVAXUSDT": "14.58", "BTCUSDT": "93475.8", "SOLUSDT": "142.4"}


async def short_play(seed: int = 7) -> Story:
    """A stranger opens two shorts and a long; the desk covers them, is killed, comes back; one is stopped out, two are trailed out."""
    sandbox = await Sandbox.open(STARTS, seed=seed, policy="scaled_tp")
    try:
        for symbol, side, size in (("AVAXUSDT", Side.SHORT, "2400"), ("BTCUSDT", Side.LONG, "0.4"), ("SOLUSDT", Side.SHORT, "250")):
            sandbox.stranger(symbol, side, size)
        await sandbox.passes(2)
        await sandbox.play({"AVAXUSDT": [(8, -1.2), (14, -2.8)], "BTCUSDT": [(8, 0.8), (14, 2.4)], "SOLUSDT": [(14, 1.5)]})
        await sandbox.kill()
        await sandbox.play({symbol: [(2, 0.2)] for symbol in STARTS})
        await sandbox.start()
        await sandbox.play(
            {"AVAXUSDT": [(7, -2.6), (12, -0.4)], "BTCUSDT": [(7, 2.4), (12, 2.2), (14, 0.2)], "SOLUSDT": [(7, 3.2), (14, 2.6)]}
        )
        await sandbox.passes(2)
        return sandbox.story()
    finally:
        await sandbox.close()
