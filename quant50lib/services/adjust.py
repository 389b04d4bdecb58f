"""From raw bars and corporate actions to total-return prices.

Let ``c[t]`` be the close as traded. An action with ex-date ``e`` changes what all earlier prices are
worth in today's terms:

    split of ``new`` shares for ``old``     price x old / new,  shares x new / old
    stock dividend of ``r`` a share         a split of 1 + r for 1
    cash dividend of ``d`` a share          price x (1 - d / c[e-1])
    spin-off worth ``d`` a share            the same, where the action says what it was worth

``c[e-1]`` is the last close before the ex-date, in shares of the ex-date where a split falls on the
same day or on one without a bar between. The factor of a session is the product over all later
ex-dates up to the last session, where it is 1. (The method of CRSP, and of Alpaca's
``adjustment=all``, as of one date.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from quant50lib.services.panel import Panel
from quant50lib.utils import dates

PRICES = ("open", "high", "low", "close")
SPLITS = ("forward_split", "reverse_split", "stock_dividend")
CASH = ("cash_dividend", "spin_off")


class Raw(NamedTuple):
    """Bars as traded, as arrays (n_sessions, n_symbols); NaN where there is no bar."""

    sessions: pd.DatetimeIndex
    symbols: pd.Index
    fields: dict[str, np.ndarray]  # open, high, low, close, volume
    present: np.ndarray  # bool: whether there is a row at all


class Factors(NamedTuple):
    """What a price and a number of shares of each session are multiplied by."""

    price: np.ndarray
    shares: np.ndarray


def to_panel(
    bars: pd.DataFrame,
    actions: pd.DataFrame,
    run_date: pd.Timestamp,
    symbols: list[str] | pd.Index | None = None,
) -> Panel:
    """Total-return prices adjusted as of `run_date`; nothing after it has any influence.

    Parameters
    ----------
    bars : DataFrame
        Raw: symbol, session, open, high, low, close, volume. Of repeated keys the last row counts.
    actions : DataFrame
        symbol, type, ex_date, new_rate, old_rate, cash. What is not `applied` is left aside
        (`quality` reports it).
    symbols : list of str, optional
        The columns wanted. None: every symbol that has a bar.

    Returns
    -------
    Panel, matrices (n_sessions, n_symbols)
        All sessions of the exchange from the first bar to `run_date`.
    """
    return panel_of(arrange(bars, run_date, symbols), actions)


def panel_of(raw: Raw, actions: pd.DataFrame) -> Panel:
    """Total-return prices of bars that are matrices already."""
    factors = adjustment(raw, actions)
    adjusted = {name: raw.fields[name] * factors.price for name in PRICES}
    adjusted["volume"] = raw.fields["volume"] * factors.shares
    close = raw.fields["close"]
    return framed(raw.sessions, raw.symbols, adjusted, close, close * raw.fields["volume"])


def framed(
    sessions: pd.DatetimeIndex,
    symbols: pd.Index,
    adjusted: dict[str, np.ndarray],
    traded_close: np.ndarray,
    dollar_volume: np.ndarray,
) -> Panel:
    """Arrays (n_sessions, n_symbols) as a panel that shares their memory."""
    frame = lambda values: pd.DataFrame(  # noqa: E731
        values, index=sessions, columns=symbols, copy=False
    )
    return Panel(
        **{name: frame(values) for name, values in adjusted.items()},
        traded_close=frame(traded_close),
        dollar_volume=frame(dollar_volume),
    )


def adjusted_close(raw: Raw, actions: pd.DataFrame) -> pd.DataFrame:
    """Total-return closes alone: `raw` needs no other field."""
    closes = raw.fields["close"] * adjustment(raw, actions).price
    return pd.DataFrame(closes, index=raw.sessions, columns=raw.symbols, copy=False)


def arrange(
    bars: pd.DataFrame, run_date: pd.Timestamp, symbols: list[str] | pd.Index | None = None
) -> Raw:
    """Long bars as matrices over every session from the first bar to `run_date`."""
    run_date = dates.as_session(run_date)
    bars = bars[bars["session"] <= run_date]
    codes, found = pd.factorize(bars["symbol"])
    columns = pd.Index(sorted(found if symbols is None else symbols), dtype="str")
    first = run_date if bars.empty else bars["session"].min()
    sessions = dates.sessions_between(first, run_date)
    rows = sessions.get_indexer(pd.DatetimeIndex(bars["session"]))
    cols = columns.get_indexer(pd.Index(found, dtype="str"))[codes]
    wanted = (rows >= 0) & (cols >= 0)
    place = rows[wanted], cols[wanted]
    shape = len(sessions), len(columns)
    present = np.zeros(shape, dtype=bool)
    present[place] = True
    fields = {}
    for name in (*PRICES, "volume"):
        fields[name] = np.full(shape, np.nan)
        fields[name][place] = bars[name].to_numpy(dtype=float)[wanted]
    return Raw(sessions, columns, fields, present)


def applied(actions: pd.DataFrame) -> pd.Series:
    """Which actions the factors take in: splits, dividends, and spin-offs of a known value."""
    known = (actions["type"] != "spin_off") | (actions["cash"] > 0)
    return actions["type"].isin((*SPLITS, *CASH)) & known


def adjustment(raw: Raw, actions: pd.DataFrame) -> Factors:
    """Cumulative factors of splits and dividends with ex-dates inside the range of sessions."""
    step, split = steps(raw, actions)
    return Factors(product_of_later(step), 1 / product_of_later(split))


def steps(raw: Raw, actions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What prices before each session are multiplied by for its own actions, of all and of splits.

    Both (n_sessions, n_symbols), 1 where nothing happens; a row depends on no later one.
    """
    split, cash = np.ones(raw.present.shape), np.zeros(raw.present.shape)
    rows, cols, acts = placed(raw, actions)
    ratio = (acts["old_rate"] / acts["new_rate"]).to_numpy(dtype=float)
    is_split = acts["type"].isin(SPLITS).to_numpy() & np.isfinite(ratio) & (ratio > 0)
    np.multiply.at(split, (rows[is_split], cols[is_split]), ratio[is_split])
    is_cash = acts["type"].isin(CASH).to_numpy() & (acts["cash"] > 0).to_numpy()
    np.add.at(cash, (rows[is_cash], cols[is_cash]), acts["cash"].to_numpy(dtype=float)[is_cash])
    return split * dividend_factor(raw, split, cash), split


