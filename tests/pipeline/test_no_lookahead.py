"""No look-ahead: two stores that are one up to a session give every stage the same, to the last bit.

The second store goes on: wild prices, names that vanish and appear, members that leave, splits and
dividends, and bars and actions of the past that are told anew after the session.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant50lib.contracts import OPTIMIZE, Equity, Feature, Holding, RiskEvent, RiskState, Universe
from quant50lib.jobs import leak_check, leak_desk
from quant50lib.pipeline.context import StageContext
from quant50lib.services import (
    book,
    covariance,
    data,
    features,
    forecast,
    label,
    leak,
    leak_world,
    risk,
    stops,
    training,
    universe,
)
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home
from quant50lib.utils.frames import typed

LAST = dates.as_session("2024-06-28")
SETTINGS = Settings()
FUTURES = ("none", "a", "b")


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The stage `optimize` of three desks: without a future, and with two of them."""
    home = Home(tmp_path_factory.mktemp("desk"))
    known = leak_check.demo_world(SETTINGS, LAST, 1)
    rng = np.random.default_rng(5)
    past = leak_world.halted(known, LAST, "SPY", rng)
    found = {}
    for name in FUTURES:
        told = past
        if name != "none":
            told = leak_world.poisoned(past, LAST, "SPY", leak.FUTURE_SESSIONS, rng)
            told = leak_world.revised(told, LAST, rng)
        side = leak_desk.Side(name, told, LAST, LAST, ())
        place = leak_desk.prepared(home, SETTINGS, side)
        found[name] = StageContext(home, OPTIMIZE, place)
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two things that a stage holds are one, to the last bit."""
    if is_dataclass(a) and not isinstance(a, type):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, pd.DataFrame | pd.Series | pd.Index):
        return bool(a.equals(b))
    return bool(a == b or (pd.isna(a) and pd.isna(b)))


def test_same_sees_a_single_bit():
    frame = pd.DataFrame({"A": [1.0, np.nan]})
    other = pd.DataFrame({"A": [np.nextafter(1.0, 2.0), np.nan]})
    assert same(frame, frame.copy()) and not same(frame, other)
    assert not same({"x": (1, frame)}, {"x": (1, other)}) and same(np.nan, np.nan)


READ = ("bars", "actions", "announced", "assets", "universe", "renamed", "panel", "sectors")
MORE = ("benchmark_returns", "vendor_check")


@pytest.mark.parametrize("what", READ + MORE)
def test_what_a_stage_reads_is_what_was_known(stages, what):
    true = getattr(stages["none"], what)
    for name in FUTURES[1:]:
        assert same(true, getattr(stages[name], what)), f"{what}: future {name}"


def test_the_stores_do_differ(stages):
    """Else the tests above would hold for any reading."""
    bars = {n: s.store.bars_asof(dates.shift(LAST, 45), None) for n, s in stages.items()}
    actions = {n: s.store.actions_asof(dates.shift(LAST, 45), None) for n, s in stages.items()}
    for name in FUTURES[1:]:
        assert len(bars[name]) > len(bars["none"]) and len(actions[name]) > len(actions["none"])
        merged = bars["none"].merge(bars[name], on=["symbol", "session"], suffixes=("", "_now"))
        assert (merged["close"] != merged["close_now"]).mean() > 0.02
        assert not same(stages["none"].membership, stages[name].membership)


def decided(stage: StageContext) -> dict[str, Any]:
    """Everything that the services make of a session, from the gates to the weights."""
    settings, panel = stage.settings, stage.panel
    names = data.day_universe(
        stage.universe,
        panel,
        data.findings(stage.bars, stage.actions, stage.universe, LAST, settings.data, "SPY"),
        stage.assets,
        LAST,
        settings.data,
        settings.features,
    )
    sectors = names.set_index("symbol")["sector"]
    described = features.describe(panel, sectors, settings.features, "SPY")
    table = label.to_table(label.excess_return(panel, "SPY", 5), 5, LAST)
    rows = training.training_set(
        panel, label.KnownLabels(table, LAST, 5), sectors, settings.features, "SPY"
    )
    today = features.to_table(described.raw, described.standardised, LAST)
    chosen = book.candidates(panel, names, settings)
    expected = forecast.of_day(LAST, chosen, features.as_matrix(today), None, settings.forecast, 5)
    memory, equity, holding = remembered(panel)
    state, events = book.rules(memory, equity, holding, panel, LAST, settings)
    solution = book.solve(expected, names, holding, state, events, memory, panel, settings)
    model = covariance.risk_model(panel, chosen.symbols, settings.optimize, 5)
    return {
        "universe": names,
        "features": described,
        "labels": table,
        "training_set": rows,
        "day": Feature.check(today),
        "candidates": chosen,
        "forecast": expected,
        "state": state,
        "events": events,
        "risk model": model,
        "weights": solution.weights,
    }


def remembered(panel) -> tuple[book.Memory, pd.DataFrame, pd.DataFrame]:
    """Ten holdings bought a month ago, one far above today's price, and an account that has lost."""
    bought = panel.sessions[-22]
    names = panel.symbols[panel.close.iloc[-5:].notna().all()].drop("SPY")[:10]
    price = panel.traded_close.loc[LAST, names]
    rows = [
        {
            "session": LAST,
            "symbol": name,
            "qty": 10.0,
            "entry_price": float(price[name]) * (1.6 if k == 0 else 0.99),
            "entry_session": bought,
            "price": float(price[name]),
            "value": 10 * float(price[name]),
            "weight": 0.02,
        }
        for k, name in enumerate(names)
    ]
    days = panel.sessions[-22:]
    line = np.linspace(100_000, 94_000, len(days))
    equity = pd.DataFrame({"session": days, "equity": line, "cash": line, "holdings": 0.0})
    zeros = {name: 0.0 for name in ("dividends", "flow", "turnover")}
    equity = Equity.check(equity.assign(broker_equity=np.nan, **zeros)[Equity.columns()])
    before = {
        "session": days[-2],
        "mark": 100_000.0,
        "drawdown": 0.0,
        "budget": 1.0,
        "halted": False,
        "halted_sessions": 0,
        "feedback": 1.0,
    }
    return (
        book.Memory(typed(RiskState, [before]), RiskEvent.empty()),
        equity,
        typed(Holding, rows),
    )


