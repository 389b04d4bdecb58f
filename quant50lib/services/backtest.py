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

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pandas as pd

from quant50lib import contracts
from quant50lib.contracts import Equity, Holding, Order, RiskEvent, RiskState, Table, Target
from quant50lib.errors import OptimizationError, SettingsError
from quant50lib.services import book, execute, features, optimize
from quant50lib.services.backtest_account import Account, Costs
from quant50lib.services.backtest_market import Market, Window
from quant50lib.services.backtest_signals import SIGNALS, Learnt, Signal
from quant50lib.services.book import Memory
from quant50lib.services.optimize import Solution
from quant50lib.services.panel import Panel
from quant50lib.services.quality_past import Past
from quant50lib.settings import Settings
from quant50lib.utils import dates

LIQUIDITY_SESSIONS = 21
#: sessions of risk events and equity that the rules may look back on
REMEMBERED = 30
#: told after every session: which, and the share done
Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class Day:
    """What was decided at a close; `why_not` where nothing was."""

    session: pd.Timestamp
    state: pd.DataFrame  # RiskState
    events: pd.DataFrame  # RiskEvent
    target: pd.DataFrame  # Target
    orders: pd.DataFrame  # Order
    solution: Solution | None
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
    learnt: Learnt | None = None
    memory: Memory = book.NO_MEMORY
    orders: pd.DataFrame = field(default_factory=Order.empty)
    days: list[Day] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    holdings: list[pd.DataFrame] = field(default_factory=list)


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
    loop = Loop(market, chosen, settings, market.past(settings), account)
    with contracts.deferred():  # all tables are checked together, in `result_of`
        learn(loop, market.row(sessions[0]) - 1)
        for n, session in enumerate(sessions, 1):
            step(loop, market.row(session))
            tell(str(session.date()), n / len(sessions))
    return result_of(loop)


def step(loop: Loop, row: int) -> None:
    """One session: open, close, and decide."""
    market, session = loop.market, loop.market.sessions[row]
    window = Window.at(market, row, loop.settings)
    opens = pd.Series(market.raw.fields["open"][row], market.raw.symbols)
    came = market.actions_between(market.sessions[row - 1], session)
    loop.account.open(session, came, loop.orders, opens)
    holding = loop.account.close(session, window.closes)
    why_not = loop.past.unfit(row, window.benchmark)
    if session.dayofweek == 0 and not why_not:
        learn(loop, row)
    day = _undecided(loop, session, why_not) if why_not else decide(loop, window, holding)
    loop.orders = day.orders
    loop.days.append(day)
    loop.holdings.append(holding)
    loop.rows.append(_line(loop, day, holding))


def learn(loop: Loop, row: int) -> None:
    """Let the signal learn at the close of a session, where the day was fit."""
    window = Window.at(loop.market, row, loop.settings)
    if not loop.signal.learns or loop.past.unfit(row, window.benchmark):
        return
    names = window.universe(window.panel(_tail(loop)), loop.past.quarantined(row))
    loop.learnt = loop.signal.learn(window, names, loop.learnt)


def decide(loop: Loop, window: Window, holding: pd.DataFrame) -> Day:
    """Notebooks 02, 05 and 06 of a session."""
    settings, session = loop.settings, window.session
    panel = window.panel(max(_tail(loop), _held_since(holding, window)))
    names = window.universe(panel, loop.past.quarantined(window.row))
    expected = loop.signal.expect(window, panel, names, loop.learnt)
    equity = loop.account.equity(REMEMBERED)
    state, events = book.rules(loop.memory, equity, holding, panel, session, settings)
    try:
        solution = book.solve(expected, names, holding, state, events, loop.memory, panel, settings)
    except OptimizationError as error:
        _remember(loop, state, events)
        return Day(session, state, events, Target.empty(), Order.empty(), None, str(error))
    target = optimize.to_target(solution, session, forced_intent=book.forced_intent(state))
    orders = plan(loop, window, panel, target, holding, names, state)
    _remember(loop, state, events)
    return Day(session, state, events, target, orders, solution)


