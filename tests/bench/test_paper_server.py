"""The measurements of the paper exchange's server, printed; that nobody misses an event is asserted."""

import pytest

from tests.bench import paper_server


@pytest.mark.bench
def test_paper_server() -> None:
    found = paper_server.figures()
    print("", *(paper_server.told(figure) for figure in found), sep="\n")
    values = {figure.name: figure for figure in found}
    assert values["clients that missed an event"].value == 0
    assert values["signed order requests"].kept
