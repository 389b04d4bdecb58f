"""What corporate actions do to positions, cash and resting orders, at 04:00 of their day.

Of the exchange of shares into another company's, fractions are paid in cash; splits keep fractions
to nine decimals. Costs move with the shares, so that cash and cost only change by what was paid.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from quant50lib.simulator.market import Action
from quant50lib.simulator.matching import Matching
from quant50lib.simulator.records import (
    EXACT,
    SHARE,
    ZERO,
    Activity,
    Order,
    Position,
    cut,
    moved,
    text,
)
from quant50lib.simulator.timetable import new_york_date

CENT, PENNY_PART = Decimal("0.01"), Decimal("0.0001")
SPLITS = {
    "forward_split": ("SPLIT", "FSPLIT"),
    "reverse_split": ("SPLIT", "RSPLIT"),
    "unit_split": ("SPLIT", "USPLIT"),
    "stock_dividend": ("DIV", "SDIV"),
}
SWAPS = {
    "unit_split": ("SPLIT", "USPLIT"),
    "name_change": ("NC", "SNC"),
    "stock_merger": ("MA", "SMA"),
    "stock_and_cash_merger": ("MA", "SCMA"),
}
PAY_OFFS = {
    "cash_merger": ("MA", "CMA"),
    "redemption": ("REORG", "RDM"),
    "worthless_removal": ("REORG", "WRM"),
}


class Corporate(Matching):
    """Corporate actions on the books of one account."""

    def apply_actions(self, session: int) -> None:
        """All actions that take effect at the start of a session's day."""
        for action in self._effective_in(session):
            if not (action.is_split and self.rules.splits_on_paper != "apply"):
                self._apply(action)
        ex_session = session - self.rules.splits_late_days
        if self.rules.splits_on_paper == "late" and ex_session > 0:
            for action in self._effective_in(ex_session):
                if action.is_split:
                    self._catch_up(action, int(self.times.early[ex_session]))

    def _effective_in(self, session: int) -> list[Action]:
        """Actions of the days since the session before."""
        before, day = self.times.day(session - 1), self.times.day(session)
        return [a for a in self.prices.market.actions() if before < a.ex_date <= day]

    def _catch_up(self, action: Action, since: int) -> None:
        """A split that comes late multiplies what was held on its day, whatever was traded since."""
        now = self.positions.get(action.symbol, Position(action.symbol))
        held = now.qty - sum((moved(row) for row in self._rows_since(since, action.symbol)), ZERO)
        if not held or since < self.account.created_at:
            return
        change = cut(EXACT.divide(held * action.new, action.old), SHARE) - held
        if now.qty * (now.qty + change) < 0:
            change = -now.qty
        at = self.stamp()
        self._add(action.symbol, change, ZERO)
        kind, sub = SPLITS.get(action.kind, ("DIV", "SDIV"))
        self._event(kind, sub, action.symbol, change, ZERO, at)

    def _rows_since(self, since: int, symbol: str) -> Iterator[Activity]:
        for row in reversed(self.activities):
            if row.at < since:
                return
            if row.body["symbol"] == symbol:
                yield row

    def _apply(self, action: Action) -> None:
        if action.is_ending:
            self._end_orders(action)
        elif action.is_split:
            self._adjust_orders(action)
        position = self.positions.get(action.symbol)
        if position is None:
            return
        if action.kind in SPLITS and not (action.is_ending and action.other_symbol):
            self._multiply(action, position, *SPLITS[action.kind])
        elif action.kind in SWAPS and action.other_symbol:
            self._swap(action, position, *SWAPS[action.kind])
        elif action.kind == "spin_off":
            self._spin_off(action, position)
        elif action.kind in PAY_OFFS:
            self._pay_off(action, position, *PAY_OFFS[action.kind])
        elif action.kind == "cash_dividend" and self.rules.simulate_dividends:
            self._dividend(action, position)

    # ---- positions

    def _multiply(self, action: Action, position: Position, kind: str, sub: str) -> None:
        """Shares x new / old, cut to nine decimals; the cost stays what it was."""
        at, before = self.stamp(), position.qty
        position.qty = cut(EXACT.divide(before * action.new, action.old), SHARE)
        self.keep(position)
        self._event(kind, sub, action.symbol, position.qty - before, ZERO, at)

    def _swap(self, action: Action, position: Position, kind: str, sub: str) -> None:
        """Shares of one symbol become shares of another, and cash where the terms say so."""
        qty, cost = position.qty, position.cost
        exact = EXACT.divide(qty * action.new, action.old)
        # a change of name leaves fractions alone; new companies give whole shares
        got = cut(exact, SHARE if kind != "MA" else Decimal(1))
        at = self.stamp()
        cash = EXACT.multiply(qty, action.cash)
        self._remove(position)
        self._event(kind, sub, action.symbol, -qty, cash, at)
        if cash:
            self.pay(cash, at, f"{action.kind} of {action.symbol} at {text(action.cash)}")
        self._event(kind, sub, action.other_symbol, got, ZERO, self.stamp())
        if got:
            self._add(action.other_symbol, got, cost)
        if kind == "MA":
            self._pay_fraction(action, cut(exact - got, SHARE))

    def _pay_fraction(self, action: Action, fraction: Decimal) -> None:
        """Cash in lieu of a fraction of the other company's share, at its latest price."""
        price = self.prices.last(action.other_symbol, self.now)
        if not fraction or price is None:
            return
        amount, at = _cents(EXACT.multiply(fraction, price)), self.stamp()
        self.pay(amount, at, f"{text(fraction)} {action.other_symbol} in cash at {text(price)}")
        self._event("CIL", None, action.other_symbol, ZERO, amount, at)

    def _spin_off(self, action: Action, position: Position) -> None:
        """Shares of the new company come on top; the whole cost stays with the parent."""
        got = cut(EXACT.divide(position.qty * action.new, action.old), SHARE)
        if action.other_symbol and got:
            self._add(action.other_symbol, got, ZERO)
            self._event("SPIN", None, action.other_symbol, got, ZERO, self.stamp())

    def _pay_off(self, action: Action, position: Position, kind: str, sub: str) -> None:
        at, shares = self.stamp(), position.qty
        amount = EXACT.multiply(shares, action.cash)
        self._remove(position)
        if amount:
            words = action.kind.replace("_", " ")
            self.pay(amount, at, f"{words} of {action.symbol} at {text(action.cash)}")
        self._event(kind, sub, action.symbol, -shares, amount, at)

    def _dividend(self, action: Action, position: Position) -> None:
        """Paid on the ex-date, to the cent; a short position pays it."""
        at = self.stamp()
        amount = _cents(EXACT.multiply(position.qty, action.cash))
        self.pay(amount, at, f"dividend of {action.symbol} at {text(action.cash)}")
        sub = "SPD" if action.special else "CDIV"
        self._event("DIV", sub, action.symbol, ZERO, amount, at, per_share=action.cash)

    def _remove(self, position: Position) -> None:
        position.qty = position.cost = ZERO
        self.keep(position)

    def _add(self, symbol: str, qty: Decimal, cost: Decimal) -> None:
        position = self.positions.setdefault(symbol, Position(symbol))
        position.qty, position.cost = position.qty + qty, EXACT.add(position.cost, cost)
        self.keep(position)

    # ---- orders

    def _end_orders(self, action: Action) -> None:
        """Orders of a symbol that is no more are cancelled."""
        for order in list(self.working.values()):
            if order.symbol == action.symbol and order.is_open:
                order.reason = f"{action.kind} of {action.symbol}"
                self.end(order, "canceled")

    def _adjust_orders(self, action: Action) -> None:
        """Resting GTC buys keep their value; all other orders keep their number of shares."""
        for order in list(self.working.values()):
            if order.symbol == action.symbol and order.side == "buy" and order.is_open:
                if (
                    order.time_in_force == "gtc"
                    and order.qty is not None
                    and order.kind != "market"
                ):
                    self._adjust(order, action)

    def _adjust(self, order: Order, action: Action) -> None:
        rest = cut(EXACT.divide((order.remaining or ZERO) * action.new, action.old), Decimal(1))
        if not rest:
            return self.end(order, "canceled")
        order.qty = order.wanted = order.filled_qty + rest
        for name in ("limit_price", "stop_price", "trail_price", "hwm", "reserve_price"):
            price = getattr(order, name)
            if price is not None:
                price = EXACT.divide(price * action.old, action.new)
                step = CENT if price >= 1 else PENNY_PART
                setattr(order, name, max(cut(price, step), PENNY_PART))
        self.touch(order)

    # ---- activities

    def _event(
        self,
        kind: str,
        sub: str | None,
        symbol: str,
        qty: Decimal,
        amount: Decimal,
        at: int,
        *,
        per_share: Decimal | None = None,
    ) -> None:
        body: dict[str, Any] = {
            "activity_type": kind,
            "activity_sub_type": sub,
            "date": str(new_york_date(at)),
            "net_amount": text(amount),
            "symbol": symbol,
            "cusip": None,
            "qty": text(qty),
            "per_share_amount": text(per_share),
            "description": f"{sub or kind} of {symbol}",
            "status": "executed",
            "group_id": None,
            "currency": "USD",
        }
        self.record(kind, at, body)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_EVEN, EXACT)
