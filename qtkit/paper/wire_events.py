"""Engine events -> Binance's JSON of the user data streams, and of the public stream of liquidations.

Shapes: developers.binance.com, USD-M futures, user data streams, read 2026-10. Only order within one type of event is guaranteed there.
"""

from qtkit.core.model import OrderKind
from qtkit.paper.facts import Facts
from qtkit.paper.rows import AccountUpdate, AlgoRow, AlgoStatus, AlgoUpdate, ConfigUpdate, Execution, MarginCall, OrderUpdate, PositionRow
from qtkit.paper.wire import STP, Row, decimal, money

_PLACED = frozenset({AlgoStatus.TRIGGERED, AlgoStatus.FINISHED})


def order_event(event: OrderUpdate, facts: Facts) -> Row:
    """ORDER_TRADE_UPDATE. Commission fields come with a fill only."""
    row, fill = event.order, event.trade
    price, quantity = facts.price_precision, facts.quantity_precision
    body: Row = {
        "s": row.symbol,
        "c": row.client_id,
        "S": row.side.value,
        "o": row.kind.value,
        "f": row.time_in_force.value,
        "q": decimal(row.quantity, quantity),
        "p": decimal(row.price, price),
        "ap": decimal(row.average, price),
        "sp": decimal(row.trigger, price),
        "x": event.execution.value,
        "X": row.status.value,
        "i": row.order_id,
        "l": decimal(fill.quantity if fill else 0, quantity),
        "z": decimal(row.executed, quantity),
        "L": decimal(fill.price if fill else 0, price),
    }
    if fill is not None:
        body |= {"N": facts.quote, "n": money(fill.commission)}
    return {"e": "ORDER_TRADE_UPDATE", "E": event.at_ms, "T": event.at_ms, "o": body | _order_tail(event)}


def _order_tail(event: OrderUpdate) -> Row:
    """The second half of an order event: flags and what is the same for every paper order."""
    row, fill = event.order, event.trade
    return {
        "T": event.at_ms,
        "t": fill.trade_id if fill else 0,
        "b": "0",
        "a": "0",
        "m": fill.maker if fill else False,
        "R": row.reduce_only,
        "wt": row.trigger_by.value,
        "ot": row.origin.value,
        "ps": row.position_side.value,
        "cp": row.close_position,
        "rp": money(fill.realised) if fill else "0",
        "pP": row.price_protect,
        "si": 0,
        "ss": 0,
        "V": STP,
        "pm": "NONE",
        "gtd": row.good_till_ms,
        "er": "8" if event.execution is Execution.EXPIRED else "0",
    }


def algo_event(event: AlgoUpdate, facts: Facts) -> Row:
    """ALGO_UPDATE. ``ap``, ``aq`` and ``act`` come once a child order exists; ``ia`` with trailing orders."""
    row = event.algo
    price, quantity = facts.price_precision, facts.quantity_precision
    body: Row = {
        "caid": row.client_id,
        "aid": row.algo_id,
        "at": "CONDITIONAL",
        "o": row.kind.value,
        "s": row.symbol,
        "S": row.side.value,
        "ps": row.position_side.value,
        "f": row.time_in_force.value,
        "q": decimal(row.quantity, quantity),
        "X": row.status.value,
        "ai": str(row.order_id) if row.order_id else "",
    }
    if row.status in _PLACED:
        body |= {"ap": decimal(row.actual_price, price), "aq": decimal(row.actual_quantity, quantity)}
        body["act"] = row.actual_kind.value if row.actual_kind else "0"
    if row.kind is OrderKind.TRAILING_STOP_MARKET:
        body |= {"ia": row.activated}
    return {"e": "ALGO_UPDATE", "T": event.at_ms, "E": event.at_ms, "o": body | _algo_tail(row, price)}


