"""Engine rows -> Binance's JSON of balances, positions, settings and income.

USDT is the only margin asset. ``positionRisk`` v3 leaves out leverage and margin type and tells only symbols in use;
v2 tells all. ``updateTime`` is never 0, because clients read 0 as "this row is empty".
"""

from collections.abc import Mapping

from qtkit.core.model import PositionSide
from qtkit.paper.facts import Facts
from qtkit.paper.rows import Income, PositionRow, SymbolConfig, Wallet
from qtkit.paper.wire import Row, decimal, money
from qtkit.venue.gateway import KeyRights

ASSET = "USDT"
_MARGIN_TYPE = {True: "ISOLATED", False: "CROSSED"}


def position(row: PositionRow, facts: Facts) -> Row:
    """One row of positionRisk v3."""
    return _risk(row, facts) | {
        "marginAsset": facts.quote,
        "initialMargin": money(row.initial_margin),
        "maintMargin": money(row.maintenance_margin),
        "positionInitialMargin": money(row.initial_margin),
        "openOrderInitialMargin": "0",
        "adl": 0,
        "bidNotional": "0",
        "askNotional": "0",
    }


def position_v2(row: PositionRow, facts: Facts) -> Row:
    """One row of positionRisk v2: leverage and margin type, ``isAutoAddMargin`` as text."""
    return _risk(row, facts) | {
        "leverage": str(row.leverage),
        "maxNotionalValue": decimal(row.max_notional),
        "marginType": "isolated" if row.isolated else "cross",
        "isAutoAddMargin": "false",
    }


def _risk(row: PositionRow, facts: Facts) -> Row:
    return {
        "symbol": row.symbol,
        "positionSide": row.position_side.value,
        "positionAmt": decimal(row.amount, facts.quantity_precision),
        "entryPrice": decimal(row.entry, 1),
        "breakEvenPrice": decimal(row.break_even, 1),
        "markPrice": money(row.mark),
        "unRealizedProfit": money(row.unrealised),
        "liquidationPrice": decimal(row.liquidation),
        "isolatedMargin": decimal(row.isolated_margin),
        "notional": decimal(row.notional),
        "isolatedWallet": decimal(row.isolated_wallet),
        "updateTime": row.updated_ms,
    }


def _asset(wallet: Wallet, cross_unrealised: int) -> Row:
    return {
        "asset": ASSET,
        "walletBalance": money(wallet.wallet),
        "unrealizedProfit": money(wallet.unrealised),
        "marginBalance": money(wallet.equity),
        "maintMargin": money(wallet.maintenance_margin),
        "initialMargin": money(wallet.position_margin + wallet.order_margin),
        "positionInitialMargin": money(wallet.position_margin),
        "openOrderInitialMargin": money(wallet.order_margin),
        "crossWalletBalance": money(wallet.cross_wallet),
        "crossUnPnl": money(cross_unrealised),
        "availableBalance": money(wallet.available),
        "maxWithdrawAmount": money(max(0, min(wallet.available, wallet.cross_wallet))),
        "marginAvailable": True,
        "updateTime": max(1, wallet.updated_ms),
    }


def _totals(wallet: Wallet, cross_unrealised: int) -> Row:
    return {
        "totalInitialMargin": money(wallet.position_margin + wallet.order_margin),
        "totalMaintMargin": money(wallet.maintenance_margin),
        "totalWalletBalance": money(wallet.wallet),
        "totalUnrealizedProfit": money(wallet.unrealised),
        "totalMarginBalance": money(wallet.equity),
        "totalPositionInitialMargin": money(wallet.position_margin),
        "totalOpenOrderInitialMargin": money(wallet.order_margin),
        "totalCrossWalletBalance": money(wallet.cross_wallet),
        "totalCrossUnPnl": money(cross_unrealised),
        "availableBalance": money(wallet.available),
        "maxWithdrawAmount": money(max(0, min(wallet.available, wallet.cross_wallet))),
    }


def _cross(rows: tuple[PositionRow, ...]) -> int:
    return sum(row.unrealised for row in rows if not row.isolated)


def account(wallet: Wallet, rows: tuple[PositionRow, ...], facts: Mapping[str, Facts]) -> Row:
    """Answer of account v3; ``rows`` are the slots in use."""
    unrealised = _cross(rows)
    slots = [
        {
            "symbol": row.symbol,
            "positionSide": row.position_side.value,
            "positionAmt": decimal(row.amount, facts[row.symbol].quantity_precision),
            "unrealizedProfit": money(row.unrealised),
            "isolatedMargin": money(row.isolated_margin),
            "notional": decimal(row.notional),
            "isolatedWallet": decimal(row.isolated_wallet),
            "initialMargin": money(row.initial_margin),
            "maintMargin": money(row.maintenance_margin),
            "updateTime": row.updated_ms,
        }
        for row in rows
    ]
    return _totals(wallet, unrealised) | {"assets": [_asset(wallet, unrealised)], "positions": slots}


