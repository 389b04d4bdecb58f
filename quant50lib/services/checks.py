"""Pre-trade checks: one question each, answered with the reason and by how much it failed. Pure.

A check is a function of one trade and of the conditions of the day; an empty text is a pass. All of
them are asked of every trade, so that a refusal says everything that speaks against it at once. Two
more concern all trades together and are in `services.execute`: their count, and the cash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from quant50lib.services.ledger import decimal
from quant50lib.settings import ExecuteSettings

#: these leave a position because a rule says so: no limit on the size of an order may keep them in
LEAVING = ("stop", "halt", "exit")


@dataclass(frozen=True)
class Draft:
    """One trade on its way to becoming an order."""

    symbol: str
    side: str
    intent: str
    qty: Decimal
    price: Decimal
    whole: bool  # the full position is sold
    state: str = "planned"
    reason: str = ""

    @property
    def notional(self) -> Decimal:
        return self.qty * self.price


@dataclass(frozen=True)
class Asset:
    """What has to be known of a name before it is traded."""

    price: Decimal  # US dollars; the close of the session, or the last one known
    fresh: bool  # the price is the close of the session
    tradable: bool
    fractionable: bool
    why: str  # why it may not be bought
    median_volume: Decimal | None  # shares a day


@dataclass(frozen=True)
class Conditions:
    """What all checks of a day are held against."""

    assets: dict[str, Asset]
    equity: Decimal
    reduce_only: bool
    settings: ExecuteSettings
    halted: str = ""  # why the kill switch is on
    coming: Mapping[str, str] = field(default_factory=dict)  # what changes a name's shares next
    held_at: Mapping[str, Decimal] = field(default_factory=dict)  # price that a holding counts


def check_reduce_only(draft: Draft, day: Conditions) -> str:
    """Nothing is bought while the desk may only reduce."""
    return "nothing may be bought now" if day.reduce_only and draft.side == "buy" else ""


def check_switch(draft: Draft, day: Conditions) -> str:
    """Nothing is bought while the kill switch is on."""
    return f"the desk is halted: {day.halted}" if day.halted and draft.side == "buy" else ""


def check_action(draft: Draft, day: Conditions) -> str:
    """A number of shares computed before a split or a merger is wrong after it."""
    return day.coming.get(draft.symbol, "")


def check_last_close(draft: Draft, day: Conditions) -> str:
    """The close that sizes an order and the price that values the holding are one price."""
    held_at = day.held_at.get(draft.symbol)
    if not held_at or draft.whole:
        return ""
    gap, limit = abs(draft.price / held_at - 1), decimal(day.settings.max_price_gap)
    if gap <= limit:
        return ""
    return f"{draft.price} is {gap:.2%} away from {held_at}, over the limit {limit:.2%}"


def check_price(draft: Draft, day: Conditions) -> str:
    """A quantity computed from a stale price is wrong; a full sale needs no price."""
    if day.assets[draft.symbol].fresh or draft.whole:
        return ""
    return f"no close of the session, the last one known is {draft.price}"


def check_tradable(draft: Draft, day: Conditions) -> str:
    """What may not be bought is not bought; it may always be sold."""
    asset = day.assets[draft.symbol]
    return f"may not be bought: {asset.why}" if draft.side == "buy" and not asset.tradable else ""


def check_fractionable(draft: Draft, day: Conditions) -> str:
    """An asset that trades in whole shares only takes whole shares."""
    part = draft.qty % 1
    if day.assets[draft.symbol].fractionable or not part:
        return ""
    return f"{part.normalize()} of a share, and the asset trades in whole ones"


def check_notional(draft: Draft, day: Conditions) -> str:
    """No single trade above a sum of money."""
    return _over(draft, draft.notional, decimal(day.settings.max_order_notional), "USD")


def check_weight(draft: Draft, day: Conditions) -> str:
    """No single trade above a share of equity."""
    limit = decimal(day.settings.max_order_weight) * day.equity
    return _over(draft, draft.notional, limit, "USD of equity's share")


def check_volume(draft: Draft, day: Conditions) -> str:
    """No single trade above a share of what the market trades on a median day."""
    volume = day.assets[draft.symbol].median_volume
    if volume is None:
        return "" if draft.intent in LEAVING else "its daily volume is not known"
    return _over(draft, draft.qty, decimal(day.settings.max_volume_share) * volume, "shares")


def _over(draft: Draft, value: Decimal, limit: Decimal, unit: str) -> str:
    if value <= limit or draft.intent in LEAVING:
        return ""
    return f"{value:,.2f} {unit} is {value - limit:,.2f} over the limit {limit:,.2f}"


CHECKS: dict[str, Callable[[Draft, Conditions], str]] = {
    "kill_switch": check_switch,
    "reduce_only": check_reduce_only,
    "corporate_action": check_action,
    "price": check_price,
    "last_close": check_last_close,
    "tradable": check_tradable,
    "fractionable": check_fractionable,
    "max_order_notional": check_notional,
    "max_order_weight": check_weight,
    "max_volume_share": check_volume,
}


def checked(draft: Draft, day: Conditions) -> Draft:
    """The draft, or the same refused with all that speaks against it."""
    failures = {name: check(draft, day) for name, check in CHECKS.items()}
    against = "; ".join(f"{name}: {why}" for name, why in failures.items() if why)
    return replace(draft, state="refused", reason=against) if against else draft
