"""How much of the past a universe has forgotten: who has died, who is missing, and what that adds.

A list of names that exist today leaves out those that failed, and returns measured on it are too
high. What can be measured without the missing names is a lower bound: the return of all listed names
over the return of those among them that were members at the time. It holds the gain of names that
had to rise before they were taken in, and not the loss of names that are gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from quant50lib.services.report_html import Column, Html, facts_table, stack, table, text
from quant50lib.services.report_style import day, num, pct
from quant50lib.services.universe import members

#: a name with a bar this recently is traded
LIVE_SESSIONS = 6
SESSIONS_A_YEAR = 252


@dataclass(frozen=True)
class Survivorship:
    """What `measure` found over the sessions of a panel.

    `years` has a row for each year: `session` (its first one), `members`, `priced` (those of them
    with a recent bar) and `alive` (those with a bar at the end).
    """

    years: pd.DataFrame
    ever: int  # names that were members at any session
    absent: tuple[str, ...]  # those of them without a single bar
    listed_annual: float  # equal-weight return of all names with bars
    members_annual: float  # ... of those that were members at the session before

    @property
    def bias_annual(self) -> float:
        """Lower bound of what survivorship adds to an equal-weight return, a fraction a year."""
        return self.listed_annual - self.members_annual


def measure(close: pd.DataFrame, names: pd.DataFrame, membership: pd.DataFrame) -> Survivorship:
    """Measure the survivorship of the stocks of a universe; its funds are left aside.

    Parameters
    ----------
    close : DataFrame, (n_sessions, n_symbols)
        Total-return prices; missing where there is no bar.
    names : DataFrame
        The universe: symbol, kind.
    membership : DataFrame
        Intervals of the index, also of names outside the universe (`universe.of_names`).
    """
    funds = names.loc[names["kind"] != "stock", "symbol"]
    close = close[close.columns.intersection(names["symbol"]).difference(funds)]
    membership = membership[~membership["symbol"].isin(funds)]
    inside = members(membership, membership["symbol"].unique(), close.index)
    bars = close.notna().reindex(columns=inside.columns, fill_value=False)
    if _is_undated(membership):  # a list, not an index: who was there is who was traded
        inside &= bars.cummax()
    ever = inside.columns[inside.any()]
    listed, member = _returns(close, members(membership, close.columns, close.index))
    return Survivorship(
        _years(inside, bars),
        len(ever),
        tuple(ever[~bars[ever].any()].sort_values()),
        listed,
        member,
    )


def _is_undated(membership: pd.DataFrame) -> bool:
    return bool(membership[["first", "last"]].isna().all(axis=None))


def _years(inside: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    """Members at the first session of each year, and what has become of them."""
    recent = bars.rolling(LIVE_SESSIONS, min_periods=1).max().astype(bool)
    starts = inside.index[~inside.index.year.duplicated()]
    then, priced, alive = inside.loc[starts], recent.loc[starts], recent.iloc[-1]
    return pd.DataFrame(
        {
            "session": starts,
            "members": then.sum(axis=1).to_numpy(),
            "priced": (then & priced).sum(axis=1).to_numpy(),
            "alive": (then & alive).sum(axis=1).to_numpy(),
        }
    )


def _returns(close: pd.DataFrame, inside: pd.DataFrame) -> tuple[float, float]:
    """Annual return of equal weights, rebalanced daily: of all names, and of members only."""
    daily = close.pct_change(fill_method=None).iloc[1:]
    held = inside.shift(1, fill_value=False).iloc[1:]
    both = pd.DataFrame({"listed": daily.mean(axis=1), "members": daily.where(held).mean(axis=1)})
    both = both.dropna()
    annual = (1 + both).prod() ** (SESSIONS_A_YEAR / max(len(both), 1)) - 1
    return float(annual["listed"]), float(annual["members"])


def survivorship_table(found: Survivorship) -> Html:
    """What the universe has forgotten, in the words of a report."""
    years = found.years.assign(
        share=found.years["alive"] / found.years["members"].where(found.years["members"] > 0)
    )
    columns = {
        "session": text("at the close of", day),
        "members": _count("members"),
        "priced": _count("with bars then"),
        "alive": _count("still traded at the end"),
        "share": Column("share alive", pct),
    }
    facts = {
        "Members at any time": num(found.ever, 0),
        "Members without a single bar": _some(found.absent),
        "Equal-weight return a year, all names": pct(found.listed_annual, 2),
        "… of those that were members at the time": pct(found.members_annual, 2),
        "Survivorship adds, at least": _added(found),
        "Verdict": _verdict(found),
    }
    return stack(table(years, columns, empty="no sessions"), facts_table(facts))


def _count(head: str) -> Column:
    return Column(head, lambda value: num(value, 0))


def _some(names: tuple[str, ...], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)}" + (f": {', '.join(names[:most])}{more}" if names else "")


def _added(found: Survivorship) -> str:
    """The bound; a list in which every name was a member all the time measures nothing."""
    if abs(found.bias_annual) < 1e-9:
        return "not to be measured: the list tells of no name that came or went"
    return f"{pct(found.bias_annual, 2)} a year"


def _verdict(found: Survivorship) -> str:
    first = found.years.iloc[0]
    if not first["members"]:
        return "nothing to judge"
    if first["alive"] == first["members"]:
        return "a list of survivors: no name of it ever went, and returns on it flatter"
    if found.absent:
        return f"{pct(len(found.absent) / found.ever)} of the members are missing: returns flatter"
    return "names that went are still in it"
