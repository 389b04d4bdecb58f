"""Start-up and crash recovery in one: our books against the broker's, until they agree exactly.

Unfinished orders are looked up by their own names, executions and the broker's other activities
are booked, corporate actions are applied as events of their own, and then every position and the
cash have to be equal. What is left over is a difference, and the desk does not trade on one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.broker_records import Activity, BrokerOrder
from quant50lib.adapters.journal import Ledger
from quant50lib.errors import ReconciliationError
from quant50lib.services.ledger import (
    MEMO,
    SHARE,
    ZERO,
    Conversion,
    Event,
    Execution,
    Payment,
    Split,
    decimal,
    dividends_due,
    effective,
)
from quant50lib.settings import ExecuteSettings
from quant50lib.utils import dates

Sleep = Callable[[float], None]
#: cash agrees to the cent
CENT = Decimal("0.01")
#: how far back the broker is asked again; what is booked already changes nothing
OVERLAP = pd.Timedelta(days=7)
SPLITS = ("forward_split", "reverse_split")
#: activities that are money paid in or out
FLOWS = ("CSD", "CSW", "JNLC", "ACATC", "TRANS")


@dataclass(frozen=True)
class Difference:
    """One thing on which our books and the broker's disagree."""

    what: str
    symbol: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Reconciliation:
    """What a reconciliation found and did; afterwards the books agree."""

    at: pd.Timestamp  # the broker's time
    opened: bool  # the books were opened by it
    resolved: int  # orders whose state was brought up to date
    fills: int
    splits: int
    payments: int


def reconcile(
    broker: Broker,
    ledger: Ledger,
    actions: pd.DataFrame,
    settings: ExecuteSettings,
    run_date: pd.Timestamp,
    sleep: Sleep = time.sleep,
) -> Reconciliation:
    """Bring our books up to now and hold them against the broker's.

    Parameters
    ----------
    actions : DataFrame
        symbol, type (forward_split, reverse_split, cash_dividend …), ex_date, new_rate, old_rate,
        cash (US dollars a share).
    run_date : Timestamp
        Books that do not exist yet are opened at the close of this session.

    Raises
    ------
    ReconciliationError
        With a table of all differences; nothing may be traded before they are explained.
    """
    at = broker.clock()
    opened = ledger.opened_at() is None
    if opened:
        _open_books(broker, ledger, at, run_date)
    resolved = resolve_orders(broker, ledger, at, settings, sleep)
    fills = splits = payments = 0
    for last_look in (False, True):
        strangers, booked = _book_news(broker, ledger, actions, at)
        fills, splits, payments = fills + booked[0], splits + booked[1], payments + booked[2]
        differences = [*strangers, *_differences(broker, ledger)]
        if not differences:
            return Reconciliation(at, opened, resolved, fills, splits, payments)
        if not last_look:  # a fill may have come between two questions
            sleep(settings.grace_seconds)
    raise ReconciliationError(_explained(differences))


# -- the first day ----------------------------------------------------------------------------------


def _open_books(broker: Broker, ledger: Ledger, at: pd.Timestamp, run_date: pd.Timestamp) -> None:
    """Begin with the account's cash, from the close of the session on; it must hold nothing else."""
    held, working = broker.positions(), broker.orders(status="open")
    if held or working:
        raise ReconciliationError(
            f"the books of this desk begin here, and the account already has {len(held)} "
            f"positions ({', '.join(sorted(held)[:8])}) and {len(working)} open orders: sell and "
            "cancel them at the broker (or reset the paper account), or put the ledger that knows "
            "them back, then run this again"
        )
    cash = broker.account().cash
    begin = min(at, dates.close_of(run_date))
    ledger.book([Payment("opening", "opening", cash, begin, detail=at.isoformat())])


# -- orders -----------------------------------------------------------------------------------------


def resolve_orders(
    broker: Broker,
    ledger: Ledger,
    at: pd.Timestamp,
    settings: ExecuteSettings,
    sleep: Sleep = time.sleep,
    keep_unknown: Collection[str] = (),
) -> int:
    """Ask the broker for every unfinished order and adopt what it says; returns how many moved.

    An order that we sent and nobody has seen is proven absent by two looks for its name, at least
    `grace_seconds` apart, and by its absence from the list of all orders at both looks. Then it
    may be sent again (`planned`), or has expired if its session is over. Those in `keep_unknown`
    stay unknown.
    """
    ended = _expire_unsent(ledger, at)
    waiting = ledger.open_orders()
    if waiting.empty:
        return ended
    seen = _look(broker, waiting)
    if len(seen) < len(waiting):
        sleep(settings.grace_seconds)
        seen = _look(broker, waiting)
    with ledger.held():
        moved = [_settle_order(ledger, order, seen, at, keep_unknown) for order in _each(waiting)]
    return ended + sum(moved)


