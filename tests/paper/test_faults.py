"""A fault script strikes what it names, as often as it says, and repeats from its seed."""

from qtkit.core.model import OrderKind
from qtkit.paper.faults import ACCEPTED, STRIKES, Call, Fault, FaultKind, Faults, Match, Verb

STOP = Call(verb=Verb.PLACE, account="main", symbol="BTCUSDT", conditional=True, kind=OrderKind.STOP_MARKET, client_id="q1abc")
CANCEL = Call(verb=Verb.CANCEL, account="main", symbol="BTCUSDT", conditional=True, client_id="q1abc")


def test_times_and_skip() -> None:
    faults = Faults([Fault(kind=FaultKind.REFUSE, match=Match(verb=Verb.PLACE), times=2, skip=1, code=-2021)])
    answers = [faults.decide(STOP, 0) for _ in range(5)]
    assert [bool(answer) for answer in answers] == [False, True, True, False, False]
    assert answers[1] is not None and answers[1].code == -2021
    assert faults.fired[FaultKind.REFUSE] == 2 and faults.lines == ()


def test_every_field_must_agree() -> None:
    narrow = Match(
        verb=Verb.PLACE,
        account="main",
        symbol="BTCUSDT",
        conditional=True,
        kinds=frozenset({OrderKind.STOP_MARKET}),
        client_prefix="q1",
        from_ms=10,
        until_ms=20,
    )
    assert narrow.strikes(STOP, 10) and not narrow.strikes(STOP, 9) and not narrow.strikes(STOP, 20)
    assert not narrow.strikes(CANCEL, 10)
    for other in (Match(account="x"), Match(symbol="ETHUSDT"), Match(conditional=False), Match(client_prefix="q2")):
        assert not other.strikes(STOP, 10)
    assert Match(kinds=frozenset({OrderKind.MARKET})).strikes(STOP, 0) is False
    assert Match().strikes(CANCEL, 0)


def test_endless_until_cleared_and_the_first_line_wins() -> None:
    faults = Faults([Fault(kind=FaultKind.DROP, times=None)])
    faults.add(Fault(kind=FaultKind.TIMEOUT))
    found = [faults.decide(STOP, 0) for _ in range(3)]
    assert all(fault is not None and fault.kind is FaultKind.DROP for fault in found)
    faults.clear()
    assert faults.decide(STOP, 0) is None


def test_the_seed_repeats() -> None:
    def run(seed: int) -> list[bool]:
        faults = Faults([Fault(kind=FaultKind.DROP, times=None, per_mille=300)], seed)
        return [faults.decide(STOP, 0) is not None for _ in range(200)]

    assert run(1) == run(1) != run(2)
    assert 30 < sum(run(1)) < 90


def test_a_kind_strikes_only_what_it_can() -> None:
    assert set(STRIKES) == set(FaultKind)
    faults = Faults([Fault(kind=kind) for kind in (FaultKind.STUCK_TRIGGERING, FaultKind.EMPTY, FaultKind.LOSE_EVENT)])
    assert faults.decide(STOP, 0) is None and len(faults.lines) == 3
    assert faults.decide(Call(verb=Verb.TRIGGER), 0) is not None


def test_accepted_kinds_are_named() -> None:
    assert FaultKind.ACCEPT_TIMEOUT in ACCEPTED and FaultKind.DROP not in ACCEPTED
