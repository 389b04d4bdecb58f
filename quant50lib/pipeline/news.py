"""What happened to the account since the last look, as events of our books.

1. executions: joined to our orders by the broker's id of the order; one that came to light after we
   gave its order up is adopted by our own name of it;
2. corporate actions: as `pipeline.conversions` makes them from the table and from activities;
3. payments: every other activity that moved cash, and memos of dividends that were never paid; one
   that the broker cancels or replaces after it was booked is revised by a payment of its own.

Each event has an id that is the same whenever and from whichever source it is made, so that looking
twice books once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.broker_records import Activity
from quant50lib.adapters.broker_records import Execution as BrokerFill
from quant50lib.adapters.broker_words import CORRECTION
from quant50lib.adapters.journal import Ledger
from quant50lib.pipeline.conversions import (
    OVERLAP,
    conversions,
    corrections,
    effective_between,
    moves_shares,
    new_splits,
    put_together,
    table_splits,
)
from quant50lib.pipeline.resolve import known_by_broker
from quant50lib.services.comparison import number
from quant50lib.services.ledger import (
    MEMO,
    REVISED,
    ZERO,
    Conversion,
    Entry,
    Event,
    Execution,
    Payment,
    decimal,
    dividends_due,
    effective,
)

#: activities that are money paid in or out
FLOWS = ("CSD", "CSW", "JNLC", "ACATC", "TRANS")


@dataclass(frozen=True)
class News:
    """What a look at the account brought."""

    fills: dict[str, str] = field(default_factory=dict)  # the broker's executions, in words
    strangers: dict[str, Event] = field(default_factory=dict)  # of orders that are not ours
    booked: list[Entry] = field(default_factory=list)


def book_news(broker: Broker, ledger: Ledger, actions: pd.DataFrame, at: pd.Timestamp) -> News:
    """Book all that is new; what cannot be booked is returned."""
    since = since_of(ledger)
    fills = [fill for fill in broker.executions(after=since) if fill.at > since]
    executions, strangers = _executions(broker, ledger, fills, since)
    activities = [found for found in broker.activities(after=since) if found.at > since]
    standing = in_force(activities)
    moved = put_together(standing)
    prices = _prices(broker) if moved else {}
    with ledger.held():
        splits = new_splits(ledger, table_splits(actions, since, at))
        changes = conversions(ledger, moved, splits, actions, prices)
        paid = [activity for activity in activities if not moves_shares(activity)]
        payments = _payments(ledger, paid, standing, at)
        booked = ledger.book([*splits, *changes, *executions, *payments])
        booked += ledger.book(corrections(ledger, moved))
        booked += ledger.book(_dividends(ledger, actions, since, at))
    return News({fill.fill_id: _words(fill) for fill in fills}, strangers, booked)


def since_of(ledger: Ledger) -> pd.Timestamp:
    """The instant after which the account is looked at again."""
    opened, newest = ledger.opened_at(), ledger.newest_fill()
    return max(t for t in (opened, newest and newest - OVERLAP) if t is not None)


def _words(fill: BrokerFill) -> str:
    return f"{fill.side} {number(fill.qty)} {fill.symbol} at {number(fill.price)}, {fill.at:%Y-%m-%d %H:%M} UTC"


def _prices(broker: Broker) -> dict[str, Decimal]:
    """What the broker says a share of each position has cost."""
    return {s: p.entry_price for s, p in broker.positions().items() if p.entry_price > 0}


# -- executions -------------------------------------------------------------------------------------


def _executions(
    broker: Broker, ledger: Ledger, fills: list[BrokerFill], since: pd.Timestamp
) -> tuple[list[Execution], dict[str, Event]]:
    """Fills of our orders, and by id those of other people's, as events to be adopted on demand."""
    ours = ledger.by_broker_id()
    foreign = {fill.fill_id: fill.broker_id for fill in fills if fill.broker_id not in ours}
    adopted = ledger.known(foreign)
    unknown = {broker_id for name, broker_id in foreign.items() if name not in adopted}
    names = set(ledger.orders()["client_order_id"]) if unknown else set()
    found = known_by_broker(broker, unknown, since - OVERLAP)
    ours |= {broker_id: name for broker_id, name in found.items() if name in names}
    booked: list[Execution] = []
    strangers: dict[str, Event] = {}
    for fill in fills:
        if fill.broker_id in ours:
            booked.append(_execution(fill, ours[fill.broker_id]))
        elif fill.broker_id in unknown and fill.fill_id not in adopted:
            strangers[fill.fill_id] = _adoptable(fill)
    return booked, strangers