def test_from_the_gates_to_the_weights_nothing_depends_on_what_comes_after(stages):
    true = decided(stages["none"])
    assert len(true["training_set"].X) > 1000 and true["weights"].gt(0).sum() > 20
    assert (true["events"]["rule"] == "stop_loss").any() and true["state"]["drawdown"].iloc[0] > 0
    for name in FUTURES[1:]:
        again = decided(stages[name])
        for what, value in true.items():
            assert same(value, again[what]), f"{what}: future {name}"


# ---- services that are given more than they may look at ----------------------------------------------


def test_risk_rules_look_at_no_session_after_their_own(stages):
    """Equity, holdings' closes and events of later sessions are in the tables, and change nothing."""
    later = leak_world.read(without_actions(stages), dates.shift(LAST, 40), 252)
    assert later.close.loc[:LAST, stages["none"].panel.symbols].equals(stages["none"].panel.close)
    memory, equity, holding = remembered(stages["none"].panel)
    more = equity.tail(5).assign(session=[dates.shift(LAST, k) for k in range(1, 6)], equity=1.0)
    longer = pd.concat([equity, more.astype(equity.dtypes)], ignore_index=True)
    found, grown = (
        risk.next_state(memory.state, table, LAST, SETTINGS.risk)[0] for table in (equity, longer)
    )
    assert same(found, grown)
    true = stops.stops(holding, stages["none"].panel, LAST, SETTINGS.risk)
    again = stops.stops(holding, later, LAST, SETTINGS.risk)
    assert len(true) and same(true, again)


def without_actions(stages) -> leak_world.World:
    """A future of the desk's bars, without actions: prices keep their units."""
    stage = stages["none"]
    bars, sectors = stage.bars, stage.sectors
    known = leak_world.world(bars, stage.actions, stage.membership, sectors.drop(["ZZZA", "ZZZB"]))
    told = leak_world.poisoned(known, LAST, "SPY", 45, np.random.default_rng(1))
    return replace(told, actions=told.actions[told.actions["ex_date"] <= LAST])


def test_membership_and_renames_of_later_change_no_earlier_session():
    days = dates.sessions_between("2024-01-02", "2024-06-28")
    told = universe.intervals([("A", None, days[50]), ("B", days[10], None)])
    more = pd.concat([told, universe.intervals([("A", days[60], None), ("C", days[70], None)])])
    a, b = (universe.members(t, ["A", "B", "C"], days) for t in (told, more))
    assert a.loc[: days[59]].equals(b.loc[: days[59]]) and not a.equals(b)


def test_the_universe_of_the_day_is_a_table_of_its_session(stages):
    names = stages["a"].read(Universe)
    assert (names["session"] == LAST).all()
    unborn = names[names["symbol"].isin(leak_world.UNBORN)]
    assert (unborn["reason"] == "not listed").all() and unborn["close"].isna().all()