def plan(
    loop: Loop,
    window: Window,
    panel: Panel,
    target: pd.DataFrame,
    holding: pd.DataFrame,
    names: pd.DataFrame,
    state: pd.DataFrame,
) -> pd.DataFrame:
    """The orders of the session, as `StageContext.plan` asks for them."""
    line, session = loop.account.lines[-1], window.session
    following = dates.shift(session, 1)
    announced = loop.market.actions_between(session, following)
    return execute.plan_orders(
        target,
        holding,
        names,
        execute.decimal(line["equity"]),
        execute.decimal(line["cash"]),
        panel.volume.iloc[-LIQUIDITY_SESSIONS:].median(),
        loop.settings.execute,
        session,
        (),
        bool(state["halted"].iloc[0]),
        coming=execute.coming_actions(announced, session, following),
    )


def _tail(loop: Loop) -> int:
    """Sessions of adjusted prices that a decision needs, beside those since its oldest entry."""
    needed = features.sessions_needed(loop.settings.features)
    return max(needed, loop.settings.optimize.covariance_sessions + 1) + 2


def _held_since(holding: pd.DataFrame, window: Window) -> int:
    """Sessions since the oldest entry, one before it included."""
    if holding.empty:
        return 0
    return window.row - int(window.market.sessions.searchsorted(holding["entry_session"].min())) + 2


def _remember(loop: Loop, state: pd.DataFrame, events: pd.DataFrame) -> None:
    known = pd.concat([loop.memory.events, events], ignore_index=True)
    since = dates.shift(state["session"].iloc[0], -REMEMBERED)
    loop.memory = Memory(state, known[known["session"] >= since].reset_index(drop=True))


def _undecided(loop: Loop, session: pd.Timestamp, why_not: str) -> Day:
    state = loop.memory.state if loop.memory.state is not None else RiskState.empty()
    return Day(session, state, RiskEvent.empty(), Target.empty(), Order.empty(), None, why_not)


def _line(loop: Loop, day: Day, holding: pd.DataFrame) -> dict[str, Any]:
    account, solution = loop.account.lines[-1], day.solution
    state = day.state.iloc[0].to_dict() if len(day.state) else {}
    return {
        "session": day.session,
        **{name: account[name] for name in ("equity", "cash", "dividends", "turnover", "cost")},
        "gross": float(holding["weight"].sum()),
        "names": len(holding),
        "forced": solution.forced_turnover if solution else 0.0,
        "ex_ante": solution.standing["volatility"] if solution else float("nan"),
        "drawdown": state.get("drawdown", 0.0),
        "budget": state.get("budget", 1.0),
        "halted": bool(state.get("halted", False)),
        "why_not": day.why_not,
    }


def result_of(loop: Loop) -> Result:
    """The frames of a finished loop."""
    breaches = [
        {"session": day.session, **vars(breach)}
        for day in loop.days
        if day.solution
        for breach in day.solution.breaches
    ]
    columns = ["session", "rule", "value", "limit", "sessions_to_cure", "detail"]
    return Result(
        daily=pd.DataFrame(loop.rows).set_index("session"),
        holdings=_joined(loop.holdings, Holding),
        targets=_joined([day.target for day in loop.days], Target),
        orders=_joined([day.orders for day in loop.days], Order, sort=False),
        fills=pd.DataFrame(loop.account.fills),
        breaches=pd.DataFrame(breaches, columns=columns),
        events=_joined([day.events for day in loop.days], RiskEvent),
        equity=Equity.check(loop.account.equity()),
        label=loop.market.label,
        settings=loop.settings,
    )


def _joined(frames: list[pd.DataFrame], table: type[Table], sort: bool = True) -> pd.DataFrame:
    """The tables of all sessions as one that keeps the contract; unsorted, in the order made."""
    full = [frame for frame in frames if len(frame)]
    whole = pd.concat(full, ignore_index=True) if full else table.empty()
    checked = table.check(whole)
    return checked if sort else whole


def without(settings: Settings, brake: bool = False, stops: bool = False) -> Settings:
    """The settings with a brake, or stops, that never act: limits that nothing reaches."""
    changed: dict[str, Any] = {}
    if brake:
        changed |= {"drawdown_soft": 0.97, "drawdown_halt": 0.98, "drawdown_hard": 1.0}
    if stops:
        changed |= {"stop_multiple": 1e9}
    return settings.model_copy(update={"risk": settings.risk.model_copy(update=changed)})
