"""The measurements of the paper exchange and of its server, printed; that the index gives what asking all orders gives, by day."""

import pytest

from tests.bench import paper


@pytest.mark.parametrize("near", [0.0005, 0.004])
def test_the_index_gives_what_asking_all_orders_gives(near: float) -> None:
    assert paper.equal(4, 300, near=near, far=0.02)[2] > 50, "nothing happened"


@pytest.mark.bench
def test_paper() -> None:
    found = paper.figures()
    print("", *(paper.told(figure) for figure in found), f"load {paper.load()}", sep="\n")
    values = {figure.name: figure for figure in found}
    assert values["growth, 100 to 10,000 far orders"].kept
    assert values["all orders asked / index, far orders"].value >= 5
    assert values["clients that missed an event"].kept
    assert values["signed order requests"].kept
