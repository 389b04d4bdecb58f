"""What became of our orders: asked of the broker by their own names, never by sending again.

A *proven absent* order may be sent again, under the same client_order_id: should the first request
arrive after all, the broker refuses the second as a repeat, and asking finds the one order. A new
attempt number could not promise that, so within a session there is no second attempt: what was
refused, cancelled or not filled is planned anew from the next session's target, under a new name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.broker_records import BrokerOrder
from quant50lib.adapters.journal import Ledger, Sent, Step
from quant50lib.errors import OrderRefused, OutcomeUnknown, ReconciliationError
from quant50lib.services import execute
from quant50lib.services.comparison import NONE, Line, number
from quant50lib.services.ledger import SHARE, decimal
from quant50lib.settings import ExecuteSettings
from quant50lib.utils import dates

Sleep = Callable[[float], None]
Row = Mapping[str, Any]
#: a proven absent order is sent this often in one go, then it is left for the next start
SENDS = 3
#: states in which it is not known whether the order exists
UNCLEAR = ("sending", "unknown")


@dataclass(frozen=True)
class Resolution:
    """What asking for the unfinished orders brought."""

    moved: int  # orders whose state was brought up to date
    lines: list[Line] = field(default_factory=list)  # orders on which the two sides contradict


def resolve_orders(
    broker: Broker,
    ledger: Ledger,
    at: pd.Timestamp,
    settings: ExecuteSettings,
    sleep: Sleep = time.sleep,
    keep_unknown: Collection[str] = (),
) -> Resolution:
    """Ask the broker for every unfinished order and adopt what it says.

    An order that we sent and nobody has seen is proven absent by two looks for its name, at least
    `grace_seconds` apart, and by its absence from the list of all orders at both looks. Then it
    may be sent again (`planned`), or has expired if its session is over. Those in `keep_unknown`
    stay unknown, and so does one that was sent `SENDS` times and is past `unknown_minutes`.
    """
    unsent = ledger.unsent()
    moved, again = _end_unsent(ledger, unsent, at), _sent_before(ledger, unsent, at)
    waiting = ledger.open_orders()
    if waiting.empty and again.empty:
        return Resolution(moved)
    seen = _look(broker, pd.concat([waiting, again]))
    missing = waiting[~waiting["client_order_id"].isin(seen)]
    if len(missing):
        sleep(settings.grace_seconds)
        seen |= _look(broker, missing)
    sent = ledger.sent(missing["client_order_id"])
    there = again[again["client_order_id"].isin(seen)]
    steps: list[Step | None] = [
        Step(name, "unknown", reason="it arrived late") for name in there["client_order_id"]
    ]
    lines: list[Line] = []
    for order in each(pd.concat([waiting, there])):
        name = order["client_order_id"]
        found = _outcome(order, seen.get(name), sent.get(name), at, settings, keep_unknown)
        (lines if isinstance(found, Line) else steps).append(found)  # type: ignore[arg-type]
    done, contradictions = _advance(ledger, [step for step in steps if step], at)
    return Resolution(moved + done, [*lines, *contradictions])


def _sent_before(ledger: Ledger, unsent: pd.DataFrame, at: pd.Timestamp) -> pd.DataFrame:
    """Orders that are to be sent again: the first request may have arrived late."""
    due = unsent[unsent["session"] >= dates.last_closed(at)]
    return due[due["client_order_id"].isin(list(ledger.sent(due["client_order_id"])))]


def each(frame: pd.DataFrame) -> Iterator[Row]:
    """The rows of a frame, by column."""
    return iter(frame.to_dict("records"))  # a Series of each row costs ten times as much


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


def _outcome(
    order: Row,
    known: BrokerOrder | None,
    sent: Sent | None,
    at: pd.Timestamp,
    settings: ExecuteSettings,
    keep_unknown: Collection[str],
) -> Step | Line | None:
    """The step that an unfinished order takes, or on what the two sides contradict."""
    name, state = order["client_order_id"], order["state"]
    if known is not None:
        try:
            return step_of(order, known)
        except ReconciliationError as error:
            return Line("order", name, _ours(order), str(error), "contradiction")
    if state not in UNCLEAR:
        ours = f"{_ours(order)} as {order['broker_id']}"
        lost = "the broker does not know it any more"
        why = "was the paper account reset?"
        return Line("order lost", name, ours, NONE, lost, why)
    if name in keep_unknown:
        return None
    if order["session"] != dates.last_closed(at):
        return Step(name, "expired", reason="never reached the broker")
    if sent and sent.times >= SENDS and at - sent.first >= _minutes(settings.unknown_minutes):
        return None
    return Step(name, "planned", reason="proven absent at the broker")


def _ours(order: Row) -> str:
    qty = number(decimal(order["qty"]))
    return f"{order['side']} {qty} {order['symbol']}, {order['state']}"


def _minutes(count: float) -> pd.Timedelta:
    return pd.Timedelta(minutes=count)


def step_of(order: Row, known: BrokerOrder) -> Step:
    """The broker's state of an order that must be the one we meant.

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
    return Step(
        known.client_order_id,
        known.state,
        known.broker_id,
        known.filled_qty,
        known.filled_price,
        known.remark,
    )


