"""Figures and tables carry the data they were given, and say so where there is none."""

from __future__ import annotations

import math
import re
import time

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection

from quant50lib import contracts
from quant50lib.services import alarm, metrics, report
from quant50lib.services.figures_book import ordered, rule_name, usage
from quant50lib.services.figures_market import coverage
from quant50lib.services.report_html import Column, table, text
from quant50lib.services.report_style import PercentTicks
from quant50lib.settings import ModelSettings, ReportSettings, RiskSettings
from tests import report_frames as frames

RUN_DATE = pd.Timestamp("2017-06-14").as_unit("us")


@pytest.fixture(scope="module")
def made() -> frames.Day:
    return frames.day(breach=True)


@pytest.fixture(scope="module")
def first() -> frames.Day:
    """The account's first session: cash, no fills, nothing to compare with."""
    return frames.day(1, held=0, ordered=0, filled=0, found=0, stopped=0)


def words(piece: report.Html) -> str:
    """The text a reader sees."""
    return " ".join(re.sub(r"<style.*?</style>|<[^>]*>", " ", piece.markup, flags=re.S).split())


def titles(figure: report.Chart) -> str:
    return figure.description


def bars(axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches]


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (report.usd(12345.6), "$12,346"),
        (report.usd(-5.25, 2), "−$5.25"),
        (report.usd(7, sign=True), "+$7"),
        (report.usd(-0.001), "$0"),
        (report.pct(0.1234), "12.3%"),
        (report.pct(-0.00001, 2, sign=True), "0.00%"),
        (report.bps(3.21), "+3.2 bp"),
        (report.num(-1234.5), "−1,234.50"),
        (report.shares(2 / 3), "0.667"),
        (report.usd(math.nan), "–"),
        (report.pct(None), "–"),
        (report.day(RUN_DATE), "2017-06-14"),
        (report.day(pd.NaT), "–"),
    ],
)
def test_numbers_are_written_as_in_the_house(said: str, wanted: str) -> None:
    assert said == wanted


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e9, 1e9))
def test_dollars_read_back_as_the_rounded_number(value: float) -> None:
    said = report.usd(value, 2, sign=True)
    assert float(re.sub(r"[$,+]", "", said).replace("−", "-")) == pytest.approx(value, abs=0.005001)
    assert said[0] in "+−" or said == "$0.00"


# ── charts ───────────────────────────────────────────────────────────────────────────────────────


def test_a_chart_is_the_same_whatever_is_set_outside(made: frames.Day) -> None:
    limits = made[contracts.Limit]
    before = report.limits_figure(limits)._repr_svg_()
    with mpl.rc_context(
        {"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red", "savefig.bbox": "tight"}
    ):
        assert report.limits_figure(limits)._repr_svg_() == before


def test_a_chart_is_searchable_and_can_be_listened_to(made: frames.Day) -> None:
    picture = report.pnl_figure(made[contracts.Equity])._repr_svg_()
    assert picture.startswith("<svg ") and 'role="img" aria-label="Daily result' in picture
    assert re.search(r"<text[^>]*>Daily result: ", picture) and "purl.org" not in picture


def test_two_dollar_signs_are_money_and_no_formula(made: frames.Day) -> None:
    said = report.orders_figure(made[contracts.Order])
    assert titles(said).count("$") == 2 and titles(said) in said._repr_svg_().replace("&amp;", "&")


def test_the_style_can_be_set_for_a_notebook_of_ones_own() -> None:
    with mpl.rc_context():
        report.use_style()
        assert mpl.rcParams["svg.fonttype"] == "none" and not mpl.rcParams["axes.spines.top"]


def test_a_figure_costs_little(made: frames.Day) -> None:
    report.limits_figure(made[contracts.Limit])._repr_svg_()  # loads fonts
    begun = time.process_time()
    report.limits_figure(made[contracts.Limit])._repr_svg_()
    assert time.process_time() - begun < 0.6  # twice what we aim at: the machine is shared


NOTHING = pd.Series(dtype=float, index=pd.DatetimeIndex([]))
EMPTY = {
    "coverage": lambda: report.coverage_figure(pd.DataFrame(), 0.95),
    "quarantine": lambda: report.quarantine_figure(contracts.Finding.empty(), pd.DataFrame()),
    "market": lambda: report.market_figure(pd.DataFrame(), contracts.Universe.empty(), "SPY"),
    "correlation": lambda: report.correlation_figure(contracts.Feature.empty()),
    "distribution": lambda: report.distribution_figure(contracts.Feature.empty()),
    "label distribution": lambda: report.label_distribution_figure(contracts.Label.empty()),
    "base rate": lambda: report.base_rate_figure(contracts.Label.empty()),
    "rank ic": lambda: report.rank_ic_figure(pd.DataFrame(columns=["session", "rank_ic"])),
    "calibration": lambda: report.calibration_figure(pd.DataFrame()),
    "deciles": lambda: report.deciles_figure(pd.DataFrame()),
    "folds": lambda: report.folds_figure(contracts.Fold.empty()),
    "importance": lambda: report.importance_figure(pd.DataFrame()),
    "decay": lambda: report.decay_figure(pd.DataFrame()),
    "skill": lambda: report.skill_figure(pd.DataFrame(), "year"),
    "shap": lambda: report.shap_figure(pd.DataFrame()),
    "signal turnover": lambda: report.signal_turnover_figure(pd.DataFrame()),
    "weights": lambda: report.weights_figure(contracts.Target.empty()),
    "sectors": lambda: report.sectors_figure(contracts.Target.empty(), 0.25),
    "trades": lambda: report.trades_figure(contracts.Target.empty()),
    "risk": lambda: report.risk_figure(contracts.Target.empty()),
    "limits": lambda: report.limits_figure(contracts.Limit.empty()),
    "orders": lambda: report.orders_figure(contracts.Order.empty()),
    "forecast": lambda: report.forecast_figure(NOTHING, NOTHING, 0.1),
    "equity": lambda: report.equity_figure(contracts.Equity.empty(), pd.Series(dtype=float)),
    "pnl": lambda: report.pnl_figure(contracts.Equity.empty()),
    "invested": lambda: report.invested_figure(contracts.Equity.empty()),
}


