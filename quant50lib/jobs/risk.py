"""The risk rules as they stand on a desk, and the end of a halt by command."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.adapters.journal import Ledger
from quant50lib.contracts import Equity, Limit, RiskEvent
from quant50lib.errors import ArchiveError, RiskHalt
from quant50lib.pipeline import archive, scraps
from quant50lib.services import alarm, risk, stops
from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home

#: chance of a false alarm within a calendar year
ALARM_ERROR = 0.05
#: no session is after this day
NEVER = pd.Timestamp("2045-01-01")


@dataclass(frozen=True)
class Look:
    """Where a desk stands: the rules' state, names barred, limits of the newest run, and the alarm."""

    run: str
    state: dict[str, Any]  # RiskState, or empty before the first session
    halt_level: float
    barred: tuple[str, ...]
    limits: pd.DataFrame  # Limit
    exposure: dict[str, Any]  # as notebook 05 recorded it
    surprises: int  # sessions of this year that had a forecast
    realised_over_forecast: float
    evidence: float  # 1: none; the alarm is raised at 1 / ALARM_ERROR
    alarm: bool
    switch: str  # why the kill switch is on, or empty

    def plain(self) -> dict[str, Any]:
        """The same as JSON."""
        rows = self.limits.drop(columns="session").to_dict("records")
        return dict(scraps.clean({**vars(self), "limits": rows}))


def look(home: Home, settings: Settings) -> Look:
    """Read ledger and archive; nothing is changed.

    Raises
    ------
    ArchiveError
        No daily run has written its limits yet.
    """
    for newest in archive.runs(home):
        if newest.schedule == "daily" and (newest.path / "tables" / Limit.file_name()).is_file():
            break
    else:
        raise ArchiveError("there is no daily run with limits yet; `quant50 run` makes one")
    ledger = Ledger(home.ledger, settings.data.store_wait_seconds)
    found = ledger.load_risk(NEVER) if home.ledger.is_file() else None
    state = found.iloc[0].to_dict() if found is not None and len(found) else {}
    events = ledger.risk_events(NEVER) if state else RiskEvent.empty()
    known = surprises(home, dates.as_session(newest.run_date))
    raised = alarm.raised(known, ALARM_ERROR)
    return Look(
        run=newest.id,
        state=state,
        halt_level=risk.halt_level(settings.risk),
        barred=tuple(stops.barred(events, state["session"], settings.risk)) if state else (),
        limits=archive.read_table(newest.path, Limit),
        exposure=scraps.read_all(newest.path).get("optimize", {}).get("exposure", {}),
        surprises=int(known.notna().sum()),
        realised_over_forecast=alarm.realised_over_forecast(known),
        evidence=float(alarm.evidence(known).iloc[-1]) if len(known) else 1.0,
        alarm=bool(raised.iloc[-1]) if len(raised) else False,
        switch=ledger.switched(),
    )


def surprises(home: Home, session: pd.Timestamp) -> pd.Series:
    """Standardised returns of the sessions of the year, up to `session`.

    The forecast for a session is the volatility of the weights wanted the evening before, as the
    sealed run of that evening holds it: what was forecast is not computed again afterwards.
    """
    year = dates.sessions_between(f"{session.year}-01-01", session)
    evenings = dates.sessions_between(dates.shift(year[0], -1), session)
    forecast: dict[pd.Timestamp, float] = {}
    returns = pd.Series(dtype=float)
    for run in reversed(archive.runs(home)):
        if run.schedule != "daily" or not _written(run, Limit) or not _written(run, Equity):
            continue
        day = dates.as_session(run.run_date)
        if day not in evenings:
            continue
        limits = archive.read_table(run.path, Limit).set_index("rule")
        if "volatility" in limits.index:
            forecast[dates.shift(day, 1)] = float(limits.at["volatility", "value"])
        if day == session:
            equity = archive.read_table(run.path, Equity).set_index("session")
            returns = risk.session_returns(equity["equity"], equity["flow"])
    this_year = returns[returns.index.isin(year)]
    daily = pd.Series(forecast, dtype=float).reindex(this_year.index) / math.sqrt(SESSIONS_PER_YEAR)
    return (this_year / daily.where(daily > 0, np.nan)).rename("surprise")


def _written(run: archive.RunInfo, table: type[Limit] | type[Equity]) -> bool:
    return (run.path / "tables" / table.file_name()).is_file()


def rearm(home: Home, settings: Settings) -> dict[str, Any]:
    """End a halt: the episode starts again at the equity of the newest state. Returns that state.

    State and event are written to the ledger in one step, before anything is said or traded.

    Raises
    ------
    RiskHalt
        There is no halt to end.
    SettingsError
        A run is at work.
    """
    if not home.ledger.is_file():
        raise RiskHalt("this desk has no books yet: there is no halt to end")
    with archive.locked(home.lock, "a run of this desk"):
        ledger = Ledger(home.ledger, settings.data.store_wait_seconds)
        state = ledger.load_risk(NEVER)
        if state.empty:
            raise RiskHalt("the risk rules have no state yet: there is no halt to end")
        fresh, event = risk.rearm(state, settings.risk)
        session = state["session"].iloc[0]
        events = ledger.risk_events(NEVER)
        same = events[events["session"] == session]
        ledger.save_risk(fresh, pd.concat([same, event], ignore_index=True))
    return dict(fresh.iloc[0])
