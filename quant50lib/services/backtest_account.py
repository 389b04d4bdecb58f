"""The account of a back-test: what happens to cash and shares between two decisions.

Booking is `services.ledger`, the same as the desk's; what a broker does is here: orders decided at a
close fill at the next open, half a spread away from it, and splits, mergers and dividends come at
04:00 of their day. Exact in `Decimal`, as the desk's books are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from quant50lib.contracts import Equity
from quant50lib.services import ledger
from quant50lib.services.execute import SPLITS
from quant50lib.services.holdings import holding_frame, values
from quant50lib.services.ledger import ZERO, Conversion, Event, Execution, Payment, Position, Split
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
        half = Decimal(str(self.half_spread_bps)) / 10_000
        edge = 1 + half if side == "buy" else 1 - half
        return (Decimal(repr(round(opening, 2))) * edge).quantize(TICK)


@dataclass
class Account:
    """Cash and positions; changed by `open` and `close` of each session alone."""

    cash: Decimal
    costs: Costs
    positions: dict[str, Position] = field(default_factory=dict)
    due: Decimal = ZERO
    lines: list[dict[str, Any]] = field(default_factory=list)  # of Equity
    fills: list[dict[str, Any]] = field(default_factory=list)
    _traded: Decimal = ZERO
    _paid: Decimal = ZERO  # costs of the session, US dollars

    def open(
        self,
        session: pd.Timestamp,
        actions: pd.DataFrame,
        orders: pd.DataFrame,
        opens: pd.Series,
    ) -> None:
        """Corporate actions of the days since the last session, then fills of the queued orders.

        Parameters
        ----------
        orders : Order frame
            Those in the state `planned` fill; a name that does not open lets its order expire.
        opens : Series by symbol
            As traded, US dollars; missing where the name does not open.
        """
        self._traded = self._paid = ZERO
        for row in actions.itertuples():
            self._book(self._of_action(row))
        sent = orders[orders["state"] == "planned"]
        self._book(self._executions(session, sent, opens))

    def _book(self, events: Iterable[Event]) -> None:
        for entry in ledger.book(events, positions=self.positions):
            if entry.kind == ledger.MEMO:
                self.due += entry.cash
            else:
                self.cash += entry.cash
            ledger.move(self.positions, entry)

    def _of_action(self, row: Any) -> list[Event]:
        position = self.positions.get(row.symbol)
        if position is None:
            return []
        at, cash = ledger.effective(row.ex_date), row.cash
        if row.type in SPLITS:
            new, old = ledger.decimal(row.new_rate), ledger.decimal(row.old_rate)
            return [Split(row.symbol, row.ex_date, new, old)]
        if row.type == "cash_dividend":
            rates = [(row.symbol, row.ex_date, ledger.decimal(cash))]
            return self._dividend(ledger.dividends_due(rates, {row.symbol: position.qty}))
        if row.type in ("cash_merger", "worthless_removal", "redemption"):
            paid = position.qty * (ledger.decimal(cash) if pd.notna(cash) else ZERO)
            name = f"merger-{row.symbol}-{row.ex_date:%Y%m%d}"
            return [Conversion(name, "merger", row.symbol, -position.qty, paid, at, row.type)]
        return []

    def _dividend(self, memos: list[Payment]) -> list[Event]:
        if self.costs.dividends == "due":
            return [*memos]
        return [Payment(m.event_id, "dividend", m.amount, m.at, m.symbol) for m in memos]

    def _executions(
        self, session: pd.Timestamp, sent: pd.DataFrame, opens: pd.Series
    ) -> list[Execution]:
        at, made = dates.open_of(session), []
        for order in sent.itertuples():
            opening = float(opens.get(order.symbol, np.nan))
            if not opening > 0:
                continue
            qty = ledger.decimal(order.qty)
            if order.side == "sell":  # a split on the way has changed what there is to sell
                owned = self.positions.get(order.symbol)
                qty = min(qty, owned.qty) if owned else ZERO
            if qty:
                made.append(self._execution(session, order, qty, opening, at))
        return made

    def _execution(
        self, session: pd.Timestamp, order: Any, qty: Decimal, opening: float, at: pd.Timestamp
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

    def close(self, session: pd.Timestamp, closes: pd.Series) -> pd.DataFrame:
        """Close the books of the session at its closes, as traded; returns the Holding table."""
        known = {symbol: float(closes[symbol]) for symbol in self.positions}
        held = sum(values(self.positions, known, session).values(), ZERO)
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
        return holding_frame(self.positions, known, session, self.cash)

    def equity(self, last: int | None = None) -> pd.DataFrame:
        """The newest lines of the account, or all, as `contracts.Equity`."""
        rows = self.lines if last is None else self.lines[-last:]
        return typed(Equity, rows)
