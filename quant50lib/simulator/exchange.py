"""The exchange: a clock, and what falls due as it moves.

Time stands still until it is moved; what falls due on the way happens in order. All randomness
comes from (seed, order, look). Every public method that changes something is durable on return.

What an order is asked to do is in `intake` and `replace`, how it is filled in `matching`, how it
lives and ends in `life`, what becomes of positions in `corporate`, and all is kept in `book`.
"""

from __future__ import annotations

from typing import Any

from quant50lib.simulator.account import figures
from quant50lib.simulator.records import OPEN_STATUSES, ZERO, Close, Order
from quant50lib.simulator.refusals import unprocessable
from quant50lib.simulator.replace import Replacing
from quant50lib.simulator.timetable import utc_text


class Exchange(Replacing):
    """One account on one market, and its time."""

    def advance(self, to: int) -> None:
        """Move the clock; fills, expiries, splits and closes due on the way happen in order.

        Raises
        ------
        Refusal
            The instant lies before the clock.
        """
        if to < self.now:
            raise unprocessable(
                f"the clock stands at {utc_text(self.now)} and cannot go back to {utc_text(to)}"
            )
        if to >= self.times.midnights[-2]:
            raise unprocessable(f"the calendar ends before {utc_text(to)}")
        self.prices.prepare(to)
        with self.change():
            while (due := self._next_due()) <= to:
                self.account.now = due
                self._happen(due)
            self.account.now = to

    def _next_due(self) -> int:
        free = [order for order in self.working.values() if not order.stuck]
        looks = [order.next_look for order in free if order.next_look is not None]
        marks = (self.times.next_early, self.times.next_open, self.times.next_close)
        return min([mark(self.now) for mark in marks] + looks + [o.expires_at for o in free])

    def _happen(self, at: int) -> None:
        session = self.times.current(at)
        early, opens, closes = (
            at == moments[session]
            for moments in (self.times.early, self.times.opens, self.times.closes)
        )
        if early:
            self.apply_actions(session)
        if early or opens:
            self.activate(session)
        if opens:
            for order in list(self.working.values()):
                self.finish_cancel(order)
        for order in list(self.working.values()):
            last_call = closes and order.time_in_force == "cls" and order.session == session
            if early or opens or last_call or (order.next_look or at + 1) <= at:
                self.look(order, at_close=bool(last_call))
        self.expire(self.working.values())
        if closes:
            self._close(session)

    def _close(self, session: int) -> None:
        found = figures(self)
        self.closes.append(Close(session, found.equity, found.maintenance_margin))
        self._dirty["closes", str(session)] = self.closes[-1]

    # ---- the account

    def configure(self, changes: dict[str, Any]) -> None:
        """Change the account's configuration."""
        with self.change():
            self.account.configuration |= changes

    def remember_key(self, key: list[str]) -> None:
        """Fix the credentials of this account."""
        with self.change():
            self.account.key = key

    # ---- the hand of the control plane

    def stick(self, order_id: str, status: str | None = None) -> None:
        """Nothing more happens to the order until `release`; it shows `status` from now on."""
        order = self.order(order_id)
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status}" state')
        with self.change():
            order.stuck, order.next_look = True, None
            if status is not None and status != order.status:
                order.move(status, self.stamp())
            self.touch(order)

    def release(self, order_id: str | None = None) -> None:
        """Let a stuck order, or all of them, do what it would have done by now."""
        chosen = self.orders.values() if order_id is None else [self.order(order_id)]
        stuck = [order for order in chosen if order.stuck]
        if not stuck:
            return
        with self.change():
            for order in stuck:
                self._release(order)

    def _release(self, order: Order) -> None:
        order.stuck = False
        self.touch(order)
        self.finish_cancel(order)
        self.finish_replace(order)
        self.expire([order])
        if order.is_open and order.status != "pending_cancel":
            proper = self._proper_status(order)
            if proper != order.status:
                order.move(proper, self.stamp())
            self.touch(order)
            self.look(order)

    def _proper_status(self, order: Order) -> str:
        if order.filled_qty > ZERO:
            return "partially_filled"
        if order.parent and all(status != "new" for _, status in order.history):
            return "held"
        routed = self.in_hours(order) or self.now >= self.times.early[order.session]
        return "new" if routed else "accepted"

    def reject(self, order_id: str, reason: str) -> None:
        """Reject an open order after its acceptance; what it has filled stays filled."""
        order = self.order(order_id)
        if order.status not in OPEN_STATUSES:
            raise unprocessable(f'order is already in "{order.status}" state')
        with self.change():
            order.reason = reason
            self.end(order, "rejected")
