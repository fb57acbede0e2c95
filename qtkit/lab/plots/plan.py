"""A policy on one picture: where its stop stands, by how far the price has run."""

from typing import TYPE_CHECKING

from qtkit.core import arithmetic
from qtkit.core.model import Ticks
from qtkit.core.plan import WHOLE, ExitPlan
from qtkit.core.trail import begin, fold
from qtkit.lab.plots.layers import Layer, axis, labels, layer, layered, line, rule, title, words
from qtkit.lab.plots.names import policy_words
from qtkit.lab.replay import plan_of
from qtkit.picture import ENTRY, FAINT, FLOOR, STOP, TARGET, Label, Picture

if TYPE_CHECKING:
    from qtkit.lab.result import Result

STEPS = 240


def plan(result: "Result", policy: int, entry: int = 0) -> Picture:
    """The stop in force while the price runs straight in the position's favour, and the targets on the way.

    From the plan that the desk would make of that entry: distances in ATR are those of that moment.
    """
    wanted = result.grid.policies[policy]
    made = plan_of(result.bars, result.entries, entry, wanted, result.costs, own_stop=result.grid.own_stop)
    risk = _bps(made, made.stop)
    reach = _reach(made, -risk)
    rows = _run(made, reach)
    domain = risk - 0.12 * reach, reach
    x = axis("best", "how far the price has run, bps from the entry", form="+,.0f", domain=(0, reach))
    y = axis("stop", "stop in force, bps from the entry", form="+,.0f", domain=domain)
    diagonal: list[Layer] = [{"best": 0, "stop": 0}, {"best": reach, "stop": reach}]
    layers = [
        _given_back(rows, x, y),
        line(diagonal, FAINT, x, y, strokeWidth=1.2, strokeDash=[1, 3]),
        rule({"stop": 0}, ENTRY, dash=[6, 3], y=y),
        *_targets(made, x, y, reach),
        line(rows, STOP, x, y, interpolate="step-after", strokeWidth=2.4),
    ]
    tags = [Label(0, "entry", ENTRY), Label(reach, "price", FAINT), Label(rows[-1]["stop"], "stop", STOP)]
    found = f"{wanted.name}: where the stop stands by how far the price has run"
    under = [policy_words(wanted), "grey: what would be given back if the price turned there"]
    return layered(title(found, under), [*layers, *labels(tags, y)], f"{found}: {under[0]}")


def _bps(made: ExitPlan, level: int) -> float:
    return made.side.sign * (level * made.tick - made.entry) * WHOLE / made.entry


def _reach(made: ExitPlan, risk: float) -> float:
    """Far enough for everything that the plan does, and two R more."""
    levels = [_bps(made, int(it.price)) for it in made.targets] + [_bps(made, int(it.at)) for it in made.stages]
    if made.trail is not None:
        levels += [_bps(made, int(made.trail.activation)), *(_bps(made, int(at)) for at, _ in _curve(made))]
    return max([0.0, *levels]) * 1.15 + 1.5 * risk


def _curve(made: ExitPlan) -> list[tuple[int, int]]:
    assert made.trail is not None
    return [(int(step.at), int(step.callback)) for step in made.trail.tightening]


def _run(made: ExitPlan, reach: float) -> list[Layer]:
    state, sign = begin(made), made.side.sign
    rows = [{"best": 0.0, "stop": _bps(made, state.stop)}]
    for step in range(1, STEPS + 1):
        far = reach * step / STEPS
        price = Ticks(int(made.entry * (WHOLE + sign * far) / WHOLE) // made.tick)
        done = sum(arithmetic.reached(sign, price, it.price) for it in made.targets)
        state = fold(made, state, price, made.created_ms, targets_done=done)
        rows.append({"best": far, "stop": _bps(made, state.stop)})
    return rows


def _given_back(rows: list[Layer], x: Layer, y: Layer) -> Layer:
    area = {"type": "area", "color": FAINT, "opacity": 0.1, "interpolate": "step-after"}
    return layer(rows, area, x=x, y=y, y2={"field": "best"})


def _targets(made: ExitPlan, x: Layer, y: Layer, reach: float) -> list[Layer]:
    """Targets and the price at which the trail begins, as uprights with their names on top."""
    marks = [(_bps(made, int(it.price)), f"{it.share / 100:g} %", TARGET) for it in made.targets]
    if made.trail is not None:
        marks.append((_bps(made, int(made.trail.activation)), f"trail takes {made.trail.share / 100:g} %", FLOOR))
    drawn: list[Layer] = []
    names: list[Layer] = []  # on white, above the lines that they cross
    for number, (at, text, colour) in enumerate(sorted(marks)):
        drawn.append(rule({"best": at}, colour, dash=[2, 2] if colour == TARGET else [1, 3], x=x))
        names += [words([{"best": at, "text": text}], "#ffffff", x, {"value": 12 + 15 * number}, stroke="#ffffff", strokeWidth=4)]
        names += [words([{"best": at, "text": text}], colour, x, {"value": 12 + 15 * number})]
    return drawn + names
