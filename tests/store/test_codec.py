"""The codec: what was written is read back equal, and anything else is refused with its place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtkit.core.events import Event, IntentMade
from qtkit.core.model import Action, Bps, Lots, Order, OrderKind, Side, Ticks
from qtkit.core.plan import ExitPlan, Stage, Target, Tightening, Trail
from qtkit.store.codec import CorruptRecord, decode, dumps, encode, loads
from tests.store.making import exit_plan, intent


@st.composite
def plans(draw: st.DrawFn) -> ExitPlan:
    """Plans whose levels agree, long and short."""
    base = exit_plan(side=draw(st.sampled_from(Side)), episode=draw(st.integers(1, 9)))
    targets = tuple(
        Target(price=Ticks(draw(st.integers(1, 10**9))), share=Bps(share)) for share in draw(st.lists(st.integers(0, 1000), max_size=5))
    )
    curve = tuple(Tightening(at=Ticks(at), callback=Bps(at)) for at in draw(st.lists(st.integers(1, 99), max_size=3)))
    trail = Trail(activation=Ticks(1), callback=Bps(100), share=Bps(5000), tightening=curve)
    return replace(
        base,
        targets=targets,
        trail=draw(st.sampled_from([None, trail])),
        stages=tuple(Stage(at=Ticks(1), to=Ticks(at)) for at in draw(st.lists(st.integers(1, 99), max_size=3))),
        expires_ms=draw(st.none() | st.integers()),
        warnings=tuple(draw(st.lists(st.text(), max_size=3))),
    )


st.register_type_strategy(ExitPlan, plans())


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("kind", get_args(Event) + get_args(Action), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_event_and_action_comes_back_equal(kind: type, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    text = dumps(kind, value)
    assert text.isascii() and "\n" not in text
    assert loads(kind, text) == value
    assert dumps(kind, loads(kind, text)) == text


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(event=st.from_type(IntentMade) | st.from_type(ExitPlan))
def test_a_union_tells_its_members_by_name(event: Any) -> None:
    assert loads(IntentMade | ExitPlan | None, dumps(IntentMade | ExitPlan | None, event)) == event


class Grade(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True, slots=True)
class Part:
    grade: Grade
    flag: bool = False


@dataclass(frozen=True, slots=True)
class Other:
    text: str


@dataclass(frozen=True, slots=True)
class Whole:
    number: int
    parts: tuple[Part, ...] = ()
    pair: tuple[int, str] = (1, "a")
    named: Mapping[str, Part] = field(default_factory=dict)
    either: Part | Other | None = None
    mixed: int | Part | None = None


WHOLE = Whole(1, (Part(Grade.LOW), Part(Grade.HIGH, True)), (2, "b"), {"x": Part(Grade.LOW)}, Other("\ud800 ü"), Part(Grade.HIGH))


def test_every_form_comes_back_equal() -> None:
    assert loads(Whole, dumps(Whole, WHOLE)) == WHOLE
    assert loads(Whole, dumps(Whole, Whole(10**30))) == Whole(10**30)
    assert encode(Whole, WHOLE)["either"] == {"@": "Other", "text": "\ud800 ü"}
    assert encode(Whole, replace(WHOLE, mixed=7))["mixed"] == 7


def changed(**values: object) -> object:
    return {**encode(Whole, WHOLE), **values}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (changed(number="1"), "Whole.number: expected int, found '1' (str)"),
        (changed(number=True), "Whole.number: expected int, found True (bool)"),
        (changed(number=1.0), "Whole.number: expected int, found 1.0 (float)"),
        (changed(number=None), "Whole.number: expected int, found None"),
        (changed(parts={}), "Whole.parts: expected a list"),
        (changed(parts=[{"grade": 1, "flag": 0}]), "Whole.parts[0].flag: expected bool, found 0 (int)"),
        (changed(parts=[{"grade": True, "flag": False}]), "Whole.parts[0].grade: expected a value of Grade, found True"),
        (changed(parts=[{"grade": 3, "flag": False}]), "Whole.parts[0].grade: 3 is no value of Grade"),
        (changed(parts=[{"grade": 1}]), "Whole.parts[0]: key 'flag' of Part is missing"),
        (changed(parts=[{"grade": 1, "flagg": False}]), "Whole.parts[0]: unknown key 'flagg' in Part; did you mean 'flag'?"),
        (changed(pair=[1]), "Whole.pair: expected 2 items, found 1"),
        (changed(pair=[1, 2]), "Whole.pair[1]: expected str, found 2"),
        (changed(named={"x": 1}), "Whole.named['x']: expected an object (Part), found 1"),
        (changed(either={"@": "Othr", "text": ""}), "did you mean 'Other'?"),
        (changed(either={"text": ""}), "Whole.either: None under '@' is none of Part, Other"),
        (changed(either={"@": "Other", "text": 1}), "Whole.either.<Other>.text: expected str"),
        (changed(mixed="x"), "Whole.mixed: expected"),
        ([], "Whole: expected an object (Whole), found []"),
    ],
)
def test_what_is_not_of_the_type_is_refused_with_its_place(raw: object, message: str) -> None:
    with pytest.raises(CorruptRecord) as caught:
        decode(Whole, raw)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True, slots=True)
class Grown:
    old: int
    grade: Grade = field(default=Grade.LOW, metadata={"added": True})


def test_only_a_field_that_was_added_later_may_be_missing() -> None:
    assert decode(Grown, {"old": 1}) == Grown(1) and decode(Grown, encode(Grown, Grown(1, Grade.HIGH))) == Grown(1, Grade.HIGH)
    for raw, message in (({}, "key 'old' of Grown is missing"), ({"old": 1, "grad": 1}, "unknown key 'grad' in Grown")):
        with pytest.raises(CorruptRecord, match=message):
            decode(Grown, raw)


@pytest.mark.parametrize("text", ["", "{", '{"number": NaN}', "[" * 100_000, '"\x00"', "1" * 5000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(CorruptRecord):
        loads(Whole, text)


@pytest.mark.parametrize("side", Side)
def test_what_the_class_refuses_is_corrupt(side: Side) -> None:
    raw = encode(ExitPlan, exit_plan(side=side)) | {"floor": 1000 + side.sign * 100}
    with pytest.raises(CorruptRecord, match=r"refused by ExitPlan: .*must lie behind the stop"):
        decode(ExitPlan, raw)


def test_what_could_not_be_read_back_is_not_written() -> None:
    bad = replace(intent(1), order=replace(intent(1).order, lots=Lots(1.5)))  # type: ignore[arg-type]
    with pytest.raises(CorruptRecord, match=r"IntentMade\.order\.lots: expected int, found 1\.5"):
        dumps(IntentMade, bad)
    with pytest.raises(CorruptRecord, match="expected Order"):
        dumps(Order, OrderKind.LIMIT)


@pytest.mark.parametrize("hint", [float, object, list[int], Mapping[int, str], int | Ticks, Part | Mapping[str, int], Grade | int])
def test_a_type_that_cannot_be_told_apart_or_is_inexact_is_refused_at_once(hint: Any) -> None:
    with pytest.raises(TypeError, match="is not stored"):
        dumps(hint, 1)


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_no_json_whatever_raises_anything_but_corrupt(raw: object) -> None:
    for hint in (Whole, ExitPlan, IntentMade | ExitPlan, tuple[Part, ...]):
        try:
            decode(hint, json.loads(json.dumps(raw)))
        except CorruptRecord:
            continue
