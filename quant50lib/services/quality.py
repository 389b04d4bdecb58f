"""The quality gates: what is wrong with the bars, of which name, and how bad that is.

A gate is a small function that looks at all bars at once and returns its hits. A hit on a single
name within `quarantine_sessions` of the day keeps the name out of trading; an older one is a note.
Too few sound names on the day, or a benchmark without a sound bar, stop the day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from quant50lib.contracts import Finding
from quant50lib.errors import DataQualityError
from quant50lib.services import adjust
from quant50lib.services.adjust import PRICES, Raw
from quant50lib.settings import DataSettings
from quant50lib.utils import dates

#: prices may disagree by rounding of a feed, relative
ROUNDING = 1e-6
#: a name with a bar this recently is expected to have one today
LIVE_SESSIONS = 6
#: how many names an error lists
NAMED = 12


class Hits(NamedTuple):
    """Where a gate found something: row and column in the matrices, and what."""

    rows: np.ndarray
    cols: np.ndarray
    details: list[str]


@dataclass(frozen=True)
class Scan:
    """What the gates look at: the universe's bars up to the day, all at once."""

    bars: pd.DataFrame
    actions: pd.DataFrame
    raw: Raw
    settings: DataSettings

    @property
    def n_sessions(self) -> int:
        return len(self.raw.sessions)

    def field(self, name: str) -> np.ndarray:
        return self.raw.fields[name]

    def day(self, row: int) -> str:
        return str(self.raw.sessions[row].date())


Gate = Callable[[Scan], Hits]
GATES: dict[str, Gate] = {}
#: gates whose hits never keep a name out
NOTES = ("action",)


def gate(find: Gate) -> Gate:
    """Register a gate under its function's name."""
    GATES[find.__name__] = find
    return find


def _hits(mask: np.ndarray, say: Callable[[int, int], str]) -> Hits:
    rows, cols = np.nonzero(mask)
    return Hits(rows, cols, [say(int(r), int(c)) for r, c in zip(rows, cols, strict=True)])


@gate
def stale(scan: Scan) -> Hits:
    """No bar on the day, though there were bars before."""
    present = scan.raw.present
    last = scan.n_sessions - 1 - present[::-1].argmax(axis=0)
    mask = np.zeros(present.shape, dtype=bool)
    mask[-1] = present.any(axis=0) & ~present[-1]
    return _hits(mask, lambda r, c: f"no bar since {scan.day(last[c])}")


@gate
def gap(scan: Scan) -> Hits:
    """Sessions without a bar between two with one; reported at the last of them."""
    present = scan.raw.present
    ahead = np.zeros(present.shape, dtype=bool)
    ahead[:-1] = ~present[:-1] & present[1:]
    begun = np.maximum.accumulate(present, axis=0)
    before = np.where(present, np.arange(scan.n_sessions)[:, None], -1)
    before = np.maximum.accumulate(before, axis=0)
    return _hits(ahead & begun, lambda r, c: f"{r - before[r, c]} sessions without a bar")


@gate
def duplicate(scan: Scan) -> Hits:
    """Two different bars of one session, known at the same moment."""
    rows = scan.bars.drop_duplicates()
    twice = rows[rows.duplicated(["symbol", "session"])]
    mask = np.zeros(scan.raw.present.shape, dtype=bool)
    at = scan.raw.sessions.get_indexer(pd.DatetimeIndex(twice["session"]))
    mask[at[at >= 0], scan.raw.symbols.get_indexer(twice["symbol"])[at >= 0]] = True
    return _hits(mask, lambda r, c: "two different bars of one session")


@gate
def not_positive(scan: Scan) -> Hits:
    """A price that is missing, zero or negative, or a volume that is missing or negative."""
    bad = ~(scan.field("volume") >= 0)
    for name in PRICES:
        bad |= ~(scan.field(name) > 0)
    names = (*PRICES, "volume")
    return _hits(
        bad & scan.raw.present,
        lambda r, c: ", ".join(f"{name} {scan.field(name)[r, c]:g}" for name in names),
    )


@gate
def ohlc(scan: Scan) -> Hits:
    """High below, or low above, another price of the same bar."""
    opening, high, low, close = (scan.field(name) for name in PRICES)
    slack = ROUNDING * np.abs(close)
    below = high < np.maximum(np.maximum(opening, close), low) - slack
    above = low > np.minimum(np.minimum(opening, close), high) + slack
    return _hits(
        below | above,
        lambda r, c: f"open {opening[r, c]:g}, high {high[r, c]:g}, "
        f"low {low[r, c]:g}, close {close[r, c]:g}",
    )