@pytest.mark.parametrize("name", EMPTY)
def test_without_data_a_sentence_stands_in_place_of_axes(name: str) -> None:
    figure = EMPTY[name]()
    (axes,) = figure.axes
    assert not axes.axison and len(axes.texts[0].get_text()) > 10
    assert figure.get_figheight() < 1 and "<text" in figure._repr_svg_()


@pytest.mark.parametrize(
    "piece",
    [
        report.stack(
            report.gates_table(contracts.Finding.empty()),
            report.findings_table(contracts.Finding.empty()),
        ),
        report.extremes_table(contracts.Feature.empty()),
        report.folds_table(contracts.Fold.empty()),
        report.limits_table(contracts.Limit.empty()),
        report.events_table(contracts.RiskEvent.empty()),
        report.order_states_table(contracts.Order.empty()),
        report.orders_table(contracts.Order.empty()),
        report.fills_table(contracts.Fill.empty()),
        report.holdings_table(contracts.Holding.empty(), contracts.Universe.empty()),
        report.books(contracts.Equity.empty()),
    ],
)
def test_without_rows_a_sentence_stands_in_place_of_a_table(piece: report.Html) -> None:
    assert "<table" not in piece.markup and len(words(piece)) > 5
    assert piece.markup.count("<p") == 1  # once


@pytest.mark.parametrize(
    ("span", "wanted"),
    [
        (0.1, ["0%", "5%", "10%"]),
        (0.05, ["0.0%", "2.5%", "5.0%"]),
        (0.001, ["0.00%", "0.05%", "0.10%"]),
    ],
)
def test_ticks_in_percent_have_the_digits_they_need(span: float, wanted: list[str]) -> None:
    ticks = PercentTicks().format_ticks([0.0, span / 2, span])
    assert ticks == wanted
    assert PercentTicks(0).format_ticks([0.025]) == ["2%"] and PercentTicks()(0.1234) == "12.3%"


# ── the market ───────────────────────────────────────────────────────────────────────────────────


def prices(**columns: list[float]) -> pd.DataFrame:
    index = pd.date_range("2017-05-01", periods=len(next(iter(columns.values()))), freq="B")
    return pd.DataFrame(columns, index=index)


def test_coverage_counts_a_name_from_its_first_bar_until_it_is_gone() -> None:
    nan = math.nan
    close = prices(A=[1.0] * 9, B=[nan, nan] + [1.0] * 7, C=[1.0, 1.0] + [nan] * 7)
    counts = coverage(close)
    assert list(counts["live"]) == [2, 2, 3, 3, 3, 3, 3, 2, 2]
    assert list(counts["seen"]) == [2, 2, 2, 2, 2, 2, 2, 2, 2]


def test_coverage_shows_poor_sessions_in_another_colour() -> None:
    close = prices(A=[1.0] * 5, B=[1.0, 1.0, math.nan, 1.0, 1.0])
    (axes,) = report.coverage_figure(close, 0.95).axes
    assert [bar.get_height() for bar in axes.patches] == [1, 1, 0.5, 1, 1]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2


def test_the_market_is_the_benchmark_and_the_mean_of_each_sectors_stocks(made: frames.Day) -> None:
    close, listed = made.panel.close, made[contracts.Universe]
    left, right = report.market_figure(close, listed, "SPY", 60).axes
    path = close["SPY"].iloc[-61:] / close["SPY"].iloc[-61] - 1
    np.testing.assert_allclose(left.lines[0].get_ydata(), path)
    stocks = listed[(listed["kind"] == "stock") & (listed["sector"] == "Energy")]["symbol"]
    energy = (close[stocks].iloc[-1] / close[stocks].iloc[-61] - 1).mean()
    at = [label.get_text() for label in right.get_yticklabels()].index("Energy")
    assert bars(right)[at] == pytest.approx(energy)


def test_quarantined_names_are_drawn_with_what_was_found_and_the_rest_is_counted(
    made: frames.Day,
) -> None:
    found = frames.findings(made[contracts.Universe], 9)  # every second one is a quarantine
    figure = report.quarantine_figure(found, made.panel.close, limit=3)
    shown = [axes for axes in figure.axes if axes.lines]
    held = found[found["severity"] == "quarantine"].sort_values("session", ascending=False)
    assert [axes.get_title(loc="left") for axes in shown] == list(held["symbol"].head(3))
    assert shown[0].get_xlabel().startswith(held["gate"].iloc[0].replace("_", " "))
    assert "5, 2 more not shown" in figure.get_suptitle()
    assert all(len(axes.lines[1].get_xdata()) == 1 for axes in shown)


