"""What the broker's replies become: small frozen records with exact numbers.

Trading replies carry numbers as text. Words and fields that we do not know are survived, and each
record names its own in `unknown`; an amount that is none is an error that names its field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import pandas as pd

from quant50lib.adapters import broker_words as words
from quant50lib.utils import dates


@dataclass(frozen=True)
class Account:
    """The account as the broker sees it; US dollars."""

    number: str
    status: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    blocked: tuple[str, ...]  # names of the flags that forbid trading
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Position:
    """Shares of one name as the broker counts them."""

    symbol: str
    qty: Decimal
    available: Decimal
    entry_price: Decimal
    price: Decimal | None = None  # the latest one, US dollars
    unknown: tuple[str, ...] = ()


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
    unknown: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """Its state in our words."""
        known = words.STATES.get(self.status, "accepted")
        return "partially_filled" if known == "accepted" and self.filled_qty else known

    @property
    def pending(self) -> bool:
        """Taken, but not yet judged."""
        return self.status in words.PENDING

    @property
    def remark(self) -> str:
        """What a human should know of its status, or empty."""
        if self.status in words.STATES:
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
    unknown: tuple[str, ...] = ()


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
    status: str = "executed"  # the broker's own word
    group: str = ""  # the broker's id of what belongs together
    unknown: tuple[str, ...] = ()

    @property
    def happened(self) -> bool:
        """Whether the account was touched; a status that we do not know counts as done."""
        return self.status not in words.NOT_DONE


def decimal(value: Any) -> Decimal:
    """A number from the wire (text, JSON number or null), exactly; null is zero."""
    if value is None or value == "":
        return Decimal(0)
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(f"{value!r} where a number belongs") from error
    if not number.is_finite():
        raise ValueError(f"{value!r} where a number belongs")
    return number


def amount(raw: Mapping[str, Any], name: str) -> Decimal:
    """A field that must hold a number (ValueError names it)."""
    try:
        if raw[name] is not None and raw[name] != "":
            return decimal(raw[name])
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from error
    raise ValueError(f"{name} is {raw[name]!r} where a number belongs")


def text(raw: Mapping[str, Any], name: str) -> str:
    """A field that must hold a word (ValueError names it)."""
    if not isinstance(raw[name], str) or not raw[name]:
        raise ValueError(f"{name} is {raw[name]!r} where a word belongs")
    return str(raw[name])


def instant(text: str) -> pd.Timestamp:
    """A moment from the wire, UTC, to the microsecond."""
    return pd.Timestamp(text).tz_convert("UTC").as_unit("us")


def account(raw: Mapping[str, Any]) -> Account:
    """The account's reply as a record."""
    flags = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
    return Account(
        number=str(raw.get("account_number") or ""),
        status=text(raw, "status"),
        cash=amount(raw, "cash"),
        equity=amount(raw, "equity"),
        buying_power=amount(raw, "buying_power"),
        blocked=tuple(flag for flag in flags if raw.get(flag)),
        unknown=words.unknown("account", raw),
    )


def position(raw: Mapping[str, Any]) -> Position:
    """One row of /v2/positions."""
    qty = amount(raw, "qty")
    return Position(
        symbol=text(raw, "symbol"),
        qty=qty,
        available=decimal(raw.get("qty_available", qty)),
        entry_price=decimal(raw.get("avg_entry_price")),
        price=decimal(raw["current_price"]) if raw.get("current_price") else None,
        unknown=words.unknown("position", raw),
    )


def order(raw: Mapping[str, Any]) -> BrokerOrder:
    """One order, whichever call it came from; without shares (`notional`) its `qty` is zero."""
    price = raw.get("filled_avg_price")
    return BrokerOrder(
        broker_id=text(raw, "id"),
        client_order_id=text(raw, "client_order_id"),
        symbol=text(raw, "symbol"),
        side=text(raw, "side"),
        qty=decimal(raw.get("qty")),
        status=text(raw, "status"),
        filled_qty=decimal(raw.get("filled_qty")),
        filled_price=None if price is None else decimal(price),
        unknown=words.unknown("order", raw),
    )


def submitted(raw: Mapping[str, Any]) -> tuple[pd.Timestamp, BrokerOrder]:
    """One order of a list, with the moment by which lists are sorted."""
    return instant(raw["submitted_at"]), order(raw)


def execution(raw: Mapping[str, Any]) -> Execution:
    """One FILL activity."""
    return Execution(
        fill_id=text(raw, "id"),
        broker_id=text(raw, "order_id"),
        symbol=text(raw, "symbol"),
        side=text(raw, "side"),
        qty=amount(raw, "qty"),
        price=amount(raw, "price"),
        at=instant(raw["transaction_time"]),
        unknown=words.unknown("fill", raw),
    )


def activity(raw: Mapping[str, Any]) -> Activity:
    """One activity of another type; without a time it counts from its day's first moment."""
    stamp = raw.get("created_at")
    return Activity(
        activity_id=text(raw, "id"),
        kind=text(raw, "activity_type"),
        at=instant(stamp) if stamp else _first_moment(raw["date"]),
        symbol=str(raw.get("symbol") or ""),
        qty=decimal(raw.get("qty")),
        amount=decimal(raw.get("net_amount")),
        detail=str(raw.get("description") or ""),
        status=str(raw.get("status") or "executed"),
        group=str(raw.get("group_id") or ""),
        unknown=words.unknown("activity", raw),
    )


def _first_moment(day: str) -> pd.Timestamp:
    return pd.Timestamp(day).tz_localize(dates.NEW_YORK).tz_convert("UTC").as_unit("us")