@gate
def jump(scan: Scan) -> Hits:
    """A one-session return beyond `jump_max` on adjusted prices, with no action that explains it."""
    close = adjust.last_known(scan.field("close") * adjust.adjustment(scan.raw, scan.actions).price)
    change = np.zeros(close.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        change[1:] = close[1:] / close[:-1] - 1
    mask = (np.abs(change) > scan.settings.jump_max) & scan.raw.present
    rows, cols, _ = adjust.placed(scan.raw, scan.actions[_unhandled(scan.actions)])
    mask[rows, cols] = False
    return _hits(mask, lambda r, c: f"{change[r, c]:+.1%} in a session, no action explains it")


@gate
def repeated_row(scan: Scan) -> Hits:
    """A bar equal in every value to the next session's: one of the two was copied."""
    same = np.zeros(scan.raw.present.shape, dtype=bool)
    same[:-1] = scan.field("volume")[:-1] > 0
    for name in (*PRICES, "volume"):
        same[:-1] &= scan.field(name)[:-1] == scan.field(name)[1:]
    return _hits(same, lambda r, c: f"equal to the bar of {scan.day(r + 1)}")


@gate
def zero_volume(scan: Scan) -> Hits:
    """A bar in which nothing was traded."""
    return _hits(scan.field("volume") == 0, lambda r, c: "no share was traded")


@gate
def action(scan: Scan) -> Hits:
    """A corporate action that the adjustment does not apply: returns across it are not whole."""
    rows, cols, acts = adjust.placed(scan.raw, scan.actions[_unhandled(scan.actions)])
    return Hits(rows, cols, [f"{kind} is not applied to prices" for kind in acts["type"]])


def _unhandled(actions: pd.DataFrame) -> pd.Series:
    return ~actions["type"].isin((*adjust.SPLITS, *adjust.CASH))


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
        With the column symbol.
    benchmark : str, optional
        The name without which the day cannot go on.
    """
    run_date = dates.as_session(run_date)
    names = sorted(universe["symbol"])
    bars = bars[bars["symbol"].isin(names) & (bars["session"] <= run_date)]
    actions = actions[actions["ex_date"] <= run_date]
    scan = Scan(bars, actions, adjust.arrange(bars, run_date, names), settings)
    hits = [_frame(name, find(scan), scan) for name, find in GATES.items()]
    found = pd.concat([frame for frame in hits if len(frame)] or hits[:1], ignore_index=True)
    verdicts = _day_findings(scan, found, benchmark)
    found = pd.concat([frame for frame in (found, verdicts) if len(frame)] or [found])
    return Finding.check(found.drop_duplicates(Finding.key()))


def _frame(name: str, hits: Hits, scan: Scan) -> pd.DataFrame:
    """The hits of a gate as findings; recent ones quarantine, unless the gate only notes."""
    recent = hits.rows >= scan.n_sessions - scan.settings.quarantine_sessions
    if name == "stale":  # gone for long: not an accident of today
        recent &= _sessions_since_bar(scan)[hits.cols] <= scan.settings.quarantine_sessions
    severity = np.where(recent & (name not in NOTES), "quarantine", "note")
    return _findings(
        name,
        scan.raw.symbols[hits.cols],
        scan.raw.sessions[hits.rows],
        severity.tolist(),
        hits.details,
    )


def _sessions_since_bar(scan: Scan) -> np.ndarray:
    return np.asarray(scan.raw.present[::-1].argmax(axis=0))


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


def _day_findings(scan: Scan, found: pd.DataFrame, benchmark: str | None) -> pd.DataFrame:
    """Whether the day as a whole is fit: coverage, and the benchmark."""
    sound = _sound_today(scan, found)
    live = scan.raw.present[-LIVE_SESSIONS:].any(axis=0)
    share = (sound & live).sum() / max(live.sum(), 1)
    verdicts = {}
    if share < scan.settings.coverage_min:
        without = scan.raw.symbols[live & ~sound]
        verdicts["coverage"] = (
            f"{share:.1%} of {live.sum()} live names have a sound bar, "
            f"{scan.settings.coverage_min:.0%} are needed; without: {_some(without)}"
        )
    if benchmark is not None and not sound[scan.raw.symbols == benchmark].any():
        verdicts["benchmark"] = f"{benchmark} has no sound bar"
    today = [_findings(n, [""], scan.raw.sessions[-1:], ["stop"], [d]) for n, d in verdicts.items()]
    return pd.concat(today, ignore_index=True) if today else Finding.empty()


def _sound_today(scan: Scan, found: pd.DataFrame) -> np.ndarray:
    """Names with a bar of the day that no gate objects to."""
    day, before = scan.raw.sessions[-1], scan.raw.sessions[-2:][0]
    hit = (found["session"] == day) & (found["severity"] == "quarantine")
    hit |= (found["session"] == before) & (found["gate"] == "repeated_row")
    return scan.raw.present[-1] & ~scan.raw.symbols.isin(found.loc[hit, "symbol"])


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
