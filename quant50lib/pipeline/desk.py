"""The desk's two acts of a day: settle the books, and send the orders of the plan.

Both may be repeated at any time and after any crash: what was done is read from the ledger, what
is not known is asked of the broker, and nothing is done twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.broker_records import Position
from quant50lib.adapters.journal import Ledger
from quant50lib.errors import ReconciliationError
from quant50lib.pipeline.dispatch import Dispatch, Progress
from quant50lib.pipeline.reconcile import Reconciliation, reconcile
from quant50lib.pipeline.resolve import Sleep, cancel_overtaken, resolve_orders
from quant50lib.services import comparison, execute
from quant50lib.services.holdings import holding_frame, values
from quant50lib.services.ledger import MOVES_SHARES, ZERO, decimal
from quant50lib.settings import ExecuteSettings
from quant50lib.utils import dates

#: entries of shares that changed otherwise than by a fill or a split
CONVERSIONS = tuple(kind for kind in MOVES_SHARES if kind not in ("fill", "split"))
NEVER_OPENED = pd.Timestamp("1990-01-01", tz="UTC")


@dataclass(frozen=True)
class Settlement:
    """The books of a session, as tables, and what was done to close them."""

    holding: pd.DataFrame  # contracts.Holding
    equity: pd.DataFrame  # contracts.Equity
    fill: pd.DataFrame  # contracts.Fill
    summary: dict[str, Any]
    frozen: dict[str, str] = field(default_factory=dict)  # symbol to why nothing may be sent in it

    @property
    def frozen_table(self) -> pd.DataFrame:
        """Symbol and reason of each frozen name."""
        return pd.DataFrame(sorted(self.frozen.items()), columns=["symbol", "reason"])


# -- settle ------------------------------------------------------------------------------------------


def settle(
    broker: Broker,
    ledger: Ledger,
    actions: pd.DataFrame,
    run_date: pd.Timestamp,
    closes: pd.DataFrame | pd.Series,
    settings: ExecuteSettings,
    sleep: Sleep = time.sleep,
    page: Path | None = None,
) -> Settlement:
    """Reconcile with the broker and close the session, and those missed before it.

    Orders that a corporate action has made wrong are cancelled first. A holding without a close in
    `closes` (a new name after a merger or a spin-off) counts what its predecessor closed at, else
    what the broker says, else what it cost.

    Parameters
    ----------
    actions : DataFrame
        Corporate actions, as `adapters.store.actions_asof` has them, those of the next session
        too where they are known.
    closes : DataFrame, (n_sessions, n_symbols), or Series by symbol
        Closes as traded, US dollars; where one is missing, the last one before counts. A Series
        is of `run_date` alone, and then no missed session is closed.
    page : Path, optional
        Where to show both sides, should they differ.

    Raises
    ------
    ReconciliationError
        Our books and the broker's differ and nothing explains it.
    """
    table = _matrix(closes, run_date)
    with ledger.held():
        cancelled = cancel_overtaken(broker, ledger, actions, broker.clock())
        done = reconcile(broker, ledger, actions, settings, run_date, sleep, table, page)
        broker_equity = broker.account().equity if dates.last_closed(done.at) == run_date else None
        for session in _sessions_to_close(ledger, table, run_date):
            known = table.loc[:session].ffill().iloc[-1].dropna().to_dict()
            prices, elsewhere = _priced(ledger, session, known, done.positions)
            theirs = broker_equity if session == run_date else None
            _close(ledger, session, run_date, prices, theirs)
        settled = _settlement(ledger, run_date, prices, done)
        more = {"orders_cancelled": cancelled, "priced_elsewhere": elsewhere}
        return Settlement(
            settled.holding, settled.equity, settled.fill, settled.summary | more, done.frozen
        )


def _priced(
    ledger: Ledger,
    session: pd.Timestamp,
    closes: dict[str, float],
    positions: Mapping[str, Position],
) -> tuple[dict[str, float], list[str]]:
    """A price for every holding of a session, and the names that the closes do not have."""
    held = ledger.positions(dates.close_of(session))
    missing = sorted(symbol for symbol in held if symbol not in closes)
    renamed = ledger.renamed() if missing else {}
    found = dict(closes)
    for symbol in missing:
        theirs = positions.get(symbol)
        found[symbol] = float(
            closes.get(renamed.get(symbol, ""))
            or (theirs.price if theirs and theirs.price else 0)
            or held[symbol].entry_price
        )
    return found, missing


def _matrix(closes: pd.DataFrame | pd.Series, run_date: pd.Timestamp) -> pd.DataFrame:
    table = closes.to_frame(run_date).T if isinstance(closes, pd.Series) else closes
    return table.loc[:run_date].astype(float)


def _sessions_to_close(
    ledger: Ledger, closes: pd.DataFrame, run_date: pd.Timestamp
) -> list[pd.Timestamp]:
    """The missed sessions of which closes are known, and the session itself, always."""
    last = ledger.last_session()
    if last is None or last >= run_date:
        return [run_date]
    missed = dates.sessions_between(last, run_date)[1:-1]
    return [*missed[missed >= closes.index[0]], run_date]


def _close(
    ledger: Ledger,
    session: pd.Timestamp,
    run_date: pd.Timestamp,
    prices: dict[str, float],
    broker_equity: Decimal | None,
) -> None:
    end = dates.close_of(session)
    cash = ledger.cash(end)
    holdings = sum(values(ledger.positions(end), prices, session).values(), ZERO)
    before, since = _line_before(ledger, session)
    traded = ledger.traded(session, session).get(session, ZERO)
    ledger.close_session(
        session,
        run_date,
        cash=cash,
        holdings=holdings,
        broker_equity=broker_equity,
        dividends=ledger.dividends_due(end),
        flow=ledger.paid("flow", since, end),
        turnover=traded / (before or cash + holdings),
    )


def _line_before(ledger: Ledger, session: pd.Timestamp) -> tuple[Decimal | None, pd.Timestamp]:
    """Equity of the last session closed before, and the instant up to which it counted."""
    earlier = ledger.equity_table(session - pd.Timedelta(days=1))
    if earlier.empty:
        return None, NEVER_OPENED
    last = earlier.iloc[-1]
    return decimal(last["equity"]), dates.close_of(last["session"])


def _settlement(
    ledger: Ledger, run_date: pd.Timestamp, prices: dict[str, float], done: Reconciliation
) -> Settlement:
    end = dates.close_of(run_date)
    holding = holding_frame(ledger.positions(end), prices, run_date, ledger.cash(end))
    equity = ledger.equity_table(run_date)
    return Settlement(holding, equity, ledger.fills_of(run_date), _summary(equity, holding, done))


def _summary(equity: pd.DataFrame, holding: pd.DataFrame, done: Reconciliation) -> dict[str, Any]:
    """The headline of the day, as plain numbers."""
    last = equity.iloc[-1]
    return {
        "equity": float(last["equity"]),
        "cash": float(last["cash"]),
        "broker_equity": None if pd.isna(last["broker_equity"]) else float(last["broker_equity"]),
        "economic_equity": float(last["equity"] + last["dividends"]),
        "dividends_due": float(last["dividends"]),
        "holdings": len(holding),
        "books_opened": done.opened,
        "orders_resolved": done.resolved,
        "fills_booked": done.booked["fill"],
        "splits_booked": done.booked["split"],
        "payments_booked": sum(
            count for kind, count in done.booked.items() if kind not in (*MOVES_SHARES, "")
        ),
        "conversions_booked": sum(done.booked[kind] for kind in CONVERSIONS),
        "frozen": [f"{symbol}: {reason}" for symbol, reason in sorted(done.frozen.items())],
        "to_look_at": done.remarks,
        "broker_time": done.at.isoformat(),
    }


# -- submit ------------------------------------------------------------------------------------------


def submit(
    broker: Broker,
    ledger: Ledger,
    orders: pd.DataFrame,
    run_date: pd.Timestamp,
    settings: ExecuteSettings,
    progress: Progress = lambda doing, done, total: None,
    sleep: Sleep = time.sleep,
) -> pd.DataFrame:
    """Write the plan down, send what it says, and wait until the broker has taken or refused it.

    A session has one plan: if the ledger has it already, `orders` are forgotten and the work goes
    on where it stopped. Nothing is sent for a session that is not the broker's newest closed one.

    Returns
    -------
    Order frame
        Every order of the session as the ledger knows it.

    Raises
    ------
    OutcomeUnknown
        Of some orders it could not be learnt whether they exist; run the day again later.
    RiskHalt
        The kill switch is on, or the risk rules allow to reduce only, and the plan would buy;
        sells are sent all the same.
    ReconciliationError
        The broker's order of one of our names is another one.
    BrokerError
        The account may not trade.
    """
    at = broker.clock()
    with ledger.held():
        if not ledger.planned(run_date):
            newest = dates.last_closed(at)
            if newest != run_date:
                late = f"the newest closed session is {newest.date()}: too late"
                return execute.shadow(orders, late)
            ledger.plan(orders, run_date, at)
        done = resolve_orders(broker, ledger, at, settings, sleep)
        if done.lines:
            raise ReconciliationError(comparison.explained(done.lines))
        dispatch = Dispatch(broker, ledger, run_date, at, settings, progress, sleep)
        if not dispatch.send():
            dispatch.require_done()
            return ledger.orders(run_date)
    dispatch.await_judgement()
    with ledger.held():
        dispatch.require_done()
        return ledger.orders(run_date)