def test_correlated_features_stand_side_by_side_and_first_among_pairs(made: frames.Day) -> None:
    today = frames.features(list(made.panel.symbols), RUN_DATE, 6)
    left, right = report.correlation_figure(today).axes
    wide = today.pivot(index="symbol", columns="feature", values="standardised")
    order = [label.get_text() for label in left.get_xticklabels()]
    np.testing.assert_allclose(left.images[0].get_array(), wide[order].corr())
    together = abs(order.index("feature_0") - order.index("feature_1"))
    assert together in (1, len(order) - 1)
    top = set(right.get_yticklabels()[0].get_text().split(" · "))
    assert top == {"feature_0", "feature_1"}
    assert bars(right)[0] == pytest.approx(wide["feature_0"].corr(wide["feature_1"]))


def test_a_strip_holds_robust_distances_from_the_median(made: frames.Day) -> None:
    today = frames.features(list(made.panel.symbols), RUN_DATE, 1)
    (axes,) = report.distribution_figure(today).axes
    values = today["value"].to_numpy()
    deviation = 1.4826 * np.median(np.abs(values - np.median(values)))
    wanted = np.clip((values - np.median(values)) / deviation, -5, 5)
    np.testing.assert_allclose(np.sort(axes.lines[0].get_xdata()), np.sort(wanted))


def test_extremes_name_the_lowest_and_the_highest() -> None:
    today = frames.features(["A", "B", "C", "D"], RUN_DATE, 1)
    today["value"] = [3.0, -1.5, 2.0, 1000.0]
    said = words(report.extremes_table(today, 2))
    assert "B −1.5, C 2 D 1e+03, A 3" in said


def test_labels_are_shown_by_their_quartiles_and_their_rate_by_month() -> None:
    sessions = pd.date_range("2017-04-03", "2017-05-31", freq="B").as_unit("us")
    labels = frames.labels(["A", "B", "C", "D", "E"], sessions)
    (axes,) = report.label_distribution_figure(labels).axes
    median = labels.groupby("session")["excess_return"].median()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), median)
    (axes,) = report.base_rate_figure(labels).axes
    april = labels[labels["session"] < "2017-05-01"]["positive"].mean()
    assert axes.patches[0].get_y() + axes.patches[0].get_height() == pytest.approx(april)


# ── the model ────────────────────────────────────────────────────────────────────────────────────


def test_the_band_of_no_skill_grows_with_the_root_of_time() -> None:
    sessions = pd.date_range("2016-01-04", periods=400, freq="B")
    ic = pd.DataFrame({"session": sessions, "rank_ic": np.tile([0.1, -0.06], 200), "fold": 0})
    (axes,) = report.rank_ic_figure(ic, 1).axes
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(8.0)
    edge = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert "+0.020" in titles(axes.figure)
    grown = np.abs(edge).max()
    half = np.abs(axes.collections[0].get_paths()[0].vertices[:101, 1]).max()
    assert half / grown == pytest.approx(math.sqrt(100 / 400), rel=0.02)


def test_calibration_and_deciles_show_the_frames_they_get() -> None:
    bins = pd.DataFrame({"score": [0.4, 0.6], "positive": [0.45, 0.52], "error": [0.01, 0.02]})
    (axes,) = report.calibration_figure(bins).axes
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.4, 0.45], [0.6, 0.52]])
    spread = np.diff(axes.collections[0].get_segments()[1][:, 1])
    assert spread == pytest.approx(2 * 1.96 * 0.02)
    deciles = pd.DataFrame({"decile": [1, 2], "excess_return": [-0.001, 0.002], "error": 0.001})
    (axes,) = report.deciles_figure(deciles, 5).axes
    assert [bar.get_height() for bar in axes.patches] == [-0.001, 0.002]
    assert "+30.0 bp" in titles(axes.figure)


def test_folds_stand_in_order_with_the_pooled_one_last() -> None:
    (axes,) = report.folds_figure(frames.folds()).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "all"]
    said = words(report.folds_table(frames.folds()))
    assert said.index("momentum") < said.index("lightgbm 0")
    assert "0.512" in said and "+0.011 ± 0.009" in said


def test_importance_counts_what_is_left_out() -> None:
    gain = pd.DataFrame({"feature": [f"f{i}" for i in range(4)], "gain": [0.1, 0.5, 0.15, 0.25]})
    (axes,) = report.importance_figure(gain, 2).axes
    assert bars(axes) == [0.5, 0.25] and "2 more: 25%" in titles(axes.figure)


# ── the book ─────────────────────────────────────────────────────────────────────────────────────


