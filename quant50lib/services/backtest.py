"""The desk's days in a loop: the functions of the notebooks, with no notebook, file or clock.

For each session, in this order, as the scheduled runs do it:

1. at its open, corporate actions and the orders of the evening before meet the account;
2. at its close, the books are closed and the gates judge the day;
3. on Mondays the signal learns again from everything that is known;
4. features, forecast, risk rules, programme, orders: `book.rules`, `book.solve`, `plan_orders`.

An unfit day (`quality_past`) is closed and not decided, as stage ingest stops it. Everything that a
decision sees comes out of a `Window` of the market that ends at its session.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from quant50lib import contracts
from quant50lib.contracts import Equity, Holding, Order, RiskEvent, Table, Target
from quant50lib.errors import OptimizationError, SettingsError
from quant50lib.services import book, covariance, execute, features, holdings, optimize
from quant50lib.services.adjust_rolling import Rolling
from quant50lib.services.backtest_account import Account, Costs, Sent
from quant50lib.services.backtest_market import Market, Names, Window
from quant50lib.services.backtest_signals import SIGNALS, Learnt, Signal
from quant50lib.services.book import Row
from quant50lib.services.checks import Asset, Conditions, Draft
from quant50lib.services.eligibility import LIQUIDITY_SESSIONS, median_known
from quant50lib.services.holdings import Holdings
from quant50lib.services.ledger import decimal
from quant50lib.services.limits import Breach
from quant50lib.services.names import said
from quant50lib.services.panel import Panel
from quant50lib.services.quality_past import Past
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.frames import dtypes, typed

#: sessions of risk events and equity that the rules may look back on
REMEMBERED = 30
#: told after every session: which, and the share done
Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class Day:
    """What was decided at a close, rows as the tables have them; `why_not` where nothing was."""

    session: pd.Timestamp
    held: Holdings
    state: Row  # of RiskState; empty before the first
    events: Sequence[Row] = ()  # of RiskEvent
    target: dict[str, np.ndarray] = field(default_factory=dict)  # of Target, by column
    drafts: Sequence[Draft] = ()  # of Order
    breaches: tuple[Breach, ...] = ()
    forced: float = 0.0  # weights sold by risk rules
    ex_ante: float = math.nan  # annual volatility forecast for the target
    why_not: str = ""


@dataclass(frozen=True)
class Result:
    """All that happened. Frames by session, unless a symbol or rule is named.

    `daily`: equity, cash, gross, names, turnover (traded value over equity), forced (weights sold by
    risk rules), cost (US dollars), dividends due, ex_ante (annual volatility forecast at the close
    for the target), drawdown (of the episode), budget, halted, why_not.
    """

    daily: pd.DataFrame
    holdings: pd.DataFrame  # Holding of every close
    targets: pd.DataFrame  # Target of every decision
    orders: pd.DataFrame  # Order, as planned
    fills: pd.DataFrame  # Fill
    breaches: pd.DataFrame  # session, rule, value, limit, sessions_to_cure, detail
    events: pd.DataFrame  # RiskEvent
    equity: pd.DataFrame  # Equity
    label: str
    settings: Settings


@dataclass
class Loop:
    """A back-test under way: what one session leaves to the next."""

    market: Market
    signal: Signal
    settings: Settings
    past: Past
    account: Account
    rolling: Rolling
    learnt: Learnt | None = None
    state: Row = field(default_factory=dict)  # newest of RiskState
    known: list[Row] = field(default_factory=list)  # of RiskEvent, the newest sessions
    sent: list[Sent] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def window(self, row: int) -> Window:
        """What is known at the close of a row of the market."""
        return Window.at(self.market, row, self.settings, self.rolling)


def run(
    market: Market,
    signal: Signal | str,
    settings: Settings,
    first: pd.Timestamp,
    last: pd.Timestamp,
    costs: Costs | None = None,
    tell: Tell = lambda doing, share: None,
) -> Result:
    """Trade every session from `first` to `last`, beginning in cash at the close of `first`.

    Parameters
    ----------
    signal
        Or its name in `backtest_signals.SIGNALS`. It learns at the close before `first`, and again
        on every Monday.

    Raises
    ------
    SettingsError
        The market does not hold the sessions, or no history before them.
    """
    sessions = market.sessions[(market.sessions >= first) & (market.sessions <= last)]
    if not len(sessions) or market.row(sessions[0]) < 1:
        raise SettingsError(f"the market holds no session before {first} and after: choose another")
    cash = Decimal(settings.simulator.cash)
    chosen = SIGNALS[signal] if isinstance(signal, str) else signal
    account = Account(cash, costs or Costs.of(settings))
    rolling = Rolling(market.raw, market.actions)
    loop = Loop(market, chosen, settings, market.past(settings), account, rolling)
    with contracts.deferred():  # all tables are checked together, in `result_of`
        learn(loop, market.row(sessions[0]) - 1)
        for n, session in enumerate(sessions, 1):
            step(loop, market.row(session))
            tell(str(session.date()), n / len(sessions))
    return result_of(loop)


def step(loop: Loop, row: int) -> None:
    """One session: open, close, and decide."""
    market, session = loop.market, loop.market.sessions[row]
    window = loop.window(row)
    came = market.happening(market.sessions[row - 1], session)
    loop.account.open(session, came, loop.sent, market.by_symbol(market.raw.fields["open"][row]))
    held = loop.account.close(session, market.by_symbol(window.closes))
    why_not = loop.past.unfit(row, window.benchmark)
    if session.dayofweek == 0 and not why_not:
        learn(loop, row)
    if why_not:
        day = Day(session, held, loop.state, why_not=why_not)
    else:
        day = decide(loop, window, held)
    loop.sent = [_sent(draft, session) for draft in day.drafts if draft.state == "planned"]
    loop.days.append(day)
    loop.rows.append(_line(loop, day))


def learn(loop: Loop, row: int) -> None:
    """Let the signal learn at the close of a session, where the day was fit."""
    window = loop.window(row)
    if loop.signal.learns and not loop.past.unfit(row, window.benchmark):
        loop.learnt = loop.signal.learn(window, loop.learnt)


def decide(loop: Loop, window: Window, held: Holdings) -> Day:
    """Notebooks 02, 05 and 06 of a session."""
    settings, session = loop.settings, window.session
    panel = window.panel(max(_tail(loop), _held_since(held, window)))
    names = window.names(loop.past.gates(window.row))
    past = covariance.history(panel, settings.optimize)
    expected = loop.signal.expect(window, panel, past, loop.learnt)
    course, before = loop.account.course(REMEMBERED), loop.state or None
    state, events = book.judged(before, loop.known, course, held, panel, session, settings)
    try:
        solution = book.weights_wanted(
            expected.symbols,
            expected.expected_return,
            expected.error,
            said(loop.market.sectors),
            (panel.symbols.to_numpy(dtype=object), names.tradable),
            (held.symbols.to_numpy(dtype=object), held.weight),
            state,
            events,
            loop.known,
            past,
            np.flatnonzero(past.known),
            settings,
        )
    except OptimizationError as error:
        return _remembered(loop, Day(session, held, state, events, why_not=str(error)))
    target = optimize.target_columns(solution, book.forced_intent(state))
    drafts = plan(loop, window, panel, target, held, names, bool(state["halted"]))
    breaches, ex_ante = solution.breaches, solution.standing["volatility"]
    sold = solution.forced_turnover
    day = Day(session, held, state, events, target, drafts, breaches, sold, ex_ante)
    return _remembered(loop, day)


def plan(
    loop: Loop,
    window: Window,
    panel: Panel,
    target: dict[str, np.ndarray],
    held: Holdings,
    names: Names,
    reduce_only: bool,
) -> list[Draft]:
    """The orders of the session, as `StageContext.plan` asks for them."""
    line, session = loop.account.lines[-1], window.session
    coming = loop.market.happening(session, dates.shift(session, 1))
    price = dict(zip(held.symbols, held.price.tolist(), strict=True))
    day = Conditions(
        _assets(loop.market, panel, names, sorted({*target["symbol"], *price}), price),
        decimal(line["equity"]),
        reduce_only,
        loop.settings.execute,
        coming=execute.changing(coming),
        held_at={symbol: decimal(value) for symbol, value in price.items()},
    )
    weights = map(decimal, target["weight"].tolist())
    wanted = dict(zip(target["symbol"], zip(weights, target["intent"], strict=True), strict=True))
    owned = dict(zip(held.symbols, map(decimal, held.qty.tolist()), strict=True))
    return execute.planned(wanted, owned, day, decimal(line["cash"]))


def _assets(
    market: Market, panel: Panel, names: Names, symbols: list[str], price: dict[str, float]
) -> dict[str, Asset]:
    """What the checks ask of some names."""
    at = market.places(symbols)
    volume = median_known(panel.volume.to_numpy()[-LIQUIDITY_SESSIONS:, at])
    rows = zip(
        symbols,
        names.close[at].tolist(),
        names.tradable[at].tolist(),
        names.fractionable[at].tolist(),
        names.reason[at],
        volume.tolist(),
        strict=True,
    )
    return {
        symbol: execute.asset(close, price.get(symbol), tradable, fractionable, why, median)
        for symbol, close, tradable, fractionable, why, median in rows
    }


def _sent(draft: Draft, session: pd.Timestamp) -> Sent:
    name = execute.client_order_id(session, draft)
    qty = decimal(float(draft.qty))  # as the table of orders has it
    return Sent(name, draft.symbol, draft.side, qty, float(draft.price))


def _tail(loop: Loop) -> int:
    """Sessions of adjusted prices that a decision needs, beside those since its oldest entry."""
    needed = features.sessions_needed(loop.settings.features)
    return max(needed, loop.settings.optimize.covariance_sessions + 1) + 2


def _held_since(held: Holdings, window: Window) -> int:
    """Sessions since the oldest entry, one before it included."""
    if not len(held.symbols):
        return 0
    return window.row - int(window.market.sessions.searchsorted(held.entry_session.min())) + 2


def _remembered(loop: Loop, day: Day) -> Day:
    """The day, with what later ones need to know of it kept."""
    since = dates.shift(day.session, -REMEMBERED)
    loop.state = day.state
    loop.known = [event for event in (*loop.known, *day.events) if event["session"] >= since]
    return day


def _line(loop: Loop, day: Day) -> dict[str, Any]:
    account = loop.account.lines[-1]
    return {
        "session": day.session,
        **{name: account[name] for name in ("equity", "cash", "dividends", "turnover", "cost")},
        "gross": float(day.held.weight.sum()),
        "names": len(day.held.symbols),
        "forced": day.forced,
        "ex_ante": day.ex_ante,
        "drawdown": day.state.get("drawdown", 0.0),
        "budget": day.state.get("budget", 1.0),
        "halted": bool(day.state.get("halted", False)),
        "why_not": day.why_not,
    }


def result_of(loop: Loop) -> Result:
    """The frames of a finished loop."""
    breaches = [
        {"session": day.session, **vars(breach)} for day in loop.days for breach in day.breaches
    ]
    columns = ["session", "rule", "value", "limit", "sessions_to_cure", "detail"]
    targets = [day.target | {"session": day.session} for day in loop.days if day.target]
    held = [day for day in loop.days if len(day.held.symbols)]
    orders = [execute.order_row(draft, day.session) for day in loop.days for draft in day.drafts]
    events = [event for day in loop.days for event in day.events]
    return Result(
        daily=pd.DataFrame(loop.rows).set_index("session"),
        holdings=Holding.check(
            _joined(Holding, [holdings.columns(day.held, day.session) for day in held])
        ),
        targets=Target.check(_joined(Target, targets)),
        orders=typed(Order, orders),
        fills=pd.DataFrame(loop.account.fills),
        breaches=pd.DataFrame(breaches, columns=columns),
        events=RiskEvent.check(typed(RiskEvent, events)),
        equity=Equity.check(loop.account.equity()),
        label=loop.market.label,
        settings=loop.settings,
    )


def _joined(table: type[Table], parts: list[dict[str, Any]]) -> pd.DataFrame:
    """Columns of many sessions as one frame of a table's dtypes."""
    if not parts:
        return table.empty()
    lengths = [len(part["symbol"]) for part in parts]
    whole = {
        name: np.concatenate([np.asarray(part[name]) for part in parts])
        for name in table.columns()
        if name != "session"
    }
    sessions = pd.DatetimeIndex([part["session"] for part in parts]).repeat(lengths)
    frame = pd.DataFrame(whole | {"session": sessions}, columns=table.columns())
    return frame.astype(dtypes(table))


def without(settings: Settings, brake: bool = False, stops: bool = False) -> Settings:
    """The settings with a brake, or stops, that never act: limits that nothing reaches."""
    changed: dict[str, Any] = {}
    if brake:
        changed |= {"drawdown_soft": 0.97, "drawdown_halt": 0.98, "drawdown_hard": 1.0}
    if stops:
        changed |= {"stop_multiple": 1e9}
    return settings.model_copy(update={"risk": settings.risk.model_copy(update=changed)})
