"""The risk rules as they stand on a desk, and the end of a halt by command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from quant50lib.adapters.journal import Ledger
from quant50lib.contracts import Equity, Limit, RiskEvent
from quant50lib.errors import ArchiveError, RiskHalt
from quant50lib.pipeline import archive, scraps
from quant50lib.pipeline.surprises import surprises
from quant50lib.services import alarm, risk, stops
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home

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
    alarm: dict[str, Any]  # services.alarm.Standing, of this year
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
        if newest.schedule == "daily" and _written(newest):
            break
    else:
        raise ArchiveError("there is no daily run with limits yet; `quant50 run` makes one")
    ledger = Ledger(home.ledger, settings.data.store_wait_seconds)
    found = ledger.load_risk(NEVER) if home.ledger.is_file() else None
    state = found.iloc[0].to_dict() if found is not None and len(found) else {}
    events = ledger.risk_events(NEVER) if state else RiskEvent.empty()
    session = dates.as_session(newest.run_date)
    known = surprises(home, archive.read_table(newest.path, Equity), session)["surprise"]
    standing = alarm.standing(known[known.index.year == session.year], settings.risk.alarm_error)
    return Look(
        run=newest.id,
        state=state,
        halt_level=risk.halt_level(settings.risk),
        barred=tuple(stops.barred(events, state["session"], settings.risk)) if state else (),
        limits=archive.read_table(newest.path, Limit),
        exposure=scraps.read_all(newest.path).get("optimize", {}).get("exposure", {}),
        alarm=vars(standing),
        switch=ledger.switched(),
    )


def _written(run: archive.RunInfo) -> bool:
    return all((run.path / "tables" / table.file_name()).is_file() for table in (Limit, Equity))


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
