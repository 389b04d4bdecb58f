"""Lengths of bars: how they are written, where they start, and long bars made of short ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import pandas as pd

from quant50lib.simulator.market import Series
from quant50lib.simulator.refusals import bad_query
from quant50lib.simulator.timetable import NEW_YORK, SECOND

Unit = Literal["Min", "Hour", "Day", "Week", "Month"]

WRITTEN = re.compile(r"^(\d{1,2})?(Min|T|Hour|H|Day|D|Week|W|Month|M)$")
UNITS: dict[str, Unit] = {"M": "Min", "T": "Min", "H": "Hour", "D": "Day", "W": "Week"}
COUNTS: dict[Unit, range | tuple[int, ...]] = {
    "Min": range(1, 60),
    "Hour": range(1, 24),
    "Day": (1,),
    "Week": (1,),
    "Month": (1, 2, 3, 4, 6, 12),
}
MINUTE = 60 * SECOND


@dataclass(frozen=True)
class Timeframe:
    """So many units; within a day, or of whole sessions."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def is_daily(self) -> bool:
        return self.unit == "Day"

    @property
    def is_within_a_day(self) -> bool:
        return self.unit in ("Min", "Hour")

    @property
    def length(self) -> int:
        """Microseconds of a bar within a day; 0 of longer ones."""
        if not self.is_within_a_day:
            return 0
        return self.count * MINUTE * (60 if self.unit == "Hour" else 1)


def read_timeframe(text: str) -> Timeframe:
    """A timeframe as Alpaca writes it; raises Refusal (400) for any other text."""
    found = WRITTEN.match(text)
    if found is None:
        raise bad_query(f"invalid timeframe: {text}")
    count, word = int(found[1] or 1), found[2]
    unit: Unit = "Month" if word in ("M", "Month") else UNITS[word[0]]
    if count not in COUNTS[unit]:
        raise bad_query(f"invalid timeframe: {text}")
    return Timeframe(count, unit)


@dataclass(frozen=True)
class Frame(Series):
    """Bars of any length; `at` is the start of each in microseconds, `day` its date in New York."""

    at: np.ndarray


def midnights(day: np.ndarray) -> np.ndarray:
    """The first moments of dates in New York, in microseconds."""
    zoned = pd.DatetimeIndex(day.astype("datetime64[us]")).tz_localize(NEW_YORK)
    return zoned.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]").astype(int)


def new_york_days(at: np.ndarray) -> np.ndarray:
    """The dates in New York of moments in microseconds."""
    zoned = pd.DatetimeIndex(at.astype("datetime64[us]"), tz="UTC").tz_convert(NEW_YORK)
    return zoned.tz_localize(None).to_numpy().astype("datetime64[D]")


def first_days(day: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    """The date under which each day's week or months are filed: a Monday, or the first of one."""
    if timeframe.unit == "Week":
        return day - (day.astype(int) + 3) % 7  # the epoch was a Thursday
    month = day.astype("datetime64[M]").astype(int)
    return (month - month % timeframe.count).astype("datetime64[M]").astype("datetime64[D]")


def in_weeks_or_months(series: Series, timeframe: Timeframe) -> Frame:
    """Weekly or monthly bars of whole sessions; the last may still grow."""
    day = first_days(series.day, timeframe)
    return _joined(series, midnights(day), day)


def in_longer_bars(frame: Frame, timeframe: Timeframe) -> Frame:
    """Bars within a day, made of shorter ones; hours and minutes count from midnight, New York."""
    start = midnights(frame.day)
    at = start + (frame.at - start) // timeframe.length * timeframe.length
    return _joined(frame, at, frame.day)


def _joined(series: Series, at: np.ndarray, day: np.ndarray) -> Frame:
    first = np.flatnonzero(np.r_[True, np.diff(at) != 0]) if len(at) else np.array([], int)
    if not len(first):
        return Frame(**{f.name: getattr(series, f.name) for f in fields(Series)}, at=at)
    last = np.r_[first[1:], len(at)] - 1
    volume = np.add.reduceat(series.volume, first)
    value = np.add.reduceat(series.vwap * series.volume, first)
    plain = np.add.reduceat(series.vwap, first) / (last - first + 1)
    return Frame(
        day=day[first],
        open=series.open[first],
        high=np.maximum.reduceat(series.high, first),
        low=np.minimum.reduceat(series.low, first),
        close=series.close[last],
        volume=volume,
        trades=np.add.reduceat(series.trades, first),
        vwap=np.round(np.where(volume > 0, value / np.maximum(volume, 1), plain), 4),
        at=at[first],
    )
