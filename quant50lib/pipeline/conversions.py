"""Corporate actions as events of our books: from the table of actions, and from the broker's reports.

A split is booked from the table at 04:00 of its ex-date, because shares times price must make sense
from then on, and corrected to what the broker really applied. Mergers, renames, spin-offs and
removals are booked when the broker has made them: from its activities, or from the table's terms
where its positions show that it has and the activity is still to come. Each has one id, whichever
source it is made from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import ROUND_DOWN, Decimal

import pandas as pd

from quant50lib.adapters.broker_records import Activity
from quant50lib.adapters.journal import Ledger
from quant50lib.pipeline.resolve import Row, each
from quant50lib.services.comparison import SAME_ACTION
from quant50lib.services.execute import SPLITS
from quant50lib.services.fates import FATES, fate_of
from quant50lib.services.ledger import (
    NOMINAL,
    SHARE,
    ZERO,
    Conversion,
    Entry,
    Event,
    Split,
    Swap,
    decimal,
    effective,
    session_of,
)

#: how far back the broker is asked again; what is booked already changes nothing
OVERLAP = pd.Timedelta(days=7)
#: activities that move shares, and the kind of their entries
KINDS = {
    "NC": "rename",
    "MA": "merger",
    "SPIN": "spin_off",
    "REORG": "worthless",
    "SPLIT": "split",
    "DIV": "split",  # a stock dividend
}
#: ends the id of the event that corrects a split to what the broker applied
CORRECTED = "-as-applied"
#: an activity may be dated a little before the action that it reports
EARLY = pd.Timedelta(days=1)


# -- splits -------------------------------------------------------------------------------------------


def effective_between(
    actions: pd.DataFrame, kinds: Collection[str], since: pd.Timestamp, at: pd.Timestamp
) -> Iterator[tuple[pd.Timestamp, Row]]:
    """Ex-date and row of actions of the given kinds that took effect after one instant and up to another."""
    chosen = actions[actions["type"].isin(kinds)]
    recent = chosen[chosen["ex_date"] >= since.tz_localize(None).normalize() - OVERLAP]
    for row in each(recent):
        if since < effective(row["ex_date"]) <= at:
            yield pd.Timestamp(row["ex_date"]).as_unit("us"), row


def table_splits(actions: pd.DataFrame, since: pd.Timestamp, at: pd.Timestamp) -> Iterator[Split]:
    for ex_date, row in effective_between(actions, SPLITS, since, at):
        yield Split(row["symbol"], ex_date, decimal(row["new_rate"]), decimal(row["old_rate"]))


def new_splits(ledger: Ledger, splits: Iterable[Split]) -> list[Split]:
    """Those that are not booked already, also not from the broker's activity on another day."""
    return [split for split in splits if _booked_split(ledger, split.symbol, split.at) is None]


def _booked_split(ledger: Ledger, symbol: str, at: pd.Timestamp) -> Entry | None:
    """The entry of a split of that name about that time."""
    for entry in ledger.position_entries():
        known = entry.kind == "split" and not entry.event_id.endswith(CORRECTED)
        if known and entry.symbol == symbol and abs(entry.at - at) <= SAME_ACTION:
            return entry
    return None


def _reported_splits(
    moved: list[tuple[Activity, Activity | None]],
) -> dict[str, list[Activity]]:
    """The broker's reports of splits, by symbol; one split may have several rows."""
    reported: dict[str, list[Activity]] = defaultdict(list)
    for first, second in moved:
        if second is None and KINDS[first.kind] == "split":
            reported[first.symbol].append(first)
    return reported


def _unheard_splits(
    ledger: Ledger, reported: Mapping[str, list[Activity]], splits: Iterable[Split]
) -> Iterator[Conversion]:
    """Splits that only the broker knows of."""
    known = {(split.symbol, split.at) for split in splits}
    for symbol, rows in reported.items():
        at = rows[0].at
        told = any(name == symbol and abs(when - at) <= SAME_ACTION for name, when in known)
        if not told and _booked_split(ledger, symbol, at) is None:
            total = sum((row.qty for row in rows), ZERO)
            yield _split_of(f"split-{symbol}-{session_of(at):%Y%m%d}", total, rows[0])


def corrections(ledger: Ledger, moved: list[tuple[Activity, Activity | None]]) -> list[Conversion]:
    """What the broker applied of a split beyond, or short of, what is booked."""
    found = []
    for symbol, rows in _reported_splits(moved).items():
        booked = _booked_split(ledger, symbol, rows[0].at)
        missing = sum((row.qty for row in rows), ZERO) - (booked.qty if booked else ZERO)
        if booked and missing:
            found.append(_split_of(f"{booked.event_id}{CORRECTED}", missing, rows[0]))
    return found


def _split_of(event_id: str, qty: Decimal, activity: Activity) -> Conversion:
    return Conversion(
        event_id, "split", activity.symbol, qty, activity.amount, activity.at, activity.detail
    )


# -- mergers, renames, spin-offs, removals --------------------------------------------------------------


def moves_shares(activity: Activity) -> bool:
    """Whether the activity is more than a payment."""
    return bool(activity.qty) and activity.kind in KINDS


