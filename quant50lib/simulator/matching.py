"""How orders meet quotes, as Alpaca's paper account fills them.

A look at an order goes through four steps:

1. the market must be open to it and have a quote (`_quote_for`);
2. a stop waits until the last price reaches it (`_trigger`), a trailing one moves with the best
   price first (`_trail`);
3. a buy is filled at the ask, a sale at the bid, where its limit allows (`_fill_price`);
4. with probability `p_partial` only a part is filled, and the rest looked at a second later.

An order that is not filled is looked at again when the price reaches it (`_wait`), at every open,
and when `look_again` says that a quote has changed.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from quant50lib.simulator.life import Life
from quant50lib.simulator.prices import Quote
from quant50lib.simulator.records import (
    EXACT,
    SHARE,
    TICK,
    ZERO,
    Order,
    Position,
    cut,
    text,
    uniform,
)
from quant50lib.simulator.refusals import unprocessable
from quant50lib.simulator.timetable import SECOND, utc_text

TRAIL_STEP = 60 * SECOND  # how often a trailing stop follows the price
ONE_LOOK = frozenset({"ioc", "fok", "opg", "cls"})  # what they do not fill is cancelled


class Matching(Life):
    """Looks, triggers and fills."""

    def look_again(self, symbol: str) -> None:
        """Look at the live orders of a symbol: its quote has changed, or its halt is over."""
        with self.change():
            for order in list(self.working.values()):
                if order.symbol == symbol:
                    self.look(order)

    def fill(self, order_id: str) -> None:
        """Fill all that remains of an open order at the quote, else at the last price.

        For the control plane: what a venue does while a cancel is on its way.

        Raises
        ------
        Refusal
            The order is closed, or its symbol has no price.
        """
        order = self.order(order_id)
        if not order.binds:
            raise unprocessable(f'order is already in "{order.status}" state')
        quote, last = self._quote_for(order), self.prices.last(order.symbol, self.now)
        if quote is None and last is None:
            raise unprocessable(f'asset "{order.symbol}" has no price')
        with self.change():
            price = _near(order, quote) if quote else last
            assert price is not None
            order.stuck = False
            self._settle_size(order, price)
            self._execute(order, order.remaining or ZERO, price)

    # ---- one look

    def look(self, order: Order, *, at_close: bool = False) -> None:
        """Evaluate an order once: nothing, a part, or all of it is filled."""
        woken = order.next_look is not None and order.next_look <= self.now
        if woken:
            order.next_look = None
            self.touch(order)
        if not self._is_due(order, at_close):
            return
        self.touch(order)
        quote = self._quote_for(order, at_close)
        if quote is not None:
            self._meet(order, quote, woken)
        if order.is_open and order.time_in_force in ONE_LOOK:
            self.end(order, "canceled")

    def _is_due(self, order: Order, at_close: bool) -> bool:
        if not (order.is_live or order.armed) or not order.is_free:
            return False
        if order.time_in_force == "cls":
            return at_close
        if order.time_in_force == "opg" and self.now != self.times.opens[order.session]:
            return False
        return self.in_hours(order)

    def _quote_for(self, order: Order, at_close: bool = False) -> Quote | None:
        """At the close the quote of the session's last moment."""
        half, at = self.rules.half_spread_bps, self.now - int(at_close)
        if at_close or self.times.is_open(at):
            return self.prices.quote(order.symbol, at, half)
        return self.prices.outside(order.symbol, at, half)

    def _meet(self, order: Order, quote: Quote, woken: bool) -> None:
        if order.is_stop and not self._trigger(order, quote):
            return self._wait(order, woken)
        price = self._fill_price(order, quote)
        if price is None:
            return self._wait(order, woken)
        self._settle_size(order, price)
        self._execute(order, self._size(order, order.remaining or ZERO), price)

    def _trigger(self, order: Order, quote: Quote) -> bool:
        """Whether the last price has reached the stop; a watched leg then takes over."""
        if order.kind == "trailing_stop":
            self._trail(order, quote.last)
        assert order.stop_price is not None
        if (quote.last - order.stop_price) * order.sign < 0:
            return False
        order.triggered = True
        if order.armed:
            order.armed = False
            for other in self.partners(order):
                self.end(other, "canceled", alone=True)
            order.move("new", self.stamp())
        return True

    def _trail(self, order: Order, last: Decimal) -> None:
        """The stop follows the best price so far at its distance, and never goes back."""
        better = order.hwm is None or (order.hwm - last) * order.sign > 0
        order.hwm = last if better else order.hwm
        assert order.hwm is not None
        away = order.trail_price
        if away is None:
            away = EXACT.multiply(order.hwm, (order.trail_percent or ZERO) / 100)
        order.stop_price = (order.hwm + order.sign * away).quantize(TICK)

    def _fill_price(self, order: Order, quote: Quote) -> Decimal | None:
        """The near side of the quote, None where the limit forbids it."""
        price = _near(order, quote)
        if order.limit_price is not None and (order.limit_price - price) * order.sign < 0:
            return None
        return price

    def _wait(self, order: Order, woken: bool) -> None:
        """Be looked at when the price is reached; at the earliest a second after a vain call."""
        if not self.times.is_open(self.now) or order.time_in_force in ONE_LOOK:
            return
        if order.kind == "trailing_stop" and order.is_stop:
            order.next_look = self.now + TRAIL_STEP
            return
        after = self.now + SECOND - 1 if woken else self.now
        until, half = self.times.next_close(self.now) - 1, self.rules.half_spread_bps
        buys = order.side == "buy"
        if order.is_stop:
            assert order.stop_price is not None
            at = self.prices.touch(order.symbol, after, until, order.stop_price, buys)
        else:
            side: Literal["ask", "bid"] = "ask" if buys else "bid"
            assert order.limit_price is not None
            at = self.prices.touch(
                order.symbol, after, until, order.limit_price, not buys, of=side,
                half_spread_bps=half,
            )  # fmt: skip
        order.next_look = at

    # ---- fills

    @staticmethod
    def _settle_size(order: Order, price: Decimal) -> None:
        """A notional order learns its number of shares at its first price."""
        if order.wanted is None and order.notional is not None:
            order.wanted = cut(EXACT.divide(order.notional, price), SHARE)

    def _size(self, order: Order, remaining: Decimal) -> Decimal:
        """All that remains, or with probability `p_partial` a uniform part of it."""
        order.looks += 1
        key = (self.rules.seed, order.id, order.looks)
        if order.time_in_force == "fok" or uniform(*key, "partial") >= self.rules.p_partial:
            return remaining
        step = Decimal(1) if remaining == remaining.to_integral_value() else SHARE
        part = max(cut(remaining * Decimal(repr(uniform(*key, "size"))), step), step)
        return part if part < remaining else remaining

    def _execute(self, order: Order, size: Decimal, price: Decimal) -> None:
        """Fill, unless the account has no such shares by now: then the order dies."""
        held = self.positions.get(order.symbol, Position(order.symbol)).qty
        after = held + order.sign * size
        nothing_to_close = not order.opens and held * order.sign >= 0
        if size <= 0 or nothing_to_close or held * after < 0:
            order.reason = "the position is smaller than the order"
            return self.end(order, "canceled" if order.filled_qty else "rejected")
        self._fill(order, size, price)
        for other in self.after_fill(order):
            self.look(other)

    def _fill(self, order: Order, size: Decimal, price: Decimal) -> None:
        at, value = self.stamp(), EXACT.multiply(size, price)
        order.filled_qty += size
        order.filled_value = EXACT.add(order.filled_value, value)
        done = order.filled_qty == order.wanted
        order.last_fill_at, order.filled_at = at, at if done else None
        order.next_look = None if done else self.now + SECOND
        order.move("filled" if done else "partially_filled", at)
        self.touch(order)
        self.hold(order.symbol, order.sign * size, value)
        self.pay(
            -order.sign * value, at, f"{order.side} {text(size)} {order.symbol} at {text(price)}"
        )
        self.record("FILL", at, _fill_row(order, size, price, at))
        if done:
            self.void_successor(order)


def _near(order: Order, quote: Quote) -> Decimal:
    return quote.ask if order.side == "buy" else quote.bid


def _fill_row(order: Order, size: Decimal, price: Decimal, at: int) -> dict[str, Any]:
    return {
        "activity_type": "FILL",
        "cum_qty": text(order.filled_qty),
        "leaves_qty": text(order.remaining),
        "price": text(price),
        "qty": text(size),
        "side": order.side,
        "symbol": order.symbol,
        "transaction_time": utc_text(at),
        "order_id": order.id,
        "type": "fill" if order.status == "filled" else "partial_fill",
        "order_status": order.status,
    }
