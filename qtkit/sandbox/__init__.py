"""A desk in this process on the embedded exchange, its time moved by hand: for notebooks, examples and a first look.

No network, no server, no keys, nothing to wait for: an hour passes in about a second, and the same seed gives the same story everywhere::

    sandbox = await Sandbox.open({"AVAXUSDT": "14.58"})
    sandbox.stranger("AVAXUSDT", Side.SHORT, "120")  # somebody sells, without a stop
    await sandbox.passes(2)                          # the desk finds the position and covers it
    await sandbox.play({"AVAXUSDT": [(30, -5), (45, -3)]})
    print(sandbox.explain("AVAXUSDT"))
    await sandbox.close()

``ledger``, ``preview`` and ``explain`` answer as those of ``qtkit.open`` do for a running desk.
"""

from qtkit.sandbox.day import paper_day
from qtkit.sandbox.market import START_MS, Market
from qtkit.sandbox.play import short_play
from qtkit.sandbox.sandbox import Sandbox

__all__ = ["START_MS", "Market", "Sandbox", "paper_day", "short_play"]
