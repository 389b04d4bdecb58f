"""The life of an order between its acceptance and its end, and of the orders that hang together.

Every transition goes through here, so that times, reserves and the other orders of a bracket, oco
or oto never disagree with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta

import numpy as np

from quant50lib.simulator.book import Book
from quant50lib.simulator.records import Order
from quant50lib.simulator.refusals import missing, unprocessable
from quant50lib.simulator.timetable import NEW_YORK, SECOND, micros, moment

EXTENDED = 4 * 3600 * SECOND  # extended hours after the close: to 20:00, to 17:00 on a half day
GTC_DAYS = 90
GTC_END = time(16, 15)  # in New York


class Life(Book):
    """Which transitions there are, and what they bring with them."""

    def order(self, order_id: str) -> Order:
        """An order by its id; raises Refusal (404) where there is none."""
        if order_id not in self.orders:
            raise missing(f"order not found for {order_id}")
        return self.orders[order_id]

    # ---- when an order lives

    def in_hours(self, order: Order) -> bool:
        """Whether the market is open to it: the session, or the hours around it as well."""
        if self.times.is_open(self.now):
            return True
        return order.extended_hours and self.in_extended_hours()

    def in_extended_hours(self) -> bool:
        session = self._evening(self.now)
        return bool(self.times.early[session] <= self.now)

    def _evening(self, now: int) -> int:
        """The first session whose extended hours are not over."""
        return int(np.searchsorted(self.times.closes + EXTENDED, now, "right"))

    def first_session(self, extended_hours: bool) -> int:
        """The session in which an order sent now may trade first."""
        return self._evening(self.now) if extended_hours else self.times.live(self.now)

    def end_of_life(self, time_in_force: str, session: int, extended_hours: bool) -> int:
        """When an order of that session expires."""
        if time_in_force == "gtc":
            day = moment(self.now).astimezone(NEW_YORK).date() + timedelta(days=GTC_DAYS)
            return micros(datetime.combine(day, GTC_END, NEW_YORK))
        return int(self.times.closes[session]) + (EXTENDED if extended_hours else 0)

    # ---- orders that hang together

    def legs_of(self, order: Order) -> list[Order]:
        return [self.orders[leg] for leg in order.legs]

    def partners(self, order: Order) -> list[Order]:
        """The other open orders of its bracket, oco or oto."""
        root = self.orders[order.parent] if order.parent else order
        return [o for o in (root, *self.legs_of(root)) if o is not order and o.is_open]

    def _begin_legs(self, entry: Order) -> None:
        """The entry is filled: the profit leg goes live, a loss leg beside it is only watched."""
        legs = [leg for leg in self.legs_of(entry) if leg.status == "held"]
        for leg in legs:
            if len(legs) > 1 and leg.is_stop:
                leg.armed = True
            else:
                leg.move("new", self.stamp())
            self.touch(leg)

    def after_fill(self, order: Order) -> list[Order]:
        """What a fill means to the others of the group; the orders to look at then."""
        if order.order_class in ("bracket", "oto") and order.parent is None:
            if order.status != "filled":
                return []
            self._begin_legs(order)
            return [leg for leg in self.legs_of(order) if leg.is_open]
        for other in self.partners(order):
            if order.status == "filled":
                self.end(other, "canceled", alone=True)
            elif order.remaining is not None:
                other.qty = other.wanted = other.filled_qty + order.remaining
                self.touch(other)
        return []

    # ---- transitions

    def activate(self, session: int) -> None:
        """Queued orders of a session become live, with a new submission time."""
        for order in list(self.working.values()):
            if order.status == "accepted" and order.session == session and order.is_free:
                at = self.stamp()
                if self.rules.queued_submitted_at == "rewritten":
                    order.submitted_at = at
                order.move("new", at)
                self.touch(order)

    def end(self, order: Order, status: str, *, alone: bool = False) -> None:
        """Canceled, expired or rejected, and the others of its group with it unless `alone`."""
        partners = [] if alone else self.partners(order)
        at = self.stamp()
        name = {"canceled": "canceled_at", "expired": "expired_at", "rejected": "failed_at"}[status]
        setattr(order, name, at)
        order.next_look, order.armed, order.stuck = None, False, False
        if order.filled_qty and self.rules.partial_filled_at == "last_fill":
            order.filled_at = order.last_fill_at
        order.move(status, at)
        self.touch(order)
        for other in partners:
            if other.is_open:
                self.end(other, "expired" if status == "expired" else "canceled", alone=True)
        self.void_successor(order)
        if order.awaits:
            old, order.awaits = self.orders[order.awaits], None
            old.replaced_by = None
            self.touch(old)

    def void_successor(self, order: Order) -> None:
        """An order that was to replace it has nothing left to replace."""
        successor = self.orders.get(order.replaced_by or "")
        if successor is not None and successor.awaits == order.id:
            successor.awaits, order.replaced_by = None, None
            self.touch(order)
            successor.reason = f'order is already in "{order.status}" state'
            self.end(successor, "rejected", alone=True)

    def expire(self, orders: Iterable[Order]) -> None:
        """Those whose time has come; an asked-for cancel is granted instead."""
        for order in list(orders):
            if not order.is_open or order.stuck or order.expires_at > self.now:
                continue
            day = order.time_in_force == "day" and self.rules.day_order_end == "canceled"
            canceled = order.status == "pending_cancel" or order.time_in_force in ("ioc", "fok")
            self.end(order, "canceled" if canceled or day else "expired")

    def cancel(self, order_id: str) -> None:
        """Cancel an open order; one that is cancelled, or about to be, is no error.

        Raises
        ------
        Refusal
            404 for an unknown order, 422 for one that is filled, expired, rejected or replaced.
        """
        order = self.order(order_id)
        if order.status in ("canceled", "pending_cancel"):
            return
        if not order.is_open or order.status == "pending_replace":
            raise unprocessable(f'order is already in "{order.status}" state')
        with self.change():
            order.next_look, order.armed = None, False
            order.move("pending_cancel", self.stamp())
            self.touch(order)
            self.finish_cancel(order)

    def finish_cancel(self, order: Order) -> None:
        """Grant a cancel, unless the order is stuck or the rules have it wait for the open."""
        waits = self.rules.cancel_outside == "pending" and not self.times.is_open(self.now)
        waits = waits and not order.is_waiting
        if order.status == "pending_cancel" and not order.stuck and not waits:
            self.end(order, "canceled")