def _algo_tail(row: AlgoRow, price: int) -> Row:
    """The second half of an algo event: prices and flags."""
    return {
        "tp": decimal(row.trigger, price),
        "p": decimal(row.price, price),
        "V": STP,
        "wt": row.trigger_by.value,
        "pm": "NONE",
        "cp": row.close_position,
        "pP": row.price_protect,
        "R": row.reduce_only,
        "tt": row.triggered_ms,
        "gtd": row.good_till_ms,
        "rm": row.reason,
    }


def account_event(event: AccountUpdate, quote: str = "USDT") -> Row:
    """ACCOUNT_UPDATE. Cross funding tells the balance only."""
    balance = {"a": quote, "wb": money(event.wallet), "cw": money(event.cross_wallet), "bc": money(event.change)}
    rows = [_position_delta(row) for row in event.positions]
    body = {"B": [balance], "P": rows, "m": event.reason.value}
    return {"e": "ACCOUNT_UPDATE", "T": event.at_ms, "E": event.at_ms, "a": body}


def _position_delta(row: PositionRow) -> Row:
    return {
        "s": row.symbol,
        "pa": decimal(row.amount),
        "ep": decimal(row.entry),
        "bep": decimal(row.break_even),
        "cr": money(row.realised_total),
        "up": money(row.unrealised),
        "mt": "isolated" if row.isolated else "cross",
        "iw": money(row.isolated_wallet),
        "ps": row.position_side.value,
        "ma": "USDT",
    }


def margin_call(event: MarginCall) -> Row:
    """MARGIN_CALL. The wallet comes with cross positions only."""
    wallet = {} if event.cross_wallet is None else {"cw": money(event.cross_wallet)}
    rows = [
        {
            "s": row.symbol, "ps": row.position_side.value, "pa": decimal(row.amount), "mt": "ISOLATED" if row.isolated else "CROSSED",
            "iw": money(row.isolated_wallet), "mp": money(row.mark), "up": money(row.unrealised), "mm": money(row.maintenance_margin),
        }
        for row in event.positions
    ]  # fmt: skip
    return {"e": "MARGIN_CALL", "E": event.at_ms} | wallet | {"p": rows}


def config_event(event: ConfigUpdate) -> Row:
    """ACCOUNT_CONFIG_UPDATE of a leverage."""
    change = {"s": event.symbol, "l": event.leverage}
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": event.at_ms, "T": event.at_ms, "ac": change}


def trade_lite(event: OrderUpdate, facts: Facts) -> Row:
    """TRADE_LITE of a fill: told beside ORDER_TRADE_UPDATE, with fewer fields (Binance, since 2024-09)."""
    row, fill = event.order, event.trade
    assert fill is not None
    price, quantity = facts.price_precision, facts.quantity_precision
    return {
        "e": "TRADE_LITE", "E": event.at_ms, "T": event.at_ms, "s": row.symbol, "q": decimal(row.quantity, quantity),
        "p": decimal(row.price, price), "m": fill.maker, "c": row.client_id, "S": row.side.value, "L": decimal(fill.price, price),
        "l": decimal(fill.quantity, quantity), "t": fill.trade_id, "i": row.order_id,
    }  # fmt: skip


def force_order(event: OrderUpdate, facts: Facts) -> Row:
    """forceOrder: a liquidation as the public stream tells it, without whose it was."""
    row, fill = event.order, event.trade
    price, quantity = facts.price_precision, facts.quantity_precision
    body: Row = {
        "s": row.symbol, "S": row.side.value, "o": row.kind.value, "f": row.time_in_force.value, "q": decimal(row.quantity, quantity),
        "p": decimal(row.price, price), "ap": decimal(row.average, price), "X": row.status.value,
        "l": decimal(fill.quantity if fill else 0, quantity), "z": decimal(row.executed, quantity), "T": event.at_ms,
    }  # fmt: skip
    return {"e": "forceOrder", "E": event.at_ms, "o": body, "ps": row.symbol, "st": 1}