def test_the_area_of_a_dot_is_its_share_of_risk(made: frames.Day) -> None:
    target = made[contracts.Target]
    axes = report.weights_figure(target).axes[0]
    dots = [c for c in axes.collections if isinstance(c, PathCollection)]
    assert sum(len(c.get_offsets()) for c in dots) == len(target)
    bought = target[target["weight"] > target["held"]]
    np.testing.assert_allclose(dots[0].get_sizes(), 12 + 900 * bought["risk_share"])
    np.testing.assert_allclose(dots[0].get_offsets()[:, 1], bought["weight"])


def test_a_sector_over_its_cap_is_red() -> None:
    weights = pd.DataFrame({"sector": ["X", "X", "Y"], "weight": [0.2, 0.1, 0.05]})
    (axes,) = report.sectors_figure(weights, 0.25).axes
    assert bars(axes) == pytest.approx([0.3, 0.05])
    over, under = (mpl.colors.to_hex(bar.get_facecolor()) for bar in axes.patches)
    assert over == "#b0302f" and under != over


def test_only_names_that_move_are_trades(made: frames.Day) -> None:
    target = made[contracts.Target].copy()
    target.loc[0, "weight"] = target.loc[0, "held"]
    (axes,) = report.trades_figure(target, 60).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert target.loc[0, "symbol"] not in names and len(names) == len(target) - 1
    change = (target["weight"] - target["held"]).abs()
    assert names[0] == target.loc[change.idxmax(), "symbol"]
    assert report.pct(change.sum()) in titles(axes.figure)


def test_risk_stands_beside_capital(made: frames.Day) -> None:
    target = made[contracts.Target]
    (axes,) = report.risk_figure(target, 5).axes
    top = target.nlargest(5, "risk_share")
    assert bars(axes) == pytest.approx(list(top["risk_share"]))
    capital = top["weight"] / target["weight"].sum()
    np.testing.assert_allclose(axes.lines[0].get_xdata(), capital)


def test_a_floor_is_used_up_from_the_other_side() -> None:
    limits = pd.DataFrame(
        {
            "rule": ["gross", "min_weight", "cash", "no_forecast", "turnover"],
            "value": [0.5, 0.005, 0.0, 0.01, 0.0],
            "limit": [1.0, 0.0025, 0.01, 0.0, 0.0],
        }
    )
    assert list(usage(limits)) == [0.5, 0.5, 1.0, 1.0, 0.0]


def test_limits_are_gauged_and_breaches_are_red(made: frames.Day) -> None:
    limits = made[contracts.Limit]
    (axes,) = report.limits_figure(limits).axes
    rows = ordered(limits)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "Names held" and names.index("Sector: Energy") > names.index("Smallest name")
    used = bars(axes)[len(rows) :]
    energy = names.index("Sector: Energy")
    assert used[energy] == pytest.approx(0.271 / 0.25)
    assert mpl.colors.to_hex(axes.patches[len(rows) + energy].get_facecolor()) == "#b0302f"
    assert "1 breached" in titles(axes.figure)
    assert axes.texts[energy].get_text() == "27.1% of 25.0%"


def test_the_table_of_limits_names_head_room_and_keeps_every_breach(made: frames.Day) -> None:
    piece = report.limits_table(made[contracts.Limit], sectors=0)
    said = words(piece)
    assert "Sector: Energy 27.1% 25.0% −2.1%" in said and "cured in 2 sessions" in said
    assert said.count("Sector:") == 1 and "color: #b0302f" in piece.markup
    whole = report.limits_table(frames.limits(made[contracts.Target]))
    assert words(whole).count("Sector:") == len(frames.SECTORS) and "Remark" not in words(whole)


def test_rules_have_names() -> None:
    assert rule_name("sector:Bond ETF") == "Sector: Bond ETF"
    assert rule_name("volatility") == "Volatility, annual"
    assert rule_name("something_new") == "Something new"


@pytest.mark.parametrize(("halted", "word"), [(False, "Budget 100%"), (True, "Halted")])
def test_the_brake_shows_where_the_book_stands(halted: bool, word: str) -> None:
    state = frames.risk_state(RUN_DATE, 0.03, halted)
    (axes,) = report.brake_figure(state, RiskSettings()).axes
    curve, dot = axes.lines
    np.testing.assert_allclose(dot.get_xydata(), [[0.03, 0.0 if halted else 1.0]])
    wanted = [[0, 1], [0.05, 1], [0.09, 0.2], [0.09, 0], [0.12, 0]]
    np.testing.assert_allclose(curve.get_xydata(), wanted, atol=1e-12)
    assert word in titles(axes.figure)
    empty = report.brake_figure(contracts.RiskState.empty(), RiskSettings())
    assert len(empty.axes[0].lines) == 1


def test_buys_go_right_and_sells_left_and_unsent_ones_are_faint(made: frames.Day) -> None:
    orders = made[contracts.Order]
    (axes,) = report.orders_figure(orders, 60).axes
    flow = orders["notional"].where(orders["side"] == "buy", -orders["notional"])
    assert bars(axes) == pytest.approx(sorted(flow, reverse=True))
    faint = [bar for bar in axes.patches if bar.get_alpha() < 1]
    assert len(faint) == (orders["state"] == "deferred").sum() == 2
    buys = orders.loc[orders["side"] == "buy", "notional"].sum()
    assert f"buys {report.usd(buys)}" in titles(axes.figure)
    assert "3 of 24" in titles(report.orders_figure(orders, 3))