def put_together(activities: Iterable[Activity]) -> list[tuple[Activity, Activity | None]]:
    """Activities that move shares; rows that give one name for another are put together.

    The broker reports the shares that come right after those that go.
    """
    found: list[tuple[Activity, Activity | None]] = []
    for activity in filter(moves_shares, activities):
        before = found[-1][0] if found and found[-1][1] is None else None
        if before is not None and _is_second(before, activity):
            found[-1] = (before, activity)
        else:
            found.append((activity, None))
    return found


def _is_second(before: Activity, activity: Activity) -> bool:
    soon = activity.at - before.at < pd.Timedelta(seconds=5)
    other = activity.symbol != before.symbol and activity.kind == before.kind
    return soon and other and before.qty < 0 < activity.qty


def conversions(
    ledger: Ledger,
    moved: list[tuple[Activity, Activity | None]],
    splits: Iterable[Split],
    actions: pd.DataFrame,
    prices: Mapping[str, Decimal],
) -> list[Event]:
    """The broker's reports as events; `splits` are about to be booked from the table.

    Parameters
    ----------
    prices : mapping
        What the broker says a share of each position has cost, US dollars.
    """
    events: list[Event] = [*_unheard_splits(ledger, _reported_splits(moved), splits)]
    for first, second in moved:
        if second is not None:
            events.append(_swap(first, second, actions))
        elif KINDS[first.kind] != "split":
            events.append(_alone(first, actions, prices))
    return events


def _swap(gone: Activity, come: Activity, actions: pd.DataFrame) -> Swap:
    kind = "merger" if gone.kind == "SPLIT" else KINDS[gone.kind]
    return Swap(
        _fate_id(kind, gone, actions),
        kind,
        gone.symbol,
        -gone.qty,
        come.symbol,
        come.qty,
        gone.at,
        gone.amount + come.amount,
        gone.detail,
    )


def _alone(activity: Activity, actions: pd.DataFrame, prices: Mapping[str, Decimal]) -> Event:
    kind, price = KINDS[activity.kind], prices.get(activity.symbol, NOMINAL)
    event_id = _fate_id(kind, activity, actions)
    parent = _parent(activity, actions) if kind == "spin_off" else ""
    if parent:
        return Swap(
            event_id,
            kind,
            parent,
            ZERO,
            activity.symbol,
            activity.qty,
            activity.at,
            activity.amount,
            activity.detail,
            price,
        )
    return Conversion(
        event_id,
        kind,
        activity.symbol,
        activity.qty,
        activity.amount,
        activity.at,
        activity.detail,
        price,
    )


def _fate_id(kind: str, activity: Activity, actions: pd.DataFrame) -> str:
    """The same from the activity as from the table, if that has the action."""
    column = "other_symbol" if kind == "spin_off" else "symbol"
    row = _action_of(kind, activity, actions, column)
    day = session_of(activity.at) if row is None else row["ex_date"]
    return f"{kind}-{activity.symbol}-{day:%Y%m%d}"


def _parent(activity: Activity, actions: pd.DataFrame) -> str:
    row = _action_of("spin_off", activity, actions, "other_symbol")
    return "" if row is None else str(row["symbol"])


def _action_of(kind: str, activity: Activity, actions: pd.DataFrame, column: str) -> Row | None:
    """The action of the table that an activity reports."""
    if column not in actions:
        return None
    own = actions[(actions[column] == activity.symbol) & (actions["type"].map(FATES) == kind)]
    for row in each(own):
        if -EARLY <= activity.at - effective(row["ex_date"]) <= SAME_ACTION:
            return row
    return None


def supposed(
    ledger: Ledger,
    actions: pd.DataFrame,
    theirs: Mapping[str, Decimal],
    prices: Mapping[str, Decimal],
    since: pd.Timestamp,
    at: pd.Timestamp,
) -> list[Event]:
    """Actions of the table that the broker's positions show to have been made.

    For the time in which the broker has changed the shares and not yet reported it: the terms of
    the table are applied to what we own, and count only if exactly that is what the broker holds.
    """
    ours = {symbol: position.qty for symbol, position in ledger.positions().items()}
    events: list[Event] = []
    for ex_date, row in effective_between(actions, FATES, since, at):
        event = fate_of(row, ex_date, ours.get(row["symbol"], ZERO), prices)
        if event is not None and (fitting := _fitted(event, ours, theirs)) is not None:
            events.append(fitting)
    return events


def _fitted(
    event: Conversion | Swap, ours: Mapping[str, Decimal], theirs: Mapping[str, Decimal]
) -> Conversion | Swap | None:
    """The event with the whole shares that the broker gave, or None if it holds something else."""
    gone = -event.qty if isinstance(event, Conversion) else event.qty
    if theirs.get(event.symbol, ZERO) != ours.get(event.symbol, ZERO) - gone:
        return None
    if isinstance(event, Conversion):
        return event
    got = theirs.get(event.new_symbol, ZERO) - ours.get(event.new_symbol, ZERO)
    exact = event.new_qty.quantize(SHARE, ROUND_DOWN)
    if got not in (exact, exact.quantize(Decimal(1), ROUND_DOWN)) or not got:
        return None
    return Swap(**{**vars(event), "new_qty": got})
