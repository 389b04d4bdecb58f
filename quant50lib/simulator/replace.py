"""PATCH /v2/orders: another order in the place of one that is live.

The new order takes over what the old one has filled: its quantity is the total, fills included.
"""

from __future__ import annotations

from typing import Any

from quant50lib.simulator.intake import Intake
from quant50lib.simulator.order_form import (
    TIMES_IN_FORCE,
    OrderRequest,
    check_prices,
    check_time_in_force,
    client_id,
    decimal,
    price,
    shares,
)
from quant50lib.simulator.records import LIVE_STATUSES, Order
from quant50lib.simulator.refusals import invalid, unprocessable
from quant50lib.simulator.validation import Terms, check_account, check_client_id

FIXED = frozenset({"accepted", "pending_new", "pending_cancel", "pending_replace"})


class Replacing(Intake):
    """Replacements, and their end where the old order is filled first."""

    def replace(self, order_id: str, body: dict[str, Any]) -> Order:
        """The new order; the old one gives way at once, unless it is stuck.

        Raises
        ------
        Refusal
            404, or 422 where its state, its kind or the new values do not allow it; 403 where
            the account does not.
        """
        old = self.order(order_id)
        _check_state(old)
        wanted = _changed(old, body)
        if old.parent or old.order_class == "oco":
            check_client_id(self, wanted.client_order_id)
            own = wanted.limit_price or wanted.stop_price or old.reserve_price
            terms = Terms(own, old.position_intent)
        else:
            terms = check_account(self, wanted, old)
        with self.change():
            return self._succeed(old, wanted, terms)

    def _succeed(self, old: Order, wanted: OrderRequest, terms: Terms) -> Order:
        new = self.make(wanted, terms)
        new.replaces, new.awaits, old.replaced_by = old.id, old.id, new.id
        new.filled_qty, new.filled_value = old.filled_qty, old.filled_value
        new.last_fill_at, new.looks = old.last_fill_at, old.looks
        new.triggered, new.hwm = old.triggered, old.hwm
        if old.kind == "trailing_stop":
            new.stop_price = old.stop_price
        self.acknowledge(new)
        old.next_look = None
        old.move("pending_replace", self.stamp())
        for order in (old, new):
            self.touch(order)
        self.finish_replace(old)
        return new

    def finish_replace(self, old: Order) -> None:
        """The old order gives way to its successor, unless it is stuck."""
        new = self.orders.get(old.replaced_by or "")
        if old.stuck or old.status != "pending_replace" or new is None:
            return
        former = next(status for _, status in reversed(old.history) if status != "pending_replace")
        old.replaced_at = self.stamp()
        old.move("replaced", old.replaced_at)
        new.awaits, new.armed, old.armed = None, old.armed, False
        self._take_place(old, new)
        keeps = former if former in (*LIVE_STATUSES, "held") else "new"
        if new.status != keeps:
            new.move(keeps, self.stamp())
        for order in (old, new):
            self.touch(order)
        self.look(new)

    def _take_place(self, old: Order, new: Order) -> None:
        """In the group of the old order."""
        new.legs, new.parent = old.legs, old.parent
        for leg in self.legs_of(new):
            leg.parent = new.id
            self.touch(leg)
        if old.parent:
            parent = self.orders[old.parent]
            parent.legs = [new.id if leg == old.id else leg for leg in parent.legs]
            self.touch(parent)


def _check_state(old: Order) -> None:
    if old.status == "replaced":
        raise unprocessable("order already replaced")
    if old.status in FIXED or old.awaits:
        raise unprocessable(f"cannot replace order in {old.status} status")
    if not old.is_open:
        raise unprocessable(f'order is already in "{old.status}" state')
    if old.notional is not None:
        raise unprocessable("notional orders cannot be replaced")


def _changed(old: Order, body: dict[str, Any]) -> OrderRequest:
    """The order as it is wanted now."""
    qty = shares(body)
    if qty is not None and qty != old.qty and (qty % 1 or (old.qty or qty) % 1):
        raise unprocessable("fractional qty cannot be replaced")
    if qty is not None and qty <= old.filled_qty:
        raise unprocessable("qty must be > filled_qty")
    if qty is not None and qty != old.qty and old.order_class:
        raise unprocessable(f"qty of {old.order_class} orders cannot be replaced")
    force = body.get("time_in_force") or old.time_in_force
    if force not in TIMES_IN_FORCE:
        raise invalid("invalid time_in_force")
    trail = decimal(body, "trail")
    if trail is not None and (trail <= 0 or old.kind != "trailing_stop"):
        raise invalid("invalid trail")
    own_stop = old.stop_price if old.kind != "trailing_stop" else None
    wanted = OrderRequest(
        symbol=old.symbol,
        side=old.side,
        qty=qty or old.qty,
        notional=None,
        client_order_id=client_id(body),
        kind=old.kind,
        time_in_force=force,
        limit_price=price(body, "limit_price") or old.limit_price,
        stop_price=price(body, "stop_price") or own_stop,
        trail_price=old.trail_price and (trail or old.trail_price),
        trail_percent=old.trail_percent and (trail or old.trail_percent),
        extended_hours=old.extended_hours,
        order_class=old.order_class,
    )
    check_prices(wanted)
    check_time_in_force(wanted)
    if _terms(wanted) == _terms(old):
        raise unprocessable("order parameters are not changed")
    return wanted


def _terms(order: Order | OrderRequest) -> tuple[Any, ...]:
    stop = order.stop_price if order.kind != "trailing_stop" else None
    trail = (order.trail_price, order.trail_percent)
    return order.qty, order.time_in_force, order.limit_price, stop, *trail