def test_cash_moves_by_what_goes_out_only(made: frames.Day) -> None:
    orders = made[contracts.Order]
    (axes,) = report.cash_figure(50_000.0, orders).axes
    going = orders[orders["state"] == "accepted"].groupby("side")["notional"].sum()
    before, sells, buys, after = bars(axes)
    assert (before, sells, buys) == pytest.approx((50_000, going["sell"], going["buy"]))
    assert after == pytest.approx(before + sells - buys)


# ── the account ──────────────────────────────────────────────────────────────────────────────────


def account(values: list[float], flows: list[float]) -> pd.DataFrame:
    table = frames.equity(RUN_DATE, len(values))
    return table.assign(equity=values, flow=flows)


def test_equity_and_benchmark_start_together_and_flows_do_not_count() -> None:
    table = account([100.0, 110.0, 160.0, 80.0], [0.0, 0.0, 50.0, 0.0])
    market = pd.Series([0.5, 0.01, 0.02, -0.03], index=table["session"])
    top, low = report.equity_figure(table, market).axes
    theirs, ours = (line.get_ydata() for line in top.lines[:2])
    np.testing.assert_allclose(ours, [0, 0.1, 0.1, 0.1 / 2 - 0.5 + 0.0], atol=1e-12)
    np.testing.assert_allclose(theirs, [0, 0.01, 1.01 * 1.02 - 1, 1.01 * 1.02 * 0.97 - 1])
    np.testing.assert_allclose(low.lines[0].get_ydata(), [0, 0, 0, -0.5], atol=1e-12)
    pnl = [bar.get_height() for bar in report.pnl_figure(table).axes[0].patches]
    assert pnl == pytest.approx([10, 0, -80])


@pytest.mark.parametrize("gap", [0.0, 1e-4, -1e-4, 0.5])
def test_the_names_of_two_lines_never_overlap(gap: float) -> None:
    table = account([100.0, 100.0, 110.0], [0.0, 0.0, 0.0])
    market = pd.Series([0.0, 0.0, 0.1 + gap], index=table["session"])
    top = report.equity_figure(table, market).axes[0]
    low, high = top.get_ylim()
    ends = [label.xy[1] for label in top.texts]
    assert abs(ends[0] - ends[1]) >= 0.079 * (high - low)


@pytest.mark.parametrize("sessions", [2, 10, 250])
def test_accounts_of_any_age_are_drawn(sessions: int) -> None:
    table = frames.equity(RUN_DATE, sessions)
    market = pd.Series(0.001, index=table["session"])
    assert len(report.equity_figure(table, market).axes[0].lines[1].get_ydata()) == sessions
    assert len(report.pnl_figure(table, 60).axes[0].patches) == min(sessions - 1, 60)
    left, _ = report.invested_figure(table).axes
    share = (table["holdings"] / table["equity"]).iloc[-252:]
    np.testing.assert_allclose(left.lines[0].get_ydata(), share)


# ── tables ───────────────────────────────────────────────────────────────────────────────────────


def test_a_long_table_is_cut_and_counts_the_rest(made: frames.Day) -> None:
    orders = made[contracts.Order]
    piece = report.orders_table(orders, limit=5)
    assert piece.markup.count("<tr") == 6 and "and 19 more" in words(piece)
    largest = orders.nlargest(1, "notional").iloc[0]
    said = words(piece)
    assert said.index(largest["symbol"]) < said.index(report.usd(largest["notional"]))
    assert "more" not in words(report.orders_table(orders[orders["reason"] == ""], limit=60))


def test_what_a_vendor_writes_cannot_become_markup(made: frames.Day) -> None:
    found = made[contracts.Finding].assign(detail="<script>alert(1)</script>")
    assert "<script" not in report.findings_table(found).markup
    column = {"a": text("<b>"), "b": Column("x", lambda v: f"<i>{v}</i>", raw=True)}
    markup = table(pd.DataFrame({"a": ["<u>"], "b": [1]}), column).markup
    assert "<u>" not in markup and "<b>" not in markup and "<i>1</i>" in markup


def test_an_old_finding_is_drawn_with_its_surroundings(made: frames.Day) -> None:
    close = made.panel.close
    found = frames.findings(made[contracts.Universe], 1)
    recent = report.quarantine_figure(found, close, sessions=60).axes[0].lines[0].get_xdata()
    assert len(recent) == 60
    found["session"] = close.index[-120]
    old = report.quarantine_figure(found, close, sessions=60).axes[0].lines[0].get_xdata()
    assert pd.Timestamp(old[0]) == close.index[-130] and pd.Timestamp(old[-1]) == close.index[-1]


def test_the_gates_that_failed_stand_worst_first_with_their_names(made: frames.Day) -> None:
    found = made[contracts.Finding].copy()
    found.loc[3, ["severity", "symbol", "gate", "detail"]] = [
        "stop",
        "",
        "coverage",
        "half is gone",
    ]
    said = words(report.gates_table(found))
    assert said.index("stop coverage") < said.index("quarantine") < said.index("note")
    assert "half is gone" in said
    held = found.loc[found["severity"] == "quarantine", "symbol"]
    assert all(name in said for name in held) and len(held) > 1
    assert "1 name, on record" in said
    assert "and 2 more" in words(
        report.gates_table(found.assign(severity="quarantine", gate="x"), 3)
    )
    assert "every gate passed" in words(report.gates_table(contracts.Finding.empty()))


