"""One day's decision put together from its parts; notebook 05 and the back-test call the same.

forecast ─┐
holdings ─┼─ risk rules ─ budget, forced exits, barred names ─┐
equity  ──┘                                                   ├─ programme ─ target
panel ───── covariance ───────────────────────────────────────┘
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.contracts import RiskEvent, RiskState
from quant50lib.services import alarm, covariance, exposure, optimize, risk, stops, tail
from quant50lib.services.covariance import History
from quant50lib.services.holdings import Holdings, holdings_of
from quant50lib.services.model import LoadedModel
from quant50lib.services.names import Said, names_of
from quant50lib.services.optimize import Solution
from quant50lib.services.panel import Panel
from quant50lib.services.risk import Course
from quant50lib.settings import Settings
from quant50lib.utils.frames import typed

#: of RiskState or RiskEvent, by column
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Memory:
    """What the risk rules remember of earlier sessions."""

    state: pd.DataFrame | None  # RiskState of the newest earlier session, or None
    events: pd.DataFrame  # RiskEvent of the earlier sessions, all of them
    #: return over forecast volatility by session, up to the present one; empty: no alarm is judged
    surprises: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    #: RiskEvent of the present session, where a command has settled it: `state` is then of it too
    settled: pd.DataFrame = field(default_factory=RiskEvent.empty)


#: of a desk that has just begun
NO_MEMORY = Memory(None, RiskEvent.empty())


def candidates(panel: Panel, universe: pd.DataFrame, settings: Settings) -> Panel:
    """The panel of the names that may be forecast: in the universe, with history enough for a risk."""
    known = covariance.eligible(panel, settings.optimize)
    return panel.only(known.intersection(pd.Index(universe["symbol"])))


def rules(
    memory: Memory,
    equity: pd.DataFrame,
    holding: pd.DataFrame,
    panel: Panel,
    session: pd.Timestamp,
    settings: Settings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the risk rules say at the close: tables `RiskState` and `RiskEvent` of the session."""
    row = None if memory.state is None else memory.state.iloc[0].to_dict()
    known = memory.events.to_dict("records")
    account, held = risk.course_of(equity, session), holdings_of(holding)
    state, events = judged(row, known, account, held, panel, session, settings)
    alarmed = alarm.events(memory.surprises, session, settings.risk.alarm_error, memory.events)
    settled = memory.settled.to_dict("records")
    happened = typed(RiskEvent, [*settled, *events, *alarmed])
    return typed(RiskState, [state]), RiskEvent.check(happened)


def judged(
    before: Row | None,
    known: Sequence[Row],
    account: Course,
    held: Holdings,
    panel: Panel,
    session: pd.Timestamp,
    settings: Settings,
) -> tuple[Row, list[Row]]:
    """`rules` on plain numbers: the row of RiskState, and the rows of RiskEvent.

    Parameters
    ----------
    before, known
        Newest earlier row of RiskState, and earlier rows of RiskEvent.
    """
    ex_ante = _ex_ante(before, held, panel, settings)
    state, changes = risk.advance(before, account, session, settings.risk, ex_ante)
    stopped = stops.stopped(held, panel, session, settings.risk)
    return state, [*changes, *stopped, *stops.still_barred(known, session, settings.risk)]


def _ex_ante(before: Row | None, held: Holdings, panel: Panel, settings: Settings) -> float:
    """Volatility that was forecast for the book held during the session; NaN where none was."""
    if before is None or len(panel.sessions) < 2:
        return math.nan
    then = covariance.history_of(panel.close.to_numpy()[:-1], settings.optimize)
    at = panel.symbols.get_indexer(held.symbols)
    known = then.known[at] & (at >= 0)
    if not known.any():
        return math.nan
    feedback, horizon = float(before["feedback"]), settings.label.horizon_sessions
    names = held.symbols[known]
    model = covariance.model_at(then, at[known], names, settings.optimize, horizon, feedback)
    return model.volatility_annual(pd.Series(held.weight[known], names)) or math.nan


def solve(
    forecast: pd.DataFrame,
    universe: pd.DataFrame,
    holding: pd.DataFrame,
    state: pd.DataFrame,
    events: pd.DataFrame,
    memory: Memory,
    panel: Panel,
    settings: Settings,
) -> Solution:
    """The weights of the day under every rule; see `optimize.target_weights`."""
    symbols = pd.Index(forecast["symbol"], name=None)
    past = covariance.history(panel, settings.optimize)
    return weights_wanted(
        symbols,
        forecast["expected_return"].to_numpy(),
        forecast["error"].to_numpy(),
        _said(universe, "sector"),
        _said(universe, "tradable"),
        _said(holding, "weight"),
        state.iloc[0].to_dict(),
        events.to_dict("records"),
        memory.events.to_dict("records"),
        past,
        panel.symbols.get_indexer(symbols),
        settings,
    )


def _said(table: pd.DataFrame, column: str) -> Said:
    return table["symbol"].to_numpy(dtype=object), table[column].to_numpy()


