"""What was traded: the same on the tape, in bars, in the day's figures, in trades and on streams; what a tape without volumes counts."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtkit.core.model import E8, ONE, Ticks, TriggerBy
from qtkit.paper import scene
from qtkit.paper.barpath import BarPath
from qtkit.paper.exchange import Exchange
from qtkit.paper.intervals import INTERVALS, LONG, bars, bounds
from qtkit.paper.live import LivePump
from qtkit.paper.synthetic import history_bars
from qtkit.paper.tape import INSTRUMENTS, Tape
from qtkit.paper.trade_tape import load_recording, recorded_tape
from qtkit.paper.window import WindowChoice, replay_tape
from qtkit.venue.gateway import Quote
from tests.paper.server_rig import rig
from tests.paper.test_server_streams import readers

START = 1_767_571_200_000
BTC = "BTCUSDT"
TICK, LOT = INSTRUMENTS[BTC].tick, INSTRUMENTS[BTC].lot


def written(folder: Path, volumes: list[float]) -> None:
    """Minute bars that rise by one each."""
    begin = datetime.fromtimestamp(START / 1000, UTC)
    rows = [(begin + timedelta(minutes=n), 100.0 + n, 101.5 + n, 99.5 + n, 101.0 + n, volume) for n, volume in enumerate(volumes)]
    frame = pl.DataFrame(rows, schema=["time", "open", "high", "low", "close", "volume"], orient="row")
    frame.with_columns(pl.col("time").cast(pl.Datetime("ms", "UTC"))).write_parquet(folder / f"{BTC}.parquet")


def played(tape: Tape) -> Exchange:
    """An exchange that has seen a whole tape."""
    exchange = Exchange(start_ms=tape.start_ms)
    scene.prepare(exchange, tape)
    for tick in tape:
        exchange.tick(tick.symbol, tick.last, tick.mark, tick.at_ms, tick.traded)
    exchange.advance(tape.end_ms // 60_000 * 60_000 + 60_000)
    return exchange


@pytest.mark.parametrize("path", ["bridge", "worst-long", "worst-short"])
def test_the_volumes_of_bars_are_those_of_the_file(tmp_path: Path, path: str) -> None:
    volumes = [1.0, 2.5, 12.345, 0.061, 7.0, 9.999, 1_234.567, 3.0]
    written(tmp_path, volumes)
    choice = WindowChoice(symbol=BTC, start=datetime.fromtimestamp(START / 1000 + 180, UTC))
    tape = replay_tape(tmp_path, [choice], 5 / 60, start_ms=START + 180_000, path=BarPath.parse(path))
    found = played(tape).candles(BTC, TriggerBy.LAST)[:-1]
    assert [bar.volume for bar in found] == [round(volume * ONE) for volume in volumes]
    assert all(bar.low * bar.volume <= bar.quote * ONE + ONE * 61 and bar.quote * ONE <= bar.high * bar.volume for bar in found)
    assert all(0 <= bar.bought <= bar.volume and 0 <= bar.bought_quote <= bar.quote for bar in found)
    assert all(bar.ticks == 60 for bar in found[3:]), "as many trades as prices"
    marks = played(tape).candles(BTC, TriggerBy.MARK)
    assert not any(bar.volume or bar.quote for bar in marks), "a mark trades nothing"


def test_a_bar_without_volume_trades_where_its_price_moves_alone(tmp_path: Path) -> None:
    written(tmp_path, [0.0, 0.003])
    tape = replay_tape(tmp_path, [WindowChoice(symbol=BTC, start=datetime.fromtimestamp(START / 1000, UTC))], 2 / 60, start_ms=START)
    moved = sum(a != b for a, b in zip(tape.tracks[0].lasts[:59], tape.tracks[0].lasts[1:60], strict=True))
    assert played(tape).candles(BTC, TriggerBy.LAST)[0].volume == moved * LOT > 0


def test_recorded_sizes_and_sides_are_the_volume_and_quotes_are_none(tmp_path: Path) -> None:
    def at(ms: int) -> datetime:
        return datetime.fromtimestamp(START / 1000, UTC) + timedelta(milliseconds=ms)

    kind = pl.col("time").cast(pl.Datetime("ms", "UTC"))
    trades = [(BTC, at(500), 1, 100.0, 0.5, "buy"), (BTC, at(700), 2, 100.0, 0.25, "sell"), (BTC, at(900), 3, 99.0, 2.0, "buy")]
    late = [(BTC, at(60_800), 4, 90.0, 1.0, "sell")]
    columns = ["symbol", "time", "id", "price", "size", "side"]
    pl.DataFrame(trades + late, schema=columns, orient="row").with_columns(kind).write_parquet(tmp_path / "t.parquet")
    quotes = [(BTC, at(600), 100.0, 100.1), (BTC, at(60_500), 89.0, 91.0)]
    pl.DataFrame(quotes, schema=["symbol", "time", "bid", "ask"], orient="row").with_columns(kind).write_parquet(tmp_path / "q.parquet")
    tape = recorded_tape(load_recording(tmp_path / "t.parquet", tmp_path / "q.parquet"), start_ms=START)
    assert [tick.traded for tick in tape] == [ONE // 2, 0, -ONE // 4, 2 * ONE, 0, -ONE]
    first, second = played(tape).candles(BTC, TriggerBy.LAST, start_ms=START)[:2]
    assert (first.ticks, first.volume, first.bought) == (3, 2_75 * ONE // 100, 2_50 * ONE // 100)
    assert (first.quote, first.bought_quote) == ((50 + 25 + 198) * ONE, (50 + 198) * ONE)
    assert (second.ticks, second.open, second.high) == (1, 90 * ONE, 90 * ONE), "a bar opens with its first trade, not with a quote"


def test_without_sizes_each_trade_is_one_lot_by_the_direction_of_the_price(tmp_path: Path) -> None:
    kind = pl.col("time").cast(pl.Datetime("ms", "UTC"))
    rows = [(BTC, START + 100 * number, number, price) for number, price in enumerate((100.0, 100.1, 100.1, 99.9, 99.9))]
    pl.DataFrame(rows, schema=["symbol", "time", "id", "price"], orient="row").with_columns(kind).write_parquet(tmp_path / "t.parquet")
    tape = recorded_tape(load_recording(tmp_path / "t.parquet"), start_ms=START)
    assert [tick.traded for tick in tape] == [LOT, LOT, LOT, -LOT, -LOT]


@given(prices=st.lists(st.tuples(st.integers(1, 9), st.integers(-3, 3) | st.none(), st.integers(1, 90_000)), min_size=1, max_size=60))
def test_bars_of_every_length_hold_the_trades_in_them(prices: list[tuple[int, int | None, int]]) -> None:
    exchange, at_ms, told, last = Exchange(start_ms=START), START, [], 0
    for price, traded, step in prices:
        price = last if traded == 0 and last else price
        exchange.tick(BTC, Ticks(price), E8(price * TICK), at_ms, None if traded is None else E8(traded * LOT))
        told.append((at_ms, price * TICK, exchange.traded(BTC)))
        last, at_ms = price, at_ms + step
    for interval in (*INTERVALS, *LONG):
        for bar in bars(exchange, BTC, TriggerBy.LAST, interval, limit=1_000):
            start_ms, end_ms = bounds(bar.time_ms, interval)
            inside = [(price, size) for at, price, size in told if start_ms <= at < end_ms and size]
            assert bar.time_ms == start_ms and bar.ticks == len(inside)
            assert bar.volume == sum(abs(size) for _, size in inside)
            assert bar.quote == sum(price * abs(size) // ONE for price, size in inside)
            assert bar.bought == sum(size for _, size in inside if size > 0)
            assert not inside or (bar.close == inside[-1][0] and bar.low <= min(inside)[0] <= max(inside)[0] <= bar.high)


def test_history_is_told_with_volumes_and_with_four_lots_where_there_are_none() -> None:
    exchange, history = Exchange(start_ms=START), history_bars(Ticks(1_000), START, "x")[-2:]
    exchange.seed_bars(BTC, TriggerBy.LAST, history, [5 * ONE])
    first, second = exchange.candles(BTC, TriggerBy.LAST)
    assert (first.volume, second.volume, second.ticks) == (5 * ONE, 4 * LOT, 4)
    assert first.low * 5 <= first.quote <= first.high * 5


async def test_live_marks_trade_nothing() -> None:
    class Heard:
        def __init__(self) -> None:
            self.traded: list[E8 | None] = []

        def tick(self, symbol: str, last: Ticks, mark: E8, at_ms: int, traded: E8 | None = None) -> None:
            self.traded.append(traded)

    heard = Heard()
    pump = LivePump(heard, None, (BTC,))  # type: ignore[arg-type]
    for last, mark in ((5, 7), (None, 8), (6, None)):
        pump._take(Quote(symbol=BTC, last=last and Ticks(last), mark=mark and E8(mark), time_ms=1))
    assert heard.traded == [None, 0, None]


# over the wire


async def test_all_that_is_told_of_volumes_agrees() -> None:
    async with rig() as it:
        it.at_ms = (it.at_ms // 60_000 + 1) * 60_000
        for last, lots in ((96_000, 5), (96_010, 2), (96_010, 0), (95_990, -4)):
            it.at_ms += 1_000
            it.exchange.tick(BTC, Ticks(last * 10), E8(last * ONE), it.at_ms, E8(lots * LOT))

        async def get(path: str) -> Any:
            return (await it.call("GET", f"/fapi/v1/{path}", sign=False))[1]

        trades, minute = await get(f"trades?symbol={BTC}&limit=3"), (await get(f"klines?symbol={BTC}&interval=1m&limit=1"))[0]
        assert [(row["qty"], row["isBuyerMaker"]) for row in trades] == [("0.005", False), ("0.002", False), ("0.004", True)]
        assert [row["id"] for row in trades] == list(range(trades[0]["id"], trades[0]["id"] + 3)), "a quote is no trade"
        quotes = [Decimal(row["quoteQty"]) for row in trades]
        assert (Decimal(minute[5]), Decimal(minute[7]), minute[8]) == (Decimal("0.011"), sum(quotes), 3)
        assert (Decimal(minute[9]), Decimal(minute[10])) == (Decimal("0.007"), sum(quotes[:2]))
        day = await get(f"ticker/24hr?symbol={BTC}")
        hour = await get(f"klines?symbol={BTC}&interval=1h&limit=25")
        assert Decimal(day["volume"]) == sum(Decimal(row[5]) for row in hour) and day["lastQty"] == "0.004"
        assert Decimal(day["quoteVolume"]) == sum(Decimal(row[7]) for row in hour) and day["count"] == sum(row[8] for row in hour)
        assert Decimal(day["lowPrice"]) <= Decimal(day["weightedAvgPrice"]) <= Decimal(day["highPrice"])
        assert day["lastId"] == trades[-1]["id"] and (await get(f"markPriceKlines?symbol={BTC}&interval=1m&limit=1"))[0][5] == "0"


async def test_streams_carry_what_the_bars_hold_and_a_quote_is_no_trade() -> None:
    async with rig(start_ms=START) as it:
        names = ("trade", "kline_5m", "kline_1M", "markPriceKline_1m", "ticker")
        async with it.session.ws_connect(f"{it.base}/stream?streams={'/'.join(f'btcusdt@{name}' for name in names)}") as ws:
            await readers(it)
            heard: dict[str, list[Any]] = {name: [] for name in names}
            for last, lots in ((96_000, 5), (96_000, 0), (95_990, -4), (95_995, 3)):
                it.at_ms += 1_000
                it.exchange.tick(BTC, Ticks(last * 10), E8(last * ONE), it.at_ms, E8(lots * LOT))
            for _ in range(4 * len(names) - 1):
                told = json.loads(await asyncio.wait_for(ws.receive_str(), 5))
                heard[told["stream"].partition("@")[2]].append(told["data"])
        assert [(row["q"], row["m"]) for row in heard["trade"]] == [("0.005", False), ("0.004", True), ("0.003", False)]
        for interval in ("5m", "1M"):
            (bar,) = bars(it.exchange, BTC, TriggerBy.LAST, interval, limit=1)
            row = heard[f"kline_{interval}"][-1]["k"]
            assert told_of(row) == (bar.ticks, bar.volume, bar.quote, bar.bought, bar.bought_quote) and bar.volume >= 12 * LOT
        assert heard["markPriceKline_1m"][-1]["k"]["v"] == "0" and heard["markPriceKline_1m"][-1]["k"]["n"] == 5
        assert Decimal(heard["ticker"][-1]["v"]) * ONE == sum(bar.volume for bar in it.exchange.candles(BTC, TriggerBy.LAST))


def told_of(row: dict[str, Any]) -> tuple[int, ...]:
    """Trades and volumes of a kline event, E8."""
    return row["n"], *(int(Decimal(row[name]) * ONE) for name in "vqVQ")


@pytest.mark.parametrize("kind", ["kline", "markPriceKline", "continuousKline"])
@pytest.mark.parametrize(
    ("interval", "first", "after"),
    [("3d", "2026-01-13", "2026-01-16"), ("1w", "2026-01-12", "2026-01-19"), ("1M", "2026-01-01", "2026-02-01")],
)
async def test_streams_of_bars_longer_than_a_day_run_and_close(kind: str, interval: str, first: str, after: str) -> None:
    start, end = (int(datetime.fromisoformat(f"{day}T00:00+00:00").timestamp() * 1_000) for day in (first, after))
    async with rig(start_ms=start) as it:
        symbol = "btcusdt_perpetual" if kind == "continuousKline" else "btcusdt"
        async with it.session.ws_connect(f"{it.base}/market/ws/{symbol}@{kind}_{interval}") as ws:
            await readers(it)
            for price, at_ms in ((97_000, end - 120_000), (95_000, end - 60_000), (96_500, end + 5_000)):
                it.exchange.tick(BTC, Ticks(price * 10), E8(price * ONE), at_ms)
            rows = [json.loads(await asyncio.wait_for(ws.receive_str(), 5))["k"] for _ in range(4)]
    assert [(row["x"], row["t"], row["T"]) for row in rows] == [
        (False, start, end - 1), (False, start, end - 1), (True, start, end - 1), (False, end, bounds(end, interval)[1] - 1),
    ]  # fmt: skip
    assert [rows[2][name] for name in "ohlc"] == ["96000", "97000", "95000", "95000"] and rows[2]["i"] == interval
