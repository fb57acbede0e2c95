"""The engine against the slow model: random honest clients, and after every act the same money, positions, orders and refusals."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtkit.core.model import OrderKind
from qtkit.paper.exchange import Rules
from qtkit.paper.rows import AlgoStatus, IncomeKind
from tests.paper.clients import KINDS, RULES, Act, drawn, play

ACT = st.tuples(st.sampled_from(KINDS), st.integers(0, 2), st.booleans(), st.integers(0, 9_999), st.integers(0, 9_999))


@pytest.mark.parametrize("rules", RULES, ids=["usual", "bare", "strange", "lenient", "thin"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(acts=st.lists(ACT, min_size=30, max_size=90), late=st.booleans())
def test_the_engine_is_the_model(rules: Rules, acts: list[Act], late: bool) -> None:
    play(acts, rules, late=late)


def test_the_scripts_come_everywhere() -> None:
    """What the model was never asked, it does not prove."""
    pairs = [play(drawn(seed, 120), RULES[seed % len(RULES)], late=seed % 3 == 0) for seed in range(24)]
    codes = set().union(*(pair.codes for pair in pairs))
    accounts = [account for pair in pairs for account in pair.engine.accounts.values()]
    assert len(codes) > 30
    assert {row.kind for account in accounts for row in account.incomes} == set(IncomeKind)
    ends = {(row.kind, row.status) for account in accounts for row in account.algos.values()}
    assert {kind for kind, status in ends if status is AlgoStatus.FINISHED} == {kind for kind in OrderKind if kind.conditional}
    prefixes = {row.client_id.partition("-")[0] for account in accounts for row in account.orders.values()}
    assert {"autoclose", "adl_autoclose"} <= prefixes


@pytest.mark.night
@pytest.mark.parametrize("seed", range(40))
def test_the_engine_is_the_model_all_night(seed: int) -> None:
    for number in range(seed * 50, seed * 50 + 50):
        play(drawn(number, 200), RULES[number % len(RULES)], late=number % 3 == 0)
