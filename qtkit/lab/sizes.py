"""How large positions are where they are added up."""

from typing import Literal, get_args

from qtkit.bars import BarsError
from qtkit.core.model import PolicyError
from qtkit.lab.entries import Entries

Size = Literal["risk", "equal", "given"]
"""Each position the same risk to its initial stop, the same notional, or as many coins as the entry's own ``size``."""
SIZES: tuple[Size, ...] = get_args(Size)
UNITS: dict[Size, str] = {"risk": "net_r", "equal": "net_bps", "given": "net_quote"}
"""What positions bring, so counted that they can be added up: of the same risk each in R, of the same notional each in bps of it, of their
own size each in the quote coin."""


def refuse_unsized(size: Size, entries: Entries, *, streamed: bool) -> None:
    """Raises ``BarsError`` where sizes are to be those of the entries, which have none, ``PolicyError`` where outcomes are not kept."""
    if size != "given":
        return
    if entries.size is None:
        raise BarsError("size='given' needs a column 'size' in the entries: how many coins each position has")
    if streamed:
        raise PolicyError(
            "size='given' weighs each position, and this sweep keeps statistics alone; ask for fewer policies, or for keep='outcomes'"
        )