def test_findings_stand_worst_first(made: frames.Day) -> None:
    found = made[contracts.Finding].copy()
    found.loc[3, ["severity", "symbol"]] = ["stop", ""]
    said = words(report.findings_table(found))
    assert said.index("stop market") < said.index("quarantine") < said.index("note")


def test_holdings_show_name_weight_and_result_since_entry(made: frames.Day) -> None:
    said = words(report.holdings_table(made[contracts.Holding], made[contracts.Universe], 3))
    top = made[contracts.Holding].nlargest(1, "weight").iloc[0]
    gain = report.pct(top["price"] / top["entry_price"] - 1, 1, sign=True)
    assert f"{gain} {report.pct(top['weight'], 2)}" in said and "and 37 more" in said


def test_a_holding_that_left_the_universe_is_still_shown(made: frames.Day) -> None:
    none = made[contracts.Universe].iloc[:0]
    held = made[contracts.Holding]
    assert held["symbol"].iloc[0] in words(report.holdings_table(held, none))


def test_fills_show_slippage_and_where_it_is_unknown(made: frames.Day) -> None:
    fills = made[contracts.Fill].head(1).assign(slippage_bps=-12.34)
    assert "−12.3 bp" in words(report.fills_table(fills))
    assert words(report.fills_table(fills.assign(slippage_bps=np.nan))).endswith("–")


def test_states_of_orders_are_counted_with_their_reasons(made: frames.Day) -> None:
    orders = made[contracts.Order]
    said = words(report.order_states_table(orders))
    count = ((orders["state"] == "accepted") & (orders["side"] == "sell")).sum()
    assert f"accepted sell {count}" in said and frames.SHADOW_REASON in said


def test_risk_events_name_the_book_or_a_symbol(made: frames.Day) -> None:
    events = made[contracts.RiskEvent]
    whole = events.assign(rule="halt", symbol="")
    said = words(report.events_table(pd.concat([events, whole])))
    assert "stop-loss AAA 6.10% 5.20%" in said and "halt book" in said


# ── the head of the report ───────────────────────────────────────────────────────────────────────


def key_figures(day: frames.Day) -> pd.DataFrame:
    market = day.panel.close["SPY"].pct_change().dropna()
    return metrics.kpis(day[contracts.Equity], market, ReportSettings())


def test_the_head_says_session_figures_and_what_is_simulated(made: frames.Day) -> None:
    kpis = key_figures(made)
    said = words(report.header("Daily", RUN_DATE, "SIMULATED prices and account", kpis))
    value = kpis.set_index("name")["value"]
    assert "Wednesday 14 June 2017" in said and "2017-06-14" in said
    assert "SIMULATED prices and account" in said
    assert f"Equity {report.usd(value['equity'])}" in said
    assert f"Result of the day {report.usd(value['pnl_day'], sign=True)}" in said
    assert f"Drawdown {report.pct(value['drawdown'], 2)}" in said
    assert "withheld until 60 sessions" in said


@pytest.mark.parametrize(
    ("simulated", "badge"),
    [
        ("real prices, simulated account", "SIMULATED real prices, simulated account"),
        ("Alpaca paper account", "PAPER Alpaca paper account"),
    ],
)
def test_the_badge_is_loud_only_where_something_is_simulated(simulated: str, badge: str) -> None:
    piece = report.header("T", RUN_DATE, simulated, contracts.Kpi.empty())
    assert badge in words(piece) and words(piece).count("–") == 8 + 5
    assert ("#c8702a" in piece.markup) == ("SIMULATED" in badge)


def test_the_title_of_the_document_holds_session_and_badge() -> None:
    said = report.document_title("Q", RUN_DATE, "SIMULATED prices and account")
    assert said == "Q · 2017-06-14 · SIMULATED prices and account"


def test_the_day_in_sentences(made: frames.Day) -> None:
    kpis, orders = key_figures(made), made[contracts.Order]
    market = pd.Series([0.0059])
    said, _ = report.result_line(kpis, market, "SPY")
    assert said.endswith("SPY: +0.59%.") and ("gained $" in said or "lost $" in said)
    sent = orders[orders["state"] == "accepted"].groupby("side")["notional"].agg(["size", "sum"])
    said, urgent = report.orders_line(orders, RUN_DATE)
    assert said.startswith(f"For the open of 2017-06-15: {sent.loc['buy', 'size']} buys for ")
    assert report.usd(sent.loc["sell", "sum"]) in said and "2 more not sent" in said
    assert not urgent
    assert report.limits_line(made[contracts.Limit])[1]
    assert "Sector: Energy" in report.limits_line(made[contracts.Limit])[0]
    assert (
        "Stop-loss: AAA."
        in report.risk_line(made[contracts.RiskState], made[contracts.RiskEvent])[0]
    )
    found = made[contracts.Finding]
    held = found.loc[found["severity"] == "quarantine", "symbol"]
    assert f"3 names in quarantine, not bought today: {', '.join(held)}." in (
        report.data_line(found)[0]
    )
    assert f": {held.iloc[0]} and 2 more." in report.data_line(found, named=1)[0]


