"""Switches of the paper exchange: what the real one does is not proven for each of them.

Evidence marks: [doc] Binance's documents or change log, [cap] captured from production, [com] a community report,
[inferred] our reasoning. A guarantee of the desk is tested under both settings of every rule marked [com] or [inferred].
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from qtkit.core.model import Bps, PolicyError
from qtkit.paper.liquidity import Liquidity
from qtkit.paper.rows import AlgoStatus, TimeInForce

_CALLBACK_STEP = Bps(10)
_LIQUIDITY = Liquidity()
_NO_BAND = Bps(0)
_ONE_OF: Mapping[str, tuple[object, ...]] = {
    "immediate_code": (-2021, -4142),
    "cancel_triggering_code": (-2011, -4117),
    "hedge_reduce_only_code": (-1106, -4062),
    "reduce_only_failure": (AlgoStatus.REJECTED, AlgoStatus.EXPIRED),
    "close_position_tif": (TimeInForce.GTE_GTC, TimeInForce.GTC),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the paper exchange behaves where the real exchange's behaviour is unproven or a matter of degree.

    Raises ``PolicyError`` for a value that no exchange could have.

    Attributes:
        floor_beside_stop: a close-position stop and a quantity stop of the same side rest together. If off, the second of
            them is refused with -4130, whichever came first. [inferred, on]
        stop_while_flat: a reduce-only quantity conditional is accepted without a position. If off: -4509. [com, on]
        close_position_while_flat: a close-position order is accepted without a position. If off: -4509. [com, off]
        conditional_reserves: untriggered reduce-only conditionals of one side and family reserve quantity; a sum above the
            position is refused with -4118 (not while flat). [inferred, off]
        resting_reserves: resting reduce-only limit orders reserve quantity: another reduce-only order beyond what is left
            is refused with -4118. [com, on]
        reserves_block_trigger: quantity reserved by resting reduce-only limits is also missing to a conditional order at its
            trigger. [inferred, off]
        slot_lag_ms: a cancelled close-position order keeps its slot (-4130) this long. [com: up to 1000, default 0]
        callback_max: largest callback rate, bps; None: by the exchange's own date. [doc: 2000 since 2026-10-23, 1000 before]
        callback_step: grid of the callback rate, bps. [com]
        max_conditional: open conditional orders of an account over all symbols (-4045). [doc: 200]
        max_orders: open regular orders of a symbol (-2025). [doc: 200]
        trade_before_algo: ORDER_TRADE_UPDATE of the child is told before ALGO_UPDATE TRIGGERED and FINISHED. [com, on]
        reduce_only_failure: state of a reduce-only conditional that finds no position at its trigger. [inferred: REJECTED]
        close_position_tif: text of timeInForce of close-position orders. [doc: GTE_GTC; samples show GTC]
        algo_read_lag_ms: a new conditional order is neither listed nor found by id for this long. [com, default 0]
        liquidity: the book of every symbol that got none of its own (``Exchange.set_liquidity``).
        take_bound: a market order is refused with -4131 if the best price lies beyond ``market_take_bound`` of the mark; one that reaches
            the bound fills up to it and its rest is EXPIRED. [doc: the bound, and that a market order which fills in part is EXPIRED;
            inferred: that it fills up to the bound]
        take_bound_child: a conditional order that meets the bound at its trigger gets a child, which expires unfilled: FINISHED with
            nothing done. If off: REJECTED without a child. [doc: "the order will expire", FAQ 2021-09-17; inferred for children, off]
        price_protect_ends: an order that priceProtect keeps from triggering expires. If off: it waits on, and triggers when mark and last
            are near each other again beyond its trigger. [doc: it "will not be triggered", FAQ 2020-10-29; inferred: on]
        mark_truncated: a trigger by mark price compares the mark cut to the symbol's price precision, so a falling one fires up to
            one unit of it earlier. [doc: FAQ on stop orders, 2024-08-20]
        trigger_band: a trigger price further than this from the mark, bps, is refused with -4210 or -4211; 0: no band.
            [doc: the codes; the width is nowhere documented]
        immediate_code: the code for a trigger that is true at placement: -2021 or -4142. [doc: both are listed; -2021 was seen]
        cancel_triggering_code: the code for cancelling an order in TRIGGERING: -2011 [com] or -4117 [doc: "stop order is triggering"].
        hedge_reduce_only_code: the code for reduceOnly in hedge mode: -1106 [com] or -4062 [doc].
        margin_call: a MARGIN_CALL is told when maintenance reaches this share of the margin, per mille, and again after it was below;
            looked at when the account trades, at guarded prices, and each minute while it lasts; 0: never.
            [doc: "when the user's position risk ratio is too high"; inferred: 800]
        liquidation_ms: orders of an account are refused with -2023 this long after its liquidation. [doc: the code; inferred: 0]
        liquidation_first: when one price reaches both a stop and the liquidation, the liquidation wins. [inferred, on: the worse case]
        funding_hours: hours between two fundings where ``set_funding`` did not say otherwise. [doc: 8, 4 or 1]
    """

    floor_beside_stop: bool = True
    stop_while_flat: bool = True
    close_position_while_flat: bool = False
    conditional_reserves: bool = False
    resting_reserves: bool = True
    reserves_block_trigger: bool = False
    slot_lag_ms: int = 0
    callback_max: Bps | None = None
    callback_step: Bps = _CALLBACK_STEP
    max_conditional: int = 200
    max_orders: int = 200
    trade_before_algo: bool = True
    reduce_only_failure: AlgoStatus = AlgoStatus.REJECTED
    close_position_tif: TimeInForce = TimeInForce.GTE_GTC
    algo_read_lag_ms: int = 0
    liquidity: Liquidity = _LIQUIDITY
    take_bound: bool = True
    take_bound_child: bool = False
    price_protect_ends: bool = True
    mark_truncated: bool = True
    trigger_band: Bps = _NO_BAND
    immediate_code: int = -2021
    cancel_triggering_code: int = -2011
    hedge_reduce_only_code: int = -1106
    margin_call: int = 800
    liquidation_ms: int = 0
    liquidation_first: bool = True
    funding_hours: int = 8

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _ONE_OF:
                if value not in _ONE_OF[field.name]:
                    known = ", ".join(str(getattr(one, "value", one)) for one in _ONE_OF[field.name])
                    raise PolicyError(f"{field.name} is one of {known}, not {getattr(value, 'value', value)}")
            elif isinstance(value, int) and value < 0:
                raise PolicyError(f"{field.name} is at least 0, not {value}")
