"""The brake, the halt and the stop-loss: their edges, their memory, and what they promise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib import contracts
from quant50lib.errors import ContractError, RiskHalt
from quant50lib.services import risk
from quant50lib.services.panel import Panel
from quant50lib.settings import RiskSettings
from quant50lib.utils import dates
from quant50lib.utils.frames import typed
from tests.real_bars import real_panel

SETTINGS = RiskSettings()
SESSIONS = dates.sessions_between("2024-01-02", "2026-06-30")
NO_EVENTS = typed(contracts.RiskEvent, [])


def account(values: list[float], flows: dict[int, float] | None = None) -> pd.DataFrame:
    """An Equity table; flows by position."""
    flow = pd.Series(0.0, index=range(len(values)))
    flow.update(pd.Series(flows or {}, dtype=float))
    rows = {"session": SESSIONS[: len(values)], "equity": values, "flow": flow}
    rows |= {"cash": 0.0, "holdings": values, "broker_equity": values}
    return pd.DataFrame(rows | {"dividends": 0.0, "turnover": 0.0})[contracts.Equity.columns()]


def live(values: list[float], **more: Any) -> tuple[list[dict], pd.DataFrame]:
    """States and events of an account lived through one session at a time."""
    table, state, states, events = account(values, **more), None, [], [NO_EVENTS]
    for session in table["session"]:
        known = table[table["session"] <= session]
        state, happened = risk.next_state(state, known, session, SETTINGS)
        states.append(contracts.RiskState.check(state).iloc[0].to_dict())
        events.append(contracts.RiskEvent.check(happened))
    return states, pd.concat(events, ignore_index=True)


# ---- the brake ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drawdown", "budget"),
    [(0.0, 1.0), (0.05, 1.0), (0.06, 0.8), (0.075, 0.5), (0.09, 0.2), (0.10, 0.0), (0.3, 0.0)],
)
def test_budget_is_linear_between_soft_and_hard(drawdown: float, budget: float) -> None:
    assert risk.exposure_budget(drawdown, SETTINGS) == pytest.approx(budget, abs=1e-12)


def test_a_book_with_less_than_a_fifth_is_halted_whatever_the_settings_say() -> None:
    assert risk.halt_level(SETTINGS) == pytest.approx(0.09)
    assert risk.halt_level(RiskSettings(drawdown_halt=0.10)) == pytest.approx(0.09)
    assert risk.halt_level(RiskSettings(drawdown_halt=0.07)) == 0.07


def test_the_mark_rises_and_the_brake_follows_the_drawdown() -> None:
    states, events = live([100, 110, 104.5, 102.3, 105.6, 111])
    assert [s["mark"] for s in states] == pytest.approx([100, 110, 110, 110, 110, 111])
    assert [s["drawdown"] for s in states] == pytest.approx([0, 0, 0.05, 0.07, 0.04, 0])
    assert [s["budget"] for s in states] == pytest.approx([1, 1, 1, 0.6, 1, 1])
    assert list(events["rule"]) == ["brake", "brake"]
    assert list(events["session"]) == [SESSIONS[3], SESSIONS[4]]
    assert events["detail"].to_list() == [
        "exposure budget 100.0% -> 60.0%",
        "exposure budget 60.0% -> 100.0%",
    ]


@pytest.mark.parametrize(("equity", "halted"), [(91.0, True), (91.000001, False), (90.9, True)])
def test_the_halt_begins_exactly_at_its_limit(equity: float, halted: bool) -> None:
    states, events = live([100, equity])
    assert states[-1]["halted"] is halted
    assert list(events["rule"]) == (["halt"] if halted else ["brake"])
    if halted:
        assert states[-1]["budget"] == 0 and states[-1]["halted_sessions"] == 0


def test_a_halt_ends_after_21_sessions_with_the_mark_at_equity() -> None:
    values = [100.0, 90.0] + [89.0] * 25
    states, events = live(values)
    assert [s["halted"] for s in states] == [False] + [True] * 21 + [False] * 5
    assert [s["budget"] for s in states[1:22]] == [0.0] * 21
    after = states[22]
    assert (after["mark"], after["drawdown"], after["budget"]) == (89.0, 0.0, 1.0)
    assert list(events["rule"]) == ["halt", "rearm"]
    assert events["session"].to_list() == [SESSIONS[1], SESSIONS[22]]


def test_money_paid_in_or_out_neither_heals_nor_hurts() -> None:
    """6 % lost, then the account is doubled, then half of it is taken out again."""
    states, _ = live([100, 94, 188, 94], flows={2: 94.0, 3: -94.0})
    assert [s["drawdown"] for s in states] == pytest.approx([0, 0.06, 0.06, 0.06])
    assert [s["mark"] for s in states] == pytest.approx([100, 100, 200, 100])


def test_missed_sessions_are_caught_up_one_by_one() -> None:
    rng = np.random.default_rng(3)
    values = list(100 * np.exp(np.cumsum(rng.normal(0, 0.02, 80))))
    states, events = live(values)
    table = account(values)
    first, _ = risk.next_state(None, table[:10], SESSIONS[9], SETTINGS)
    state, caught = risk.next_state(first, table, SESSIONS[79], SETTINGS)
    pd.testing.assert_frame_equal(state, typed(contracts.RiskState, states[-1:]), rtol=1e-12)
    pd.testing.assert_frame_equal(
        caught, events[events["session"] > SESSIONS[9]].reset_index(drop=True)
    )


def test_the_same_session_again_changes_nothing() -> None:
    table = account([100, 93])
    state, _ = risk.next_state(None, table, SESSIONS[1], SETTINGS, ex_ante_annual=0.1)
    again, events = risk.next_state(state, table, SESSIONS[1], SETTINGS, ex_ante_annual=0.1)
    pd.testing.assert_frame_equal(again, state)
    assert events.empty


def test_what_comes_later_is_not_looked_at() -> None:
    state, _ = risk.next_state(None, account([100, 95, 10]), SESSIONS[1], SETTINGS)
    alone, _ = risk.next_state(None, account([100, 95]), SESSIONS[1], SETTINGS)
    pd.testing.assert_frame_equal(state, alone)


def test_books_that_were_not_closed_and_states_from_the_future_are_refused() -> None:
    table = account([100, 101])
    with pytest.raises(ContractError, match="no equity for 2024-01-05"):
        risk.next_state(None, table, SESSIONS[3], SETTINGS)
    later, _ = risk.next_state(None, table, SESSIONS[1], SETTINGS)
    with pytest.raises(ContractError, match="after 2024-01-02"):
        risk.next_state(later, table, SESSIONS[0], SETTINGS)


def test_a_halt_is_ended_by_command() -> None:
    halted, _ = risk.next_state(None, account([100, 90]), SESSIONS[1], SETTINGS)
    state, events = risk.rearm(halted, SETTINGS)
    row = contracts.RiskState.check(state).iloc[0]
    assert (row["mark"], row["budget"], row["halted"]) == (pytest.approx(90), 1.0, False)
    assert contracts.RiskEvent.check(events)["detail"].to_list() == ["by command"]
    with pytest.raises(RiskHalt, match="nothing to re-arm"):
        risk.rearm(state, SETTINGS)


@given(
    seed=st.integers(0, 100_000),
    volatility=st.floats(0.001, 0.04),
    drift=st.floats(-0.01, 0.002),
    limits=st.sampled_from([(0.05, 0.09, 0.10), (0.05, 0.10, 0.10), (0.02, 0.03, 0.2)]),
)
@settings(max_examples=4, deadline=None)
def test_no_book_is_stuck_with_little_exposure(
    seed: int, volatility: float, drift: float, limits: tuple[float, float, float]
) -> None:
    """Returns scaled by the budget of the day before, as a book would earn them: B < 0.2 never
    lasts more than 21 sessions, and an episode loses no more than the limit and one session."""
    soft, halt, hard = limits
    rules = RiskSettings(drawdown_soft=soft, drawdown_halt=halt, drawdown_hard=hard)
    rng = np.random.default_rng(seed)
    table = account([100.0] * 90)
    state, _ = risk.next_state(None, table[:1], SESSIONS[0], rules)
    stuck, worst = 0, 0.0
    for at, session in enumerate(SESSIONS[1:90], start=1):
        row = state.iloc[0]
        day = 0.0 if row["halted"] else row["budget"] * rng.normal(drift, volatility)
        worst = max(worst, -day)
        table.loc[at, "equity"] = table.loc[at - 1, "equity"] * (1 + day)
        state, _ = risk.next_state(state, table[at - 1 : at + 1], session, rules)
        row = state.iloc[0]
        stuck = stuck + 1 if row["budget"] < 0.2 - 1e-9 else 0
        assert stuck <= rules.rearm_sessions
        assert row["drawdown"] <= risk.halt_level(rules) + worst + 1e-9
        assert row["mark"] >= table.loc[at, "equity"] * (1 - 1e-12)


def lived_by_budget(
    returns: np.ndarray, rules: RiskSettings, fall: float = 0.0
) -> tuple[list[dict], list[float]]:
    """A book whose exposure is the budget of the evening before; in a halt it is sold at the next
    open, so that the day itself is not earned. `fall`: what each open gaps against what is sold."""
    state: dict = risk._fresh(SESSIONS[0], 100.0, 1.0)
    states, earned, equity, exposure = [state], [], 100.0, 1.0
    for session, day in zip(SESSIONS[1:], returns, strict=False):
        sold = max(0.0, exposure - state["budget"])
        growth = state["budget"] * day - sold * fall
        exposure = state["budget"]
        equity *= 1 + growth
        state, _ = risk.step(state, session, equity, growth, rules)
        states.append(state)
        earned.append(growth)
    return states, earned


def check_promises(states: list[dict], earned: list[float], rules: RiskSettings) -> None:
    """Never stuck; and an episode loses what halts it, plus one day and the gap of its sale."""
    stuck, worst, sale = 0, 0.0, 0.0
    for before, after, growth in zip(states[:-1], states[1:], earned, strict=True):
        stuck = stuck + 1 if after["budget"] < 0.2 - 1e-9 else 0
        assert stuck <= rules.rearm_sessions <= 21
        worst = max(worst, -growth)
        sale = max(sale, -growth) if before["halted"] else sale
        assert after["drawdown"] <= risk.halt_level(rules) + worst + sale + 1e-9
        assert after["drawdown"] <= rules.drawdown_hard + worst + sale + 1e-9


@given(
    soft=st.floats(0.005, 0.5),
    parts=st.tuples(st.floats(0.01, 1.0), st.floats(0.001, 0.4)),
    rearm=st.integers(1, 21),
    days=st.lists(st.floats(-0.25, 0.12), min_size=30, max_size=120),
)
@settings(max_examples=150, deadline=None)
def test_what_is_promised_holds_for_any_settings_and_any_path(
    soft: float, parts: tuple[float, float], rearm: int, days: list[float]
) -> None:
    hard = soft + parts[1]
    halt = soft + parts[0] * parts[1]
    rules = RiskSettings(
        drawdown_soft=soft, drawdown_halt=halt, drawdown_hard=hard, rearm_sessions=rearm
    )
    states, earned = lived_by_budget(np.array(days), rules)
    check_promises(states, earned, rules)


@pytest.mark.parametrize("seed", range(6))
def test_a_market_that_falls_by_a_third_in_a_month(seed: int) -> None:
    """As in 2008 or 2020: 35 % in 21 sessions, wild days both ways, gaps at every open; the book
    at 10 % volatility before it loses no more than 10 % and one day's gap in any episode."""
    rng = np.random.default_rng(seed)
    calm = rng.normal(0.0004, 0.0063, 60)
    wild = rng.normal(0, 0.03, 21)
    wild += (1 - 0.35) ** (1 / 21) - 1 - wild.mean()
    after = rng.normal(0.001, 0.015, 120)
    returns = np.concatenate([calm, wild, after])
    states, earned = lived_by_budget(returns, SETTINGS, fall=0.01)
    check_promises(states, earned, SETTINGS)
    assert any(state["halted"] for state in states)
    assert max(s["drawdown"] for s in states) <= 0.10 + max(-min(earned), 0.0) + 0.01


