"""The exchange: a clock, orders with their life, and what happens to positions.

Time stands still until it is moved; what falls due on the way happens in order. All randomness
comes from (seed, order, look). Every public method that changes something is durable on return.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from quant50lib.simulator.account import figures
from quant50lib.simulator.book import Book
from quant50lib.simulator.market import Action
from quant50lib.simulator.records import (
    EXACT,
    SHARE,
    TICK,
    ZERO,
    Close,
    Order,
    Position,
    cut,
    identifier,
    text,
    uniform,
)
from quant50lib.simulator.refusals import missing, unprocessable
from quant50lib.simulator.timetable import SECOND, new_york_date, utc_text
from quant50lib.simulator.validation import OrderRequest, check_account


class Exchange(Book):
    """Time, orders, fills and corporate actions on the books of one account."""

    # ---- clock

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
        looks = [o.next_look for o in self.working.values() if o.next_look]
        marks = (self.times.next_early, self.times.next_open, self.times.next_close)
        return min([mark(self.now) for mark in marks] + looks)

    def _happen(self, at: int) -> None:
        session = self.times.current(at)
        working = list(self.working.values())
        if at == self.times.early[session]:
            self._apply_actions(self.times.day(session))
            self._activate(working, session)
        if at == self.times.opens[session]:
            self._activate(working, session)
            working = [order for order in working if order.session == session]
        else:
            working = [order for order in working if order.next_look == at]
        for order in working:
            self._look(order)
        if at == self.times.closes[session]:
            self._close(session)

    def _activate(self, working: list[Order], session: int) -> None:
        """Queued orders become live, with a new submission time."""
        for order in working:
            if order.status == "accepted" and order.session == session:
                order.submitted_at = self.stamp()
                order.move("new", order.submitted_at)
                self.touch(order)

    def _close(self, session: int) -> None:
        for order in list(self.working.values()):
            if order.session == session:
                order.next_look, order.expired_at = None, self.stamp()
                order.move("expired", order.expired_at)
                self.touch(order)
        found = figures(self)
        self.closes.append(Close(session, found.equity, found.maintenance_margin))
        self._dirty["closes", str(session)] = self.closes[-1]

    # ---- orders

    def submit(self, request: OrderRequest) -> Order:
        """Take an order in; in a session it is worked at once, after the acknowledgement.

        Raises
        ------
        Refusal
            As Alpaca would refuse it.
        """
        reserve_price = check_account(self, request)
        with self.change():
            return self._accept(request, reserve_price)

    def _accept(self, request: OrderRequest, reserve_price: Decimal) -> Order:
        at, seq = self.stamp(), self._number()
        made = identifier("order", self.rules.seed, self.account.created_at, seq)
        session = self.times.live(self.now)
        order = Order(
            seq=seq,
            id=made,
            client_order_id=request.client_order_id or identifier("client", made),
            symbol=request.symbol,
            side=request.side,
            qty=request.qty,
            notional=request.notional,
            session=session,
            reserve_price=reserve_price,
            created_at=at,
            submitted_at=at,
            updated_at=at,
            expires_at=int(self.times.closes[session]),
            wanted=request.qty,
        )
        self.orders[order.id] = self.by_client_id[order.client_order_id] = order
        if self.times.is_open(self.now):
            order.move("pending_new", at)
            order.move("new", self.stamp())
            self._look(order)
        else:
            order.move("accepted", at)
        self.touch(order)
        return order

    def cancel(self, order_id: str) -> None:
        """Cancel an open order; a cancelled one again is no error.

        Raises
        ------
        Refusal
            404 for an unknown order, 422 for one that is filled, expired or rejected.
        """
        order = self.order(order_id)
        if order.status == "canceled":
            return
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status}" state')
        with self.change():
            order.move("pending_cancel", self.stamp())
            order.canceled_at, order.next_look = self.stamp(), None
            order.move("canceled", order.canceled_at)
            self.touch(order)

    def order(self, order_id: str) -> Order:
        if order_id not in self.orders:
            raise missing(f"order not found for {order_id}")
        return self.orders[order_id]

    def configure(self, changes: dict[str, Any]) -> None:
        """Change the account's configuration."""
        with self.change():
            self.account.configuration |= changes

    def remember_key(self, key: list[str]) -> None:
        """Fix the credentials of this account."""
        with self.change():
            self.account.key = key

    # ---- fills

    def _look(self, order: Order) -> None:
        """One evaluation of a live market order: nothing, a part, or all of it is filled."""
        price = self.prices.trade(order.symbol, self.now)
        order.next_look = None
        if price is None:
            return
        sign = 1 if order.side == "buy" else -1
        edge = 1 + sign * Decimal(str(self.rules.half_spread_bps)) / 10_000
        price = EXACT.multiply(price, edge).quantize(TICK)
        if order.wanted is None and order.notional is not None:
            order.wanted = cut(EXACT.divide(order.notional, price), SHARE)
        size = self._size(order, order.remaining or ZERO)
        held = self.positions.get(order.symbol, Position(order.symbol)).qty
        if order.side == "sell" and size > held:
            return self._reject(order)
        self._fill(order, size, price)

    def _size(self, order: Order, remaining: Decimal) -> Decimal:
        """All that remains, or with probability `p_partial` a uniform part of it."""
        order.looks += 1
        key = (self.rules.seed, order.id, order.looks)
        if uniform(*key, "partial") >= self.rules.p_partial:
            return remaining
        step = Decimal(1) if remaining == remaining.to_integral_value() else SHARE
        part = max(cut(remaining * Decimal(repr(uniform(*key, "size"))), step), step)
        return part if part < remaining else remaining

    def _reject(self, order: Order) -> None:
        order.failed_at = self.stamp()
        order.move("rejected", order.failed_at)
        self.touch(order)

    def _fill(self, order: Order, size: Decimal, price: Decimal) -> None:
        at, value = self.stamp(), EXACT.multiply(size, price)
        order.filled_qty += size
        order.filled_value = EXACT.add(order.filled_value, value)
        done = order.filled_qty == order.wanted
        order.filled_at = at if done else None
        order.next_look = None if done else self.now + SECOND
        order.move("filled" if done else "partially_filled", at)
        self.touch(order)
        self.hold(order.symbol, size if order.side == "buy" else -size, value)
        paid = -value if order.side == "buy" else value
        self.pay(paid, at, f"{order.side} {text(size)} {order.symbol} at {text(price)}")
        body = {
            "activity_type": "FILL",
            "cum_qty": text(order.filled_qty),
            "leaves_qty": text(order.remaining),
            "price": text(price),
            "qty": text(size),
            "side": order.side,
            "symbol": order.symbol,
            "transaction_time": utc_text(at),
            "order_id": order.id,
            "type": "fill" if done else "partial_fill",
            "order_status": order.status,
        }
        self.record("FILL", at, body)

    # ---- corporate actions

    def _apply_actions(self, day: dt.date) -> None:
        """Splits and mergers of held names; dividends are not credited, as on Alpaca's paper."""
        for action in self.prices.on(day):
            position = self.positions.get(action.symbol)
            if position is not None and action.kind == "cash_merger":
                self._merge(action, position)
            elif position is not None and action.is_split:
                if self.rules.splits_on_paper == "apply":
                    self._split(action, position)

    def _split(self, action: Action, position: Position) -> None:
        """Shares x new / old, cut to nine decimals; the cost stays what it was."""
        at, before = self.stamp(), position.qty
        exact = EXACT.divide(before * action.new, action.old)
        position.qty = cut(exact, SHARE)
        self.keep(position)
        kind = "FSPLIT" if action.kind == "forward_split" else "RSPLIT"
        change = text(position.qty - before)
        self.record("SPLIT", at, self._event("SPLIT", kind, action.symbol, change, ZERO, at))

    def _merge(self, action: Action, position: Position) -> None:
        at, shares = self.stamp(), position.qty
        amount = EXACT.multiply(shares, action.cash)
        self.hold(action.symbol, -shares, amount)
        self.pay(amount, at, f"cash merger of {action.symbol} at {text(action.cash)}")
        self.record("MA", at, self._event("MA", "CMA", action.symbol, text(-shares), amount, at))

    @staticmethod
    def _event(
        kind: str, sub: str, symbol: str, qty: str | None, amount: Decimal, at: int
    ) -> dict[str, Any]:
        return {
            "activity_type": kind,
            "activity_sub_type": sub,
            "date": str(new_york_date(at)),
            "net_amount": text(amount),
            "symbol": symbol,
            "cusip": None,
            "qty": qty,
            "per_share_amount": None,
            "description": f"{sub} of {symbol}",
            "status": "executed",
            "created_at": utc_text(at),
            "group_id": None,
            "currency": "USD",
        }
