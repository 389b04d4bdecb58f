"""The stop-loss of a single name: what it sells, and for how long it bars the name. Pure.

The arithmetic is on arrays, one column a holding, so that a back-test asks it every session; the
functions on tables are a shell around it, and what the desk calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.contracts import RiskEvent
from quant50lib.services.holdings import Holdings, holdings_of
from quant50lib.services.panel import Panel
from quant50lib.services.risk import DECIMALS, event
from quant50lib.settings import RiskSettings
from quant50lib.utils import dates
from quant50lib.utils.frames import typed

#: a jump of printed against adjusted shares above this is a split
SPLIT_MIN = 0.01
#: sessions of the longer reading of the stop's volatility
MONTH, WEEK = 21, 5


def stops(
    holdings: pd.DataFrame, panel: Panel, session: pd.Timestamp, settings: RiskSettings
) -> pd.DataFrame:
    """Holdings to be sold at the next open: those that lost too much since they were bought.

    The loss is from the average entry on total-return prices: dividends since the first fill count
    as regained. Its limit is `stop_multiple` times the rolling volatility: of the last
    `stop_sessions` daily returns ("daily"), or of 5-session returns ("horizon": standard deviation
    of 21 daily returns times sqrt(5)). At its limit a holding is kept; above it, it is sold. One
    without that many returns has no stop that day; one that is not in the panel cannot be judged,
    and is sold by the optimiser for that reason.

    Parameters
    ----------
    holdings : Holding
        `entry_price` in today's shares (a split since then is in it).

    Returns
    -------
    RiskEvent
        Rule `stop_loss`; value the loss, limit what was allowed, both fractions.
    """
    return typed(RiskEvent, stopped(holdings_of(holdings), panel, session, settings))


def stopped(
    held: Holdings, panel: Panel, session: pd.Timestamp, settings: RiskSettings
) -> list[dict[str, Any]]:
    """`stops` of holdings as arrays: rows of RiskEvent."""
    place = panel.symbols.get_indexer(held.symbols)
    at = np.flatnonzero(place >= 0)
    last = int(panel.sessions.searchsorted(session, "right"))
    first = panel.sessions.to_numpy().searchsorted(held.entry_session[at])
    recent = panel.close.to_numpy()[max(last - window(settings), 0) : last, place[at]]
    loss = losses(*_since(panel, place[at], first, last), held.entry_price[at])
    limit = settings.stop_multiple * yardstick(recent, settings)
    return [
        event(
            session,
            "stop_loss",
            loss[k],
            limit[k],
            f"lost {loss[k]:.1%} since {held.entry_session[at[k]].astype('datetime64[D]')}",
            held.symbols[at[k]],
        )
        for k in np.flatnonzero(exceeded(loss, limit))
    ]


def _since(
    panel: Panel, cols: np.ndarray, first: np.ndarray, last: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Traded and total-return closes and printed over adjusted shares from the oldest entry on."""
    oldest = int(first.min()) if len(first) else last
    part = [
        matrix.to_numpy()[oldest:last, cols]
        for matrix in (panel.traded_close, panel.close, panel.dollar_volume, panel.volume)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = part[2] / part[0] / part[3]
    return part[0], part[1], shares, first - oldest


def exceeded(loss: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Where a loss is above its limit; at the limit, or without one, it is not."""
    return np.round(loss, DECIMALS) > np.round(limit, DECIMALS)


def window(settings: RiskSettings) -> int:
    """Closes among which the stop's returns are looked for: a few may be missing."""
    return 3 * _returns_wanted(settings)


def _returns_wanted(settings: RiskSettings) -> int:
    return settings.stop_sessions if settings.stop_volatility == "daily" else MONTH


def yardstick(closes: np.ndarray, settings: RiskSettings) -> np.ndarray:
    """The volatility that a loss is measured by, (n_symbols,).

    Parameters
    ----------
    closes : array, (n_sessions, n_symbols)
        Total-return closes, the last `window` sessions; NaN where there was no bar.

    Returns
    -------
    array
        Sample standard deviation of the last `stop_sessions` returns, or of the last 21 times
        sqrt(5); NaN where there are not as many.
    """
    factor = 1.0 if settings.stop_volatility == "daily" else math.sqrt(WEEK)
    return factor * last_deviation(closes, _returns_wanted(settings))


def last_deviation(closes: np.ndarray, n: int) -> np.ndarray:
    """Sample standard deviation of the last `n` returns between known closes, (n_symbols,)."""
    known = ~np.isnan(closes)
    # a stable sort by "known" puts the gaps first and leaves the closes in their order
    order = np.argsort(known, axis=0, kind="stable")
    packed = np.take_along_axis(closes, order, axis=0)[-n - 1 :]
    if len(packed) < n + 1:
        return np.full(closes.shape[1], math.nan)
    return np.std(packed[1:] / packed[:-1] - 1, axis=0, ddof=1)


def losses(
    traded: np.ndarray,
    total: np.ndarray,
    shares: np.ndarray,
    first: np.ndarray,
    entry: np.ndarray,
) -> np.ndarray:
    """Loss of each holding at the last close, a fraction of its entry price; negative: a gain.

    Dividends since the entry session are counted as regained. What they were is read from where
    total-return closes gain on printed ones, except on sessions of a split, which the entry price
    has in it already: there the shares printed jump against the shares adjusted.

    Parameters
    ----------
    traded, total, shares : arrays, (n_sessions, n_holdings)
        Closes as printed, total-return closes, and shares printed over shares adjusted; up to the
        session, from the oldest entry on. NaN where there is no bar.
    first : array of int, (n_holdings,)
        Row of the entry session of each.
    entry : array, (n_holdings,)
        Entry price in today's shares.

    Returns
    -------
    array, (n_holdings,)
        NaN where there was no bar since the entry.
    """
    rows = np.arange(len(traded))[:, None]
    missing, since = np.isnan(traded), rows >= first
    known, gaps = ~missing & since, bool((missing & since).any())
    at = np.maximum.accumulate(np.where(known, rows, -1), axis=0)  # row of the last bar; -1: none
    if not len(at):
        return np.full(len(entry), math.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        gained = _changes(total / traded, at, gaps)
        split = np.abs(_changes(shares, at, gaps)) > SPLIT_MIN
        dividends = np.prod(1 + np.where(split | np.isnan(gained), 0.0, gained), axis=0)
        last = np.take_along_axis(traded, np.maximum(at[-1:], 0), axis=0)[0]
        return np.where(at[-1] >= 0, 1 - last * dividends / entry, math.nan)


def _changes(values: np.ndarray, at: np.ndarray, gaps: bool) -> np.ndarray:
    """Relative changes from bar to bar since the entry; 0 where there is no new bar, or no old."""
    then = np.take_along_axis(values, np.maximum(at, 0), axis=0) if gaps else values
    return np.where(at[:-1] >= 0, then[1:] / then[:-1] - 1, 0.0)


def stop_volatility(panel: Panel, settings: RiskSettings) -> pd.Series:
    """The stop's yardstick at the panel's last close, by symbol; NaN where returns are too few."""
    recent = panel.close.to_numpy()[-window(settings) :]
    return pd.Series(yardstick(recent, settings), index=panel.symbols)


def loss_from_entry(
    panel: Panel, symbol: str, entry_price: float, entry_session: pd.Timestamp
) -> float:
    """Loss of one holding at the panel's last close; see `losses`."""
    cols = panel.symbols.get_indexer([symbol])
    first = np.array([panel.sessions.searchsorted(entry_session)])
    since = _since(panel, cols, first, len(panel.sessions))
    return float(losses(*since, np.array([entry_price]))[0])


def forced_exits(state: pd.DataFrame, stopped: pd.DataFrame, held: pd.Series) -> pd.Series:
    """Of the weights held, those to be sold in full: all in a halt, else those stopped out."""
    if state["halted"].iloc[0]:
        return held
    return held[held.index.isin(stopped.loc[stopped["rule"] == "stop_loss", "symbol"])]


def forced(halted: bool, events: Iterable[Mapping[str, Any]], held: Iterable[str]) -> set[str]:
    """The names held that are sold in full: all in a halt, else those stopped out."""
    out = {e["symbol"] for e in events if e["rule"] == "stop_loss"}
    return {symbol for symbol in held if halted or symbol in out}


def barred(events: pd.DataFrame, session: pd.Timestamp, settings: RiskSettings) -> pd.Index:
    """Symbols that may not be bought: stopped out within the last `stop_bar_sessions` decisions.

    Stopped at the close of s, sold at the next open, and bought again at the earliest at the open
    `stop_bar_sessions` + 1 sessions after s: for that many sessions the name is not held. `events`
    (RiskEvent) may reach beyond the session; what came later is not looked at.
    """
    last = last_stops(events.to_dict("records"), session, settings)
    return pd.Index(sorted(last), dtype="str", name="symbol")


def last_stops(
    events: Iterable[Mapping[str, Any]], session: pd.Timestamp, settings: RiskSettings
) -> dict[str, pd.Timestamp]:
    """Session of the newest stop of every name still barred at the session; `events`: rows of
    RiskEvent."""
    since = dates.shift(session, -settings.stop_bar_sessions)
    found = [
        (e["session"], e["symbol"])
        for e in events
        if e["rule"] == "stop_loss" and since < e["session"] <= session
    ]
    return {symbol: stopped for stopped, symbol in sorted(found)}


def bar_events(events: pd.DataFrame, session: pd.Timestamp, settings: RiskSettings) -> pd.DataFrame:
    """A RiskEvent of rule `barred` for every name barred today that was stopped before today."""
    return typed(RiskEvent, still_barred(events.to_dict("records"), session, settings))


def still_barred(
    events: Iterable[Mapping[str, Any]], session: pd.Timestamp, settings: RiskSettings
) -> list[dict[str, Any]]:
    """`bar_events` of rows of RiskEvent, as rows."""
    before = [e for e in events if e["session"] < session]
    return [
        event(
            session,
            "barred",
            dates.distance(stopped, session),
            settings.stop_bar_sessions,
            f"stopped out on {stopped.date()}",
            symbol,
        )
        for symbol, stopped in sorted(last_stops(before, session, settings).items())
    ]
