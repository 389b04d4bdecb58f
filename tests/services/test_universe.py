"""Membership counts where and when it held, and no later knowledge changes an earlier row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.contracts import Finding
from quant50lib.services import features, label, universe
from quant50lib.services.data import day_universe
from quant50lib.services.training import training_set
from quant50lib.settings import DataSettings, FeatureSettings
from quant50lib.utils import dates
from tests import factories

FEW = FeatureSettings(names=("ret_5", "vol_21", "log_dollar_volume_21"))
PANEL = factories.panel(n_symbols=9, n_sessions=130)
DAYS = PANEL.sessions
A, B, C, D, *REST = PANEL.symbols.drop("SPY")
SECTORS = pd.Series("X", index=PANEL.symbols)
TABLE = label.to_table(label.excess_return(PANEL, "SPY", 5), 5, DAYS[-1])
LABELS = label.KnownLabels(TABLE, DAYS[-1], 5)
NONE = universe.renames([])


def always(*symbols: str) -> list[tuple]:
    return [(symbol, None, None) for symbol in symbols]


def rows_of(panel) -> pd.DataFrame:
    """Everything a model would learn from, by session and symbol."""
    found = training_set(panel, LABELS, SECTORS, FEW, "SPY")
    return found.X.assign(
        session=found.session,
        symbol=found.symbol,
        label=found.excess_return,
        momentum=found.momentum,
    ).set_index(["session", "symbol"])


# ---- membership ----------------------------------------------------------------------------------

days = st.one_of(st.none(), st.integers(-5, len(DAYS) + 5))


def moment(step: int | None) -> pd.Timestamp | None:
    return None if step is None else DAYS[0] + pd.Timedelta(days=step)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("PQR"), days, days), max_size=6))
def test_a_member_is_who_stands_in_an_interval_on_the_day(rows):
    told = universe.intervals((symbol, moment(a), moment(b)) for symbol, a, b in rows)
    found = universe.members(told, ["Q", "R", "P"], DAYS[:20])
    for symbol in "PQR":
        for session in DAYS[:20]:
            held = [
                (a is None or moment(a) <= session) and (b is None or session <= moment(b))
                for name, a, b in rows
                if name == symbol
            ]
            assert found.loc[session, symbol] == any(held)


def test_only_members_with_history_and_liquidity_are_learnt_from():
    """Every row a second way: symbol by symbol, session by session."""
    told = universe.intervals(
        [*always("SPY", B, C, D), (A, DAYS[60], DAYS[79]), (A, DAYS[100], None)]
    )
    price, dollars = PANEL.traded_close.copy(), PANEL.dollar_volume.copy()
    price.loc[DAYS[70:75], B] = 0.99
    dollars.loc[DAYS[50:71], C] = 1.0  # the median follows when 11 of 21 sessions are thin
    price.loc[: DAYS[39]] = np.nan
    raw = replace(PANEL, traded_close=price, dollar_volume=dollars)
    wanted = FEW.model_copy(update={"min_price": 1.0, "min_dollar_volume": 1e6})
    found = training_set(universe.admit(raw, told, 30), LABELS, SECTORS, wanted, "SPY")
    rows = set(zip(found.session, found.symbol, strict=True))
    expected = set()
    for k, session in enumerate(DAYS[:-6]):
        inside = {A: 60 <= k <= 79 or k >= 100, B: True, C: True, D: True}
        for symbol, member in inside.items():
            thin = np.median(dollars[symbol].iloc[max(k - 20, 0) : k + 1]) < 1e6
            if member and k >= 40 + 29 and price.loc[session, symbol] >= 1.0 and not thin:
                expected.add((session, symbol))
    assert rows == expected
    assert {s for s, symbol in rows if symbol == A} == {*DAYS[69:80], *DAYS[100:-6]}


@pytest.mark.parametrize("cut", [40, 90])
def test_what_is_known_later_changes_no_earlier_row(cut):
    """A name that joins later, and the end of a membership, are not known before."""
    before = universe.intervals(always("SPY", B, C, D, *REST))
    joined = [(A, DAYS[cut], None), (D, None, DAYS[cut - 1])]
    after = universe.intervals([*always("SPY", B, C, *REST), *joined])
    known, poisoned = (rows_of(universe.admit(PANEL, m, 10)) for m in (before, after))
    early = known.index.get_level_values("session") < DAYS[cut]
    assert early.any() and known[early].equals(
        poisoned[poisoned.index.get_level_values("session") < DAYS[cut]]
    )
    assert A in poisoned.index.get_level_values("symbol")
    assert D not in poisoned.loc[DAYS[cut] :].index.get_level_values("symbol")


def test_a_name_that_is_no_member_moves_nobodys_rank():
    told = universe.intervals(always("SPY", B, C, D, *REST))
    wild = PANEL.each(lambda values: values.assign(**{A: values[A] * 7}))
    clean, other = (rows_of(universe.admit(p, told, 10)) for p in (PANEL, wild))
    assert clean.equals(other)
    everybody = rows_of(PANEL)
    assert not everybody.loc[clean.index, "vol_21"].equals(clean["vol_21"])


def test_history_and_membership_of_the_future_do_not_reach_back():
    told = universe.intervals([*always("SPY", *REST), (A, DAYS[50], DAYS[110])])
    whole = universe.admit(PANEL, told, 30).until(DAYS[99]).admitted
    cut = universe.admit(PANEL.until(DAYS[99]), told, 30).admitted
    assert whole.equals(cut) and whole.to_numpy().any()


def test_the_names_of_the_day_say_who_is_no_member_and_who_is_too_cheap():
    told = universe.intervals(
        [*always("SPY", B, C, *REST), (A, None, DAYS[-2]), (D, DAYS[-1], None)]
    )
    closes = PANEL.traded_close.copy()
    closes.loc[DAYS[-1], B] = 0.99
    panel = universe.admit(replace(PANEL, traded_close=closes), told, 100)
    names = pd.DataFrame({"symbol": PANEL.symbols, "name": "N", "sector": "X", "kind": "stock"})
    said = pd.DataFrame(
        {"symbol": PANEL.symbols, "tradable": True, "fractionable": True, "status": "active"}
    )
    data = DataSettings(min_history_sessions=100)
    table = day_universe(names, panel, Finding.empty(), said, DAYS[-1], data, FeatureSettings())
    reasons = table.set_index("symbol")["reason"]
    assert reasons[reasons != ""].to_dict() == {A: "not a member", B: "too cheap"}


def test_without_membership_every_name_is_admitted_once_it_is_known():
    told = universe.intervals(always(*PANEL.symbols))
    admitted = universe.admit(PANEL, told, 20).admitted
    assert not admitted.iloc[18].any() and admitted.iloc[19:].all(axis=None)
    assert features.eligible(PANEL, FEW).equals(
        features.eligible(universe.admit(PANEL, told, 1), FEW)
    )


# ---- one name, several tickers -------------------------------------------------------------------


def names(*symbols: str, funds: tuple[str, ...] = ()) -> pd.DataFrame:
    kinds = ["etf" if symbol in funds else "stock" for symbol in symbols]
    return pd.DataFrame({"symbol": list(symbols), "kind": kinds})


def told_of(found: pd.DataFrame, symbol: str) -> list[tuple[str, str]]:
    rows = found[found["symbol"] == symbol].sort_values("first")
    return [(str(a)[:10], str(b)[:10]) for a, b in zip(rows["first"], rows["last"], strict=True)]


OPEN = "NaT"
INDEX = universe.intervals(
    [
        ("FB", "2013-12-23", "2022-06-09"),
        ("META", "2022-06-09", None),
        ("CBRE", "2006-11-10", None),
        ("IR", "2010-11-17", None),
        ("TT", "2020-03-03", None),
        ("GONE", "2001-01-01", "2009-01-01"),
    ]
)


def test_an_interval_counts_under_whichever_ticker_the_universe_has():
    dated = universe.renames([("FB", "META", "2022-06-09"), ("CBG", "CBRE", "2018-03-20")])
    for own in ("FB", "META"):
        found = universe.of_names(names(own, "CBG"), INDEX, dated)
        spans = told_of(found, own)
        inside = universe.members(found, [own], dates.sessions_between("2022-06-06", "2022-06-13"))
        assert spans[0] == ("2013-12-23", "2022-06-08") and ("2022-06-09", OPEN) in spans
        assert inside.all(axis=None)
        assert told_of(found, "CBG") == [("2006-11-10", OPEN)]
        assert told_of(found, "GONE") == [("2001-01-01", "2009-01-01")], "kept, though nobody's"


def test_a_ticker_that_is_taken_over_belongs_to_two_names():
    dated = universe.renames([("IR", "TT", "2020-03-02")])
    found = universe.of_names(names("IR", "TT"), INDEX, dated)
    assert told_of(found, "TT") == [("2010-11-17", "2020-03-01"), ("2020-03-03", OPEN)]
    assert told_of(found, "IR") == [("2020-03-02", OPEN)]
    undated = universe.renames([("IR", "TT", None)])
    found = universe.of_names(names("IR", "TT"), INDEX, undated)
    assert told_of(found, "IR") == [("2010-11-17", OPEN)], "without a day, two rows stay apart"
    found = universe.of_names(names("IR"), INDEX, undated)
    assert told_of(found, "IR") == [("2010-11-17", OPEN), ("2020-03-03", OPEN)]


def test_a_list_that_never_changed_the_ticker_goes_on_under_the_new_one():
    dated = universe.renames([("GONE", "NEXT", "2005-01-03"), ("NEXT", "LAST", "2007-01-03")])
    found = universe.of_names(names("LAST"), INDEX, dated)
    sessions = dates.sessions_between("2004-12-20", "2009-01-10")
    inside = universe.members(found, ["LAST"], sessions)["LAST"]
    assert (inside == (sessions <= pd.Timestamp("2009-01-01"))).all()
    assert "GONE" not in set(found["symbol"])


def test_funds_are_in_no_index_and_always_there_unless_told_otherwise():
    found = universe.of_names(names("SPY", "XLC", "META", funds=("SPY", "XLC")), INDEX, NONE)
    assert told_of(found, "SPY") == told_of(found, "XLC") == [(OPEN, OPEN)]
    limited = pd.concat([INDEX, universe.intervals([("XLC", "2018-06-18", None)])])
    found = universe.of_names(names("SPY", "XLC", funds=("SPY", "XLC")), limited, NONE)
    assert told_of(found, "XLC") == [("2018-06-18", OPEN)]


def acts(*rows: tuple) -> pd.DataFrame:
    columns = ["symbol", "type", "ex_date", "new_rate", "old_rate", "cash", "other_symbol"]
    return pd.DataFrame(rows, columns=columns).astype({"ex_date": "datetime64[us]"})


def change(old: str, new: str, day: str) -> tuple:
    return (old, "name_change", day, np.nan, np.nan, np.nan, new)


def test_a_change_of_name_counts_unless_the_old_ticker_goes_on_trading():
    actions = acts(
        change("IR", "TT", "2020-03-02"),
        change("FB", "META", "2022-06-09"),
        change("SAME", "SAME", "2021-01-04"),
        ("FB", "cash_dividend", "2022-01-03", np.nan, np.nan, 0.1, None),
    )
    newest = pd.Series({"IR": pd.Timestamp("2020-03-03"), "FB": pd.Timestamp("2022-06-09")})
    found = universe.changes_of_name(actions, newest)
    assert found[["old", "new"]].values.tolist() == [["FB", "META"]]
    assert universe.changes_of_name(actions[:0], newest).empty


def test_the_universe_stands_under_present_tickers_and_nobody_comes_twice():
    chain = universe.renames([("A", "B", "2020-01-02"), ("B", "C", "2021-01-04"), ("X", "Y", None)])
    listed = names("A", "Y", "X", "Z").assign(name=["a", "y", "x", "z"])
    found = universe.under_present_names(listed, chain)
    assert found["symbol"].tolist() == ["C", "Y", "Z"]
    assert found["name"].tolist() == ["a", "y", "z"], "the row under the present ticker counts"
    assert sorted(universe.earlier_tickers(["C", "Z"], chain)) == ["A", "B"]
    circle = universe.renames([("A", "B", "2020-01-02"), ("B", "A", "2021-01-04")])
    assert len(universe.under_present_names(names("A", "B"), circle)) <= 2


def test_bars_of_all_tickers_become_one_series_and_the_new_ticker_has_the_last_word():
    renamed = universe.renames([("A", "B", DAYS[2]), ("B", "C", DAYS[4])])
    rows = [("A", DAYS[k], 1.0 + k) for k in range(3)]
    rows += [("B", DAYS[k], 10.0 + k) for k in (1, 2, 3)] + [
        ("C", DAYS[k], 20.0 + k) for k in (4, 5)
    ]
    rows += [("D", DAYS[0], 99.0)]
    bars = pd.DataFrame(rows, columns=["symbol", "session", "close"])
    found = universe.unified(bars.sample(frac=1, random_state=1), renamed, ["session"])
    assert found["symbol"].tolist() == ["C"] * 6 + ["D"]
    assert found["close"].tolist() == [1.0, 11.0, 12.0, 13.0, 24.0, 25.0, 99.0]
    assert universe.unified(bars, NONE, ["session"]) is bars


def test_two_rows_that_contradict_each_other_stay_two():
    renamed = universe.renames([("A", "B", DAYS[2])])
    rows = [("A", DAYS[0], 1.0), ("A", DAYS[0], 2.0), ("B", DAYS[3], 3.0), ("B", DAYS[3], 4.0)]
    bars = pd.DataFrame(rows, columns=["symbol", "session", "close"])
    assert len(universe.unified(bars, renamed, ["session"])) == 4


def test_actions_follow_the_name_and_the_change_itself_is_done_with():
    split = ("forward_split", "2022-01-03", 4.0, 1.0, np.nan, None)
    actions = acts(
        ("FB", *split),
        ("META", *split),
        ("FB", "cash_dividend", "2022-02-01", np.nan, np.nan, 0.5, None),
        change("FB", "META", "2022-06-09"),
        change("OTHER", "NEWER", "2022-06-09"),
    )
    found = universe.unified_actions(actions, universe.renames([("FB", "META", "2022-06-09")]))
    assert found[["symbol", "type"]].values.tolist() == [
        ["META", "forward_split"],
        ["META", "cash_dividend"],
        ["OTHER", "name_change"],
    ]
