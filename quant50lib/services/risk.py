"""The drawdown brake and the halt, and what the desk learns from its own surprises. Pure.

A state of one row (`contracts.RiskState`) is carried from session to session; every change is an
event (`contracts.RiskEvent`) for the ledger. `step` is the rule of one session on plain numbers;
`next_state` is its shell on tables, which the desk and the back-test call. The stop-loss is in
`services.stops`. In a halt all is sold; else what was stopped out; the brake takes the rest down.

What is promised, and proven for any path (tests/services/test_risk.py): the drawdown of an episode is
at most the level of the halt, plus the loss of the session that crosses it, plus what is lost at the
open at which everything is sold. The last gap is one that no rule at a close can save.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from quant50lib.contracts import RiskEvent, RiskState
from quant50lib.errors import ContractError, RiskHalt
from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.settings import RiskSettings
from quant50lib.utils.frames import typed

#: a book with less exposure than this can neither earn its way back nor reset: it is halted
BUDGET_MIN = 0.2
#: realised over ex-ante volatility is believed within these bounds
FEEDBACK_BOUNDS = (0.7, 2.0)
#: detail of an event: somebody has ended the halt
BY_COMMAND = "by command"
#: decimals to which drawdowns are compared with limits: 1 - 91/100 is at the limit of 9 %
DECIMALS = 12


def exposure_budget(drawdown: float, settings: RiskSettings) -> float:
    """B: 1 down to `drawdown_soft`, then linear, 0 from `drawdown_hard` on."""
    soft, hard = settings.drawdown_soft, settings.drawdown_hard
    return float(np.clip((hard - drawdown) / (hard - soft), 0.0, 1.0))


def halt_level(settings: RiskSettings) -> float:
    """The drawdown of the halt: `drawdown_halt`, or where B falls below a fifth, if earlier."""
    soft, hard = settings.drawdown_soft, settings.drawdown_hard
    return min(settings.drawdown_halt, hard - BUDGET_MIN * (hard - soft))


def next_state(
    previous: pd.DataFrame | None,
    equity: pd.DataFrame,
    session: pd.Timestamp,
    settings: RiskSettings,
    *,
    ex_ante_annual: float = math.nan,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The state at the close of the session, and what changed since the previous one.

    Parameters
    ----------
    previous : RiskState of one row, or None
        Of an earlier session; sessions between are caught up one by one. None: the episode starts
        with the account. Of this very session: returned as it is, without events.
    equity : Equity
        Up to the session; flows are taken out, so that money paid in heals no drawdown.
    ex_ante_annual : float
        Volatility forecast for the book held during the session, feedback included. With it the
        feedback learns from the session's return; NaN leaves the feedback as it was.

    Returns
    -------
    state : RiskState
    events : RiskEvent

    Raises
    ------
    ContractError
        No equity for the session, or the state is of a later one.
    """
    before = None if previous is None else previous.iloc[0].to_dict()
    state, events = advance(before, course_of(equity, session), session, settings, ex_ante_annual)
    return typed(RiskState, [state]), typed(RiskEvent, events)


class Course(NamedTuple):
    """An account from session to session."""

    sessions: Sequence[pd.Timestamp]
    equity: Sequence[float]
    growth: Sequence[float]  # simple returns, flows taken out; the first is NaN


