"""A snapshot is the exchange: what was restored has the same future, and a file that is not whole is refused.

Over 300 lines: the life that is saved, and each way in which a file can be wrong.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qtkit.core.model import E8, ONE, Bps, OrderKind, OrderSide, PolicyError, PositionSide, Side, Ticks, TriggerBy
from qtkit.paper.digest import Digest
from qtkit.paper.exchange import Exchange, ExchangeError, NewOrder, Rules
from qtkit.paper.faults import Fault, FaultKind, Faults, Match
from qtkit.paper.hand import Hand
from qtkit.paper.liquidity import Liquidity
from qtkit.paper.others import Others
from qtkit.paper.plain import pack, unpack
from qtkit.paper.rows import AlgoStatus, TimeInForce
from qtkit.paper.snapshot import become, load, save
from qtkit.paper.synthetic import Regime, synthetic_tape

START = 1_767_571_200_000
STARTS = {"BTCUSDT": Ticks(934_758), "SOLUSDT": Ticks(14_240), "DOGEUSDT": Ticks(20_000)}
HOUR_MS = 3_600_000
SHALLOW = Liquidity(depth=3_000 * ONE, level=1_000 * ONE, recovery_ms=HOUR_MS)
RULES = (
    Rules(),
    Rules(conditional_reserves=True, algo_read_lag_ms=500, slot_lag_ms=700, liquidation_ms=2 * HOUR_MS),
    Rules(floor_beside_stop=False, close_position_while_flat=True),
)


def lived(seed: int, *, hedge: bool, rules: Rules, steps: int) -> Exchange:
    """An exchange on which a human and a bot have traded through a wild market, with isolated and cross positions, some liquidated."""
    exchange = Exchange(rules, seed=seed, start_ms=START)
    for name, balance in (("main", 30_000), ("small", 900)):
        account = exchange.open_account(name, balance=E8(balance * ONE), hedge=hedge)
        exchange.set_margin_mode(account, "SOLUSDT", isolated=True)
        exchange.set_leverage(account, "SOLUSDT", 50)
    exchange.set_funding("BTCUSDT", E8(12_345), START + 60_000, hours=1)
    play(exchange, seed, steps, 0)
    ruled(exchange, hedge=hedge, halted=seed % 2 == 0)
    return exchange


def ruled(exchange: Exchange, *, hedge: bool, halted: bool) -> None:
    """What the exchange itself imposes and remembers: orders with a date, a shallow book that was just eaten from, restrictions."""
    account = exchange.open_account("dated", balance=E8(10_000 * ONE), hedge=hedge)
    exchange.set_liquidity("DOGEUSDT", SHALLOW)
    price = E8(exchange.book("BTCUSDT").mark * 97 // 100 // (ONE // 10) * (ONE // 10))
    dated = NewOrder(
        symbol="BTCUSDT", side=OrderSide.BUY, kind=OrderKind.LIMIT, quantity=E8(ONE // 100), price=price, client_id="dated",
        position_side=PositionSide.LONG if hedge else None, time_in_force=TimeInForce.GTD, good_till_ms=exchange.now_ms + HOUR_MS // 2,
    )  # fmt: skip
    exchange.submit(account, dated)
    exchange.submit_algo(account, replace(dated, kind=OrderKind.TAKE_PROFIT, trigger=price))
    assert Hand(exchange, "dated", "x", "x-").buys_in("DOGEUSDT", Side.LONG, E8(60_000 * ONE))
    exchange.restrict(exchange.accounts["small"], -4400)
    if halted:
        exchange.halt("SOLUSDT")


def prices(seed: int, start_ms: int, steps: int) -> Iterator[tuple[str, Ticks, E8, int]]:
    tape = synthetic_tape(seed, 1, start_ms=start_ms, starts=STARTS, regimes=(Regime.CRASH, Regime.SQUEEZE, Regime.GAP))
    for tick in list(tape)[: steps * len(STARTS)]:
        yield tick.symbol, tick.last, tick.mark, tick.at_ms


def play(exchange: Exchange, seed: int, steps: int, part: int) -> None:
    """The same seed and part are the same deeds, if the exchange is the same."""
    begin = exchange.now_ms // 60_000 * 60_000 + (60_000 if part else 0)
    others = None
    for number, price in enumerate(prices(seed + part, begin, steps)):
        exchange.tick(*price)
        if others is None and number >= len(STARTS):
            others = [Others(exchange, name, human=STARTS, bot=("DOGEUSDT",), seed=seed + part) for name in exchange.accounts]
            for one in ("main", "small"):
                trails(exchange, one)
        for other in others or ():
            other.act()
    exchange.advance(exchange.now_ms + 3_600_000)


def trails(exchange: Exchange, name: str) -> None:
    hand = Hand(exchange, name, "trailer", f"trail-{exchange.now_ms}-")
    hand.buys_in("SOLUSDT", Side.LONG, E8(30 * ONE))
    hand.trails("SOLUSDT", Side.LONG, E8(5 * ONE), Bps(80))
    hand.buys_in("BTCUSDT", Side.SHORT, E8(ONE // 20))
    hand.stops("BTCUSDT", Side.SHORT, None, 150)


def books(exchange: Exchange) -> str:
    """All that can be read of it, as text."""
    read: list[object] = [exchange.now_ms, exchange._last_id, exchange.halted, exchange._deadlines]
    for account in exchange.accounts.values():
        read += [account, exchange.wallet(account), exchange.positions(account, flat=True)]
        read += [exchange.open_algos(account), account.resting(), exchange.trades(account), exchange.income(account)]
    for symbol in STARTS:
        read += [exchange.book(symbol), exchange.depth(symbol, 30), exchange.liquidity(symbol), exchange.funding_history(symbol)]
        read += [exchange.candles(symbol, by, limit=1_000) for by in TriggerBy]
    return json.dumps(pack(read)[0])


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), hedge=st.booleans(), rules=st.sampled_from(RULES), steps=st.integers(1, 150))
def test_what_was_restored_has_the_same_future(tmp_path: Path, seed: int, hedge: bool, rules: Rules, steps: int) -> None:
    exchange, file = lived(seed, hedge=hedge, rules=rules, steps=steps), tmp_path / "a.snapshot"
    save(file, exchange)
    restored = load(file).exchange
    assert books(restored) == books(exchange)
    digests = [Digest(one) for one in (exchange, restored)]
    for one in (exchange, restored):
        play(one, seed, 60, 7)
    assert str(digests[0]) == str(digests[1]) and digests[0].count > 180
    assert books(restored) == books(exchange)


def test_the_future_that_is_compared_is_not_an_empty_one() -> None:
    exchange = lived(5, hedge=False, rules=Rules(), steps=150)
    algos = [row for account in exchange.accounts.values() for row in account.algos.values()]
    trades = [row for account in exchange.accounts.values() for row in account.trades]
    assert {AlgoStatus.NEW, AlgoStatus.FINISHED} <= {row.status for row in algos} and len(trades) > 20
    assert any(row.activated for row in algos) and any(leg.isolated_wallet for leg in exchange.accounts["main"].legs.values())
    assert any(row.client_id.startswith("autoclose-") for row in trades), "somebody was liquidated"


def test_the_future_needs_what_the_exchange_imposes(tmp_path: Path) -> None:
    exchange = lived(6, hedge=False, rules=RULES[1], steps=150)
    save(tmp_path / "a.snapshot", exchange)
    back = load(tmp_path / "a.snapshot").exchange
    small, dated, market = back.accounts["small"], back.accounts["dated"], back._markets["DOGEUSDT"]
    assert small.restricted == -4400 and small.liquidating_until_ms > back.now_ms and back.halted == {"SOLUSDT"}
    assert market.liquidity == SHALLOW and market.eaten == exchange._markets["DOGEUSDT"].eaten != {}
    assert back.depth("DOGEUSDT").asks[0][0] > back.book("DOGEUSDT").last * 10_003 // 10_000, "what was taken is still missing"
    assert [row.good_till_ms > back.now_ms for row in (*dated.resting(), *dated.waiting())] == [True, True]
    back.advance(back.now_ms + HOUR_MS)
    assert not dated.resting() and not dated.waiting()


@pytest.mark.parametrize("rules", RULES)
def test_the_same_seed_twice_is_the_same_to_the_last_event(rules: Rules) -> None:
    def told(seed: int) -> str:
        exchange = Exchange(rules, seed=seed, start_ms=START)
        for name in ("main", "small"):
            exchange.open_account(name, balance=E8(5_000 * ONE))
        digest = Digest(exchange)
        play(exchange, seed, 120, 0)
        return f"{digest} {digest.count}"

    assert told(3) == told(3) != told(4)


def test_a_running_exchange_becomes_the_saved_one_and_its_listeners_stay(tmp_path: Path) -> None:
    exchange, file = lived(9, hedge=True, rules=Rules(), steps=60), tmp_path / "a.snapshot"
    told: list[object] = []
    exchange.listeners.append(told.append)
    before = books(exchange)
    save(file, exchange)
    play(exchange, 1, 40, 3)
    assert books(exchange) != before
    told.clear()
    become(exchange, load(file).exchange)
    after = books(exchange)
    play(exchange, 1, 5, 3)
    assert after == before and told and books(exchange) != after


def test_what_else_is_remembered_comes_back_as_it_was(tmp_path: Path) -> None:
    faults = Faults([Fault(kind=FaultKind.DROP, match=Match(symbol="BTCUSDT"), times=3, per_mille=400)], seed=4)
    rng = Random(3)
    shared = [1, 2]
    about = {"faults": faults, "rng": rng, "one": shared, "other": shared, "position": (7, None, "x", True, 1 << 100)}
    save(tmp_path / "a", Exchange(start_ms=START), about)
    back = load(tmp_path / "a").about
    assert back["faults"].lines == faults.lines and back["faults"]._random.random() == faults._random.random()
    assert back["rng"].random() == rng.random() and back["position"] == about["position"]
    assert back["one"] is back["other"], "what is shared stays shared"


# -- files that are refused


@pytest.fixture
def file(tmp_path: Path) -> Path:
    exchange = Exchange(start_ms=START)
    exchange.open_account("main", balance=E8(ONE))
    save(tmp_path / "a.snapshot", exchange)
    return tmp_path / "a.snapshot"


def refused(file: Path, words: str) -> None:
    with pytest.raises(PolicyError) as said:
        load(file)
    assert words in str(said.value) and str(file) in str(said.value) and "\n" not in str(said.value)


def test_a_file_is_its_owners_and_nothing_else_lies_beside_it(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir() if "snapshot" in path.name] == ["a.snapshot"]


@pytest.mark.parametrize("junk", [b"", b"\n", b"{}", b'{"format": 1}\n', b"PK\x03\x04" * 99, b"[" * 5_000, "\xff\n{}".encode("latin-1")])
def test_a_foreign_file_is_refused(file: Path, junk: bytes) -> None:
    file.write_bytes(junk)
    refused(file, "it is no snapshot of a paper exchange")


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_wherever_it_is_damaged(file: Path, data: st.DataObject) -> None:
    whole = file.read_bytes()
    if data.draw(st.booleans(), label="cut"):
        broken = whole[: data.draw(st.integers(0, len(whole) - 2))]
    else:
        at = data.draw(st.integers(whole.index(b"\n") + 1, len(whole) - 2))
        broken = whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    other = file.with_name("broken")
    other.write_bytes(broken)
    refused(other, "cannot be restored: it is ")


def sealed(file: Path, change: dict[str, str], version: int = 1) -> None:
    """A file whose seal is right and whose content is not."""
    import hashlib

    head, body, _ = file.read_bytes().split(b"\n")
    for old, new in change.items():
        assert old.encode() in body
        body = body.replace(old.encode(), new.encode())
    told = json.loads(head) | {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "version": version}
    file.write_bytes(json.dumps(told).encode() + b"\n" + body + b"\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({'"isolated_wallet"': '"isolated_purse"'}, "qtkit.paper.account.Leg differs in isolated_purse, isolated_wallet"),
        ({"qtkit.paper.account.Account": "subprocess.Popen"}, "there is no subprocess.Popen here"),
        ({"qtkit.paper.account.Account": "qtkit.paper.exchange.os"}, "there is no qtkit.paper.exchange.os here"),
        ({"qtkit.paper.account.Account": "qtkit.paper.market.deque"}, "there is no qtkit.paper.market.deque here"),
        ({'["o","qtkit.paper.account.Account"': '["z","qtkit.paper.account.Account"'}, "its data is not in order"),
    ],
)  # fmt: skip
def test_classes_that_are_not_ours_are_never_made(file: Path, change: dict[str, str], words: str) -> None:
    exchange = load(file).exchange
    exchange.tick("BTCUSDT", Ticks(900_000), E8(9_000_000_000_000), START)
    Hand(exchange, "main", "x", "x-").buys_in("BTCUSDT", Side.LONG, E8(ONE))
    exchange.accounts["main"].leg("BTCUSDT", PositionSide.BOTH)
    save(file, exchange)
    sealed(file, change)
    refused(file, words)


def test_another_version_is_refused(file: Path) -> None:
    sealed(file, {}, version=2)
    refused(file, "it is a snapshot of version 2, this qtkit reads version 1")


def test_an_exchange_of_another_version_is_refused(file: Path) -> None:
    sealed(file, {'["halted",': '["stopped",'})
    refused(file, "it is of another version: the exchange differs in halted, stopped")


def test_what_has_no_plain_form_is_named(file: Path) -> None:
    exchange = load(file).exchange
    exchange.answer = lambda: 42  # type: ignore[attr-defined]
    with pytest.raises(PolicyError, match=r"dict\[state\]\[answer\] cannot be saved: it is a builtins.function"):
        save(file, exchange)
    load(file)


def test_a_save_that_fails_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()
    exchange = load(file).exchange
    exchange.open_account("second", balance=E8(ONE))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PolicyError, match="cannot be written"):
        save(file, exchange)
    assert file.read_bytes() == before and len(list(file.parent.glob(".*snapshot*"))) == 0


def test_a_listener_may_not_save_what_is_half_told(file: Path) -> None:
    exchange = load(file).exchange
    said: list[str] = []

    def listen(_: object) -> None:
        try:
            save(file, exchange)
        except PolicyError as error:
            said.append(str(error))

    exchange.listeners.append(listen)
    exchange.tick("BTCUSDT", Ticks(900_000), E8(9_000_000_000_000), START)
    try:
        exchange.deposit(exchange.accounts["main"], E8(ONE))
    except ExchangeError:
        pytest.fail("a deposit is no order")
    assert said == ["the exchange is telling events just now; save it after the call that caused them"]


LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(LEAVES, lambda x: st.lists(x) | st.dictionaries(st.text() | st.integers(), x) | st.tuples(x, x)))
def test_plain_data_comes_back(thing: object) -> None:
    data, table = pack(thing)
    assert unpack(json.loads(json.dumps(data)), table) == thing