def _each(orders: pd.DataFrame) -> Iterator[pd.Series]:
    return (row for _, row in orders.iterrows())


def _look(broker: Broker, waiting: pd.DataFrame) -> dict[str, BrokerOrder]:
    """What the broker knows of the orders: by one list, then by name where the list has none."""
    first = waiting["session"].min().tz_localize("UTC") - pd.Timedelta(days=1)
    listed = {order.client_order_id: order for order in broker.orders(after=first)}
    found = {}
    for name in waiting["client_order_id"]:
        order = listed.get(name) or broker.find(name)
        if order is not None:
            found[name] = order
    return found


def _settle_order(
    ledger: Ledger,
    order: pd.Series,
    seen: dict[str, BrokerOrder],
    at: pd.Timestamp,
    keep_unknown: Collection[str],
) -> bool:
    name = order["client_order_id"]
    if name in seen:
        return adopt(ledger, order, seen[name], at)
    if order["state"] not in ("sending", "unknown"):
        raise ReconciliationError(
            f"{name} was {order['state']} as {order['broker_id']}, and the broker does not know it "
            "any more: was the paper account reset?"
        )
    if name in keep_unknown:
        return False
    if order["session"] == dates.last_closed(at):
        ledger.transition(name, "planned", at, reason="proven absent at the broker")
    else:
        ledger.transition(name, "expired", at, reason="never reached the broker")
    return True


def adopt(ledger: Ledger, order: pd.Series, known: BrokerOrder, at: pd.Timestamp) -> bool:
    """Take over the broker's state of an order that must be the one we meant; True if it is news.

    Raises
    ------
    ReconciliationError
        The broker's order of that name is another one.
    """
    meant = (order["symbol"], order["side"], decimal(order["qty"]).quantize(SHARE))
    theirs = (known.symbol, known.side, known.qty.quantize(SHARE))
    if meant != theirs:
        raise ReconciliationError(
            f"{known.client_order_id} is {' '.join(map(str, theirs))} at the broker and "
            f"{' '.join(map(str, meant))} in our books: stop, and find out who sent it"
        )
    return ledger.transition(
        known.client_order_id,
        known.state,
        at,
        broker_id=known.broker_id,
        filled_qty=known.filled_qty,
        filled_price=known.filled_price,
        reason=known.remark,
    )


def _expire_unsent(ledger: Ledger, at: pd.Timestamp) -> int:
    """Orders planned for a session that is no longer the newest are not sent any more."""
    unsent = ledger.unsent()
    late = unsent[unsent["session"] < dates.last_closed(at)]
    for name in late["client_order_id"]:
        ledger.transition(name, "expired", at, reason="never sent: its session is over")
    return len(late)


# -- what happened since ----------------------------------------------------------------------------


def _book_news(
    broker: Broker, ledger: Ledger, actions: pd.DataFrame, at: pd.Timestamp
) -> tuple[list[Difference], tuple[int, int, int]]:
    """Book all that is new; returns what cannot be booked, and how much was."""
    opened = ledger.opened_at()
    newest = ledger.newest_fill()
    since = max(t for t in (opened, newest and newest - OVERLAP) if t is not None)
    executions, strangers = _executions(broker, ledger, since)
    conversions, payments = _from_activities(broker, since)
    splits = list(_splits(actions, since, at))
    entries = ledger.book(_without_twice([*splits, *conversions, *executions, *payments]))
    owed = ledger.book(_dividends(ledger, actions, since, at))
    kinds = [entry.kind for entry in (*entries, *owed)]
    fills, moved = kinds.count("fill"), sum(e.kind == "split" and bool(e.qty) for e in entries)
    return strangers, (fills, moved, len(kinds) - fills - kinds.count("split"))


def _without_twice(events: list[Event]) -> list[Event]:
    """One event for each id; a split of the table goes before the broker's activity of it."""
    return list({event.event_id: event for event in reversed(events)}.values())


def _executions(
    broker: Broker, ledger: Ledger, since: pd.Timestamp
) -> tuple[list[Execution], list[Difference]]:
    ours, booked, strangers = ledger.by_broker_id(), [], []
    for fill in broker.executions(after=since):
        if fill.at <= since:
            continue
        if fill.broker_id in ours:
            name = ours[fill.broker_id]
            booked.append(
                Execution(fill.fill_id, name, fill.symbol, fill.side, fill.qty, fill.price, fill.at)
            )
        else:
            found = f"{fill.side} {fill.qty} at {fill.price}, {fill.at}"
            strangers.append(Difference("fill of an order not ours", fill.symbol, "none", found))
    return booked, strangers