def account_v2(wallet: Wallet, rows: tuple[PositionRow, ...], facts: Mapping[str, Facts]) -> Row:
    """Answer of account v2; ``rows`` are all slots."""
    unrealised = _cross(rows)
    slots = [
        {
            "symbol": row.symbol,
            "initialMargin": money(row.initial_margin),
            "maintMargin": money(row.maintenance_margin),
            "unrealizedProfit": money(row.unrealised),
            "positionInitialMargin": money(row.initial_margin),
            "openOrderInitialMargin": "0",
            "leverage": str(row.leverage),
            "isolated": row.isolated,
            "entryPrice": decimal(row.entry, 1),
            "breakEvenPrice": decimal(row.break_even, 1),
            "maxNotional": decimal(row.max_notional),
            "bidNotional": "0",
            "askNotional": "0",
            "positionSide": row.position_side.value,
            "positionAmt": decimal(row.amount, facts[row.symbol].quantity_precision),
            "notional": decimal(row.notional),
            "isolatedWallet": decimal(row.isolated_wallet),
            "updateTime": row.updated_ms,
        }
        for row in rows
    ]
    head: Row = {"feeTier": 0, "feeBurn": False, "canTrade": True, "canDeposit": True, "canWithdraw": True}
    head |= {"updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1}
    return head | _totals(wallet, unrealised) | {"assets": [_asset(wallet, unrealised)], "positions": slots}


def balance(alias: str, wallet: Wallet, rows: tuple[PositionRow, ...]) -> list[Row]:
    """Answer of balance v2 and v3. ``alias`` is the account's own code, the same for each of its keys."""
    return [
        {
            "accountAlias": alias,
            "asset": ASSET,
            "balance": money(wallet.wallet),
            "crossWalletBalance": money(wallet.cross_wallet),
            "crossUnPnl": money(_cross(rows)),
            "availableBalance": money(wallet.available),
            "maxWithdrawAmount": money(max(0, min(wallet.available, wallet.cross_wallet))),
            "marginAvailable": True,
            "updateTime": max(1, wallet.updated_ms),
        }
    ]


def symbol_config(row: SymbolConfig) -> Row:
    """One row of symbolConfig."""
    return {
        "symbol": row.symbol,
        "marginType": _MARGIN_TYPE[row.isolated],
        "isAutoAddMargin": False,
        "leverage": row.leverage,
        "maxNotionalValue": decimal(row.max_notional),
    }


def leverage(row: SymbolConfig) -> Row:
    """Answer of POST leverage."""
    return {"leverage": row.leverage, "maxNotionalValue": decimal(row.max_notional), "symbol": row.symbol}


def account_config(hedge: bool) -> Row:
    """Answer of accountConfig."""
    head: Row = {"feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": True}
    return head | {"dualSidePosition": hedge, "updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1}


def margin_move(symbol: str, amount: int, direction: int, side: PositionSide, at_ms: int) -> Row:
    """One row of positionMargin/history; direction 1 is added, 2 taken away."""
    row: Row = {"symbol": symbol, "type": direction, "deltaType": "USER_ADJUST", "amount": money(amount), "asset": ASSET}
    return row | {"time": at_ms, "positionSide": side.value}


def adl_quantiles(rows: tuple[PositionRow, ...]) -> list[Row]:
    """Answer of adlQuantile: nobody is ahead of anybody in the queue, so each stands at 0."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row.symbol, {})[row.position_side.value] = 0
    return [{"symbol": symbol, "adlQuantile": sides} for symbol, sides in found.items()]


def api_restrictions(rights: KeyRights, made_ms: int) -> Row:
    """Answer of the wallet's apiRestrictions: what a key may do. Both switches of transfers stand as one."""
    moves, trades = bool(rights.transfer), bool(rights.trade)
    allowed: Row = {"enableReading": bool(rights.read), "enableFutures": trades, "enableWithdrawals": bool(rights.withdraw)}
    allowed |= {"permitsUniversalTransfer": moves, "enableInternalTransfer": moves, "ipRestrict": bool(rights.ip_restricted)}
    others = ("enableMargin", "enableSpotAndMarginTrading", "enableVanillaOptions", "enablePortfolioMarginTrading")
    return allowed | dict.fromkeys(others, False) | {"createTime": made_ms}


def income(row: Income) -> Row:
    """One row of income. ``tranId`` is an integer, ``tradeId`` text, empty where no trade caused it."""
    return {
        "symbol": row.symbol,
        "incomeType": row.kind.value,
        "income": money(row.amount),
        "asset": ASSET,
        "info": row.kind.value,
        "time": row.time_ms,
        "tranId": row.income_id,
        "tradeId": str(row.trade_id) if row.trade_id else "",
    }