def test_the_first_day_in_sentences(first: frames.Day) -> None:
    lines = (
        report.result_line(key_figures(first), pd.Series([math.nan]), "SPY"),
        report.orders_line(first[contracts.Order], RUN_DATE),
        report.limits_line(first[contracts.Limit]),
        report.risk_line(first[contracts.RiskState], first[contracts.RiskEvent]),
        report.data_line(first[contracts.Finding]),
    )
    said = words(report.summary(*lines))
    assert "first session" in said and "No order goes to the open of 2017-06-15." in said
    assert "limits of the book are kept" in said and "every name passed" in said
    assert not any(urgent for _, urgent in lines)


def test_what_needs_a_hand_is_red(made: frames.Day) -> None:
    halted = frames.risk_state(RUN_DATE, 0.091, halted=True)
    lines = (
        report.risk_line(halted, contracts.RiskEvent.empty()),
        report.orders_line(made[contracts.Order].assign(state="unknown"), RUN_DATE),
        report.limits_line(contracts.Limit.empty()),
    )
    assert all(urgent for _, urgent in lines)
    piece = report.summary(*lines)
    assert "HALTED at 9.1%" in words(piece) and piece.markup.count("#b0302f") == 3
    none = report.risk_line(contracts.RiskState.empty(), contracts.RiskEvent.empty())
    assert "no state yet" in none[0]
    idle = made[contracts.Order].head(1).assign(state="shadow")
    assert report.orders_line(idle, RUN_DATE)[0].endswith("1 not sent (see below).")


def test_key_figures_are_all_there_and_few_sessions_withhold_the_annual_ones(
    made: frames.Day,
) -> None:
    said = words(report.kpis_table(key_figures(made)))
    assert "Annual figures: withheld until 60 sessions." in said and "Sharpe" not in said
    old = key_figures(frames.day(80))
    said = words(report.kpis_table(old))
    assert "Sharpe ratio" in said and "withheld" not in said
    volatility = old.set_index("name").loc["volatility_annual", "value"]
    assert f"Volatility, annual {report.pct(volatility, 2)}" in said


def test_a_new_key_figure_is_shown_without_being_known() -> None:
    row = {"name": "omega_ratio", "value": 1.5, "unit": "ratio", "detail": ""}
    assert "Omega ratio 1.50" in words(report.kpis_table(pd.DataFrame([row])))


def test_books_stand_side_by_side(made: frames.Day) -> None:
    table = made[contracts.Equity].copy()
    table.loc[table.index[-1], ["equity", "broker_equity", "dividends"]] = [1000.0, 999.5, 2.5]
    said = words(report.books(table))
    assert "$999.50" in said and "Difference +$0.50" in said and "$1,002.50" in said


def test_data_health_counts_names_and_findings(made: frames.Day) -> None:
    said = words(report.data_health(made[contracts.Universe], made[contracts.Finding]))
    assert "universe 120" in said and "3 quarantine, 2 note" in said


def test_model_health_shows_age_and_errors(made: frames.Day) -> None:
    args = (made[contracts.Forecast], RUN_DATE, ModelSettings())
    said = words(report.model_health(frames.CARD, *args))
    assert "2017-05-26, 12 sessions ago (allowed: 30)" in said
    assert "+0.0142 ± 0.0071" in said and "+0.21 [−0.18, +0.64]" in said
    assert words(report.model_health({**frames.CARD, "trained_at": "2017-06-14"}, *args)).count(
        " 0 sessions ago"
    )
    without = words(report.model_health(None, contracts.Forecast.empty(), *args[1:]))
    assert "alpha is zero" in without and "Forecast of today" not in without


def test_parts_are_arranged_in_the_order_given() -> None:
    one, two = report.note("one"), report.note("two")
    assert words(report.stack(one, two)) == words(report.beside(one, two)) == "one two"
    assert "minmax(0, 2fr) minmax(0, 1fr)" in report.beside(one, two, widths=(2, 1)).markup
    assert words(report.titled("Head & tail", one)) == "Head &amp; tail one"
    assert repr(one).startswith("Html of") and one._repr_html_() == one.markup


def test_every_function_that_is_promised_exists() -> None:
    promised = set(re.findall(r"\b([a-z_]+_(?:figure|table|line))\(", report.__doc__ or ""))
    assert promised and promised <= set(report.__all__)
    assert set(report.__all__) <= set(dir(report))
    pictured = {name for name in report.__all__ if name.endswith(("_figure", "_table", "_line"))}
    assert pictured - promised == {"facts_table"}


# ── what waits for a person ──────────────────────────────────────────────────────────────────────


def told(
    switch: str | None = None, frozen: tuple[str, ...] = (), odd: tuple[str, ...] = ()
) -> dict[str, dict[str, dict[str, object]]]:
    """What ingest and execute record for the report."""
    return {
        "ingest": {"books": {"to_look_at": list(odd)}},
        "execute": {"brakes": {"kill_switch": switch, "frozen": list(frozen)}},
    }


