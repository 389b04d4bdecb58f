"""The quality gates: what is wrong with the bars, of which name, and how bad that is.

A gate is a small function that looks at all bars at once and returns its hits; `GATES` lists them
with what they may look at. A hit seen within `quarantine_sessions` of the day keeps the name out of
trading; an older one is a note. The day as a whole stops where too few names are sound, a recent
session is missing, many names are in disorder at once, or the benchmark has no sound bar.

A gate with `looks_ahead_sessions` revises the verdict of an earlier session when later bars have
arrived: `Hits.seen` is the session that brought it to light. Nothing is ever judged with bars after
`run_date`, and what was found up to a session does not depend on those that follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant50lib.contracts import Finding
from quant50lib.errors import DataQualityError
from quant50lib.services import adjust
from quant50lib.services import quality_bars as of_bars
from quant50lib.services import quality_copies as of_copies
from quant50lib.services import quality_prices as of_prices
from quant50lib.services.quality_scan import Hits, Scan
from quant50lib.settings import DataSettings
from quant50lib.utils import dates

#: a name with a bar this recently is expected to have one today
LIVE_SESSIONS = 6
#: how many names an error lists
NAMED = 12


@dataclass(frozen=True)
class Gate:
    """A check of all bars, and how far its verdict reaches.

    `looks_ahead_sessions`: bars after the session judged that it waits for; None: as many as it
    takes. `holds_sessions`: for how long a hit stands before later bars decide; None: for good.
    `doubts_later`: the bar that brought it to light is not trusted either.
    """

    find: Callable[[Scan], Hits]
    looks_ahead_sessions: int | None = 0
    holds_sessions: int | None = None
    quarantines: bool = True
    doubts_later: bool = False

    @property
    def name(self) -> str:
        return self.find.__name__

    @property
    def meaning(self) -> str:
        """What it looks for: the first line of its docstring."""
        return (self.find.__doc__ or "").split("\n")[0]


GATES: dict[str, Gate] = {
    gate.name: gate
    for gate in (
        Gate(of_bars.stale),
        Gate(of_bars.gap, looks_ahead_sessions=1),
        Gate(of_bars.duplicate),
        Gate(of_bars.not_positive),
        Gate(of_bars.ohlc),
        Gate(of_bars.zero_volume),
        Gate(of_prices.jump),
        Gate(of_prices.unexplained_split),
        Gate(of_prices.displaced, holds_sessions=1),
        Gate(of_prices.island, looks_ahead_sessions=1),
        Gate(of_copies.repeated_row, looks_ahead_sessions=1, doubts_later=True),
        Gate(of_copies.copied_row, looks_ahead_sessions=None, doubts_later=True),
        Gate(of_bars.action, quarantines=False),
    )
}


def findings(
    bars: pd.DataFrame,
    actions: pd.DataFrame,
    universe: pd.DataFrame,
    run_date: pd.Timestamp,
    settings: DataSettings,
    benchmark: str | None = None,
) -> pd.DataFrame:
    """What all gates find in the bars of the universe up to `run_date`; a `Finding` table.

    Parameters
    ----------
    bars, actions : DataFrame
        As the store reads them; rows after `run_date` are not looked at.
    universe : DataFrame
        With the column symbol and, for moves of a whole sector, sector.
    benchmark : str, optional
        The name without which the day cannot go on.
    """
    scan = scanned(bars, actions, universe, run_date, settings)
    found = all_hits(scan)
    frames = [_frame(GATES[name], hits, scan) for name, hits in found.items()]
    frames.append(_day_findings(scan, found, benchmark))
    full = [frame for frame in frames if len(frame)]
    table = pd.concat(full, ignore_index=True) if full else Finding.empty()
    return Finding.check(table.drop_duplicates(Finding.key()))


def scanned(
    bars: pd.DataFrame,
    actions: pd.DataFrame,
    universe: pd.DataFrame,
    run_date: pd.Timestamp,
    settings: DataSettings,
) -> Scan:
    """Bars and actions up to `run_date`, arranged for the gates."""
    run_date = dates.as_session(run_date)
    names = universe.sort_values("symbol")
    bars = bars[bars["symbol"].isin(names["symbol"]) & (bars["session"] <= run_date)]
    actions = actions[actions["ex_date"] <= run_date]
    sector = names.get("sector", pd.Series("", index=names.index))
    raw = adjust.arrange(bars, run_date, list(names["symbol"]))
    return Scan(bars, actions, raw, pd.factorize(sector)[0], settings)


def all_hits(scan: Scan) -> dict[str, Hits]:
    """Every hit of every gate, by the name of the gate, whenever it was seen."""
    return {name: gate.find(scan) for name, gate in GATES.items()}


def _frame(gate: Gate, hits: Hits, scan: Scan) -> pd.DataFrame:
    """The hits of a gate that still stand as findings; recent ones quarantine."""
    first = scan.n_sessions - (gate.holds_sessions or scan.n_sessions)
    standing = np.flatnonzero((hits.rows >= first) & (hits.seen < scan.n_sessions))
    severe = gate.quarantines & _recent(gate, hits, scan)[standing]
    return _findings(
        gate.name,
        scan.raw.symbols[hits.cols[standing]],
        scan.raw.sessions[hits.rows[standing]],
        np.where(severe, "quarantine", "note").tolist(),
        [hits.details[place] for place in standing],
    )


def _recent(gate: Gate, hits: Hits, scan: Scan) -> np.ndarray:
    recent = hits.seen >= scan.n_sessions - scan.settings.quarantine_sessions
    if gate.find is of_bars.stale:  # gone for long: not an accident of today
        gone = scan.raw.present[::-1].argmax(axis=0)
        recent &= gone[hits.cols] <= scan.settings.quarantine_sessions
    return recent


def _findings(
    name: str,
    symbols: pd.Index,
    sessions: pd.DatetimeIndex,
    severity: list[str],
    details: list[str],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "gate": pd.Series([name] * len(symbols), dtype="str"),
            "symbol": pd.Series(list(symbols), dtype="str"),
            "session": pd.DatetimeIndex(sessions).as_unit("us"),
            "severity": pd.Series(severity, dtype="str"),
            "detail": pd.Series(details, dtype="str"),
        }
    )


# ── the day as a whole ───────────────────────────────────────────────────────────────────────────


def _day_findings(scan: Scan, found: dict[str, Hits], benchmark: str | None) -> pd.DataFrame:
    """Whether the day as a whole is fit."""
    sound = _sound_today(scan, found)
    verdicts = {
        "coverage": _coverage(scan, sound),
        "missing_session": _missing_session(scan),
        "disorder": _disorder(scan, found),
        "benchmark": _without_benchmark(scan, sound, benchmark),
    }
    stops = {name: text for name, text in verdicts.items() if text}
    today = [_findings(n, [""], scan.raw.sessions[-1:], ["stop"], [t]) for n, t in stops.items()]
    return pd.concat(today, ignore_index=True) if today else Finding.empty()


def _sound_today(scan: Scan, found: dict[str, Hits]) -> np.ndarray:
    """Names with a bar of the day that no gate objects to."""
    sound, last = scan.raw.present[-1].copy(), scan.n_sessions - 1
    for name, hits in found.items():
        today = hits.seen == last if GATES[name].doubts_later else hits.rows == last
        if GATES[name].quarantines:
            sound[hits.cols[today]] = False
    return sound


def _coverage(scan: Scan, sound: np.ndarray) -> str:
    """Share of live names with a sound bar, where it is too low."""
    live = scan.raw.present[-LIVE_SESSIONS:].any(axis=0)
    share = (sound & live).sum() / max(live.sum(), 1)
    if share >= scan.settings.coverage_min:
        return ""
    return (
        f"{share:.1%} of {live.sum()} live names have a sound bar, "
        f"{scan.settings.coverage_min:.0%} are needed; "
        f"without: {_some(scan.raw.symbols[live & ~sound])}"
    )


def _missing_session(scan: Scan) -> str:
    """Sessions just before the day of which the store lacks what it has on either side."""
    lacks = lacking(scan.raw.present, scan.settings)
    days = [f"{scan.raw.sessions[-len(lacks) + row].date()}" for row in np.flatnonzero(lacks)]
    return f"too few bars of {', '.join(days)}" if days else ""


def lacking(present: np.ndarray, settings: DataSettings) -> np.ndarray:
    """Of the last sessions, those with too few of the bars that stand on either side."""
    window = present[-LIVE_SESSIONS:]
    expected = np.maximum.accumulate(window, axis=0) & window[::-1].any(axis=0)
    share = (window & expected).sum(axis=1) / np.maximum(expected.sum(axis=1), 1)
    lacks: np.ndarray = (share < settings.coverage_min) & (expected.sum(axis=1) > 0)
    lacks[-1] = False  # that is coverage
    return lacks


def _disorder(scan: Scan, found: dict[str, Hits]) -> str:
    """Names whose bar of the day stands apart or is another day's, where they are many.

    One bad row is an accident of a name. A date on which a vendor filled dozens of rows wrongly has
    more that no gate can see.
    """
    last = scan.n_sessions - 1
    mask = of_prices.suspect(scan)[last]
    for name in ("repeated_row", "copied_row"):
        mask[found[name].cols[found[name].seen == last]] = True
    count = np.where(np.arange(scan.n_sessions) == last, mask.sum(), 0)
    if not of_prices.many(scan, count)[last]:
        return ""
    return (
        f"{mask.sum()} of {scan.raw.present[last].sum()} bars stand apart or equal another "
        f"session's: {_some(scan.raw.symbols[mask])}"
    )


def _without_benchmark(scan: Scan, sound: np.ndarray, benchmark: str | None) -> str:
    if benchmark is None or sound[scan.raw.symbols == benchmark].any():
        return ""
    return f"{benchmark} has no sound bar"


def _some(names: pd.Index) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def require_sound_day(found: pd.DataFrame) -> None:
    """Stop where a finding says so.

    Raises
    ------
    DataQualityError
        Names each gate that stops the day, and the names in quarantine with their gates.
    """
    stops = found[found["severity"] == "stop"]
    if stops.empty:
        return
    held = found[found["severity"] == "quarantine"]
    names = pd.Index(dict.fromkeys(held["symbol"] + " (" + held["gate"] + ")"))
    raise DataQualityError(
        f"{stops['session'].max().date()} is unfit to trade: "
        + "; ".join(stops["gate"] + ": " + stops["detail"])
        + (f". In quarantine: {_some(names)}" if len(names) else "")
        + ". Nothing was ordered; ingest again once the vendor has corrected it"
    )
