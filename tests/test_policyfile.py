"""A policy file says one policy, all of it: what is written is read back equal, and what is wrong is told with file, key and rule."""

from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.distance import AtPrice, InAtr, InBps, InR
from qtkit.core.model import E8, Bps, PolicyError, TriggerBy
from qtkit.core.policy import POLICIES, ExitPolicy, StageRule, TargetRule, TightenRule, TrailRule
from qtkit.policyfile import PolicyFile, load, read, save, write
from qtkit.policyfile.reading import LONGEST

NUMBERS = st.integers(1, 10**12)
in_bps = st.builds(InBps, st.integers(1, 9_999).map(Bps))
in_r = st.builds(InR, NUMBERS)
in_price = st.builds(AtPrice, st.integers(1, 10**18).map(E8))


@st.composite
def in_atr(draw: st.DrawFn) -> InAtr:
    least, fallback, most = sorted(draw(st.lists(st.integers(1, 9_999), min_size=3, max_size=3)))
    return InAtr(draw(NUMBERS), least=Bps(least), most=Bps(most), fallback=Bps(fallback))


@st.composite
def ascending(draw: st.DrawFn, kinds: tuple[Any, ...], most: int) -> list[Any]:
    """Distances of one kind, from the nearest to the farthest."""
    kind = draw(st.sampled_from(kinds))
    numbers = sorted(draw(st.sets(st.integers(1, 10**9), max_size=most)))
    return [kind(number) for number in numbers]


@st.composite
def trails(draw: st.DrawFn, share: int) -> TrailRule:
    callback = draw(in_bps | in_atr())
    widest = callback.bps if isinstance(callback, InBps) else callback.most
    falling = sorted(draw(st.sets(st.integers(1, max(1, widest - 1)), max_size=min(3, widest - 1))), reverse=True)
    ats = sorted(draw(st.sets(NUMBERS, min_size=len(falling), max_size=len(falling))))
    unit = draw(st.sampled_from((InR, InBps)))
    curve = tuple(TightenRule(at=unit(at), callback=Bps(step)) for at, step in zip(ats, falling, strict=True))
    step = Bps(draw(st.integers(0, 10**6)))
    moves = isinstance(callback, InAtr) and draw(st.booleans())
    return TrailRule(activation=draw(in_r | in_bps), callback=callback, share=Bps(share), min_step=step, tightening=curve, moves=moves)


@st.composite
def stages(draw: st.DrawFn) -> tuple[StageRule, ...]:
    ats = sorted(draw(st.sets(st.integers(1, 10**6), max_size=4)))
    return tuple(StageRule(at=Bps(at), to=draw(st.none() | st.integers(0, at - 1).map(Bps))) for at in ats)


@st.composite
def policies(draw: st.DrawFn) -> ExitPolicy:
    """Any policy that can be constructed."""
    ats = draw(ascending((InBps, InR, InAtr, AtPrice), 4) if draw(st.booleans()) else st.lists(in_atr() | in_price, max_size=1))
    trailed = draw(st.booleans())
    cuts = len(ats) + trailed
    bounds = [0, *sorted(draw(st.sets(st.integers(1, 9_999), min_size=max(0, cuts - 1), max_size=max(0, cuts - 1)))), 10_000]
    shares = [after - before for before, after in pairwise(bounds)]
    targets = tuple(TargetRule(at=at, share=Bps(share)) for at, share in zip(ats, shares, strict=False))
    return ExitPolicy(
        name=draw(st.text(min_size=1)), strategy=draw(st.text()), stop=draw(in_bps | in_atr() | in_price),
        adopted_stop=draw(st.none() | in_bps | in_atr() | in_price), targets=targets,
        trail=draw(trails(shares[-1])) if trailed else None, stages=draw(stages()),
        break_even_after=draw(st.none() | st.integers(1, len(targets))) if targets else None,
        max_hold_ms=draw(st.none() | st.integers(1, 10**14)), liquidation_buffer=Bps(draw(st.integers(0, 1_000))),
        trigger_by=draw(st.sampled_from(TriggerBy)),
    )  # fmt: skip


numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.text() | st.booleans() | numbers | st.dates() | st.datetimes(timezones=st.sampled_from((None, UTC)))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6)


@given(policies(), st.dictionaries(st.text(), values, max_size=4))
def test_what_is_written_is_read_back_equal(policy: ExitPolicy, provenance: dict[str, Any]) -> None:
    file = PolicyFile(policy=policy, provenance=provenance)
    assert read(write(file)) == file
    assert read(write(file).encode()) == file


