"""What the broker's replies become: small frozen records with exact numbers.

Trading replies carry numbers as text; statuses and fields that we do not know are survived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import pandas as pd

from quant50lib.utils import dates

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


@dataclass(frozen=True)
class Account:
    """The account as the broker sees it; US dollars."""

    number: str
    status: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    blocked: tuple[str, ...]  # names of the flags that forbid trading


@dataclass(frozen=True)
class Position:
    """Shares of one name as the broker counts them."""

    symbol: str
    qty: Decimal
    available: Decimal
    entry_price: Decimal


@dataclass(frozen=True)
class BrokerOrder:
    """One order as the broker knows it."""

    broker_id: str
    client_order_id: str
    symbol: str
    side: str
    qty: Decimal
    status: str  # the broker's own word
    filled_qty: Decimal
    filled_price: Decimal | None

    @property
    def state(self) -> str:
        """Its state in our words."""
        known = STATES.get(self.status, "accepted")
        return "partially_filled" if known == "accepted" and self.filled_qty else known

    @property
    def pending(self) -> bool:
        """Taken, but not yet judged."""
        return self.status in PENDING

    @property
    def remark(self) -> str:
        """What a human should know of its status, or empty."""
        if self.status in STATES:
            return "" if self.state != "refused" else "rejected by the broker after acceptance"
        return f"the broker calls it {self.status!r}, a word that we do not know: look at it"


@dataclass(frozen=True)
class Execution:
    """One fill; `broker_id` is that of its order."""

    fill_id: str
    broker_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    at: pd.Timestamp


@dataclass(frozen=True)
class Activity:
    """Anything but a fill that touched the account: a payment, a fee, a split."""

    activity_id: str
    kind: str  # the broker's type: DIV, SPLIT, FEE, CSD …
    at: pd.Timestamp
    symbol: str
    qty: Decimal
    amount: Decimal  # US dollars
    detail: str


def decimal(value: Any) -> Decimal:
    """A number from the wire (text, JSON number or null), exactly."""
    if value is None or value == "":
        return Decimal(0)
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"{value!r} where a number belongs") from error
    if not number.is_finite():
        raise ValueError(f"{value!r} where a number belongs")
    return number


def instant(text: str) -> pd.Timestamp:
    """A moment from the wire, UTC, to the microsecond."""
    return pd.Timestamp(text).tz_convert("UTC").as_unit("us")


def account(raw: Mapping[str, Any]) -> Account:
    """The account's reply as a record."""
    flags = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
    return Account(
        number=str(raw.get("account_number", "")),
        status=str(raw["status"]),
        cash=decimal(raw["cash"]),
        equity=decimal(raw["equity"]),
        buying_power=decimal(raw["buying_power"]),
        blocked=tuple(flag for flag in flags if raw.get(flag)),
    )


def position(raw: Mapping[str, Any]) -> Position:
    """One row of /v2/positions."""
    qty = decimal(raw["qty"])
    return Position(
        symbol=raw["symbol"],
        qty=qty,
        available=decimal(raw.get("qty_available", qty)),
        entry_price=decimal(raw.get("avg_entry_price")),
    )


def order(raw: Mapping[str, Any]) -> BrokerOrder:
    """One order, whichever call it came from."""
    price = raw.get("filled_avg_price")
    return BrokerOrder(
        broker_id=raw["id"],
        client_order_id=raw["client_order_id"],
        symbol=raw["symbol"],
        side=raw["side"],
        qty=decimal(raw.get("qty")),
        status=str(raw["status"]),
        filled_qty=decimal(raw.get("filled_qty")),
        filled_price=None if price is None else decimal(price),
    )


def execution(raw: Mapping[str, Any]) -> Execution:
    """One FILL activity."""
    return Execution(
        fill_id=raw["id"],
        broker_id=raw["order_id"],
        symbol=raw["symbol"],
        side=raw["side"],
        qty=decimal(raw["qty"]),
        price=decimal(raw["price"]),
        at=instant(raw["transaction_time"]),
    )


def activity(raw: Mapping[str, Any]) -> Activity:
    """One activity of another type; without a time it counts from its day's first moment."""
    day = pd.Timestamp(raw["date"]).tz_localize(dates.NEW_YORK) if "date" in raw else None
    stamp = raw.get("created_at")
    at = instant(stamp) if stamp else pd.Timestamp(day).tz_convert("UTC").as_unit("us")
    return Activity(
        activity_id=raw["id"],
        kind=str(raw["activity_type"]),
        at=at,
        symbol=str(raw.get("symbol") or ""),
        qty=decimal(raw.get("qty")),
        amount=decimal(raw.get("net_amount")),
        detail=str(raw.get("description") or ""),
    )
