"""The desk's two acts of a day: settle the books, and send the orders of the plan.

Both may be repeated at any time and after any crash: what was done is read from the ledger, what
is not known is asked of the broker, and nothing is done twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.journal import Ledger
from quant50lib.pipeline.dispatch import Dispatch, Progress
from quant50lib.pipeline.reconcile import Reconciliation, Sleep, reconcile, resolve_orders
from quant50lib.services import execute
from quant50lib.services.ledger import ZERO, decimal, holding_frame, values
from quant50lib.settings import ExecuteSettings
from quant50lib.utils import dates

NEVER_OPENED = pd.Timestamp("1990-01-01", tz="UTC")


@dataclass(frozen=True)
class Settlement:
    """The books of a session, as tables, and what was done to close them."""

    holding: pd.DataFrame  # contracts.Holding
    equity: pd.DataFrame  # contracts.Equity
    fill: pd.DataFrame  # contracts.Fill
    summary: dict[str, Any]


# -- settle ------------------------------------------------------------------------------------------


def settle(
    broker: Broker,
    ledger: Ledger,
    actions: pd.DataFrame,
    run_date: pd.Timestamp,
    closes: pd.DataFrame | pd.Series,
    settings: ExecuteSettings,
    sleep: Sleep = time.sleep,
) -> Settlement:
    """Reconcile with the broker and close the session, and those missed before it.

    Parameters
    ----------
    actions : DataFrame
        Corporate actions, as `adapters.store.actions_asof` has them.
    closes : DataFrame, (n_sessions, n_symbols), or Series by symbol
        Closes as traded, US dollars; where one is missing, the last one before counts. A Series
        is of `run_date` alone, and then no missed session is closed.

    Raises
    ------
    ReconciliationError
        Our books and the broker's differ and nothing explains it.
    ContractError
        A holding has no close.
    """
    table = _matrix(closes, run_date)
    with ledger.held():
        done = reconcile(broker, ledger, actions, settings, run_date, sleep)
        broker_equity = broker.account().equity if dates.last_closed(done.at) == run_date else None
        for session in _sessions_to_close(ledger, table, run_date):
            prices = table.loc[:session].ffill().iloc[-1].dropna().to_dict()
            theirs = broker_equity if session == run_date else None
            _close(ledger, session, run_date, prices, theirs)
        return _settlement(ledger, run_date, prices, done)


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
        "fills_booked": done.fills,
        "splits_booked": done.splits,
        "payments_booked": done.payments,
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
        The kill switch is on and the plan would buy; sells are sent all the same.
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
        resolve_orders(broker, ledger, at, settings, sleep)
    Dispatch(broker, ledger, run_date, at, settings, progress, sleep).run()
    return ledger.orders(run_date)
