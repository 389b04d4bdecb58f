"""The account of a back-test: what happens to cash and shares between two decisions.

Booking is `services.ledger`, the same as the desk's; what a broker does is here: orders decided at a
close fill at the next open, half a spread away from it, and splits, mergers, spin-offs, changes of name
and dividends come at 04:00 of their day. Exact in `Decimal`, as the desk's books are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_DOWN, Decimal
from functools import cached_property
from typing import Any, Literal, NamedTuple

import pandas as pd

from quant50lib.contracts import Equity
from quant50lib.services import ledger
from quant50lib.services.execute import SPLITS
from quant50lib.services.fates import FATES, fate_of
from quant50lib.services.holdings import Holdings, valued, values
from quant50lib.services.ledger import (
    ZERO,
    Conversion,
    Event,
    Execution,
    Payment,
    Position,
    Split,
)
from quant50lib.services.risk import Course
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.frames import typed

#: of an execution price and of a printed one, US dollars
TICK, CENT = Decimal("0.0001"), Decimal("0.01")


@dataclass(frozen=True)
class Costs:
    """What trading costs, and what becomes of dividends.

    A market order fills whole at the open, `half_spread_bps` against it. Dividends are paid in
    `cash` on the ex-date, or stay `due` beside the account, as on Alpaca paper.
    """

    half_spread_bps: float = 1.0
    dividends: Literal["cash", "due"] = "cash"

    @classmethod
    def of(cls, settings: Settings, dividends: Literal["cash", "due"] = "cash") -> Costs:
        """The costs of the twin of Alpaca."""
        return cls(settings.simulator.half_spread_bps, dividends)

    def fill_price(self, side: str, opening: float) -> Decimal:
        """The price of a market order at the open, to a hundredth of a cent."""
        edge = 1 + self._half if side == "buy" else 1 - self._half
        return (Decimal(repr(round(opening, 2))) * edge).quantize(TICK)

    @cached_property
    def _half(self) -> Decimal:
        return Decimal(str(self.half_spread_bps)) / 10_000


class Sent(NamedTuple):
    """An order that waits for the open."""

    client_order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: float  # at which it was planned, US dollars


@dataclass
class Account:
    """Cash and positions; changed by `open` and `close` of each session alone."""

    cash: Decimal
    costs: Costs
    positions: dict[str, Position] = field(default_factory=dict)
    due: Decimal = ZERO
    lines: list[dict[str, Any]] = field(default_factory=list)  # of Equity
    fills: list[dict[str, Any]] = field(default_factory=list)
    _closes: Mapping[str, float] = field(default_factory=dict)  # of the session before
    _traded: Decimal = ZERO
    _paid: Decimal = ZERO  # costs of the session, US dollars

    def open(
        self,
        session: pd.Timestamp,
        actions: Iterable[Any],
        sent: Iterable[Sent],
        opens: Mapping[str, float],
    ) -> None:
        """Corporate actions of the days since the last session, then fills of the queued orders.

        Parameters
        ----------
        actions : rows of `Market.actions`
        sent : orders
            A name that does not open lets its order expire.
        opens : by symbol
            As traded, US dollars; missing or NaN where the name does not open.
        """
        self._traded = self._paid = ZERO
        for action in actions:
            self._book(self._of_action(action, opens))
        self._book(self._executions(session, sent, opens))

    def _book(self, events: Iterable[Event]) -> None:
        for entry in ledger.book(events, positions=self.positions):
            if entry.kind == ledger.MEMO:
                self.due += entry.cash
            else:
                self.cash += entry.cash
            ledger.move(self.positions, entry)

    def _of_action(self, row: Any, opens: Mapping[str, float]) -> list[Event]:
        position = self.positions.get(row.symbol)
        if position is None:
            return []
        if row.type in SPLITS:
            new, old = ledger.decimal(row.new_rate), ledger.decimal(row.old_rate)
            return [Split(row.symbol, row.ex_date, new, old)]
        if row.type == "cash_dividend":
            rates = [(row.symbol, row.ex_date, ledger.decimal(row.cash))]
            return self._dividend(ledger.dividends_due(rates, {row.symbol: position.qty}))
        return self._fate(row, position.qty, opens) if row.type in FATES else []

    def _fate(self, row: Any, owned: Decimal, opens: Mapping[str, float]) -> list[Event]:
        """By the terms of the action, to the nine decimals that a broker counts.

        Shares of a name that the market does not have cannot be valued: in their place comes cash at
        the last close of the old ones, and of what is spun off nothing.
        """
        other = getattr(row, "other_symbol", None) or ""
        opening = opens.get(other, math.nan)
        prices = {other: ledger.decimal(opening)} if opening > 0 else {}
        event = fate_of(row._asdict(), row.ex_date, owned, prices)
        if isinstance(event, Conversion):
            return [event]
        if event is not None and other in opens:
            come = event.new_qty.quantize(ledger.SHARE, ROUND_DOWN)
            return [replace(event, new_qty=come)] if come else []
        if FATES[row.type] == "spin_off" or row.symbol not in self._closes:
            return []
        name = f"{FATES[row.type]}-{row.symbol}-{row.ex_date:%Y%m%d}"
        paid = owned * ledger.decimal(self._closes[row.symbol])
        at = ledger.effective(row.ex_date)
        return [Conversion(name, "merger", row.symbol, -owned, paid, at, row.type)]

    def _dividend(self, memos: list[Payment]) -> list[Event]:
        if self.costs.dividends == "due":
            return [*memos]
        return [Payment(m.event_id, "dividend", m.amount, m.at, m.symbol) for m in memos]

    def _executions(
        self, session: pd.Timestamp, sent: Iterable[Sent], opens: Mapping[str, float]
    ) -> list[Execution]:
        at, made = dates.open_of(session), []
        for order in sent:
            opening = opens.get(order.symbol, math.nan)
            if not opening > 0:
                continue
            qty = order.qty
            if order.side == "sell":  # a split on the way has changed what there is to sell
                owned = self.positions.get(order.symbol)
                qty = min(qty, owned.qty) if owned else ZERO
            if qty:
                made.append(self._execution(session, order, qty, opening, at))
        return made

    def _execution(
        self, session: pd.Timestamp, order: Sent, qty: Decimal, opening: float, at: pd.Timestamp
    ) -> Execution:
        price = self.costs.fill_price(order.side, opening)
        value = qty * price
        self._traded += value
        self._paid += qty * abs(price - ledger.decimal(opening))
        name = order.client_order_id
        self.fills.append(
            {
                "fill_id": f"fill-{name}",
                "session": session,
                "client_order_id": name,
                "symbol": order.symbol,
                "side": order.side,
                "qty": float(qty),
                "price": float(price),
                "value": float(value),
                "slippage_bps": ledger.slippage_bps(order.side, float(price), order.price),
            }
        )
        return Execution(f"fill-{name}", name, order.symbol, order.side, qty, price, at)

    def close(self, session: pd.Timestamp, closes: Mapping[str, float]) -> Holdings:
        """Close the books of the session at its closes, as traded; returns what is owned."""
        worth, self._closes = values(self.positions, closes, session), closes
        held = sum(worth.values(), ZERO)
        before = ledger.decimal(self.lines[-1]["equity"]) if self.lines else self.cash + held
        self.lines.append(
            {
                "session": session,
                "cash": float(self.cash.quantize(ledger.MONEY)),
                "holdings": float(held.quantize(ledger.MONEY)),
                "equity": float(self.cash + held),
                "broker_equity": None,
                "dividends": float(self.due),
                "flow": 0.0,
                "turnover": float(self._traded / before),
                "cost": float(self._paid),
            }
        )
        return valued(self.positions, closes, worth, self.cash + held)

    def course(self, last: int) -> Course:
        """The newest lines of the account as the risk rules read them."""
        lines = self.lines[-last:]
        equity = [line["equity"] for line in lines]
        growth = [b / a - 1 for a, b in zip(equity, equity[1:])]
        return Course([line["session"] for line in lines], equity, [math.nan, *growth])

    def equity(self) -> pd.DataFrame:
        """The lines of the account, as `contracts.Equity`."""
        return typed(Equity, self.lines)