def advance(
    before: Mapping[str, Any] | None,
    account: Course,
    session: pd.Timestamp,
    settings: RiskSettings,
    ex_ante_annual: float = math.nan,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`next_state` on plain numbers: a row of RiskState, and rows of RiskEvent."""
    if before and before["session"] > session:
        raise ContractError(
            f"the risk state is of {before['session'].date()}, after {session.date()}"
        )
    if not len(account.sessions) or account.sessions[-1] != session:
        raise ContractError(f"no equity for {session.date()}: close the books of the session first")
    fresh = _fresh(account.sessions[0], account.equity[0], 1.0)
    state = dict(before) if before else fresh
    since, events = state["session"], []
    for day, value, growth in zip(*account, strict=True):
        if day <= since:
            continue
        state, happened = step(state, day, value, growth, settings)
        events += happened
        if day == session:
            surprise = growth / (ex_ante_annual / math.sqrt(SESSIONS_PER_YEAR))
            state["feedback"] = feedback(state["feedback"], surprise, settings)
    return state, events


def course_of(equity: pd.DataFrame, session: pd.Timestamp) -> Course:
    """Sessions in order up to the one given, equity and return of each."""
    known = equity[equity["session"] <= session].sort_values("session")
    growth = session_returns(known["equity"], known["flow"])
    days = pd.DatetimeIndex(known["session"])
    return Course(list(days), known["equity"].to_numpy(), growth.to_numpy())


def session_returns(equity: pd.Series, flow: pd.Series) -> pd.Series:
    """Simple returns of an account with what was paid in or out on the day taken out; first NaN."""
    return (equity - flow) / equity.shift(1) - 1


def feedback(previous: float, surprise: float, settings: RiskSettings) -> float:
    """Realised over ex-ante volatility after one more session.

    ``f^2 <- d f^2 + (1 - d) (f z)^2`` with d the decay of the half-life and z the surprise, the
    session's return over the daily volatility forecast for it. That forecast contained f, so f z is
    the surprise of the model without feedback. A surprise that is not a number teaches nothing.
    With `feedback` off the forecast stands as the model makes it: 1.
    """
    if not settings.feedback:
        return 1.0
    if not math.isfinite(surprise):
        return previous
    decay = 0.5 ** (1 / settings.feedback_half_life_sessions)
    level = previous * math.sqrt(decay + (1 - decay) * surprise**2)
    return float(np.clip(level, *FEEDBACK_BOUNDS))


def rearm(state: pd.DataFrame, settings: RiskSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """End a halt by command: the episode starts again at the equity of the state.

    Returns the RiskState in its place, and the RiskEvent.

    Raises
    ------
    RiskHalt
        There is no halt to end.
    """
    row = state.iloc[0].to_dict()
    if not row["halted"]:
        raise RiskHalt(f"the desk was not halted on {row['session'].date()}: nothing to re-arm")
    fresh = _fresh(row["session"], row["mark"] * (1 - row["drawdown"]), row["feedback"])
    return typed(RiskState, [fresh]), typed(RiskEvent, [_rearmed(row, settings, BY_COMMAND)])


def ended_by_command(events: pd.DataFrame, session: pd.Timestamp) -> pd.DataFrame:
    """Halt and re-arming of a session whose halt somebody has ended; else without rows.

    Such a session is settled: run again, it does not halt the desk a second time.
    """
    own = events[(events["session"] == session) & events["rule"].isin(("halt", "rearm"))]
    return own if (own["detail"] == BY_COMMAND).any() else own[:0]


def step(
    before: Mapping[str, Any],
    session: pd.Timestamp,
    equity: float,
    growth: float,
    settings: RiskSettings,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One session: the mark, the drawdown, and what follows from them.

    Parameters
    ----------
    before : mapping
        A row of RiskState.
    equity : float
        At the close, US dollars.
    growth : float
        Return of the session, flows taken out.

    Returns
    -------
    state, events
        A row of RiskState, and rows of RiskEvent: at most one.
    """
    wealth = before["mark"] * (1 - before["drawdown"]) * (1 + growth)
    flowed = equity / wealth  # money paid in or out moves the mark in proportion
    mark = max(before["mark"], wealth) * flowed
    drawdown = round(1 - equity / mark, DECIMALS)
    after = {**before, "session": session, "mark": mark, "drawdown": drawdown}
    if before["halted"]:
        return _wait(after, equity, settings)
    if drawdown >= round(halt_level(settings), DECIMALS):
        said = event(session, "halt", drawdown, halt_level(settings), "everything is sold")
        return after | {"halted": True, "halted_sessions": 0, "budget": 0.0}, [said]
    after["budget"] = exposure_budget(drawdown, settings)
    if after["budget"] == before["budget"]:
        return after, []
    detail = f"exposure budget {before['budget']:.1%} -> {after['budget']:.1%}"
    return after, [event(session, "brake", drawdown, settings.drawdown_soft, detail)]


def _wait(state: dict, equity: float, settings: RiskSettings) -> tuple[dict, list[dict]]:
    """One more session of a halt, or its end."""
    state = state | {"halted_sessions": state["halted_sessions"] + 1}
    if state["halted_sessions"] < settings.rearm_sessions:
        return state, []
    fresh = _fresh(state["session"], equity, state["feedback"])
    return fresh, [_rearmed(state, settings, "the mark is reset to equity")]


def _fresh(session: pd.Timestamp, equity: float, feedback: float) -> dict:
    return {
        "session": session,
        "mark": equity,
        "drawdown": 0.0,
        "budget": 1.0,
        "halted": False,
        "halted_sessions": 0,
        "feedback": feedback,
    }


def _rearmed(state: dict, settings: RiskSettings, detail: str) -> dict:
    waited = state["halted_sessions"]
    return event(state["session"], "rearm", waited, settings.rearm_sessions, detail)


def event(
    session: pd.Timestamp, rule: str, value: float, limit: float, detail: str, symbol: str = ""
) -> dict[str, Any]:
    """A row of RiskEvent; without a symbol it is about the whole book."""
    return {
        "session": session,
        "rule": rule,
        "symbol": symbol,
        "value": float(value),
        "limit": float(limit),
        "detail": detail,
    }