@pytest.mark.parametrize("crash", ["2015-08-24", "2018-02-05"])
def test_the_brake_on_days_when_the_market_fell(crash: str) -> None:
    """Sixty large names at their real returns and full exposure, nothing else to protect them."""
    panel, _ = real_panel(str((pd.Timestamp(crash) + pd.Timedelta(days=2)).date()), 60)
    returns = panel.close.pct_change(fill_method=None).mean(axis=1).to_numpy()[-160:]
    states, earned = lived_by_budget(returns, SETTINGS, fall=0.01)
    check_promises(states, earned, SETTINGS)
    deepest = 1 - np.cumprod(1 + returns) / np.maximum.accumulate(np.cumprod(1 + returns))
    assert min(s["budget"] for s in states) < 1.0  # it acted
    assert max(s["drawdown"] for s in states) <= deepest.max() + 0.01 + 1e-9


@pytest.mark.parametrize(
    ("drawdown", "budget"), [(0.05, 1.0), (0.05 + 1e-9, 1.0 - 2e-8), (0.09 - 1e-9, 0.2 + 2e-8)]
)
def test_the_brake_exactly_at_its_limits(drawdown: float, budget: float) -> None:
    state = risk._fresh(SESSIONS[0], 100.0, 1.0)
    after, _ = risk.step(state, SESSIONS[1], 100 * (1 - drawdown), -drawdown, SETTINGS)
    assert after["budget"] == pytest.approx(budget, abs=1e-11)
    assert not after["halted"]


