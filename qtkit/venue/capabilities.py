"""What each exchange can do for an exit, as a table. Flags of client libraries are hints; these are the rules we plan by."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from qtkit.core.model import Bps, PolicyError, TriggerBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Rules of one exchange that shape an exit.

    close_position        stops and targets that close whatever the position is, without a size
    floor_beside_stop     a close-position stop and a quantity stop can rest side by side
    stop_while_flat       a reduce-only quantity stop is accepted before there is a position
    conditional_reserves  resting conditional reduce-only orders reserve the position's quantity
    amend                 a resting conditional order can be changed in place
    native_trailing       the exchange trails by a callback rate; its bounds are ``callback_min`` and ``callback_max``
    max_conditional       open conditional orders of the account, all symbols together
    trigger_by            price series that can trigger
    """

    venue: str
    close_position: bool
    floor_beside_stop: bool
    stop_while_flat: bool
    conditional_reserves: bool
    amend: bool
    native_trailing: bool
    callback_min: Bps
    callback_max: Bps
    max_conditional: int
    trigger_by: tuple[TriggerBy, ...]


VENUES: Mapping[str, Capabilities] = MappingProxyType(
    {
        # Conditional orders are algo orders since 2025-12-09: 200 over all symbols (-4045), not amendable, callback 0.1 %
        # to 20 % since 2026-10-23 (-2007). floor_beside_stop, stop_while_flat and conditional_reserves are not yet proven
        # on the exchange: switches of the paper exchange, given here as it sets them.
        "binanceusdm": Capabilities(
            venue="binanceusdm",
            close_position=True,
            floor_beside_stop=True,
            stop_while_flat=True,
            conditional_reserves=False,
            amend=False,
            native_trailing=True,
            callback_min=Bps(10),
            callback_max=Bps(2_000),
            max_conditional=200,
            trigger_by=(TriggerBy.MARK, TriggerBy.LAST),
        ),
    }
)


def capabilities(venue: str) -> Capabilities:
    """The table's row of a venue, by ccxt's id of it. Raises ``PolicyError`` with the nearest name for an unknown one."""
    if venue in VENUES:
        return VENUES[venue]
    near = get_close_matches(venue.lower(), VENUES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(VENUES))}"
    raise PolicyError(f"venue {venue!r} is not supported; {hint}")