def weights_wanted(
    symbols: pd.Index,
    expected_return: np.ndarray,
    error: np.ndarray,
    sectors: Said,
    tradable: Said,
    held: Said,
    state: Row,
    events: Sequence[Row],
    known: Sequence[Row],
    past: History,
    at: np.ndarray,
    settings: Settings,
) -> Solution:
    """`solve` on arrays.

    Parameters
    ----------
    symbols, expected_return, error, at : (n_symbols,)
        The forecast, and the column of each name in `past`.
    sectors, tradable, held
        Symbols and what is said of each.
    state, events, known
        Row of RiskState; rows of RiskEvent of the session, and of those before.
    """
    barred = stops.last_stops([*known, *events], state["session"], settings.risk)
    free = np.array([symbol not in barred for symbol in tradable[0]], dtype=bool)
    names = symbols.to_numpy(dtype=object)
    horizon, feedback = settings.label.horizon_sessions, float(state["feedback"])
    day = names_of(
        (names, expected_return),
        (names, error),
        covariance.model_at(past, at, symbols, settings.optimize, horizon, feedback),
        held,
        sectors,
        (tradable[0], tradable[1].astype(bool) & free),
        stops.forced(bool(state["halted"]), events, held[0]),
    )
    return optimize.weigh(day, float(state["budget"]), settings.optimize, horizon)


def outlook(forecast: pd.DataFrame, model: LoadedModel | None) -> dict[str, Any]:
    """Headline values of a day's forecast."""
    return {
        "model": model.model_id if model else "none: the forecast has no alpha",
        "evidence": _evidence(forecast, model),
        "trained_at": model.trained_at if model else None,
        "rank_ic": model.ic if model else None,
        "rank_ic_error": model.ic_error if model else None,
        "names": len(forecast),
        "expected_return_mean": forecast["expected_return"].mean(),
        "alpha_largest": forecast["alpha"].abs().max(),
    }


def _evidence(forecast: pd.DataFrame, model: LoadedModel | None) -> str:
    """Whether the forecast says anything of the names, and if not, why."""
    if forecast["alpha"].abs().max() > 0:
        return "alpha is score x volatility x shrunk IC"
    if model is None:
        return "none: there is no model, alpha is zero"
    if not np.isfinite(model.ic_error):
        return "none: the model's rank IC was not measured, alpha is zero"
    if model.ic <= 0:
        return "none: the model's rank IC is not above zero out of fold, alpha is zero"
    return "none: the scores do not tell the names apart, alpha is zero"


def headline(solution: Solution) -> dict[str, Any]:
    """Headline values of a day's solution."""
    return {
        **solution.standing,
        "cash": 1 - solution.weights.sum(),
        "objective_bps": solution.objective,
        "upper_bound_bps": solution.upper_bound,
        "gap_bps": solution.gap_bps,
        "forced_turnover": solution.forced_turnover,
        "breaches": [breach.rule for breach in solution.breaches],
        "conflict": solution.conflict.sentence if solution.conflict else "",
        "seconds": round(solution.seconds, 3),
        "status": solution.status,
        **_proof(solution),
    }


def _proof(solution: Solution) -> dict[str, Any]:
    """What branch and bound found, where it was asked for."""
    proof = solution.proof
    return {} if proof is None else {"nodes": proof.nodes, "proven": proof.complete}


def exposures(
    target: pd.DataFrame,
    panel: Panel,
    benchmark: str,
    equity: float,
    volatility_annual: float,
) -> dict[str, Any]:
    """What the weights wanted are exposed to: market, names, the way out, and a bad session.

    Losses are positive fractions of equity over one session (`services.tail`); sessions to exit are
    at a tenth of the median volume of 21 sessions (`services.exposure`).
    """
    weights = target.set_index("symbol")["weight"]
    weights = weights[weights > 0]
    spread = exposure.concentration(weights)
    price = panel.traded_close.ffill(limit=5).iloc[-1].reindex(weights.index)
    days = exposure.days_to_exit(weights * equity / price, panel.volume.iloc[-21:].median())
    past = panel.close.iloc[-exposure.BETA_SESSIONS - 1 :]
    return {
        "beta": exposure.book_beta(weights, exposure.betas(past, benchmark)),
        "largest_name": spread.largest_symbol,
        "largest_weight": spread.largest,
        "herfindahl": spread.herfindahl,
        "effective_names": spread.effective_names,
        "slowest_name_to_exit": str(days.idxmax()) if len(days) else "",
        "sessions_to_exit": exposure.exit_sessions(weights, days),
        "sessions_to_exit_95_percent": exposure.exit_sessions(weights, days, 0.95),
        **{
            f"{measure}_{view.level:.0%}_{view.method}".replace("%", "_percent"): value
            for view in tail.tails(tail.replayed(weights, past), volatility_annual)
            for measure, value in (
                ("value_at_risk", view.value_at_risk),
                ("expected_shortfall", view.expected_shortfall),
            )
        },
    }


def forced_intent(state: pd.DataFrame | Row) -> str:
    """Why names are forced out today: a halt sells everything, else a stop-loss sells one."""
    halted = state["halted"].iloc[0] if isinstance(state, pd.DataFrame) else state["halted"]
    return "halt" if halted else "stop"
