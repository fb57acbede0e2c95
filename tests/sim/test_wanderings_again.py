"""Walks that once broke a law, shrunk by hand and walked again: each is a begin and the steps that led there."""

import inspect
from typing import Any

import pytest

from qtkit.core.model import Side
from tests.sim.test_wanderings import WIRE, FaultKind, Verb, Wandering
from tests.story.rig import SIDES

Step = tuple[str, dict[str, Any]]


def fault(kind: FaultKind, verb: Verb) -> int:
    """Where a line of the wire's faults stands."""
    return next(index for index, line in enumerate(WIRE) if line.kind is kind and line.match.verb is verb)


def walk(begin: dict[str, Any], steps: list[Step], side: Side) -> None:
    """Step by step, the laws asked after each, and quiet at last. Unless a step says otherwise it is of SOLUSDT and of this side.

    Prices run for the side, or against it (negative).
    """
    machine = Wandering()
    try:
        machine.begin(**{"rules": "plain", "hedge": False, "bars": False} | begin)
        for name, how in steps:
            asked = inspect.signature(getattr(machine, name)).parameters
            usual = {word: value for word, value in {"symbol": "SOLUSDT", "side": side}.items() if word in asked}
            ran = {"steps": [step * side.sign for step in how["steps"]]} if "steps" in how else {}
            getattr(machine, name)(**(usual | how | ran))
            for law in machine.invariants:
                law.function(machine)
    finally:
        machine.teardown()


UNREAD: list[Step] = [  # no cancel of the old stop by a list of before the new one was taken away
    ("reduces_or_closes", {"part": 3}),
    ("something_goes_wrong", {"count": 2, "which": fault(FaultKind.NOT_FOUND, Verb.CANCEL)}),
    ("somebody_takes_an_order_of_ours_away", {"which": 2}),
    ("something_goes_wrong", {"count": 1, "which": fault(FaultKind.PARTIAL, Verb.ORDERS)}),
]

AS_MUCH_AS_BEFORE: list[Step] = [  # reduced and added to between two looks: the floor that rests says that it is the same position
    ("opens_or_adds", {"times": 1}),
    ("passes", {"count": 3}),
    ("the_price_moves", {"steps": [-1.2, -1.2]}),
    ("somebody_takes_an_order_of_ours_away", {"which": 1}),
    ("reduces_or_closes", {"part": 2}),
    ("opens_or_adds", {"times": 1}),
    ("quiet_at_last", {}),
    ("reduces_or_closes", {"part": 3}),
]

FLAT_AND_HELD_AGAIN: list[Step] = [  # that it was flat was true, and is not any more: two empty readings are no evidence
    ("reduces_or_closes", {"part": 1}),
    ("opens_or_adds", {"times": 1}),
    ("something_goes_wrong", {"count": 0, "which": fault(FaultKind.EMPTY, Verb.POSITIONS)}),
    ("something_goes_wrong", {"count": 1, "which": fault(FaultKind.EMPTY, Verb.POSITIONS)}),
]


ENDED_LONG_AGO: list[Step] = [  # what a floor's expiry told of a position is no evidence against the next one
    ("reduces_or_closes", {"part": 1}),
    ("opens_or_adds", {"times": 1}),
    ("quiet_at_last", {}),
    *FLAT_AND_HELD_AGAIN[2:],
]
WALKS = {
    "a list of before": UNREAD,
    "as much as before": AS_MUCH_AS_BEFORE,
    "flat and held again": FLAT_AND_HELD_AGAIN,
    "ended long ago": ENDED_LONG_AGO,
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("walked", WALKS)
def test_walked_again(side: Side, walked: str) -> None:
    walk({"side": side}, WALKS[walked], side)
