"""The first lines of a check, in words: what is naked, what is wrong with the stops, what is at risk."""

from qtkit.ledger import Ledger, Line
from qtkit.risk import FindingLine, counts
from qtkit.show import ledger_html


def finding(wrong: str, *, foreign: bool = False, short: str = "0") -> FindingLine:
    return FindingLine(wrong=wrong, foreign=foreign, short=short, order="", says=f"says {wrong}")


def line(*findings: FindingLine, **changed: object) -> Line:
    """A covered long of BTCUSDT, what is found about it and what is different."""
    usual: dict[str, object] = {
        "key": "paper/BTCUSDT", "symbol": "BTCUSDT", "position_side": "BOTH", "side": "LONG", "size": "1", "entry": "100", "mark": "101",
        "covered": "100", "orders": ("s0@99",), "foreign": (), "gap": "0", "gap_since_ms": None, "stop": "99", "at_risk": "310",
        "plan": "abc", "strategy": "scaled_tp", "standing": "own", "faults": (), "lost": "120.5", "slip": "20", "findings": findings,
    }  # fmt: skip
    return Line(**{**usual, **changed})  # type: ignore[arg-type]


def naked(*more: FindingLine) -> Line:
    return line(finding("naked"), *more, covered="0", gap="1", orders=(), stop=None, at_risk=None, lost=None)


def watched(*more: FindingLine, symbol: str = "ETHUSDT", at_risk: str | None = "50") -> Line:
    """A position that only foreign stops close."""
    given = {"covered": "0", "gap": "1", "orders": (), "stop": None, "at_risk": None, "lost": None, "foreign": ("web_1",), "symbol": symbol}
    return line(*more, **given, foreign_covered="100", foreign_stop="90", foreign_at_risk=at_risk)


def account(*lines: Line) -> Ledger:
    return Ledger(account="paper", scope="full", running=True, at_ms=100_000, last_pass_ms=99_000, tick_ms=2_000, lines=lines)


def test_the_line_that_a_trader_wants() -> None:
    small = line(finding("too_small", short="40"), covered="60", gap="0.4", at_risk=None, lost=None)
    far = naked(finding("beyond", foreign=True))
    it = account(*[line()] * 4, naked(), far, small)
    assert it.sentence == (
        "7 positions, 2 naked, 1 stop 40 % too small, 1 beyond liquidation (foreign), "
        "1,240.00 USDT at risk if every stop of the covered ones fills"
    )


def test_nothing_wrong_is_told_as_ever() -> None:
    assert account(line(), line()).sentence == "2 positions, 0 naked, 0 with a gap, 620.00 USDT at risk if every stop fills"
    assert account(naked()).sentence == "1 position, 1 naked, 0 with a gap, no stop bounds the loss"
    assert account(line(finding("no_cover"))).sentence.startswith("1 position, 0 naked, 0 with a gap, 310.00"), "an order on its way out"


def test_counts_say_stop_once_round_up_and_mark_what_is_foreign() -> None:
    assert counts([finding("too_small", short="39.01"), finding("too_small", short="3", foreign=True), finding("loose")]) == (
        "2 stops too small, the worst by 40 % (1 foreign)", "1 looser than the floor",
    )  # fmt: skip
    assert counts([finding("protected"), finding("beyond"), finding("beyond")]) == (
        "2 stops beyond liquidation", "1 with priceProtect on",
    )  # fmt: skip
    assert counts([finding("foreign_alone", foreign=True), finding("wrong_side", foreign=True)]) == (
        "1 covered by foreign stops alone", "1 stop on the wrong side (foreign)",
    )  # fmt: skip
    assert counts([]) == counts([finding("naked")]) == ()


def test_foreign_money_is_never_added_to_ours() -> None:
    alone = watched(finding("foreign_alone", foreign=True))
    assert account(alone).sentence == (
        "1 position, 0 naked, 1 covered by foreign stops alone, no stop of ours, 50.00 USDT at risk if every foreign stop fills"
    )
    assert account(line(), alone).sentence.endswith(
        "310.00 USDT at risk if every stop of the covered ones fills, 50.00 USDT more on the others by foreign stops"
    )
    beside = line(foreign=("web_1",), foreign_covered="100", foreign_stop="90", foreign_at_risk="50")
    assert account(beside).sentence.endswith("310.00 USDT at risk if every stop fills")


def test_the_outlook_tells_kept_from_lost() -> None:
    told = "if all stops filled now: 180.25 USDT would be kept, against the entries"
    assert account(line(), line(lost="-300.75")).outlook == f"{told}; slippage 20 bps assumed, for fewer than 10 fills are known"
    assert account(line()).outlook.startswith("if all stops filled now: 120.50 USDT would be lost, against the entries")
    assert account().outlook == account(naked()).outlook == ""


def test_the_outlook_names_measured_slippage_and_the_nearest_liquidation() -> None:
    known = line(slip="4", slip_median="1", slip_fills=14, to_liquidation="31.2")
    other = line(symbol="ETHUSDT", side="SHORT", to_liquidation="9.98")
    assert account(known, other).outlook.endswith(
        "slippage 4 bps on BTCUSDT (median 1, 14 fills), 20 bps assumed on the others, for fewer than 10 fills are known; "
        "nearest liquidation: ETHUSDT short, 9.98 % away"
    )


def test_the_outlook_names_three_symbols_the_worst_first() -> None:
    many = [line(symbol=f"S{bps}", slip=str(bps), slip_median="1", slip_fills=14) for bps in range(1, 6)]
    assert "slippage 5 bps on S5 (median 1, 14 fills), 4 bps on S4 (median 1, 14 fills), 3 bps on S3" in account(*many).outlook
    assert account(*many).outlook.endswith(", less on 2 more")


def test_findings_and_outlook_are_on_the_page_too() -> None:
    page = ledger_html(account(line(finding("loose"), to_liquidation="12.5")))
    assert "paper/BTCUSDT: says loose" in page and "-120.50" in page and "12.5 %" in page and "if all stops filled now" in page