# ---- own surprises -----------------------------------------------------------------------------


def test_feedback_forgets_half_in_its_half_life() -> None:
    level = 1.5
    for _ in range(21):
        level = risk.feedback(level, 0.0, SETTINGS)
    assert level == pytest.approx(max(1.5 * math.sqrt(0.5), risk.FEEDBACK_BOUNDS[0]))


@pytest.mark.parametrize("true_level", [0.9, 1.0, 1.3])
def test_feedback_finds_the_volatility_that_the_model_misses(true_level: float) -> None:
    """Returns of `true_level` times the model's volatility; the forecast carries the feedback."""
    rng = np.random.default_rng(0)
    level, path = 1.0, []
    for _ in range(3000):
        ex_ante = 0.01 * level
        level = risk.feedback(level, rng.normal(0, 0.01 * true_level) / ex_ante, SETTINGS)
        path.append(level**2)
    assert math.sqrt(np.mean(path[100:])) == pytest.approx(true_level, rel=0.04)


def test_feedback_is_bounded_and_learns_nothing_from_nothing() -> None:
    low, high = risk.FEEDBACK_BOUNDS
    assert risk.feedback(1.0, 1000.0, SETTINGS) == high
    assert risk.feedback(low, 0.0, SETTINGS) == low
    assert risk.feedback(1.1, math.nan, SETTINGS) == 1.1
    assert risk.feedback(1.1, math.inf, SETTINGS) == 1.1


def test_feedback_that_is_off_is_one_whatever_happens() -> None:
    off = RiskSettings(feedback=False)
    assert risk.feedback(1.3, 4.0, off) == risk.feedback(1.3, math.nan, off) == 1.0
    table = account([100.0, 102.0])
    state, _ = risk.next_state(None, table, SESSIONS[1], off, ex_ante_annual=0.05)
    assert state["feedback"].iloc[0] == 1.0


def test_the_state_carries_the_feedback() -> None:
    table = account([100.0, 102.0, 103.0])
    first, _ = risk.next_state(None, table[:2], SESSIONS[1], SETTINGS, ex_ante_annual=0.16)
    expected = risk.feedback(1.0, 0.02 / (0.16 / math.sqrt(252)), SETTINGS)
    assert first["feedback"].iloc[0] == pytest.approx(expected, rel=1e-12)
    unknown, _ = risk.next_state(first, table, SESSIONS[2], SETTINGS)
    assert unknown["feedback"].iloc[0] == first["feedback"].iloc[0]
