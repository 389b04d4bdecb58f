"""The figures of the report against empyrical, closed forms, and accounts counted by hand."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib import contracts
from quant50lib.errors import ContractError
from quant50lib.services import metrics
from quant50lib.settings import ReportSettings
from quant50lib.utils import dates

SETTINGS = ReportSettings()
SESSIONS = dates.sessions_between("2023-06-01", "2026-06-30")
ANNUAL = (
    "return_annual",
    "volatility_annual",
    "sharpe",
    "beta",
    "tracking_error_annual",
    "turnover_annual",
)


def account(
    values: list[float] | np.ndarray,
    flows: dict[int, float] | None = None,
    sessions: pd.DatetimeIndex = SESSIONS,
    turnover: float = 0.0,
) -> pd.DataFrame:
    """An Equity table with a tenth in cash; flows by position."""
    equity = np.asarray(values, dtype=float)
    flow = pd.Series(0.0, index=range(len(equity)))
    flow.update(pd.Series(flows or {}, dtype=float))
    rows = {"session": sessions[: len(equity)], "cash": 0.1 * equity, "holdings": 0.9 * equity}
    rows |= {"equity": equity, "broker_equity": equity, "dividends": 0.0, "flow": flow}
    return contracts.Equity.check(pd.DataFrame(rows | {"turnover": turnover}))


def walk(n: int, seed: int = 0, volatility: float = 0.01) -> np.ndarray:
    """Equity of n + 1 sessions."""
    returns = np.random.default_rng(seed).normal(5e-4, volatility, n)
    return 1e5 * np.concatenate([[1], np.cumprod(1 + returns)])


def benchmark(n: int, seed: int = 9) -> pd.Series:
    values = np.random.default_rng(seed).normal(4e-4, 0.009, n)
    return pd.Series(values, index=SESSIONS[1 : n + 1])


def values(equity: pd.DataFrame, market: pd.Series | None = None, **more: float) -> pd.Series:
    market = benchmark(len(equity) - 1) if market is None else market
    return metrics.kpis(equity, market, SETTINGS, **more).set_index("name")["value"]


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_empyrical(seed: int) -> None:
    equity = account(walk(300, seed))
    market = benchmark(300, seed + 50)
    own = metrics.returns(equity)
    cash = 0.02 / 252
    found = values(equity, market, cash_returns=cash)
    assert found["volatility_annual"] == pytest.approx(empyrical.annual_volatility(own))
    assert found["return_annual"] == pytest.approx(empyrical.annual_return(own))
    assert found["return_total"] == pytest.approx(empyrical.cum_returns_final(own))
    assert found["max_drawdown"] == pytest.approx(empyrical.max_drawdown(own))
    assert found["sharpe"] == pytest.approx(empyrical.sharpe_ratio(own, risk_free=cash))
    assert found["beta"] == pytest.approx(empyrical.beta(own, market))
    assert found["tracking_error_annual"] == pytest.approx(
        empyrical.annual_volatility(own - market)
    )


def test_the_base_point_keeps_its_place() -> None:
    """A loss of 10 % on the first session is one, in return and in drawdown."""
    found = values(account([100, 90, 91.8]))
    assert found["return_total"] == pytest.approx(-0.082)
    assert found["max_drawdown"] == pytest.approx(-0.10)
    assert found["drawdown"] == pytest.approx(-0.082)
    assert found["worst_day"] == pytest.approx(-0.10)
    assert found["best_day"] == pytest.approx(0.02)
    assert found["hit_rate"] == 0.5
    assert found["sessions"] == 2


def test_year_and_month_begin_at_the_last_session_before_them() -> None:
    sessions = dates.sessions_between("2023-12-28", "2024-02-05")
    equity = 100 * 1.01 ** np.arange(len(sessions))
    found = values(account(equity, sessions=sessions))
    in_2024 = (sessions >= pd.Timestamp("2024-01-01")).sum()
    in_february = (sessions >= pd.Timestamp("2024-02-01")).sum()
    assert found["return_ytd"] == pytest.approx(1.01**in_2024 - 1)
    assert found["return_mtd"] == pytest.approx(1.01**in_february - 1)
    assert found["pnl_ytd"] == pytest.approx(equity[-1] - equity[-1 - in_2024])
    assert found["pnl_mtd"] == pytest.approx(equity[-1] - equity[-1 - in_february])
    details = metrics.kpis(account(equity, sessions=sessions), benchmark(9), SETTINGS)
    detail = details.set_index("name")["detail"]
    assert detail["return_ytd"] == "from the close of 2023-12-29"
    assert detail["return_mtd"] == "from the close of 2024-01-31"


def test_an_account_that_began_this_year_counts_from_its_base() -> None:
    sessions = dates.sessions_between("2024-03-04", "2024-03-08")
    found = values(account([100, 101, 102, 103, 104], sessions=sessions))
    assert found["return_ytd"] == found["return_mtd"] == found["return_total"]
    assert found["pnl_ytd"] == found["pnl_total"] == pytest.approx(4)


def test_money_paid_in_is_no_gain() -> None:
    """Earned 1, 50 paid in and 2 earned, 100 taken out and nothing earned."""
    found = values(account([100, 101, 153, 53], flows={2: 50.0, 3: -100.0}))
    assert found["pnl_total"] == pytest.approx(3)
    assert found["pnl_day"] == pytest.approx(0)
    assert found["return_total"] == pytest.approx(1.01 * (103 / 101) - 1)
    assert found["return_day"] == pytest.approx(0)
    assert found["max_drawdown"] == 0


def test_the_opening_deposit_is_the_base_and_no_gain() -> None:
    found = values(account([100, 102], flows={0: 100.0}))
    assert found["pnl_total"] == pytest.approx(2)
    assert found["return_total"] == pytest.approx(0.02)


def test_dates_of_the_deepest_fall() -> None:
    table = metrics.kpis(account([100, 120, 90, 110, 99, 130]), benchmark(5), SETTINGS)
    row = table.set_index("name").loc["max_drawdown"]
    assert row["value"] == pytest.approx(-0.25)
    assert row["detail"] == f"{SESSIONS[1].date()} to {SESSIONS[2].date()}"
    fall = metrics.drawdown(metrics.wealth(account([100, 120, 90, 110, 99])))
    assert (fall.peak, fall.trough) == (SESSIONS[1], SESSIONS[2])
    assert fall.current == pytest.approx(99 / 120 - 1)


def test_an_account_that_only_rose() -> None:
    table = metrics.kpis(account([100, 101, 102]), benchmark(2), SETTINGS).set_index("name")
    assert table.loc["max_drawdown", "value"] == 0
    assert table.loc["max_drawdown", "detail"] == "never below"


@pytest.mark.parametrize(("sessions", "given"), [(59, False), (60, True)])
def test_annualised_figures_are_withheld_until_60_sessions(sessions: int, given: bool) -> None:
    table = metrics.kpis(account(walk(sessions)), benchmark(sessions), SETTINGS).set_index("name")
    annual = table.loc[list(ANNUAL)]
    assert annual["value"].notna().all() == given
    assert annual["value"].isna().all() != given
    assert (annual["detail"] == ("" if given else "withheld until 60 sessions")).all()


def test_the_first_session_has_an_equity_and_nothing_to_compare_with() -> None:
    table = metrics.kpis(account([100.0]), benchmark(3), SETTINGS).set_index("name")["value"]
    assert table["equity"] == 100
    assert table["pnl_day"] == table["pnl_total"] == table["return_total"] == 0
    assert table[["return_day", "hit_rate", "best_day"]].isna().all()
    assert table["invested"] == pytest.approx(0.9)


def test_an_empty_account_is_refused() -> None:
    with pytest.raises(ContractError, match="no equity yet"):
        metrics.kpis(contracts.Equity.empty(), benchmark(3), SETTINGS)


def test_turnover_is_the_mean_of_sessions_after_the_base() -> None:
    found = values(account(walk(100), turnover=0.03))
    assert found["turnover_mean"] == pytest.approx(0.03)
    assert found["turnover_day"] == pytest.approx(0.03)
    assert found["turnover_annual"] == pytest.approx(0.03 * 252)


def test_ratios_without_risk_are_not_infinite() -> None:
    steady = pd.Series(0.001, index=SESSIONS[:80])
    assert math.isnan(metrics.sharpe(steady))
    assert math.isnan(metrics.beta(steady, steady))
    assert math.isnan(metrics.beta(steady, benchmark(5).iloc[:1]))


def test_sharpe_against_daily_cash_returns() -> None:
    own = metrics.returns(account(walk(120)))
    cash = pd.Series(np.linspace(0, 2e-4, 120), index=own.index)
    excess = own - cash
    expected = excess.mean() / excess.std(ddof=1) * math.sqrt(252)
    assert metrics.sharpe(own, cash) == pytest.approx(expected)


def test_sessions_of_the_benchmark_outside_the_account_do_not_count() -> None:
    equity = account(walk(100))
    market = benchmark(100)
    longer = pd.concat([market, pd.Series([9.0, -0.9], index=SESSIONS[[0, 101]])])
    pd.testing.assert_series_equal(values(equity, market), values(equity, longer))


@given(seed=st.integers(0, 10_000), n=st.integers(2, 90), scale=st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_figures_keep_their_contract_and_do_not_depend_on_the_size(
    seed: int, n: int, scale: float
) -> None:
    path = walk(n, seed, volatility=0.03)
    table = metrics.kpis(account(path), benchmark(n), SETTINGS)
    contracts.Kpi.check(table)
    dollars = table["unit"] == "usd"
    larger = metrics.kpis(account(scale * path), benchmark(n), SETTINGS)
    ours = table["value"].where(~dollars, scale * table["value"])
    np.testing.assert_allclose(larger["value"], ours, rtol=1e-6, atol=1e-9 * scale)
    by_name = table.set_index("name")["value"]
    assert -1 < by_name["max_drawdown"] <= by_name["drawdown"] <= 0
    assert by_name["worst_day"] <= by_name["best_day"]
    assert 0 <= by_name["hit_rate"] <= 1
