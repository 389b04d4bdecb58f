"""What was forecast for the book, and what came: from the sealed runs of the evenings before."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from quant50lib.contracts import Limit
from quant50lib.pipeline import archive
from quant50lib.services import risk
from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.utils import dates
from quant50lib.utils.config import Home

#: sessions that are looked back on, beside those of the calendar year
LOOK_BACK = 126


def surprises(home: Home, equity: pd.DataFrame, session: pd.Timestamp) -> pd.DataFrame:
    """Forecast and return of the sessions of the year, and of half a year at least, up to `session`.

    The forecast for a session is the volatility of the weights wanted the evening before, as the
    sealed run of that evening holds it: what was forecast is not computed again afterwards. A run
    that sent no order forecast nothing for the account.

    Parameters
    ----------
    equity : Equity
        Of the account.

    Returns
    -------
    DataFrame by session
        `return` (flows taken out), `forecast` (annual volatility, NaN where none was made) and
        `surprise`, the return over the daily volatility forecast for it.
    """
    of_year = dates.sessions_between(f"{session.year}-01-01", session)
    begin = min(of_year[0], dates.shift(session, -LOOK_BACK))
    lines = equity.set_index("session").sort_index()
    returns = risk.session_returns(lines["equity"], lines["flow"])[begin:session]
    forecast = pd.Series(_forecasts(home, begin, session), dtype=float).reindex(returns.index)
    daily = forecast / math.sqrt(SESSIONS_PER_YEAR)
    surprise = returns / daily.where(daily > 0, np.nan)
    return pd.DataFrame({"return": returns, "forecast": forecast, "surprise": surprise})


def _forecasts(home: Home, begin: pd.Timestamp, session: pd.Timestamp) -> dict[pd.Timestamp, float]:
    """Annual volatility by the session it was forecast for; of several runs of an evening the newest."""
    found: dict[pd.Timestamp, float] = {}
    for run in reversed(archive.runs(home)):
        if run.schedule != "daily" or not run.sealed or run.facts.get("shadow"):
            continue
        day = dates.as_session(run.run_date)
        if not dates.shift(begin, -1) <= day < session or not _written(run):
            continue
        limits = archive.read_columns(run.path, Limit, ["rule", "value"]).set_index("rule")
        if "volatility" in limits.index:
            found[dates.shift(day, 1)] = float(limits.at["volatility", "value"])
    return found


def _written(run: archive.RunInfo) -> bool:
    return (run.path / "tables" / Limit.file_name()).is_file()
