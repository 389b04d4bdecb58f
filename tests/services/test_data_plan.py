"""What is fetched: all that is missing, and as little else as can be."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.services import data_plan
from quant50lib.services.data_plan import Span, plan
from quant50lib.utils import dates

EVERY = dates.sessions_between("2024-01-02", "2024-03-28")  # 60 sessions
NEEDED = EVERY[10:50]
OVERLAP, ACTION_OVERLAP = 3, 8


def log(*rows: tuple) -> pd.DataFrame:
    """Rows of (symbols, first, last, complete), sessions by their number in EVERY."""
    made = [(list(s), EVERY[a], EVERY[b], done) for s, a, b, done in rows]
    return pd.DataFrame(made, columns=["symbols", "first", "last", "complete"])


def newest(**at: int) -> pd.Series:
    stamps = {symbol: EVERY[k] for symbol, k in at.items()}
    return pd.Series(stamps, dtype="datetime64[us]")


def calls(symbols: str, entries: pd.DataFrame, stored: pd.Series) -> list[tuple]:
    found = plan(list(symbols), NEEDED, entries, stored, OVERLAP, ACTION_OVERLAP)
    return [("".join(unit.symbols), *_plain(unit.bars)) for unit in found if unit.bars]


def _plain(span: Span) -> tuple:
    return EVERY.get_loc(span.first), EVERY.get_loc(span.last)


def test_an_empty_store_asks_for_everything_in_one_call():
    assert calls("BA", log(), newest()) == [("AB", 10, 49)]


def test_a_store_that_is_whole_asks_for_nothing():
    found = plan(["A"], NEEDED, log(("A", 0, 49, True)), newest(A=30), OVERLAP, ACTION_OVERLAP)
    assert found == ()


def test_a_new_session_is_asked_for_with_the_overlap():
    entries = log(("AB", 5, 48, True))
    assert calls("AB", entries, newest(A=48, B=20)) == [("AB", 46, 49)]
    found = plan(["A"], NEEDED, entries, newest(A=48), OVERLAP, ACTION_OVERLAP)
    assert [_plain(unit.actions) for unit in found] == [(41, 49)]


def test_a_new_name_is_fetched_whole_and_the_old_ones_are_not():
    assert calls("ABC", log(("AB", 0, 48, True)), newest(A=48, B=48)) == [
        ("AB", 46, 49),
        ("C", 10, 49),
    ]


def test_a_run_of_the_past_fetches_what_lies_before():
    assert calls("A", log(("A", 30, 59, True)), newest(A=49)) == [("A", 10, 29)]


def test_an_ingest_cut_short_goes_on_where_it_stopped():
    entries = log(("ABCD", 10, 49, False))
    stored = newest(A=49, B=30, D=49)  # A done, B half, C not begun; D was listed lately
    assert calls("ABCD", entries, stored) == [("B", 30, 49), ("C", 10, 49)]
    found = plan(list("ABCD"), NEEDED, entries, stored, OVERLAP, ACTION_OVERLAP)
    assert sorted("".join(unit.symbols) for unit in found) == ["AD", "B", "C"], "actions are owed"
    assert {unit.symbols: unit.resumed for unit in found} == {
        ("C",): False,
        ("A", "D"): True,
        ("B",): True,
    }


def test_bars_of_another_beginning_are_no_reason_to_skip():
    """A killed ingest from session 20 says nothing of the sessions before it."""
    assert calls("A", log(("A", 20, 49, False)), newest(A=40)) == [("A", 10, 49)]


def test_the_next_day_resumes_yesterdays_cut_ingest():
    assert calls("A", log(("A", 10, 48, False)), newest(A=35)) == [("A", 35, 49)]


def test_units_stay_small_whatever_the_number_of_names(monkeypatch):
    monkeypatch.setattr(data_plan, "BARS_PER_UNIT", 2 * len(NEEDED))
    assert calls("ABCDE", log(), newest()) == [("AB", 10, 49), ("CD", 10, 49), ("E", 10, 49)]
    monkeypatch.setattr(data_plan, "BARS_PER_UNIT", 1)
    assert calls("AB", log(), newest()) == [("A", 10, 49), ("B", 10, 49)]


def test_names_cut_off_at_different_sessions_go_on_together_from_the_earliest():
    entries = log(("ABC", 10, 49, False))
    assert calls("ABC", entries, newest(A=20, B=30, C=25)) == [("ABC", 20, 49)]


ENTRY = st.tuples(
    st.sets(st.sampled_from("ABC"), min_size=1).map(sorted),
    st.integers(0, 59),
    st.integers(0, 59),
).map(lambda e: (e[0], min(e[1:]), max(e[1:]), True))


@settings(max_examples=80, deadline=None)
@given(st.lists(ENTRY, max_size=5))
def test_after_the_calls_every_session_needed_is_covered(entries):
    found = plan(list("ABC"), NEEDED, log(*entries), newest(), OVERLAP, ACTION_OVERLAP)
    for symbol in "ABC":
        covered = {k for s, a, b, _ in entries if symbol in s for k in range(a, b + 1)}
        mine = [unit.bars for unit in found if symbol in unit.symbols]
        assert len(mine) <= 1
        for span in mine:
            a, b = _plain(span)
            missing = set(range(a, b + 1)) - covered
            assert b in missing and min(missing) - a <= OVERLAP, "no more than the overlap"
            covered |= set(range(a, b + 1))
        assert covered >= set(range(10, 50))