@pytest.mark.parametrize("name", POLICIES)
def test_every_preset_can_be_a_file(tmp_path: Path, name: str) -> None:
    file = PolicyFile(policy=POLICIES[name], provenance={"created": date(2026, 11, 27), "at": datetime(2026, 11, 27, tzinfo=UTC)})
    save(tmp_path / "one.toml", file)
    save(str(tmp_path / "other.toml"), file)
    assert load(str(tmp_path / "other.toml")) == load(tmp_path / "other.toml") == load(tmp_path / "one.toml")
    assert load(tmp_path / "one.toml") == file


GOOD = """
name = "mine"
stop = "2%"
liquidation_buffer = "25bps"
trigger_by = "mark"
"""


def test_a_file_as_people_write_it() -> None:
    text = (
        GOOD.replace('"2%"', '"3atr"')
        + 'targets = [{ at = "2R", share = "30%" }, { at = "@91000", share = "2000bps" }]\nmax_hold = "36h"\n'
        + 'stages = [{ at = "1.5%", to = "break-even" }, { at = "3%", to = "0%" }]\n'
        + '[trail]\nactivation = "1R"\ncallback = { distance = "2atr", least = "0.5%", most = "4%", fallback = "2%" }\n'
        + 'share = "50%"\nmin_step = "0.1%"\ntightening = [{ at = "3R", callback = "1.5%" }]\n[provenance]\nsymbols = ["BTCUSDT"]\n'
    )
    found = read(text)
    assert found.policy == ExitPolicy(
        name="mine", stop=InAtr(3_000), max_hold_ms=36 * 3_600_000,
        targets=(TargetRule(at=InR(2_000), share=Bps(3_000)), TargetRule(at=AtPrice(E8(91_000 * 10**8)), share=Bps(2_000))),
        stages=(StageRule(at=Bps(150), to=None), StageRule(at=Bps(300), to=Bps(0))),
        trail=TrailRule(
            activation=InR(1_000), callback=InAtr(2_000, least=Bps(50), most=Bps(400), fallback=Bps(200)), share=Bps(5_000),
            tightening=(TightenRule(at=InR(3_000), callback=Bps(150)),),
        ),
    )  # fmt: skip
    assert found.provenance == {"symbols": ["BTCUSDT"]}


