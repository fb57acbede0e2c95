"""What Binance says of eleven USD-M perpetuals: facts, copied as numbers.

Filters and protections are those of ``exchangeInfo`` of 2025-03-27, leverage brackets those of ``leverageBracket`` of 2026-09.
The live exchange changes them now and then (BTC's minimum notional is 50 in the documents of 2026); the paper exchange
keeps this date, so that a run of today can be repeated tomorrow.
Over 300 lines: eleven tables of numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from qtkit.core.matching import Bracket
from qtkit.core.model import E8, ONE, Bps, Instrument, Lots, Ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One symbol as ``exchangeInfo`` and ``leverageBracket`` tell it.

    ``trigger_protect`` (largest gap of mark and last that ``priceProtect`` allows), ``liquidation_fee`` and ``market_take_bound``
    (how far from the mark a market order may fill) are E8 fractions; ``brackets`` run from the smallest notional up.
    """

    instrument: Instrument
    base: str
    quote: str
    price_precision: int
    quantity_precision: int
    onboard_ms: int
    underlying_kind: str
    trigger_protect: E8
    liquidation_fee: E8
    market_take_bound: E8
    brackets: tuple[Bracket, ...]

    @property
    def symbol(self) -> str:
        """The exchange's own id, e.g. ``BTCUSDT``."""
        return self.instrument.symbol

    @property
    def max_leverage(self) -> int:
        """Highest leverage of the smallest bracket."""
        return self.brackets[0].leverage

    def max_notional(self, leverage: int) -> E8:
        """Largest position notional (E8) that the brackets allow at this leverage."""
        return E8(max((b.cap for b in self.brackets if b.leverage >= leverage), default=0))


def _facts(
    base: str,
    *,
    tick: int,
    lot: int,
    lots: tuple[int, int, int],
    price_limits: tuple[int, int],
    min_notional: int,
    percent_price: tuple[int, int],
    precision: tuple[int, int],
    onboard_ms: int,
    kind: str,
    protect: tuple[int, int, int],
    brackets: tuple[tuple[int, int, int, int], ...],
) -> Facts:
    """Name the numbers of one row of the table below."""
    rules = Instrument(
        symbol=f"{base}USDT", tick=E8(tick), lot=E8(lot), min_lots=Lots(lots[0]), max_lots=Lots(lots[1]), market_max_lots=Lots(lots[2]),
        min_notional=E8(min_notional * ONE), min_price=Ticks(price_limits[0]), max_price=Ticks(price_limits[1]),
        percent_up=Bps(percent_price[0]), percent_down=Bps(percent_price[1]),
    )  # fmt: skip
    return Facts(
        instrument=rules, base=base, quote="USDT", price_precision=precision[0], quantity_precision=precision[1], onboard_ms=onboard_ms,
        underlying_kind=kind, trigger_protect=E8(protect[0]), liquidation_fee=E8(protect[1]), market_take_bound=E8(protect[2]),
        brackets=_brackets(brackets),
    )  # fmt: skip


def _brackets(rows: tuple[tuple[int, int, int, int], ...]) -> tuple[Bracket, ...]:
    floors = (0, *(cap for _, cap, _, _ in rows[:-1]))
    return tuple(
        Bracket(leverage=leverage, floor=floor * ONE, cap=cap * ONE, ratio=ratio, cum=cum)
        for floor, (leverage, cap, ratio, cum) in zip(floors, rows, strict=True)
    )


