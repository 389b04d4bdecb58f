"""The words and fields of the broker's replies that we know; what is in no list here is new.

Lists are of the published fields, of those seen in replies, and of those that older replies had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: the broker's words for an order, in ours; a word not listed is a live order that a human must see
STATES = {
    "new": "accepted",
    "accepted": "accepted",
    "pending_new": "accepted",
    "pending_review": "accepted",
    "accepted_for_bidding": "accepted",
    "held": "accepted",
    "stopped": "accepted",
    "suspended": "accepted",
    "calculated": "accepted",
    "pending_cancel": "accepted",
    "pending_replace": "accepted",
    "partially_filled": "partially_filled",
    "filled": "filled",
    "canceled": "cancelled",
    "replaced": "cancelled",
    "done_for_day": "expired",
    "expired": "expired",
    "rejected": "refused",
}
#: taken, but not yet judged by the broker
PENDING = ("pending_new", "pending_review")
#: an activity that takes another's place, and those that did not happen, or not yet
CORRECTION, NOT_DONE = "correct", ("canceled", "pending")

FIELDS = {
    "account": frozenset(
        "id account_number status crypto_status currency cash equity last_equity portfolio_value "
        "buying_power regt_buying_power non_marginable_buying_power options_buying_power "
        "effective_buying_power daytrading_buying_power bod_dtbp multiplier initial_margin "
        "maintenance_margin last_maintenance_margin long_market_value short_market_value "
        "position_market_value sma accrued_fees pending_transfer_in pending_transfer_out "
        "pending_reg_taf_fees intraday_adjustments balance_asof trading_blocked transfers_blocked "
        "account_blocked trade_suspended_by_user shorting_enabled created_at crypto_tier "
        "options_approved_level options_trading_level admin_configurations user_configurations "
        "pattern_day_trader daytrade_count dtbp_check pdt_check".split()
    ),
    "position": frozenset(
        "asset_id symbol exchange asset_class asset_marginable avg_entry_price qty qty_available "
        "side market_value cost_basis unrealized_pl unrealized_plpc unrealized_intraday_pl "
        "unrealized_intraday_plpc current_price lastday_price change_today swap_rate "
        "avg_entry_swap_rate usd".split()
    ),
    "order": frozenset(
        "id client_order_id created_at updated_at submitted_at filled_at expired_at expires_at "
        "canceled_at failed_at replaced_at replaced_by replaces asset_id symbol asset_class "
        "notional qty filled_qty filled_avg_price order_class order_type type side "
        "position_intent time_in_force limit_price stop_price status extended_hours legs "
        "trail_percent trail_price hwm subtag source ratio_qty reject_reason".split()
    ),
    "fill": frozenset(
        "activity_type id transaction_time type price qty side symbol leaves_qty order_id cum_qty "
        "order_status".split()
    ),
    "activity": frozenset(
        "id activity_type activity_sub_type date net_amount symbol cusip qty per_share_amount price "
        "description status executed_at created_at group_id currency".split()
    ),
}
SIDES = frozenset({"buy", "sell"})
#: values of a field that we know; null and fields that are absent are nothing new
VALUES: dict[str, dict[str, frozenset[str]]] = {
    "account": {
        "status": frozenset(
            "ACCOUNT_CLOSED ACCOUNT_UPDATED ACTION_REQUIRED ACTIVE AML_REVIEW APPROVAL_PENDING "
            "APPROVED DISABLED DISABLE_PENDING EDITED INACTIVE KYC_SUBMITTED LIMITED ONBOARDING "
            "PAPER_ONLY REAPPROVAL_PENDING REJECTED RESUBMITTED SIGNED_UP SUBMISSION_FAILED "
            "SUBMITTED".split()
        )
    },
    "position": {"side": frozenset({"long", "short"})},
    "order": {"status": frozenset(STATES), "side": SIDES},
    "fill": {"side": SIDES, "type": frozenset({"fill", "partial_fill"})},
    "activity": {
        "status": frozenset({"executed", CORRECTION, *NOT_DONE}),
        "activity_type": frozenset(
            "ACATC ACATS CFEE CIL CSD CSW DIV DIVCGL DIVCGS DIVNRA DIVROC DIVTXEX DIVWH EXTRD FEE "
            "FXTRD INT INTPNL JNLC JNLS MA MEM NC OCT OPASN OPCSH OPEXC OPEXP OPTRD PTC REORG SPIN "
            "SPLIT SWP TRANS VOF WH".split()
        ),
    },
}


def unknown(kind: str, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """What is new in a reply: `order.status = 'quantum'`, `order.new_field`."""
    fields = [f"{kind}.{name}" for name in sorted(raw.keys() - FIELDS[kind])]
    new = [
        f"{kind}.{name} = {raw[name]!r}"
        for name, known in VALUES[kind].items()
        if raw.get(name) is not None and str(raw[name]) not in known
    ]
    return (*new, *fields)