TRAIL = '[trail]\nactivation = "1R"\ncallback = "2%"\nshare = "100%"\nmin_step = "0.1%"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "stopp = 1", "best.toml: stopp: there is no such key; did you mean 'stop'?"),
        (GOOD.replace('stop = "2%"\n', ""), "best.toml: stop: must be given"),
        (GOOD.replace('name = "mine"', 'name = ""'), "best.toml: name: a policy needs a name"),
        (GOOD.replace('trigger_by = "mark"', ""), "best.toml: trigger_by: must be given"),
        (GOOD.replace('"mark"', '"marc"'), "best.toml: trigger_by: there is no price 'marc' to trigger by; did you mean 'mark'?"),
        (GOOD.replace('"2%"', "2.5"), 'best.toml: stop: must be text in quotes, as "2.5%", got 2.5'),
        (GOOD.replace('"2%"', '"2"'), "best.toml: stop: distance '2' has no unit: write 2.5%"),
        (GOOD.replace('"2%"', '"2R"'), "best.toml: stop: '2R' cannot stand here; write 2.5% or 250bps or 3atr or @91000"),
        (GOOD.replace('"2%"', '"100%"'), "best.toml: stop: mine: a stop must be nearer than 100 % of the price"),
        (GOOD.replace('"2%"', '{ distance = "3atr" }'), "best.toml: stop: least: must be given"),
        (GOOD.replace('"2%"', '{ distance = "3atr", lest = "1%" }'), "best.toml: stop: lest: there is no such key; did you mean 'least'?"),
        (
            GOOD.replace('"2%"', '{ distance = "3atr", least = "5%", most = "1%", fallback = "2%" }'),
            "best.toml: stop: 3atr: needs a multiple above zero and 0 < least <= fallback <= most",
        ),
        (GOOD.replace('"25bps"', '"11%"'), "best.toml: liquidation_buffer: mine: the liquidation buffer must be 0 to 10 %"),
        (GOOD + 'targets = "2R"', "best.toml: targets: must be a list of tables"),
        (GOOD + 'targets = ["2R"]', "best.toml: targets[1]: must be a table, got '2R'"),
        (GOOD + 'targets = [{ at = "2R" }]', "best.toml: targets[1]: share: must be given"),
        (GOOD + 'targets = [{ at = "2R", share = "120%" }]', "best.toml: targets[1]: share: a target closes between 0.01 and 100 %"),
        (GOOD + 'targets = [{ at = "2R", share = "60%" }]', "best.toml: targets and trail: mine: targets and trail close 60 %"),
        (
            GOOD + 'targets = [{ at = "2R", share = "60%" }, { at = "1R", share = "40%" }]',
            "best.toml: targets and trail: the targets of mine must be listed from the nearest",
        ),
        (GOOD + 'stages = [{ at = "1%", to = "2%" }]', "best.toml: stages[1]: to: stage: the stop (200 bps) must lie behind"),
        (GOOD + 'stages = [{ at = "1%", too = "0%" }]', "best.toml: stages[1]: too: there is no such key; did you mean 'to'?"),
        (GOOD + "break_even_after = true", "best.toml: break_even_after: must be a whole number, got True"),
        (GOOD + "break_even_after = 1", "best.toml: break_even_after: mine: break-even after target 1, but there are 0 targets"),
        (GOOD + 'max_hold = "3 weeks"', "best.toml: max_hold: a time is a number of days, hours"),
        (GOOD + 'max_hold = "0h"', "best.toml: max_hold: mine: the time stop must be above zero"),
        (GOOD + TRAIL.replace("callback", "calback"), "best.toml: trail: calback: there is no such key; did you mean 'callback'?"),
        (GOOD + TRAIL.replace('"2%"', '"2R"'), "best.toml: trail: callback: '2R' cannot stand here; write 2.5% or 250bps or 3atr"),
        (GOOD + TRAIL + 'tightening = [{ at = "3R", callback = "3%" }]', "best.toml: trail: trail: the callbacks of the tightening"),
        (GOOD + TRAIL.replace('"0.1%"', '"0.001%"'), "best.toml: trail: min_step: distance '0.001%' is finer than can be kept"),
        (GOOD.replace('"2%"', f'"{"9" * 5_000}%"'), "best.toml: stop: no distance is that long"),
        (GOOD.replace('"2%"', "9" * 5_000), "best.toml: no TOML: Exceeds the limit"),
        ("a = " + "[" * 5_000, "best.toml: no TOML: its tables are nested too deeply"),
        (GOOD + "[provenance]\nsharpe = nan", "best.toml: provenance: must be text, a finite number"),
        (GOOD + "provenance = 3", "best.toml: provenance: must be a table, got 3"),
        (GOOD + GOOD, "best.toml: no TOML: Cannot overwrite a value"),
        ("name = ", "best.toml: no TOML: Invalid value"),
        (b"\xff\xfe", "best.toml: no text in UTF-8: byte 0 is 0xff"),
        ("", "best.toml: name: must be given"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_key_and_rule(text: str | bytes, told: str) -> None:
    with pytest.raises(PolicyError) as error:
        read(text, "best.toml")
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


def test_what_is_no_policy_file_at_all(tmp_path: Path) -> None:
    (tmp_path / "big.toml").write_text("#" * (LONGEST + 1))
    with pytest.raises(PolicyError, match=r"big\.toml: no policy file, it has more than 65,536 bytes"):
        load(tmp_path / "big.toml")
    for place in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(OSError, match=str(place)):
            load(place)


@given(st.binary() | st.text(), st.integers(0, 10**4), st.integers(0, 10**4))
def test_whatever_is_read_is_a_policy_or_one_sentence(junk: bytes | str, cut: int, width: int) -> None:
    whole = write(PolicyFile(policy=POLICIES["TREND"], provenance={"symbols": ["BTCUSDT"]}))
    begin, told = cut % len(whole), junk if isinstance(junk, str) else junk.decode(errors="replace")
    for text in (junk, whole[:begin] + told + whole[begin + width % 40 :], f"stop = {'9' * width}"):
        try:
            assert isinstance(read(text, "f"), PolicyFile)
        except PolicyError as error:
            assert str(error).startswith("f: ")


@pytest.mark.parametrize("value", [None, float("inf"), float("nan"), {"a": None}, [object()], {1: 2}, b"x"])
def test_provenance_that_toml_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(PolicyError, match=r"^provenance\.figure: (must be text|a key must be text)"):
        write(PolicyFile(policy=POLICIES["guard"], provenance={"figure": value}))
