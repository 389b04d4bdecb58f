"""What is expected of a swap, and what it brings; how close the choice of names comes to its bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quant50lib.services import search, swaps
from quant50lib.services.day import Day
from quant50lib.services.limits import Limits
from quant50lib.services.support import Problem, Support, fit
from quant50lib.services.swaps_model import expectations
from quant50lib.settings import OptimizeSettings
from tests.days import LOOSE
from tests.services.fast_days import question


def quadratic(seed: int, gross: float) -> tuple[Problem, Support]:
    """Ten names of which six are held, all well inside their bounds; no cost, no doubt."""
    rng = np.random.default_rng(seed)
    n = 10
    asked = OptimizeSettings(
        **{**LOOSE, "cash_buffer": 1 - gross},
        solver="fast",
        cost_bps=0.0,
        uncertainty_aversion=0.0,
        risk_aversion=8.0,
    )
    day = Day(
        symbols=np.array([f"S{i}" for i in range(n)], dtype=object),
        expected_return=0.004 + 0.00005 * rng.normal(size=n),
        error=np.zeros(n),
        factors=0.012 + 0.002 * rng.normal(size=(3, n)),
        diagonal=np.full(n, 0.03**2),
        held=np.zeros(n),
        upper=np.ones(n),
        sectors=np.array(["One"], dtype=object),
        member=np.ones((1, n)),
        horizon=5,
        idle_sector=np.zeros(1),
    )
    keep = np.arange(n) < 6
    return Problem(day, Limits.of(1.0, asked), asked, 6), Support(keep, np.zeros_like(keep))


@pytest.mark.parametrize("gross", [1.0, 0.2], ids=["free", "exposure binds"])
def test_where_only_planes_bind_the_expectation_is_what_a_swap_brings(gross: float) -> None:
    problem, chosen = quadratic(3, gross)
    book = fit(problem, chosen)
    assert book is not None
    outs, ins = np.arange(6), np.arange(6, 10)
    expected = expectations(problem, chosen, book, ins, outs)
    for row in range(5):
        for column in range(7):
            if (row, column) == (0, 0):
                continue
            keep = chosen.keep.copy()
            keep[ins[row - 1 : row]] = True
            keep[outs[column - 1 : column]] = column == 0
            other = fit(problem, Support(keep, chosen.remain))
            assert other is not None and (other.weights[keep] > 1e-4).all()
            brought = problem.value(other) - problem.value(book)
            assert expected[row, column] == pytest.approx(brought, abs=2e-4 + 1e-3 * abs(brought))


def many(seed: int, **knobs: object) -> Problem:
    """A day that would like more names than may be held."""
    q = question(seed, 60, 20, tight=0.0)
    asked = q.settings.model_copy(update={"solver": "fast", "max_names": 12, **knobs})
    return Problem(replace(q.day, idle=0.0, sold=0.0), Limits.of(1.0, asked), asked, 12)


def test_a_few_nodes_bring_the_bound_closer_and_never_below_the_best() -> None:
    closer = 0
    for seed in range(8):
        alone, with_nodes, proven = (
            search.search(p.day, p.limits, p.settings, p.places)
            for p in (
                many(seed, certificate_nodes=0, certificate_gap=0.0),
                many(seed, certificate_nodes=8, certificate_gap=0.0),
                many(seed, exact=True, exact_nodes=60, certificate_gap=0.0),
            )
        )
        assert with_nodes.objective >= alone.objective - 1e-6
        assert with_nodes.upper_bound <= alone.upper_bound + 1e-9
        assert with_nodes.upper_bound >= proven.objective - 1e-6
        closer += with_nodes.upper_bound < alone.upper_bound - 1e-3
    assert closer >= 3


def test_the_search_ends_where_the_certificate_is_close_enough() -> None:
    p = many(1)
    relaxed, p = search._relax(p)
    chosen, answer = search._first_fit(p, relaxed.weights)
    assert answer is not None
    highest = p.value(answer) + 0.9 * p.settings.certificate_gap
    assert swaps.improve(p, chosen, answer, highest) == (chosen, answer)


def test_the_fast_solver_stops_a_proof_by_its_nodes() -> None:
    p = many(3, exact=True, exact_nodes=3, swap_solves=0)
    found = search.search(p.day, p.limits, p.settings, p.places)
    assert found.proof is not None
    assert found.proof.nodes == 3 and not found.proof.complete