def _execution(fill: BrokerFill, name: str) -> Execution:
    return Execution(fill.fill_id, name, fill.symbol, fill.side, fill.qty, fill.price, fill.at)


def _adoptable(fill: BrokerFill) -> Conversion:
    sign = 1 if fill.side == "buy" else -1
    value = fill.qty * fill.price
    return Conversion(
        fill.fill_id,
        "adopted",
        fill.symbol,
        sign * fill.qty,
        -sign * value,
        fill.at,
        _words(fill),
        fill.price,
    )


# -- payments -----------------------------------------------------------------------------------------


def in_force(activities: list[Activity]) -> list[Activity]:
    """Those that count: not cancelled, and not replaced by a later correction of their group."""
    standing: dict[str, Activity] = {}
    for activity in filter(lambda found: found.happened, activities):
        if activity.status == CORRECTION and activity.group:
            replaced = {name for name, old in standing.items() if _same_matter(old, activity)}
            standing = {name: old for name, old in standing.items() if name not in replaced}
        standing[activity.activity_id] = activity
    return list(standing.values())


def _same_matter(one: Activity, other: Activity) -> bool:
    return (one.group, one.kind, one.symbol) == (other.group, other.kind, other.symbol)


def _payments(
    ledger: Ledger, paid: list[Activity], standing: list[Activity], at: pd.Timestamp
) -> list[Payment]:
    """Cash that moved, and what brings payments that were booked to what became of them."""
    counts = {activity.activity_id for activity in standing}
    found: list[Payment] = []
    for activity in paid:
        stands = activity.amount if activity.activity_id in counts else ZERO
        revised = activity.status != "executed" or activity.activity_id not in counts
        booked = ledger.paid_under(activity.activity_id) if revised else None
        if booked is None:
            found += _payment(activity, activity.activity_id, stands, activity.at)
        else:  # the past stays as it was told: the change counts from when it is seen
            name = f"{activity.activity_id}{REVISED}{at:%Y%m%dT%H%M%S%f}"
            found += _payment(activity, name, stands - booked, at)
    return found


def _payment(
    activity: Activity, event_id: str, amount: Decimal, at: pd.Timestamp
) -> Iterator[Payment]:
    """Cash that moved; a dividend that is paid is no longer due."""
    if not amount:
        return
    kind = "flow" if activity.kind in FLOWS else activity.kind.lower()
    yield Payment(event_id, kind, amount, at, activity.symbol, activity.detail)
    if activity.kind == "DIV":
        yield Payment(f"{event_id}-paid", MEMO, -amount, at, activity.symbol)


def _dividends(
    ledger: Ledger, actions: pd.DataFrame, since: pd.Timestamp, at: pd.Timestamp
) -> list[Payment]:
    """What became due on the shares owned before the open of each ex-session."""
    rates: dict[pd.Timestamp, list[tuple[str, pd.Timestamp, Decimal]]] = {}
    for ex_date, row in effective_between(actions, ("cash_dividend",), since, at):
        rates.setdefault(ex_date, []).append((row["symbol"], ex_date, decimal(row["cash"])))
    due: list[Payment] = []
    for ex_date, dividends in rates.items():
        owned = {s: p.qty for s, p in ledger.positions(effective(ex_date)).items()}
        due += dividends_due(dividends, owned)
    return due
