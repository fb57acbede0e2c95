"""Distances as traders say them: ``2.5%``, ``250bps``, ``2R``, ``3atr``, ``@91000``."""

from dataclasses import dataclass
from typing import assert_never

from qtkit.core import arithmetic
from qtkit.core.model import E8, ONE, Bps, Instrument, PolicyError, Side

_UNITS = "write 2.5%, 250bps, 2R, 3atr or @91000"


@dataclass(frozen=True, slots=True)
class InBps:
    """Part of the entry price, bps."""

    bps: Bps

    def __post_init__(self) -> None:
        if self.bps <= 0:
            raise PolicyError(f"a distance must be above zero, got {self.bps} bps")


@dataclass(frozen=True, slots=True)
class InR:
    """Thousandths of R, the distance from the entry to the policy's own stop."""

    milli: int

    def __post_init__(self) -> None:
        if self.milli <= 0:
            raise PolicyError(f"a distance must be above zero, got {self.milli / 1000:g}R")


@dataclass(frozen=True, slots=True)
class InAtr:
    """Thousandths of ATR(14, 1h) as it stood at the entry, kept between ``least`` and ``most``.

    ``fallback`` is the distance where ATR is not known: the policy's own number, never a guess of ATR. The defaults are those of
    own entries (of random entries on perpetual bars 32 % touch 3 x ATR within a day, 41 % touch a fixed 2.5 %).
    """

    milli: int
    least: Bps = Bps(100)
    most: Bps = Bps(500)
    fallback: Bps = Bps(250)

    def __post_init__(self) -> None:
        if self.milli <= 0 or not 0 < self.least <= self.fallback <= self.most:
            raise PolicyError(
                f"{self.milli / 1000:g}atr: needs a multiple above zero and 0 < least <= fallback <= most, "
                f"got {self.least}, {self.fallback}, {self.most} bps"
            )


@dataclass(frozen=True, slots=True)
class AtPrice:
    """A fixed price."""

    price: E8

    def __post_init__(self) -> None:
        if self.price <= 0:
            raise PolicyError(f"a price must be above zero, got {self.price / ONE:g}")


Distance = InBps | InR | InAtr | AtPrice


def _scaled(number: str, digits: int, text: str) -> int:
    """Decimal text as an integer of ``10 ** -digits``, exactly."""
    whole, _, part = number.partition(".")
    if not (whole + part).isascii() or not (whole + part).isdigit():
        raise PolicyError(f"distance '{text}' is not a number with a unit: {_UNITS}")
    part = part.rstrip("0")
    if len(part) > digits:
        raise PolicyError(f"distance '{text}' is finer than can be kept: at most {digits} decimals with this unit")
    scale: int = 10**digits
    return int(whole or "0") * scale + int(part.ljust(digits, "0") or "0")


def parse_distance(text: str) -> Distance:
    """Read a distance as people write it. Raises ``PolicyError`` that names the five forms; ``3atr`` gets the clamps of own entries."""
    word = text.strip().lower().replace(" ", "").replace("_", "")
    if word.startswith("@"):
        return AtPrice(E8(_scaled(word[1:], 8, text)))
    if word.endswith("%"):
        return InBps(Bps(_scaled(word[:-1], 2, text)))
    if word.endswith("bps"):
        return InBps(Bps(_scaled(word[:-3], 0, text)))
    if word.endswith("atr"):
        return InAtr(_scaled(word[:-3], 3, text))
    if word.endswith("r"):
        return InR(_scaled(word[:-1], 3, text))
    raise PolicyError(f"distance '{text}' has no unit: {_UNITS}")


def decimal(value: int, digits: int) -> str:
    """An integer of ``10 ** -digits`` as exact decimal text without trailing zeros."""
    sign, value = ("-", -value) if value < 0 else ("", value)
    whole, part = divmod(value, 10**digits)
    tail = str(part).rjust(digits, "0").rstrip("0") if digits else ""
    return f"{sign}{whole}.{tail}" if tail else f"{sign}{whole}"


def format_distance(distance: Distance) -> str:
    """The shortest text that ``parse_distance`` reads back as the same distance (of ATR: the multiple, not its clamps)."""
    match distance:
        case InBps(bps):
            return f"{decimal(bps, 2)}%"
        case InR(milli):
            return f"{decimal(milli, 3)}R"
        case InAtr(milli):
            return f"{decimal(milli, 3)}atr"
        case AtPrice(price):
            return f"@{decimal(price, 8)}"
        case _:
            assert_never(distance)


def bps_of(distance: InBps | InR | InAtr, *, unit: int, atr: E8 | None, price: E8) -> Bps:
    """The distance in bps of ``price``, rounded toward it. ``unit`` is R in bps."""
    match distance:
        case InBps(bps):
            return bps
        case InR(milli):
            return Bps(max(1, arithmetic.multiple_bps(unit, milli)))
        case InAtr(milli, least, most, fallback):
            return fallback if atr is None else Bps(min(max(arithmetic.atr_bps(atr, milli, price), least), most))
        case _:
            assert_never(distance)


def describe(
    distance: Distance, *, side: Side, entry: E8, instrument: Instrument, lots: int, unit: Bps, atr: E8 | None = None, target: bool = False
) -> str:
    """A distance with its price and the money at risk (or, for a target, to be won), before fees: ``2R = 5% = @91000, 25 at risk``.

    ``unit`` is R in bps; ``lots`` the size that leaves there.
    """
    sign = side.sign
    if isinstance(distance, AtPrice):
        ticks = distance.price // instrument.tick
        bps = Bps(arithmetic.distance_bps(entry, distance.price))
    else:
        bps = bps_of(distance, unit=unit, atr=atr, price=entry)
        level = arithmetic.target_level if target else arithmetic.stop_level
        ticks = level(sign, entry, bps, instrument.tick)
    gain = sign * (ticks * instrument.tick - entry) * lots * instrument.lot // ONE
    money = decimal(abs(gain) * 100 // ONE, 2)
    said = [format_distance(distance), f"{decimal(bps, 2)}%", f"@{decimal(ticks * instrument.tick, 8)}"]
    return f"{' = '.join(dict.fromkeys(said))}, {money} {'to win' if gain >= 0 else 'at risk'}"