def _from_activities(broker: Broker, since: pd.Timestamp) -> tuple[list[Conversion], list[Payment]]:
    """The broker's other activities, as changes of shares and as payments."""
    conversions: list[Conversion] = []
    payments: list[Payment] = []
    for activity in broker.activities(after=since):
        if activity.at <= since:
            continue
        if activity.qty and activity.kind in ("SPLIT", "MA"):
            conversions.append(_conversion(activity))
        elif activity.amount:
            payments.extend(_payments(activity))
    return conversions, payments


def _conversion(activity: Activity) -> Conversion:
    kind = {"SPLIT": "split", "MA": "merger"}[activity.kind]
    day = activity.at.tz_convert(dates.NEW_YORK)
    return Conversion(
        f"split-{activity.symbol}-{day:%Y%m%d}" if kind == "split" else activity.activity_id,
        kind,
        activity.symbol,
        activity.qty,
        activity.amount,
        activity.at,
        activity.detail,
    )


def _payments(activity: Activity) -> Iterator[Payment]:
    """Cash that moved; a dividend that is paid is no longer due."""
    kind = "flow" if activity.kind in FLOWS else activity.kind.lower()
    yield Payment(
        activity.activity_id, kind, activity.amount, activity.at, activity.symbol, activity.detail
    )
    if activity.kind == "DIV":
        yield Payment(
            f"{activity.activity_id}-paid", MEMO, -activity.amount, activity.at, activity.symbol
        )


def _effective_between(
    actions: pd.DataFrame, kinds: Collection[str], since: pd.Timestamp, at: pd.Timestamp
) -> Iterator[tuple[pd.Timestamp, pd.Series]]:
    """Actions of the given kinds that took effect after one instant and up to another."""
    chosen = actions[actions["type"].isin(kinds)]
    recent = chosen[chosen["ex_date"] >= since.tz_localize(None).normalize() - OVERLAP]
    for row in _each(recent):
        if since < effective(row["ex_date"]) <= at:
            yield pd.Timestamp(row["ex_date"]).as_unit("us"), row


def _splits(actions: pd.DataFrame, since: pd.Timestamp, at: pd.Timestamp) -> Iterator[Split]:
    for ex_date, row in _effective_between(actions, SPLITS, since, at):
        yield Split(row["symbol"], ex_date, decimal(row["new_rate"]), decimal(row["old_rate"]))


def _dividends(
    ledger: Ledger, actions: pd.DataFrame, since: pd.Timestamp, at: pd.Timestamp
) -> list[Payment]:
    """What became due on the shares owned before the open of each ex-session."""
    rates: dict[pd.Timestamp, list[tuple[str, pd.Timestamp, Decimal]]] = {}
    for ex_date, row in _effective_between(actions, ("cash_dividend",), since, at):
        rates.setdefault(ex_date, []).append((row["symbol"], ex_date, decimal(row["cash"])))
    due: list[Payment] = []
    for ex_date, dividends in rates.items():
        owned = {s: p.qty for s, p in ledger.positions(effective(ex_date)).items()}
        due += dividends_due(dividends, owned)
    return due


# -- the comparison -----------------------------------------------------------------------------------


def _differences(broker: Broker, ledger: Ledger) -> list[Difference]:
    ours = {symbol: position.qty for symbol, position in ledger.positions().items()}
    theirs = {symbol: position.qty for symbol, position in broker.positions().items()}
    found = [
        Difference("shares", symbol, _number(ours.get(symbol)), _number(theirs.get(symbol)))
        for symbol in sorted(set(ours) | set(theirs))
        if abs(ours.get(symbol, ZERO) - theirs.get(symbol, ZERO)) > SHARE
    ]
    cash, their_cash = ledger.cash(), broker.account().cash
    if abs(cash - their_cash) >= CENT / 2:
        found.append(Difference("cash", "", f"{cash:.4f}", f"{their_cash:.4f}"))
    return found + _foreign_orders(broker, ledger)


def _foreign_orders(broker: Broker, ledger: Ledger) -> list[Difference]:
    """Working orders at the broker that our books do not have as working."""
    ours = set(ledger.open_orders()["client_order_id"])
    return [
        Difference("open order", order.symbol, "none", f"{order.client_order_id} {order.side}")
        for order in broker.orders(status="open")
        if order.client_order_id not in ours
    ]


def _number(value: Decimal | None) -> str:
    return "0" if value is None else f"{value.normalize():f}"


def _explained(differences: list[Difference]) -> str:
    table = pd.DataFrame([vars(difference) for difference in differences])
    return (
        f"our books and the broker's differ in {len(differences)} places, and no corporate action "
        "or activity explains it:\n"
        f"{table.to_string(index=False)}\n"
        "nothing is traded until they agree: look at the account's activities and at "
        "`quant50 orders`"
    )
