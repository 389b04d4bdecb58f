"""Labels: the trade they stand for, and when they are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.contracts import Label
from quant50lib.errors import ContractError, DataQualityError
from quant50lib.services import label
from quant50lib.services.training import TrainingSet, training_set
from quant50lib.settings import FeatureSettings
from quant50lib.utils import dates
from tests import factories

PANEL = factories.panel(5, 60, seed=1)
RUN_DATE = PANEL.sessions[-1]


@pytest.mark.parametrize("horizon", [1, 5, 10])
def test_a_label_is_the_trade_from_open_to_open_over_the_benchmark(horizon):
    found = label.excess_return(PANEL, "SPY", horizon)
    o, t, name = PANEL.open, 20, PANEL.symbols[0]
    own = o[name].iloc[t + 1 + horizon] / o[name].iloc[t + 1]
    market = o["SPY"].iloc[t + 1 + horizon] / o["SPY"].iloc[t + 1]
    assert found[name].iloc[t] == pytest.approx(own - market, abs=1e-15)
    assert found["SPY"].dropna().eq(0).all()
    assert found.notna().all(axis=1).sum() == 60 - horizon - 1


@settings(max_examples=15, deadline=None)
@given(horizon=st.integers(1, 12), cut=st.integers(15, 59))
def test_no_label_is_known_before_the_open_it_ends_with(horizon, cut):
    """Prices after the run's date, even its own close, change no row of the table."""
    run_date = PANEL.sessions[cut]
    opening, close = PANEL.open.copy(), PANEL.close.copy()
    opening.loc[opening.index > run_date] = 1e6
    close.loc[close.index >= run_date] = 1e6
    wild = replace(PANEL, open=opening, close=close)
    tables = [
        label.to_table(label.excess_return(p, "SPY", horizon), horizon, run_date)
        for p in (PANEL, wild, PANEL.until(run_date))
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    pd.testing.assert_frame_equal(tables[0], tables[2], check_exact=True)
    assert tables[0].known_at.max() == run_date
    assert tables[0].session.max() == PANEL.sessions[cut - horizon - 1]


def test_a_row_without_a_known_label_cannot_exist_even_if_the_values_are_there():
    future = pd.DataFrame(1.0, PANEL.sessions, PANEL.symbols)
    table = label.to_table(future, 5, RUN_DATE)
    assert len(table) == (60 - 6) * 5 and (table.known_at <= RUN_DATE).all()


def test_known_at_counts_sessions_over_holidays():
    before_christmas = dates.sessions_between("2023-12-18", "2023-12-22")
    found = label.known_at(before_christmas, 5)
    assert [str(d.date()) for d in found][-1] == "2024-01-03"  # six sessions: 26 27 28 29 2 3
    assert list(found) == [dates.shift(s, 6) for s in before_christmas]


def test_the_table_keeps_the_contract():
    table = label.to_table(label.excess_return(PANEL, "SPY", 5), 5, RUN_DATE)
    Label.check(table)
    assert (table.positive == (table.excess_return > 0)).all()
    assert table.notna().all(axis=None)


def test_too_short_a_history_gives_an_empty_table():
    short = PANEL.until(PANEL.sessions[3])
    table = label.to_table(label.excess_return(short, "SPY", 5), 5, short.sessions[-1])
    assert table.empty and list(table.columns) == Label.columns()


def test_a_name_that_vanishes_is_left_at_its_last_close():
    name, gone = PANEL.symbols[1], PANEL.sessions >= PANEL.sessions[30]
    lost = replace(
        PANEL,
        **{
            f: getattr(PANEL, f).mask(gone[:, None] & (PANEL.symbols == name))
            for f in ("open", "close")
        },
    )
    found, whole = (label.holding_return(p, 5)[name] for p in (lost, PANEL))
    close, opening = PANEL.close[name], PANEL.open[name]
    assert found.iloc[27] == close.iloc[29] / opening.iloc[28] - 1
    assert found.iloc[28] == close.iloc[29] / opening.iloc[29] - 1
    assert found.iloc[29:].isna().all()  # it did not open: never bought
    pd.testing.assert_series_equal(found.iloc[:24], whole.iloc[:24])


def test_a_panel_must_hold_the_benchmark_and_every_session():
    with pytest.raises(DataQualityError, match="benchmark"):
        label.excess_return(PANEL.only([s for s in PANEL.symbols if s != "SPY"]), "SPY", 5)
    holed = replace(
        PANEL, **{f: getattr(PANEL, f).drop(PANEL.sessions[7]) for f in ("open", "close")}
    )
    with pytest.raises(ContractError, match=str(PANEL.sessions[7].date())):
        label.excess_return(holed, "SPY", 5)


def test_scale_of_prices_does_not_matter():
    dearer = replace(PANEL, open=PANEL.open * 7, close=PANEL.close * 7)
    a, b = (label.excess_return(p, "SPY", 5) for p in (PANEL, dearer))
    np.testing.assert_allclose(a, b, atol=1e-14)


# ---- what may be learnt from -----------------------------------------------------------------------


def table_of(panel=PANEL, horizon=5, run_date=RUN_DATE):
    return label.to_table(label.excess_return(panel, "SPY", horizon), horizon, run_date)


@settings(max_examples=25, deadline=None)
@given(
    horizon=st.integers(1, 8),
    made=st.integers(25, 59),
    asked=st.integers(20, 59),
    moved=st.integers(-3, 3),
    row=st.integers(0, 10_000),
)
def test_no_row_whose_label_is_not_known_can_be_learnt_from(horizon, made, asked, moved, row):
    """Labels of any run, held against any session, with one `known_at` moved by some sessions."""
    table, run_date = table_of(PANEL, horizon, PANEL.sessions[made]), PANEL.sessions[asked]
    at = row % len(table)
    table.loc[at, "known_at"] = dates.shift(table.loc[at, "known_at"], moved)
    honest = made <= asked and not moved
    if honest:
        known = label.KnownLabels(table, run_date, horizon)
        assert len(known) == len(table) and known.table.known_at.max() <= run_date
        return
    with pytest.raises(ContractError):
        label.KnownLabels(table, run_date, horizon)


def test_a_training_set_holds_no_label_of_the_future_whoever_makes_it():
    table = table_of()
    known = label.KnownLabels(table, RUN_DATE, 5)
    few = FeatureSettings(names=("ret_1",), min_dollar_volume=0)
    rows = training_set(PANEL, known, pd.Series("x", PANEL.symbols), few, "SPY")
    assert len(rows.X) > 100 and rows.known_at.max() == rows.run_date == RUN_DATE
    for wrong in (
        {"run_date": dates.shift(RUN_DATE, -1)},
        {"known_at": rows.known_at.mask(rows.X.index == 3, rows.session)},
    ):
        with pytest.raises(ContractError, match="KnownLabels"):
            replace(rows, **wrong)
    assert isinstance(rows, TrainingSet)


def test_known_labels_cannot_be_changed_from_outside():
    table = table_of()
    known = label.KnownLabels(table, RUN_DATE, 5)
    given, taken = known.table, known.table
    table["excess_return"] = 9.0
    taken["known_at"] = PANEL.sessions[0]
    pd.testing.assert_frame_equal(known.table, given)
    assert len(label.KnownLabels(Label.empty(), RUN_DATE, 5)) == 0


def test_a_table_of_labels_known_before_they_were_decided_breaks_the_contract():
    table = table_of()
    table.loc[4, "known_at"] = table.loc[4, "session"]
    with pytest.raises(ContractError, match="known after"):
        Label.check(table)


# ---- variants ---------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 4)), min_size=1, max_size=40))
def test_what_a_learner_is_asked_a_second_way(rows):
    """Row by row: how many of the same session are lower, and how many equal."""
    session = pd.Series([PANEL.sessions[k] for k, _ in rows])
    excess = pd.Series([v / 100 for _, v in rows])
    found = {kind: label.as_target(session, excess, kind) for kind in ("class", "rank", "excess")}
    for i, (k, value) in enumerate(rows):
        same = [v for j, v in rows if j == k]
        lower, equal = sum(v < value for v in same), same.count(value)
        place = (lower + equal / 2) / len(same) - 0.5
        assert found["rank"][i] == pytest.approx(place, abs=1e-12)
        assert found["class"][i] == (value > 0)
    assert found["excess"].equals(excess) and found["rank"].abs().max() <= 0.5
