"""Rules that act without asking a forecast: the drawdown brake, the halt and the stop-loss.

Pure functions over a state of one row (`contracts.RiskState`), carried from session to session.
Every change is an event (`contracts.RiskEvent`) for the ledger. The rules act in this order: halt
(all is sold, nothing bought), stop-loss (one name is sold and barred), brake (less exposure).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from quant50lib.contracts import RiskEvent, RiskState
from quant50lib.errors import ContractError, RiskHalt
from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.panel import Panel
from quant50lib.settings import RiskSettings
from quant50lib.utils import dates
from quant50lib.utils.frames import typed

#: a book with less exposure than this can neither earn its way back nor reset: it is halted
BUDGET_MIN = 0.2
#: realised over ex-ante volatility is believed within these bounds
FEEDBACK_BOUNDS = (0.7, 2.0)
#: decimals to which drawdowns are compared with limits: 1 - 91/100 is at the limit of 9 %
DECIMALS = 12
#: a jump of printed against adjusted shares above this is a split
SPLIT_MIN = 0.01
#: sessions of the longer reading of the stop's volatility
MONTH, WEEK = 21, 5


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
    history = equity[equity["session"] <= session].set_index("session").sort_index()
    if session not in history.index:
        raise ContractError(f"no equity for {session.date()}: close the books of the session first")
    state = None if previous is None else previous.iloc[0].to_dict()
    if state and state["session"] > session:
        raise ContractError(
            f"the risk state is of {state['session'].date()}, after {session.date()}"
        )
    growth = session_returns(history["equity"], history["flow"])
    if state is None:
        state = _fresh(history.index[0], history["equity"].iloc[0], 1.0)
    events: list[dict] = []
    for day in history.index[history.index > state["session"]]:
        state, happened = _step(state, day, history.at[day, "equity"], growth[day], settings)
        events += happened
        if day == session:
            surprise = growth[day] / (ex_ante_annual / math.sqrt(SESSIONS_PER_YEAR))
            state["feedback"] = feedback(state["feedback"], surprise, settings)
    return typed(RiskState, [state]), typed(RiskEvent, events)


def session_returns(equity: pd.Series, flow: pd.Series) -> pd.Series:
    """Simple returns of an account with what was paid in or out on the day taken out; first NaN."""
    return (equity - flow) / equity.shift(1) - 1


def feedback(previous: float, surprise: float, settings: RiskSettings) -> float:
    """Realised over ex-ante volatility after one more session.

    ``f^2 <- d f^2 + (1 - d) (f z)^2`` with d the decay of the half-life and z the surprise, the
    session's return over the daily volatility forecast for it. That forecast contained f, so f z is
    the surprise of the model without feedback. A surprise that is not a number teaches nothing.
    """
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
    return typed(RiskState, [fresh]), typed(RiskEvent, [_rearmed(row, settings, "by command")])


def stops(
    holdings: pd.DataFrame, panel: Panel, session: pd.Timestamp, settings: RiskSettings
) -> pd.DataFrame:
    """Holdings to be sold at the next open: those that lost too much since they were bought.

    The loss is from the average entry on total-return prices: dividends since the first fill count
    as regained. Its limit is `stop_multiple` times the rolling volatility: of the last
    `stop_sessions` daily returns ("daily"), or of 5-session returns ("horizon": standard deviation
    of 21 daily returns times sqrt(5)). A holding without that many returns has no stop that day;
    one that is not in the panel cannot be judged, and is sold by the optimiser for that reason.

    Parameters
    ----------
    holdings : Holding
        `entry_price` in today's shares (a split since then is in it).

    Returns
    -------
    RiskEvent
        Rule `stop_loss`; value the loss, limit what was allowed, both fractions.
    """
    known = panel.until(session).only([s for s in holdings["symbol"] if s in panel.symbols])
    volatility = stop_volatility(known, settings)
    events = []
    for holding in holdings[holdings["symbol"].isin(known.symbols)].itertuples():
        loss = loss_from_entry(known, holding.symbol, holding.entry_price, holding.entry_session)
        limit = settings.stop_multiple * float(volatility.get(holding.symbol, math.nan))
        if round(loss, DECIMALS) > round(limit, DECIMALS):
            detail = f"lost {loss:.1%} since {holding.entry_session.date()}"
            events.append(_event(session, "stop_loss", loss, limit, detail, holding.symbol))
    return typed(RiskEvent, events)


def stop_volatility(panel: Panel, settings: RiskSettings) -> pd.Series:
    """The stop's yardstick at the panel's last close, by symbol; NaN where returns are too few."""
    daily = settings.stop_volatility == "daily"
    sessions, factor = (settings.stop_sessions, 1.0) if daily else (MONTH, math.sqrt(WEEK))
    recent = panel.close.iloc[-3 * sessions :]
    return pd.Series({s: factor * _last_std(recent[s].dropna(), sessions) for s in recent})


def _last_std(prices: pd.Series, n: int) -> float:
    returns = prices.pct_change().dropna().to_numpy()[-n:]
    return float(returns.std(ddof=1)) if len(returns) == n else math.nan


def loss_from_entry(
    panel: Panel, symbol: str, entry_price: float, entry_session: pd.Timestamp
) -> float:
    """Loss of a holding at the panel's last close, a fraction of its entry; negative: a gain.

    Dividends since the entry session are counted as regained. What they were is read from where
    total-return prices gain on printed ones, except on sessions of a split, which `entry_price` has
    in it already: there the shares printed jump against the shares adjusted.
    """
    since = panel.traded_close[symbol].loc[entry_session:].dropna()
    if since.empty:
        return math.nan
    at = since.index
    gained = (panel.close.loc[at, symbol] / since).pct_change()
    shares = panel.dollar_volume.loc[at, symbol] / since / panel.volume.loc[at, symbol]
    split = shares.pct_change(fill_method=None).abs() > SPLIT_MIN
    dividends = float((1 + gained.mask(split, 0.0).fillna(0.0)).prod())
    return 1 - float(since.iloc[-1]) * dividends / entry_price


def forced_exits(state: pd.DataFrame, stopped: pd.DataFrame, held: pd.Series) -> pd.Series:
    """Of the weights held, those to be sold in full: all in a halt, else those stopped out."""
    if state["halted"].iloc[0]:
        return held
    return held[held.index.isin(stopped.loc[stopped["rule"] == "stop_loss", "symbol"])]


def barred(events: pd.DataFrame, session: pd.Timestamp, settings: RiskSettings) -> pd.Index:
    """Symbols that may not be bought: stopped out within the last `stop_bar_sessions` decisions.

    Stopped at the close of s, sold at the next open, and bought again at the earliest at the open
    `stop_bar_sessions` + 1 sessions after s: for that many sessions the name is not held. `events`
    (RiskEvent) may reach beyond the session; what came later is not looked at.
    """
    past = events[(events["rule"] == "stop_loss") & (events["session"] <= session)]
    ages = past["session"].map(lambda day: dates.distance(day, session))
    recent = past.loc[ages.astype(int) < settings.stop_bar_sessions, "symbol"]
    return pd.Index(sorted(set(recent)), dtype="str", name="symbol")


def bar_events(events: pd.DataFrame, session: pd.Timestamp, settings: RiskSettings) -> pd.DataFrame:
    """A RiskEvent of rule `barred` for every name barred today that was stopped before today."""
    before = events[events["session"] < session]
    rows = []
    for symbol in barred(before, session, settings):
        last = before.loc[(before["symbol"] == symbol) & (before["rule"] == "stop_loss"), "session"]
        age = dates.distance(last.max(), session)
        detail = f"stopped out on {last.max().date()}"
        rows.append(_event(session, "barred", age, settings.stop_bar_sessions, detail, symbol))
    return typed(RiskEvent, rows)


def _step(
    before: dict, session: pd.Timestamp, equity: float, growth: float, settings: RiskSettings
) -> tuple[dict, list[dict]]:
    """One session: the mark, the drawdown, and what follows from them."""
    wealth = before["mark"] * (1 - before["drawdown"]) * (1 + growth)
    flowed = equity / wealth  # money paid in or out moves the mark in proportion
    mark = max(before["mark"], wealth) * flowed
    drawdown = round(1 - equity / mark, DECIMALS)
    after = before | {"session": session, "mark": mark, "drawdown": drawdown}
    if before["halted"]:
        return _wait(after, equity, settings)
    if drawdown >= round(halt_level(settings), DECIMALS):
        event = _event(session, "halt", drawdown, halt_level(settings), "everything is sold")
        return after | {"halted": True, "halted_sessions": 0, "budget": 0.0}, [event]
    after["budget"] = exposure_budget(drawdown, settings)
    if after["budget"] == before["budget"]:
        return after, []
    detail = f"exposure budget {before['budget']:.1%} -> {after['budget']:.1%}"
    return after, [_event(session, "brake", drawdown, settings.drawdown_soft, detail)]


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
    return _event(state["session"], "rearm", waited, settings.rearm_sessions, detail)


def _event(
    session: pd.Timestamp, rule: str, value: float, limit: float, detail: str, symbol: str = ""
) -> dict:
    return {
        "session": session,
        "rule": rule,
        "symbol": symbol,
        "value": float(value),
        "limit": float(limit),
        "detail": detail,
    }
