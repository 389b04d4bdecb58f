"""Who belonged to the universe when, and under which ticker: membership and changes of name.

A *name* is a company, whatever its ticker. Intervals say when it was a member; renames say which
tickers are one name. Everything here answers for a session from what was true at that session: an
interval that begins later, or a change of name that comes later, changes no earlier row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from quant50lib.services.panel import Panel

#: when each name was a member; both ends included, NaT: open
INTERVALS = {"symbol": "str", "first": "datetime64[us]", "last": "datetime64[us]"}
#: tickers of one name, from which day on; NaT: it is not known when
RENAMES = {"old": "str", "new": "str", "day": "datetime64[us]"}
NAME_CHANGE = "name_change"
ONE_DAY = pd.Timedelta(days=1)


def intervals(rows: Iterable[tuple[str, object, object]]) -> pd.DataFrame:
    """A frame of intervals from (symbol, first, last)."""
    return pd.DataFrame(list(rows), columns=list(INTERVALS)).astype(INTERVALS)


def renames(rows: Iterable[tuple[str, str, object]]) -> pd.DataFrame:
    """A frame of renames from (old, new, day)."""
    return pd.DataFrame(list(rows), columns=list(RENAMES)).astype(RENAMES)


# ---- membership ----------------------------------------------------------------------------------


def members(
    membership: pd.DataFrame, symbols: pd.Index | list[str], sessions: pd.DatetimeIndex
) -> pd.DataFrame:
    """Whether each name was a member at each session; booleans, (n_sessions, n_symbols).

    A name without any interval never was.
    """
    columns = pd.Index(symbols)
    inside = np.zeros((len(sessions), len(columns)), dtype=bool)
    known = membership[membership["symbol"].isin(columns)]
    first = np.where(known["first"].isna(), 0, sessions.searchsorted(known["first"]))
    stop = sessions.searchsorted(known["last"].fillna(pd.Timestamp.max.as_unit("us")), "right")
    for column, a, b in zip(columns.get_indexer(known["symbol"]), first, stop, strict=True):
        inside[a:b, column] = True
    return pd.DataFrame(inside, index=sessions, columns=columns)


def admit(panel: Panel, membership: pd.DataFrame, min_history_sessions: int) -> Panel:
    """The panel, with the sessions at which each name may be learnt from and compared.

    Those are the sessions at which it was a member and had as many bars behind it, that session's
    included. Liquidity and price are judged by `features.eligible`.
    """
    known = panel.traded_close.notna().cumsum() >= min_history_sessions
    return replace(panel, admitted=members(membership, panel.symbols, panel.sessions) & known)


def of_names(names: pd.DataFrame, membership: pd.DataFrame, renamed: pd.DataFrame) -> pd.DataFrame:
    """The intervals under the universe's own tickers, whichever ticker each is told under.

    Names outside the universe keep theirs: who has left, or was never taken in, counts for
    `survivorship`.

    Parameters
    ----------
    names : DataFrame
        symbol, kind. A fund without an interval is a member always: an index lists companies.
    membership : DataFrame
        Intervals under tickers of any time.
    renamed : DataFrame
        An interval of an old ticker counts for the new one until the day of the change; what lies
        after it belongs to whoever has taken the ticker over. Without a day all of it counts,
        unless the universe lists the two tickers beside each other.
    """
    own = set(names["symbol"])
    known = renamed["day"].notna() | ~(renamed["old"].isin(own) & renamed["new"].isin(own))
    renamed = renamed[known].sort_values("day", na_position="first")
    told = membership
    for old, new, day in renamed.itertuples(index=False, name=None):
        told = _handed_over(told, old, new, day)
    # a row under an old ticker means its company, unless the new ticker is a row of its own
    heir = dict(zip(renamed["old"], renamed["new"], strict=True))
    chains = {symbol: _chain(symbol, heir) for symbol in own}
    alias = {later[-1]: symbol for symbol, later in chains.items() if later and not own & {*later}}
    told = told.assign(symbol=told["symbol"].map(lambda symbol: alias.get(symbol, symbol)))
    funds = set(names.loc[names["kind"] == "etf", "symbol"]) - set(told["symbol"])
    always = intervals((symbol, pd.NaT, pd.NaT) for symbol in sorted(funds))
    return pd.concat([told, always]).sort_values(["symbol", "first"], ignore_index=True)


def _handed_over(told: pd.DataFrame, old: str, new: str, day: pd.Timestamp) -> pd.DataFrame:
    """The intervals of `old` before the day become those of `new`."""
    ours = told[told["symbol"] == old]
    if pd.isna(day):
        return pd.concat([told.drop(ours.index), ours.assign(symbol=new)], ignore_index=True)
    eve = day - ONE_DAY
    before = ours[ours["first"].isna() | (ours["first"] < day)]
    before = before.assign(symbol=new, last=before["last"].where(before["last"] < day, eve))
    after = ours[ours["last"].isna() | (ours["last"] > eve)]
    after = after.assign(first=after["first"].where(after["first"] > day, day))
    others = told.drop(ours.index)
    if new in set(others["symbol"]):  # the list goes on under the new ticker
        return pd.concat([others, before, after], ignore_index=True)
    return pd.concat([others, before, after.assign(symbol=new)], ignore_index=True)


def _chain(symbol: str, heir: dict[str, str]) -> list[str]:
    """The tickers that follow on `symbol`, in order; a circle ends where it closes."""
    found = [symbol]
    while (following := heir.get(found[-1])) is not None and following not in found:
        found.append(following)
    return found[1:]


# ---- changes of name in the market ---------------------------------------------------------------


def changes_of_name(actions: pd.DataFrame, newest: pd.Series) -> pd.DataFrame:
    """The renames among corporate actions, by day.

    Parameters
    ----------
    actions : DataFrame
        symbol, type, ex_date, other_symbol; only those that have happened.
    newest : Series
        The newest session with a bar, by symbol. A ticker that goes on trading after its change of
        name is another company's by now: the change is left out.
    """
    found = actions[(actions["type"] == NAME_CHANGE) & actions["other_symbol"].notna()]
    found = found[found["symbol"] != found["other_symbol"]]
    gone = ~(newest.reindex(found["symbol"]).to_numpy() > found["ex_date"].to_numpy())
    rows = found.loc[gone, ["symbol", "other_symbol", "ex_date"]].set_axis(list(RENAMES), axis=1)
    return rows.astype(RENAMES).drop_duplicates().sort_values("day", ignore_index=True)


def under_present_names(names: pd.DataFrame, renamed: pd.DataFrame) -> pd.DataFrame:
    """The universe with each name under its present ticker, sorted by it; none comes twice."""
    heir = dict(zip(renamed["old"], renamed["new"], strict=True))
    present = names["symbol"].map(lambda symbol: [symbol, *_chain(symbol, heir)][-1])
    own_row_first = (present != names["symbol"]).sort_values(kind="stable").index
    found = names.assign(symbol=present).loc[own_row_first].drop_duplicates("symbol")
    return found.sort_values("symbol", ignore_index=True)


def earlier_tickers(symbols: Iterable[str], renamed: pd.DataFrame) -> list[str]:
    """Every ticker under which these names have stood before."""
    wanted, found = set(symbols), []
    for old, new, _ in renamed.iloc[::-1].itertuples(index=False, name=None):
        if new in wanted:
            wanted.add(old)
            found.append(old)
    return found


def unified(rows: pd.DataFrame, renamed: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Rows of old tickers under the new ones.

    Where both tickers tell of the same `key`, the new one's rows count. Without any rename the rows
    come back as they are, else sorted by symbol and `key`.
    """
    if not rows["symbol"].isin(renamed["old"]).any():
        return rows
    for old, new, _ in renamed.itertuples(index=False, name=None):
        moved = rows["symbol"] == old
        told = pd.MultiIndex.from_frame(rows.loc[rows["symbol"] == new, key])
        again = moved & pd.MultiIndex.from_frame(rows[key]).isin(told)
        rows = rows.assign(symbol=rows["symbol"].mask(moved, new))[~again]
    return rows.sort_values(["symbol", *key], kind="stable", ignore_index=True)


def unified_actions(actions: pd.DataFrame, renamed: pd.DataFrame) -> pd.DataFrame:
    """Corporate actions under the new tickers, without the changes of name that this applies."""
    change = actions["symbol"].isin(renamed["old"]) & (actions["type"] == NAME_CHANGE)
    key = ["ex_date", "type", "new_rate", "old_rate", "cash"]
    return unified(actions[~change].reset_index(drop=True), renamed, key)
