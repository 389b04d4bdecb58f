"""What the vendor has changed since, and which past decisions rested on what it said before.

A run is a function of the bars known when it began. A bar that was said anew afterwards leaves the
run as it was, and may leave it wrong: this module says by how much a close has moved, in which runs
the name was held, ordered or wanted, and how the weights differ where a run was decided again.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

PRICES = ("open", "high", "low", "close", "volume")
USED = {
    "run": "str",
    "run_date": "datetime64[us]",
    "symbol": "str",
    "sessions": "int64",
    "worst": "datetime64[us]",
    "then": "float64",
    "now": "float64",
    "change": "float64",
    "held": "bool",
    "ordered": "bool",
    "weight": "float64",
}


class PastRun(NamedTuple):
    """A sealed run, as far as a restatement may touch it."""

    run: str
    run_date: pd.Timestamp
    known_at: pd.Timestamp  # UTC
    first: pd.Timestamp  # the first session of the history that it read
    names: pd.DataFrame  # symbol, held (yes or no), ordered (yes or no), weight (wanted)


def changes(revisions: pd.DataFrame) -> pd.DataFrame:
    """Every bar that was said anew, one row each.

    Parameters
    ----------
    revisions : DataFrame
        symbol, session, was_known_at, known_at (naive UTC), and each of `PRICES` as it was and is
        (`was_close`, `close`).

    Returns
    -------
    DataFrame
        symbol, session, what (the fields that differ), then and now (closes), change (of the close,
        a fraction, by which the return of that session differs and the next one's the other way
        round), known_at.
    """
    return pd.DataFrame(
        {
            "symbol": revisions["symbol"].astype("str"),
            "session": revisions["session"],
            "what": _what(revisions),
            "then": revisions["was_close"],
            "now": revisions["close"],
            "change": revisions["close"] / revisions["was_close"] - 1,
            "known_at": revisions["known_at"],
        }
    ).reset_index(drop=True)


def _what(revisions: pd.DataFrame) -> pd.Series:
    found = pd.Series("", index=revisions.index, dtype="str")
    for name in PRICES:
        before, after = revisions[f"was_{name}"], revisions[name]
        differs = (before != after) & ~(before.isna() & after.isna())
        found = found.mask(differs, found + f" {name}")
    return found.str.strip().astype("str")


def used(revisions: pd.DataFrame, runs: list[PastRun]) -> pd.DataFrame:
    """Which runs read a value that has been changed since, and what the name was to them.

    A run used the old value where it knew that one, began before the new one was known, and the
    session lies in its history. Of several changes the first `then` and the last `now` count.

    Returns
    -------
    DataFrame
        One row a run and name: run, run_date, symbol, sessions (how many changed), worst (the one
        whose close moved most), then, now and change of that close, held, ordered, weight.
    """
    rows = [row for run in runs for row in _of_run(revisions, run)]
    found = pd.DataFrame(rows, columns=list(USED)).astype(USED)
    return found.sort_values(["run_date", "run", "symbol"], ignore_index=True)


def _of_run(revisions: pd.DataFrame, run: PastRun) -> list[tuple]:
    began = run.known_at.tz_convert("UTC").tz_localize(None)
    names = run.names.set_index("symbol")
    mine = revisions[
        (revisions["known_at"] > began)
        & revisions["session"].between(run.first, run.run_date)
        & revisions["symbol"].isin(names.index)
    ].sort_values("known_at", kind="stable")
    rows = []
    for symbol, of_name in mine.groupby("symbol", sort=True):
        bars = of_name.groupby("session").agg(
            known=("was_known_at", "first"), then=("was_close", "first"), now=("close", "last")
        )
        bars = bars[bars["known"] <= began]
        if bars.empty:
            continue
        moved = bars["now"] / bars["then"] - 1
        worst = moved.abs().fillna(-1).idxmax()
        was = names.loc[symbol, ["held", "ordered", "weight"]]
        values = bars.loc[worst, ["then", "now"]]
        rows.append((run.run, run.run_date, symbol, len(bars), worst, *values, moved[worst], *was))
    return rows


def decisions(then: pd.Series, now: pd.Series) -> pd.DataFrame:
    """Weights decided on the bars of then and of now, of every name that is in either.

    Columns symbol, then, now, change; sorted by the size of the change.
    """
    both = pd.DataFrame({"then": then, "now": now}).fillna(0.0).rename_axis("symbol")
    both["change"] = both["now"] - both["then"]
    order = both["change"].abs().sort_values(ascending=False, kind="stable").index
    return both.loc[order].reset_index()
