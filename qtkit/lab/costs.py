"""What leaving costs: fees by kind of order, slippage by leg."""

from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from qtkit.core.model import E8, ONE, PolicyError

PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Fees (E8 fractions of the notional) and slippage of what is filled at the market.

    Entries, stops and exits by time pay ``taker``. Targets are conditional market orders by default, as the desk rests them: they fill when
    touched, at the open where that lies beyond, and pay ``taker`` and slippage; with ``targets="limit"`` they fill at their price
    when the market trades through them (``"touch"``: when it touches them) and pay ``maker``. Slippage is ``slip_ppm`` of the price
    plus ``slip_range_ppm`` of the range of the bar, in whole ticks, rounded up; ``lab.fit_slippage`` fits both.
    The defaults are the fees of a regular account and no slippage.
    """

    taker: E8 = E8(50_000)
    maker: E8 = E8(20_000)
    slip_ppm: int = 0
    slip_range_ppm: int = 0
    targets: Literal["market", "limit", "touch"] = "market"

    def __post_init__(self) -> None:
        for name in ("taker", "maker", "slip_ppm", "slip_range_ppm"):
            if not isinstance(getattr(self, name), Integral):
                unit = "1e-8, as taker=E8(50_000) for 0.05 %" if name in ("taker", "maker") else "millionths"
                raise PolicyError(f"costs: {name} is a whole number of {unit}; got {getattr(self, name)!r}")
        if not 0 <= self.taker < ONE // 10 or not -ONE // 100 < self.maker < ONE // 10:
            raise PolicyError(f"fees are fractions of the notional in 1e-8 below 10 %, got taker {self.taker} and maker {self.maker}")
        if not 0 <= self.slip_ppm < PPM // 2 or not 0 <= self.slip_range_ppm <= 10 * PPM:
            raise PolicyError(f"slippage is millionths of the price and of the bar's range, got {self.slip_ppm} and {self.slip_range_ppm}")
        if self.targets not in ("market", "limit", "touch"):
            raise PolicyError(f"targets are filled by 'market', 'limit' or 'touch', got {self.targets!r}")


FREE = Costs(taker=E8(0), maker=E8(0))
"""No fees and no slippage."""


def costs_of(said: "Costs | str | None") -> Costs:
    """``"account"`` means the fees of a regular account, None means none."""
    if isinstance(said, Costs):
        return said
    if said is None:
        return FREE
    if said == "account":
        return Costs()
    raise PolicyError(f"costs are a Costs, 'account' for the fees of a regular account, or None for none; got {said!r}")
