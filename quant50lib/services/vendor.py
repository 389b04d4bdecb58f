"""Our adjusted closes beside the vendor's: where the two tell different stories, and since when.

A vendor adjusts with the corporate actions of today, we with those known at the session; so both
series are compared relative to their own last common close. What remains is constant between two
actions: one row per such span says which action, if any, lies at its end.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

#: a vendor prints prices to the cent
HALF_TICK = 0.005
COLUMNS = {
    "symbol": "str",
    "first": "datetime64[us]",
    "last": "datetime64[us]",
    "sessions": "int64",
    "ours": "float64",
    "theirs": "float64",
    "ratio": "float64",
    "differs": "bool",
    "near": "str",
}


def sample(symbols: list[str], size: int, run_date: pd.Timestamp) -> list[str]:
    """The names to be compared on a session: others every day, the same ones every time."""
    draw = np.random.default_rng(int(pd.Timestamp(run_date).strftime("%Y%m%d")))
    names = sorted(symbols)
    return sorted(draw.choice(names, min(size, len(names)), replace=False).tolist())


def vendor_differences(
    ours: pd.DataFrame, theirs: pd.DataFrame, actions: pd.DataFrame, tolerance: float
) -> pd.DataFrame:
    """Spans of sessions over which the vendor's adjusted close and ours stand in one ratio.

    Parameters
    ----------
    ours : DataFrame, shape (n_sessions, n_symbols)
        Adjusted closes of the names compared, and of no others.
    theirs : DataFrame
        symbol, session, close: the same, as the vendor adjusts them.
    actions : DataFrame
        symbol, type, ex_date: what we know of.
    tolerance : float
        Relative difference that is none, beyond what rounding to the cent explains.

    Returns
    -------
    DataFrame
        symbol, first, last, sessions, ours and theirs (at `last`, theirs on the scale of ours),
        ratio (theirs over ours), differs, near (the action right after `last`). A name
        that agrees throughout has one row, with `differs` False. A name without any session in
        common has none where both sides are empty, and otherwise one whose ratio is NaN.
    """
    wide = theirs.pivot(index="session", columns="symbol", values="close")
    rows = [
        row
        for symbol in ours.columns
        for row in _spans(symbol, ours[symbol], wide.get(symbol), actions, tolerance)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _spans(
    symbol: str,
    ours: pd.Series,
    theirs: pd.Series | None,
    actions: pd.DataFrame,
    tolerance: float,
) -> list[tuple]:
    found = theirs if theirs is not None else pd.Series(dtype="float64")
    both = pd.DataFrame({"ours": ours, "theirs": found.reindex(ours.index)})
    common = both[(both > 0).all(axis=1)]
    if common.empty:
        return _one_sided(symbol, ours.dropna(), found.dropna())
    scale = common["ours"].iloc[-1] / common["theirs"].iloc[-1]
    closes = common.assign(theirs=common["theirs"] * scale)
    ratio = (closes["theirs"] / closes["ours"]).to_numpy()
    rounding = HALF_TICK * (1 / common["theirs"] + 1 / common["theirs"].iloc[-1]).to_numpy()
    allowed = tolerance + rounding
    edges = _edges(ratio, allowed)
    mine = actions[actions["symbol"] == symbol]
    dates = common.index
    return [
        (symbol, dates[a], dates[b], b - a + 1, *closes.iloc[b], ratio[b], differs, near)
        for a, b in edges
        for differs in [bool(abs(ratio[b] - 1) > allowed[b])]
        for near in [_near(mine, dates, b) if differs else ""]
    ]


def _edges(ratio: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    """First and last position of each stretch of one ratio; what agrees is one stretch.

    Spans that differ begin anew where the ratio steps by more than rounding explains.
    """
    differs = np.abs(ratio - 1) > allowed
    step = np.abs(ratio[1:] / ratio[:-1] - 1) > allowed[1:] + allowed[:-1]
    breaks = (differs[1:] != differs[:-1]) | (differs[1:] & step)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    ends = np.concatenate([starts[1:] - 1, [len(ratio) - 1]])
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def _near(actions: pd.DataFrame, sessions: pd.DatetimeIndex, at: int) -> str:
    """Actions whose ex-date lies after a session and not after the next, in words."""
    after = sessions[min(at + 1, len(sessions) - 1)]
    hit = actions[(actions["ex_date"] > sessions[at]) & (actions["ex_date"] <= after)]
    return ", ".join(f"{row.type} {row.ex_date.date()}" for row in hit.itertuples())


def _one_sided(symbol: str, ours: pd.Series, theirs: pd.Series) -> list[tuple]:
    """A name of which only one side has closes."""
    if ours.empty == theirs.empty:
        return []
    only, who = (ours, "the vendor") if theirs.empty else (theirs, "the store")
    near = f"{who} has no bar of it"
    ends = only.index.min(), only.index.max()
    return [(symbol, *ends, len(only), np.nan, np.nan, np.nan, True, near)]