def dividend_factor(raw: Raw, split: np.ndarray, cash: np.ndarray) -> np.ndarray:
    """1 - d / previous close where a dividend is paid; 1 elsewhere and where it cannot be."""
    factor = np.ones(cash.shape)
    rows, cols = np.nonzero(cash)
    close = raw.fields["close"]
    previous = last_known(close)[rows - 1, cols] * split[rows, cols]
    for k in np.flatnonzero(np.isnan(close[rows - 1, cols])):  # halted, and maybe split meanwhile
        bars = np.flatnonzero(~np.isnan(close[: rows[k], cols[k]]))
        if len(bars):
            meanwhile = split[bars[-1] + 1 : rows[k] + 1, cols[k]].prod()
            previous[k] = close[bars[-1], cols[k]] * meanwhile
    with np.errstate(divide="ignore", invalid="ignore"):
        paid = 1 - cash[rows, cols] / previous
    factor[rows, cols] = np.where((paid > 0) & (rows > 0), paid, 1.0)
    return factor


def last_known(values: np.ndarray) -> np.ndarray:
    """Each gap filled with the value before it, along the sessions."""
    at = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    return np.take_along_axis(values, np.maximum.accumulate(at, axis=0), axis=0)


def placed(raw: Raw, actions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Row (first session at or after the ex-date) and column of each action inside the range."""
    rows = np.asarray(raw.sessions.searchsorted(actions["ex_date"]))
    cols = raw.symbols.get_indexer(pd.Index(actions["symbol"], dtype="str"))
    inside = (rows < len(raw.sessions)) & (cols >= 0)
    inside &= (actions["ex_date"] >= raw.sessions[0]).to_numpy()
    return rows[inside], cols[inside], actions[inside]


def product_of_later(step: np.ndarray) -> np.ndarray:
    """For each session the product of the steps after it; 1 at the last."""
    later = np.ones(step.shape)
    later[:-1] = np.cumprod(step[:0:-1], axis=0)[::-1]
    return later