def _advance(ledger: Ledger, steps: list[Step], at: pd.Timestamp) -> tuple[int, list[Line]]:
    """All steps at once; where one contradicts our books, each alone, to say which."""
    try:
        return ledger.advance(steps, at), []
    except ReconciliationError:
        moved, lines = 0, []
        for step in steps:
            try:
                moved += ledger.advance([step], at)
            except ReconciliationError as error:
                name = step.client_order_id
                lines.append(Line("order", name, "", str(error), "contradiction"))
        return moved, lines


def _end_unsent(ledger: Ledger, unsent: pd.DataFrame, at: pd.Timestamp) -> int:
    """Orders planned for a session that is no longer the newest are not sent any more.

    One that was sent before and then found absent is asked about once more, as `unknown`.
    """
    late = unsent.loc[unsent["session"] < dates.last_closed(at), "client_order_id"]
    if late.empty:
        return 0
    sent = ledger.sent(late)
    steps = [
        (
            Step(name, "unknown", reason="sent before its session was over")
            if name in sent
            else Step(name, "expired", reason="never sent: its session is over")
        )
        for name in late
    ]
    return ledger.advance(steps, at)


# -- deadlines ------------------------------------------------------------------------------------


def stuck(
    ledger: Ledger, waiting: pd.DataFrame, at: pd.Timestamp, settings: ExecuteSettings
) -> dict[str, str]:
    """Names with an order that should long have ended, and why nothing may be sent in them.

    Such an order is never sent again, nor replaced: it is waited for, and a person is told.
    `waiting` are the unfinished orders.
    """
    unclear = waiting.loc[waiting["state"].isin(UNCLEAR), "client_order_id"]
    sent = ledger.sent(unclear)
    late = {session for session in set(waiting["session"]) if at >= _deadline(session, settings)}
    reasons = {}
    for order in each(waiting):
        why = _stuck(order, sent.get(order["client_order_id"]), at, settings, late)
        if why:
            reasons[order["symbol"]] = f"{order['client_order_id']} {why}"
    return reasons


def _deadline(session: pd.Timestamp, settings: ExecuteSettings) -> pd.Timestamp:
    """When all orders that were planned after a session should have ended."""
    return dates.close_of(dates.shift(session, 1)) + _minutes(settings.stuck_minutes)


def _stuck(
    order: Row,
    sent: Sent | None,
    at: pd.Timestamp,
    settings: ExecuteSettings,
    late: Collection[pd.Timestamp],
) -> str:
    if order["state"] in UNCLEAR:
        overdue = sent and at - sent.first >= _minutes(settings.unknown_minutes)
        since = f"{sent.first:%Y-%m-%d %H:%M} UTC" if sent else ""
        return f"was sent at {since}, and nobody knows whether it exists" if overdue else ""
    if order["session"] not in late:
        return ""
    live = dates.shift(order["session"], 1)
    word = f" ({order['reason']})" if order["reason"] else ""
    return f"is still {order['state']}{word} after the close of {live.date()}"


def remarks(waiting: pd.DataFrame) -> list[str]:
    """What a person should look at among the unfinished orders."""
    odd = waiting[(waiting["reason"] != "") & ~waiting["state"].isin(UNCLEAR)]
    return [f"{order['client_order_id']}: {order['reason']}" for order in each(odd)]


# -- orders that a corporate action has made wrong ------------------------------------------------


def cancel_overtaken(
    broker: Broker, ledger: Ledger, actions: pd.DataFrame, at: pd.Timestamp
) -> list[str]:
    """Ask the broker to cancel orders that are for the wrong number of shares.

    These are open orders in a name whose shares change between the plan and the end of the session
    in which they are to fill, because the action became known after they were sent. Whether the
    broker obeyed is for `resolve_orders` to learn. Returns their names.
    """
    asked = []
    for order in each(ledger.open_orders()):
        if order["broker_id"] and _is_overtaken(order, actions, at):
            _ask_to_cancel(broker, order["broker_id"])
            asked.append(order["client_order_id"])
    return asked


def _is_overtaken(order: Row, actions: pd.DataFrame, at: pd.Timestamp) -> bool:
    live = dates.shift(order["session"], 1)
    if at >= dates.close_of(live):
        return False
    coming = execute.coming_actions(actions, order["session"], live)
    return order["symbol"] in coming


def _ask_to_cancel(broker: Broker, broker_id: str) -> None:
    try:
        broker.cancel(broker_id)
    except (OrderRefused, OutcomeUnknown):
        return  # it ended meanwhile, or no answer came: the look that follows tells


def known_by_broker(
    broker: Broker, wanted: Collection[str], after: pd.Timestamp
) -> Mapping[str, str]:
    """Our names of the broker's orders with these ids, from its list of all orders."""
    if not wanted:
        return {}
    listed: Iterable[BrokerOrder] = broker.orders(after=after)
    return {o.broker_id: o.client_order_id for o in listed if o.broker_id in wanted}