@pytest.mark.parametrize(
    ("scraps", "line", "rows"),
    [
        (told("ann: news"), "KILL SWITCH on, nothing is bought: ann: news.", 1),
        (told(frozen=("AAA: split: late", "BBB: stuck")), "Frozen, not traded: AAA, BBB.", 2),
        (told(odd=("o1: held",)), "To look at: 1 (see Books).", 1),
    ],
)
def test_what_waits_for_a_person_is_urgent_and_has_its_reason(
    scraps: dict, line: str, rows: int
) -> None:
    assert report.attention_line(scraps) == (line, True)
    shown = report.attention_table(scraps)
    assert shown.markup.count("<tr>") == rows + 1
    assert any(why in words(shown) for why in ("ann: news", "AAA split: late", "o1: held"))


def test_all_three_stand_in_one_sentence_and_many_names_are_counted() -> None:
    many = told("why", tuple(f"N{i}: late" for i in range(11)), ("odd",))
    said, urgent = report.attention_line(many)
    assert urgent and said.startswith("KILL SWITCH") and said.endswith("(see Books).")
    assert "N7 and 3 more." in said and "N8" not in said


def test_a_desk_at_rest_says_so_and_a_run_without_account_claims_nothing() -> None:
    said, urgent = report.attention_line(told())
    assert "switch is off" in said and not urgent
    assert "switch is off" in words(report.attention_table(told()))
    for scraps in ({}, {"execute": {"brakes": {}}}):
        said, urgent = report.attention_line(scraps)
        assert "not asked" in said and "switch" not in said and not urgent


# ── what the book risks ──────────────────────────────────────────────────────────────────────────


def test_exposures_are_those_that_were_recorded(made: frames.Day) -> None:
    wanted = made[contracts.Target]
    told = {"optimize": {"exposure": frames.exposure(wanted)}}
    said = words(report.exposures(told, "SPY", 200_000.0))
    top = wanted.loc[wanted["weight"].idxmax()]
    assert f"{top['symbol']}, {report.pct(top['weight'], 2)}" in said
    assert "Beta to SPY 0.82" in said and "Effective names 33.3" in said
    assert "Sessions to sell all under 0.1" in said
    assert "Value at risk, 95% 0.71% · $1,420 0.64% · $1,278" in said
    assert "Expected shortfall, 99% 1.51% · $3,020 1.36% · $2,718" in said
    thin = {**frames.exposure(wanted), "sessions_to_exit": math.inf}
    thin["sessions_to_exit_95_percent"] = 3.21
    said = words(report.exposure_table({"optimize": {"exposure": thin}}, "SPY"))
    assert "Sessions to sell 95% 3.2" in said and "Sessions to sell all no end" in said


def test_without_a_book_there_is_no_exposure() -> None:
    nothing = frames.exposure(contracts.Target.empty())
    for told in ({}, {"optimize": {"exposure": nothing}}):
        said = words(report.exposures(told, "SPY", 1e5))
        assert said.count("there is no exposure") == 2


def test_the_forecast_is_drawn_beside_what_came(made: frames.Day) -> None:
    account = frames.equity(RUN_DATE, 120)
    known = frames.surprises(account, 0.08).iloc[1:]
    figure = report.forecast_figure(known["return"], known["forecast"], 0.10)
    forecast, realised = figure.axes[0].lines[:2]
    assert forecast.get_ydata() == pytest.approx(0.08)
    assert realised.get_ydata()[-1] == pytest.approx(
        np.std(known["return"].to_numpy()[-21:], ddof=1) * math.sqrt(252)
    )
    ratio = math.sqrt(np.mean(known["return"] ** 2)) * math.sqrt(252) / 0.08
    assert titles(figure).endswith(f"realised over forecast {ratio:.2f}")


@pytest.mark.parametrize(("volatility", "side"), [(0.02, "too low"), (0.4, "too high")])
def test_an_alarm_is_told_and_is_urgent(volatility: float, side: str) -> None:
    known = frames.surprises(frames.equity(RUN_DATE, 112), volatility)["surprise"]
    stand = alarm.standing(known[known.index.year == RUN_DATE.year], 0.05)
    said, urgent = report.alarm_line(stand)
    assert urgent and f"ALARM: volatility is forecast {side}" in said
    table = words(report.alarm_table(stand))
    assert f"Alarm of the year forecast {side}" in table and "of 20" in table


def test_without_an_alarm_the_line_is_quiet() -> None:
    nothing = alarm.standing(NOTHING, 0.05)
    assert report.alarm_line(nothing) == (
        "Forecast of risk: not yet held against a session of this year.",
        False,
    )
    assert "nothing to hold it against" in words(report.alarm_table(nothing))
    calm = alarm.standing(
        pd.Series([1.0, -1.0], index=pd.DatetimeIndex(["2024-1-2", "2024-1-3"])), 0.05
    )
    assert report.alarm_line(calm) == (
        "Forecast of risk: realised over forecast volatility 1.00 over 2 sessions, no alarm.",
        False,
    )


def test_an_event_of_the_alarm_shows_its_evidence() -> None:
    row = {"session": RUN_DATE, "rule": "forecast_too_low", "symbol": "", "value": 23.4}
    row |= {"limit": 20.0, "detail": "realised over forecast volatility 1.40"}
    said = words(report.events_table(frames.as_table(contracts.RiskEvent, [row])))
    assert "forecast-too-low book 23.4 20.0" in said
