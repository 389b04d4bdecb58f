"""The fast method against cvxpy, its proofs against enumeration and brute force, its kernels against
LAPACK."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.services import fast, fast_bound, fast_kernels, programme
from quant50lib.services.day import Answer, Slack, value_bps
from quant50lib.services.fast_arrays import arrays
from quant50lib.services.fast_bound import Prices
from quant50lib.services.limits import TOLERANCE
from tests.services.fast_days import Question, question

SEEDS = st.integers(0, 10**6)


def by_cvxpy(q: Question) -> Answer | None:
    return programme.solve(*q.arguments)


def solvable(count: int, n: int, held: int, fit: bool) -> list[Question]:
    """The first questions whose limits can be kept."""
    asked = (question(seed, n, held, fit=fit) for seed in itertools.count())
    found = (q for q in asked if fast.solve(*q.arguments).answer)
    return list(itertools.islice(found, count))


def scale(answer: Answer) -> float:
    return max(1.0, abs(answer.objective))


# ---- the answer --------------------------------------------------------------------------------


@given(seed=SEEDS, n=st.integers(2, 60), share=st.floats(0, 1), fit=st.booleans())
@settings(max_examples=40, deadline=None)
def test_it_agrees_with_cvxpy(seed: int, n: int, share: float, fit: bool) -> None:
    """The same objective, or the same finding that nothing keeps the limits."""
    q = question(seed, n, int(share * min(n, 30)), fit=fit)
    attempt, theirs = fast.solve(*q.arguments), by_cvxpy(q)
    if not attempt.settled:
        return  # counted below
    assert (attempt.answer is None) == (theirs is None)
    if attempt.answer is not None and theirs is not None:
        off = attempt.answer.objective - theirs.objective
        assert abs(off) <= 1e-6 * scale(theirs)


def test_it_settles_nearly_every_day() -> None:
    questions = [question(seed, 60, 25, fit=bool(seed % 2)) for seed in range(200)]
    assert sum(fast.solve(*q.arguments).settled for q in questions) >= 196


@given(seed=SEEDS, n=st.integers(2, 200), fit=st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_answer_keeps_every_limit_and_is_worth_what_it_says(
    seed: int, n: int, fit: bool
) -> None:
    q = question(seed, n, min(n, 40), fit=fit)
    answer = fast.solve(*q.arguments).answer
    if answer is None:
        return
    w, day = answer.weights, q.day
    assert (w >= q.lower - 1e-12).all() and (w <= q.upper + 1e-12).all()
    assert w.sum() + day.idle <= q.limits.gross + TOLERANCE
    assert np.abs(w - day.held).sum() + day.sold <= q.limits.turnover + q.slack.turnover + TOLERANCE
    assert (day.member @ w <= q.limits.sector + np.asarray(q.slack.sector) + TOLERANCE).all()
    volatility = np.sqrt(w @ day.covariance() @ w * 252 / day.horizon)
    assert volatility <= q.limits.volatility + TOLERANCE
    assert answer.objective == pytest.approx(value_bps(day, w, q.settings), abs=1e-9)
    assert answer.certificate is not None
    assert answer.certificate.gap_bps <= 1e-7 * scale(answer)
    assert answer.certificate.reduced_cost_bps * w.sum() <= 1e-6 * scale(answer)


def test_names_left_out_are_looked_at() -> None:
    """Of 400 names most are left out; the answer is that of the programme of all names."""
    for q in solvable(3, 250, 45, fit=False):
        answer, theirs = fast.solve(*q.arguments).answer, by_cvxpy(q)
        assert answer is not None and theirs is not None and answer.certificate is not None
        assert answer.certificate.names < 250
        assert answer.objective == pytest.approx(theirs.objective, abs=1e-6 * scale(theirs))


@pytest.mark.parametrize("fit", [False, True])
def test_prices_are_those_of_cvxpy(fit: bool) -> None:
    for q in solvable(6, 40, 20, fit=fit):
        answer, theirs = fast.solve(*q.arguments).answer, by_cvxpy(q)
        assert answer is not None and theirs is not None
        for rule, price in theirs.duals.items():
            np.testing.assert_allclose(answer.duals[rule], price, atol=2e-3, err_msg=rule)
        decided = np.abs(q.lower - q.day.held) > 1e-9  # else the price is shared with the trade's
        ours, price = answer.floor_price[decided], theirs.floor_price[decided]
        np.testing.assert_allclose(ours, price, atol=2e-3)


def test_the_price_of_a_rule_is_the_slope_of_the_objective() -> None:
    """Central differences of the objective by the turnover and by the volatility allowed."""
    q = question(7, 60, 30, tight=1.0)
    day = replace(q.day, expected_return=q.day.expected_return + 0.002)
    q = replace(q, day=day, lower=0 * q.lower, upper=np.ones(60), slack=Slack())
    step = 1e-4
    answer = fast.solve(*q.arguments).answer
    assert answer is not None
    for rule in ("turnover", "volatility", "gross"):
        ends = []
        for sign in (-1, 1):
            wide = replace(q.limits, **{rule: getattr(q.limits, rule) + sign * step})
            end = fast.solve(*replace(q, limits=wide).arguments).answer
            assert end is not None
            ends.append(end.objective)
        slope = (ends[1] - ends[0]) / (2 * step)
        assert answer.duals[rule] == pytest.approx(slope, abs=max(0.02 * abs(slope), 1e-2))
    assert answer.duals["turnover"] > 1


def test_it_is_chosen_by_the_setting_and_says_so() -> None:
    q = question(7, 30, 15)
    named = replace(q, settings=q.settings.model_copy(update={"solver": "fast"}))
    answer = programme.solve(*named.arguments)
    assert answer is not None and answer.status == "optimal (fast)"


def test_without_a_certificate_cvxpy_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    q = question(7, 30, 15)
    named = replace(q, settings=q.settings.model_copy(update={"solver": "fast"}))
    monkeypatch.setattr(fast, "GAP", -1.0)
    answer, theirs = programme.solve(*named.arguments), by_cvxpy(q)
    assert answer is not None and theirs is not None
    assert answer.status == "optimal (fell back)"
    np.testing.assert_array_equal(answer.weights, theirs.weights)


def test_a_sector_that_cannot_be_sold_down_in_time_is_proven_infeasible() -> None:
    q = question(1, 30, 20)
    held = np.where(q.day.member[0] > 0, 0.05, 0.0)
    day = replace(q.day, held=held, sold=0.0)
    limits = replace(q.limits, sector=0.02, turnover=0.01)
    attempt = fast.solve(day, limits, q.settings, np.zeros(30), np.ones(30), Slack())
    assert attempt.settled and attempt.answer is None


def test_the_order_of_names_does_not_matter() -> None:
    q = question(9, 80, 30)
    order = np.random.default_rng(0).permutation(80)
    turned = replace(
        q,
        day=replace(q.day.only(order), sold=q.day.sold),
        lower=q.lower[order],
        upper=q.upper[order],
    )
    answer, again = fast.solve(*q.arguments).answer, fast.solve(*turned.arguments).answer
    assert answer is not None and again is not None
    assert again.objective == pytest.approx(answer.objective, abs=2e-7 * scale(answer))


# ---- its proof ---------------------------------------------------------------------------------


@given(seed=SEEDS, prices=st.lists(st.floats(0, 50), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_no_book_beats_the_bound_whatever_the_prices(seed: int, prices: list[float]) -> None:
    """Random books within the limits, against the bound from arbitrary prices and another book."""
    q = question(seed, 12, 6)
    a = arrays(*q.arguments)
    rng = np.random.default_rng(seed)
    z = Prices(np.full(len(a.caps), prices[0]), prices[1], 1e3 * prices[2])
    shown = fast_bound.proof(a, a.base * rng.uniform(0, 1, 12), z)
    for _ in range(200):
        w = np.clip(a.base + rng.choice([0.001, 0.01]) * rng.normal(size=12), a.lower, a.upper)
        here = fast_bound.proof(a, w, z)
        if here.violation <= 0:
            assert here.loss >= shown.bound - 1e-9


def test_the_bound_is_met_where_the_prices_are_right() -> None:
    """One name, no doubt, no variance: buy up to the turnover, at gain less cost a unit."""
    q = question(2, 1, 0)
    day = replace(q.day, expected_return=np.array([0.01]), error=np.zeros(1), sold=0.0, idle=0.0)
    limits = replace(q.limits, turnover=0.01, sector=1.0, volatility=5.0)
    plain = q.settings.model_copy(update={"cost_bps": 10.0, "risk_aversion": 0.0})
    a = arrays(day, limits, plain, np.zeros(1), np.ones(1), Slack())
    weights, prices = np.array([a.turnover]), Prices(np.zeros(len(a.caps)), 90.0, 0.0)
    shown = fast_bound.proof(a, weights, prices)
    assert shown.loss == pytest.approx(-90 * a.turnover)
    assert shown.gap == pytest.approx(0.0, abs=1e-12)


def test_prices_prove_no_contradiction_where_there_is_none() -> None:
    q = question(7, 30, 15)
    a, answer = arrays(*q.arguments), fast.solve(*q.arguments).answer
    assert answer is not None
    rng = np.random.default_rng(0)
    for _ in range(100):
        z = Prices(rng.exponential(1, len(a.caps)), rng.exponential(1), rng.exponential(1e3))
        assert fast_bound.contradiction(a, answer.weights * rng.uniform(0, 2, 30), z) <= 1e-9


# ---- its kernels -------------------------------------------------------------------------------


@given(n=st.integers(1, 40), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_cholesky_is_that_of_lapack(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root, right = rng.normal(size=(n + 5, n)), rng.normal(size=n)
    matrix = root.T @ root
    factor = matrix.copy()
    assert fast_kernels.factorise(factor)
    np.testing.assert_allclose(np.tril(factor), np.linalg.cholesky(matrix), atol=1e-9)
    np.testing.assert_allclose(matrix @ fast_kernels.solved(factor, right), right, atol=1e-7)


def test_what_has_no_factor_is_said_to_have_none() -> None:
    assert not fast_kernels.factorise(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert not fast_kernels.factorise(np.array([[np.nan]]))


def test_sums_of_rows_and_squares() -> None:
    rng = np.random.default_rng(0)
    rows, weight, vector = rng.normal(size=(3, 5)), np.array([2.0, 0.0, -1.0]), rng.normal(size=5)
    total, product, square = np.ones(5), np.empty(3), np.ones((5, 5))
    fast_kernels.add_rows(rows, weight, total)
    fast_kernels.times(rows, vector, product)
    fast_kernels.add_squares(square, rows, weight)
    np.testing.assert_allclose(total, 1 + weight @ rows)
    np.testing.assert_allclose(product, rows @ vector)
    np.testing.assert_allclose(np.tril(square), np.tril(1 + rows.T @ np.diag(weight) @ rows))
    assert fast_kernels.largest(np.array([1.0, -3.0, 2.0])) == 3.0