# Columns: tick and lot in E8; lots = (minimum, maximum, maximum of a market order); price_limits in ticks; min_notional in USDT;
# percent_price = (up, down) in bps of the mark; precision = (price, quantity) in digits;
# protect = (triggerProtect, liquidationFee, marketTakeBound) in E8; brackets = (max leverage, notional cap in USDT,
# maintenance ratio in E8, cum in E8).
_TABLE = (
    _facts(
        "BTC",
        tick=10_000_000,
        lot=100_000,
        lots=(1, 1_000_000, 120_000),
        price_limits=(5_568, 45_297_640),
        min_notional=100,
        percent_price=(10500, 9500),
        precision=(2, 3),
        onboard_ms=1_569_398_400_000,
        kind="PoW",
        protect=(5_000_000, 1_250_000, 5_000_000),
        brackets=(
            (150, 300_000, 400_000, 0),
            (100, 800_000, 500_000, 30_000_000_000),
            (75, 3_000_000, 650_000, 150_000_000_000),
            (50, 12_000_000, 1_000_000, 1_200_000_000_000),
            (25, 70_000_000, 2_000_000, 13_200_000_000_000),
            (20, 100_000_000, 2_500_000, 48_200_000_000_000),
            (10, 230_000_000, 5_000_000, 298_200_000_000_000),
            (5, 480_000_000, 10_000_000, 1_448_200_000_000_000),
            (4, 600_000_000, 12_500_000, 2_648_200_000_000_000),
            (3, 800_000_000, 15_000_000, 4_148_200_000_000_000),
            (2, 1_200_000_000, 25_000_000, 12_148_200_000_000_000),
            (1, 1_800_000_000, 50_000_000, 42_148_200_000_000_000),
        ),
    ),
    _facts(
        "ETH",
        tick=1_000_000,
        lot=100_000,
        lots=(1, 10_000_000, 2_000_000),
        price_limits=(3_986, 30_617_700),
        min_notional=20,
        percent_price=(10500, 9500),
        precision=(2, 3),
        onboard_ms=1_569_398_400_000,
        kind="Layer-1",
        protect=(5_000_000, 1_250_000, 5_000_000),
        brackets=(
            (150, 300_000, 400_000, 0),
            (100, 800_000, 500_000, 30_000_000_000),
            (75, 3_000_000, 650_000, 150_000_000_000),
            (50, 12_000_000, 1_000_000, 1_200_000_000_000),
            (25, 50_000_000, 2_000_000, 13_200_000_000_000),
            (20, 65_000_000, 2_500_000, 38_200_000_000_000),
            (10, 150_000_000, 5_000_000, 200_700_000_000_000),
            (5, 320_000_000, 10_000_000, 950_700_000_000_000),
            (4, 400_000_000, 12_500_000, 1_750_700_000_000_000),
            (3, 530_000_000, 15_000_000, 2_750_700_000_000_000),
            (2, 800_000_000, 25_000_000, 8_050_700_000_000_000),
            (1, 1_200_000_000, 50_000_000, 28_050_700_000_000_000),
        ),
    ),
    _facts(
        "SOL",
        tick=1_000_000,
        lot=100_000_000,
        lots=(1, 1_000_000, 5_000),
        price_limits=(42, 685_700),
        min_notional=5,
        percent_price=(10500, 9500),
        precision=(4, 0),
        onboard_ms=1_569_398_400_000,
        kind="Layer-1",
        protect=(5_000_000, 1_500_000, 5_000_000),
        brackets=(
            (100, 50_000, 500_000, 0),
            (75, 400_000, 650_000, 7_500_000_000),
            (50, 1_000_000, 1_000_000, 147_500_000_000),
            (25, 4_000_000, 2_000_000, 1_147_500_000_000),
            (20, 8_000_000, 2_500_000, 3_147_500_000_000),
            (10, 40_000_000, 5_000_000, 23_147_500_000_000),
            (5, 80_000_000, 10_000_000, 223_147_500_000_000),
            (4, 100_000_000, 12_500_000, 423_147_500_000_000),
            (2, 200_000_000, 25_000_000, 1_673_147_500_000_000),
            (1, 400_000_000, 50_000_000, 6_673_147_500_000_000),
        ),
    ),
    _facts(
        "ADA",
        tick=10_000,
        lot=100_000_000,
        lots=(1, 2_000_000, 300_000),
        price_limits=(174, 200_000_000),
        min_notional=5,
        percent_price=(10500, 9500),
        precision=(5, 0),
        onboard_ms=1_569_398_400_000,
        kind="Layer-1",
        protect=(5_000_000, 1_000_000, 5_000_000),
        brackets=(
            (75, 10_000, 500_000, 0),
            (50, 50_000, 1_000_000, 5_000_000_000),
            (40, 200_000, 1_500_000, 30_000_000_000),
            (25, 1_000_000, 2_000_000, 130_000_000_000),
            (20, 2_000_000, 2_500_000, 630_000_000_000),
            (10, 10_000_000, 5_000_000, 5_630_000_000_000),
            (5, 20_000_000, 10_000_000, 55_630_000_000_000),
            (4, 25_000_000, 12_500_000, 105_630_000_000_000),
            (2, 50_000_000, 25_000_000, 418_130_000_000_000),
            (1, 100_000_000, 50_000_000, 1_668_130_000_000_000),
        ),
    ),
    _facts(
        "DOT",
        tick=100_000,
        lot=10_000_000,
        lots=(1, 10_000_000, 500_000),
        price_limits=(373, 2_398_000),
        min_notional=5,
        percent_price=(10500, 9500),
        precision=(3, 1),
        onboard_ms=1_569_398_400_000,
        kind="Layer-1",
        protect=(5_000_000, 1_500_000, 5_000_000),
        brackets=(
            (75, 10_000, 650_000, 0),
            (50, 50_000, 1_000_000, 3_500_000_000),
            (40, 100_000, 1_500_000, 28_500_000_000),
            (25, 500_000, 2_000_000, 78_500_000_000),
            (20, 800_000, 2_500_000, 328_500_000_000),
            (10, 4_000_000, 5_000_000, 2_328_500_000_000),
            (5, 8_000_000, 10_000_000, 22_328_500_000_000),
            (4, 10_000_000, 12_500_000, 42_328_500_000_000),
            (2, 30_000_000, 25_000_000, 167_328_500_000_000),
            (1, 50_000_000, 50_000_000, 917_328_500_000_000),
        ),
    ),
    _facts(
        "AVAX",
        tick=100_000,
        lot=100_000_000,
        lots=(1, 100_000, 5_000),
        price_limits=(350, 2_403_000),
        min_notional=5,
        percent_price=(11000, 9000),
        precision=(4, 0),
        onboard_ms=1_569_398_400_000,
        kind="Layer-1",
        protect=(10_000_000, 1_500_000, 10_000_000),
        brackets=(
            (75, 25_000, 500_000, 0),
            (50, 80_000, 1_000_000, 12_500_000_000),
            (40, 160_000, 1_500_000, 52_500_000_000),
            (25, 800_000, 2_000_000, 132_500_000_000),
            (20, 1_600_000, 2_500_000, 532_500_000_000),
            (10, 8_000_000, 5_000_000, 4_532_500_000_000),
            (5, 16_000_000, 10_000_000, 44_532_500_000_000),
            (4, 20_000_000, 12_500_000, 84_532_500_000_000),
            (2, 40_000_000, 25_000_000, 334_532_500_000_000),
            (1, 80_000_000, 50_000_000, 1_334_532_500_000_000),
        ),
    ),
    _facts(
        "XRP",
        tick=10_000,
        lot=10_000_000,
        lots=(1, 100_000_000, 20_000_000),
        price_limits=(143, 1_000_000_000),
        min_notional=5,
        percent_price=(10500, 9500),
        precision=(4, 1),
        onboard_ms=1_569_398_400_000,
        kind="Payment",
        protect=(5_000_000, 1_250_000, 5_000_000),
        brackets=(
            (100, 40_000, 500_000, 0),
            (75, 80_000, 600_000, 4_000_000_000),
            (50, 150_000, 1_000_000, 36_000_000_000),
            (40, 400_000, 1_250_000, 73_500_000_000),
            (25, 1_000_000, 2_000_000, 373_500_000_000),
            (20, 2_000_000, 2_500_000, 873_500_000_000),
            (10, 10_000_000, 5_000_000, 5_873_500_000_000),
            (5, 20_000_000, 10_000_000, 55_873_500_000_000),
            (4, 25_000_000, 12_500_000, 105_873_500_000_000),
            (2, 50_000_000, 25_000_000, 418_373_500_000_000),
            (1, 100_000_000, 50_000_000, 1_668_373_500_000_000),
        ),
    ),
    _facts(
        "BNB",
        tick=1_000_000,
        lot=1_000_000,
        lots=(1, 10_000_000, 200_000),
        price_limits=(660, 10_000_000),
        min_notional=5,
        percent_price=(10500, 9500),
        precision=(3, 2),
        onboard_ms=1_569_398_400_000,
        kind="Layer-1",
        protect=(5_000_000, 1_500_000, 5_000_000),
        brackets=(
            (75, 10_000, 500_000, 0),
            (50, 200_000, 600_000, 1_000_000_000),
            (40, 400_000, 1_000_000, 81_000_000_000),
            (25, 1_500_000, 2_000_000, 481_000_000_000),
            (20, 3_000_000, 2_500_000, 1_231_000_000_000),
            (10, 15_000_000, 5_000_000, 8_731_000_000_000),
            (5, 30_000_000, 10_000_000, 83_731_000_000_000),
            (4, 37_500_000, 12_500_000, 158_731_000_000_000),
            (2, 75_000_000, 25_000_000, 627_481_000_000_000),
            (1, 150_000_000, 50_000_000, 2_502_481_000_000_000),
        ),
    ),
    _facts(
        "LTC",
        tick=1_000_000,
        lot=100_000,
        lots=(1, 10_000_000, 5_000_000),
        price_limits=(361, 10_000_000),
        min_notional=20,
        percent_price=(10500, 9500),
        precision=(2, 3),
        onboard_ms=1_569_398_400_000,
        kind="PoW",
        protect=(5_000_000, 1_500_000, 5_000_000),
        brackets=(
            (75, 10_000, 500_000, 0),
            (50, 50_000, 1_000_000, 5_000_000_000),
            (40, 160_000, 1_500_000, 30_000_000_000),
            (25, 800_000, 2_000_000, 110_000_000_000),
            (20, 1_600_000, 2_500_000, 510_000_000_000),
            (10, 8_000_000, 5_000_000, 4_510_000_000_000),
            (5, 16_000_000, 10_000_000, 44_510_000_000_000),
            (4, 20_000_000, 12_500_000, 84_510_000_000_000),
            (2, 40_000_000, 25_000_000, 334_510_000_000_000),
            (1, 80_000_000, 50_000_000, 1_334_510_000_000_000),
        ),
    ),
    _facts(
        "LINK",
        tick=100_000,
        lot=1_000_000,
        lots=(1, 20_000_000, 2_000_000),
        price_limits=(464, 100_000_000),
        min_notional=20,
        percent_price=(11000, 9000),
        precision=(3, 2),
        onboard_ms=1_569_398_400_000,
        kind="Oracle",
        protect=(10_000_000, 1_500_000, 10_000_000),
        brackets=(
            (75, 10_000, 500_000, 0),
            (50, 200_000, 1_000_000, 5_000_000_000),
            (40, 400_000, 1_500_000, 105_000_000_000),
            (25, 800_000, 2_000_000, 305_000_000_000),
            (20, 1_600_000, 2_500_000, 705_000_000_000),
            (10, 8_000_000, 5_000_000, 4_705_000_000_000),
            (5, 16_000_000, 10_000_000, 44_705_000_000_000),
            (4, 20_000_000, 12_500_000, 84_705_000_000_000),
            (2, 40_000_000, 25_000_000, 334_705_000_000_000),
            (1, 80_000_000, 50_000_000, 1_334_705_000_000_000),
        ),
    ),
    _facts(
        "DOGE",
        tick=1_000,
        lot=100_000_000,
        lots=(1, 50_000_000, 30_000_000),
        price_limits=(244, 3_000_000),
        min_notional=5,
        percent_price=(11000, 9000),
        precision=(6, 0),
        onboard_ms=1_569_398_400_000,
        kind="Meme",
        protect=(10_000_000, 1_000_000, 10_000_000),
        brackets=(
            (75, 80_000, 650_000, 0),
            (50, 150_000, 1_000_000, 28_000_000_000),
            (40, 750_000, 1_250_000, 65_500_000_000),
            (25, 2_000_000, 2_000_000, 628_000_000_000),
            (20, 4_000_000, 2_500_000, 1_628_000_000_000),
            (10, 20_000_000, 5_000_000, 11_628_000_000_000),
            (5, 40_000_000, 10_000_000, 111_628_000_000_000),
            (4, 50_000_000, 12_500_000, 211_628_000_000_000),
            (2, 100_000_000, 25_000_000, 836_628_000_000_000),
            (1, 200_000_000, 50_000_000, 3_336_628_000_000_000),
        ),
    ),
)

FACTS: Mapping[str, Facts] = MappingProxyType({row.symbol: row for row in _TABLE})


def instrument(symbol: str) -> Instrument:
    """Trading rules of a symbol of the table. Raises ``KeyError`` for a symbol that is not in it."""
    return FACTS[symbol].instrument
