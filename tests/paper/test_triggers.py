"""The trigger index answers as a plain list would."""

from hypothesis import given
from hypothesis import strategies as st

from qtkit.paper.triggers import TriggerIndex

STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 3), st.integers(1, 20), st.booleans()),
    st.tuples(st.just("discard"), st.integers(0, 3), st.just(0), st.just(False)),
    st.tuples(st.just("price"), st.just(0), st.integers(1, 20), st.just(False)),
    st.tuples(st.just("clone"), st.just(0), st.just(0), st.just(False)),
)


@given(st.lists(STEP, min_size=40, max_size=80))
def test_index_equals_a_list(steps: list[tuple[str, int, int, bool]]) -> None:
    index: TriggerIndex[int] = TriggerIndex()
    plain: dict[int, tuple[int, bool]] = {}
    for step, token, value, rising in steps:
        match step:
            case "add":
                index.add(token, value, rising=rising)
                plain[token] = (value, rising)
            case "discard":
                index.discard(token)
                plain.pop(token, None)
            case "clone":
                index = index.clone()
            case _:
                expected = {t for t, (key, up) in plain.items() if (value >= key if up else value <= key)}
                assert not expected or value >= index.ceiling or value <= index.floor
                hits = index.reached(value)
                assert set(hits) == expected and len(hits) == len(expected)
                distances = [abs(value - plain[t][0]) for t in hits if plain[t][1]]
                assert distances == sorted(distances, reverse=True)  # the price passed the lowest key first
                for t in expected:
                    del plain[t]
                assert index.floor < value < index.ceiling
        assert len(index) == len(plain)


def test_replaced_keys_do_not_pile_up() -> None:
    index: TriggerIndex[int] = TriggerIndex()
    for key in range(10_000):
        index.add(1, key + 10, rising=True)
    assert len(index._up) < 100 and index.reached(10_009) == [1]
