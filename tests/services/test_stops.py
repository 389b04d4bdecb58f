"""The stop-loss: its edges, its two readings, its memory, and the arrays beneath it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant50lib import contracts
from quant50lib.services import risk, stops
from quant50lib.services.panel import Panel
from quant50lib.settings import RiskSettings
from quant50lib.utils import dates
from quant50lib.utils.frames import typed
from tests import factories
from tests.real_bars import real_panel
from tests.services.test_risk import account

SETTINGS = RiskSettings()
SESSIONS = dates.sessions_between("2024-01-02", "2026-06-30")
NO_EVENTS = typed(contracts.RiskEvent, [])


def bars(closes: list[float], dividend_at: int | None = None, split_at: int | None = None) -> Panel:
    """One name, AA, as printed; a dividend of 5 % or a split of 2 for 1 on a session."""
    index = SESSIONS[: len(closes)]
    printed = pd.DataFrame({"AA": closes}, index=index, dtype=float)
    prices, shares = printed.copy(), pd.DataFrame({"AA": 1.0}, index=index)
    if dividend_at is not None:
        prices.iloc[:dividend_at] *= 0.95
    if split_at is not None:
        prices.iloc[:split_at] /= 2
        shares.iloc[:split_at] *= 2
    volume = 1e6 * shares
    worth = printed * 1e6
    return Panel(prices, prices, prices, prices, volume, printed, worth)


def holding(entry_price: float, entry: int, last: int, symbol: str = "AA") -> pd.DataFrame:
    row = {"session": SESSIONS[last], "symbol": symbol, "qty": 10.0, "entry_price": entry_price}
    row |= {"entry_session": SESSIONS[entry], "price": 1.0, "value": 10.0, "weight": 0.01}
    return typed(contracts.Holding, [row])


def stopped(panel: Panel, held: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    rules = SETTINGS.model_copy(update=changes)
    return contracts.RiskEvent.check(stops.stops(held, panel, panel.sessions[-1], rules))


CALM = [100.0, 101, 100, 101, 100, 101, 100]


def limit_of_calm() -> float:
    returns = np.diff(CALM) / np.array(CALM[:-1])
    return 3 * returns[-5:].std(ddof=1)


@pytest.mark.parametrize(("above", "fires"), [(1e-6, True), (0.0, False), (-1e-6, False)])
def test_a_stop_fires_above_its_limit_and_not_at_it(above: float, fires: bool) -> None:
    """The entry is put so that the loss is the limit, and a hair more or less."""
    limit = limit_of_calm()
    entry = 100 / (1 - limit - above)
    events = stopped(bars(CALM), holding(entry, 0, 6))
    assert len(events) == fires
    if fires:
        row = events.iloc[0]
        assert (row["rule"], row["symbol"], row["session"]) == ("stop_loss", "AA", SESSIONS[6])
        assert row["limit"] == pytest.approx(limit, rel=1e-12)
        assert row["value"] == pytest.approx(limit + above, abs=1e-12)


def test_the_longer_reading_is_the_volatility_of_five_sessions() -> None:
    rng = np.random.default_rng(2)
    closes = list(100 * np.exp(np.cumsum(rng.normal(0, 0.02, 60))))
    panel = bars(closes)
    returns = np.diff(closes) / np.array(closes[:-1])
    rules = RiskSettings(stop_volatility="horizon")
    expected = returns[-21:].std(ddof=1) * math.sqrt(5)
    assert stops.stop_volatility(panel, rules)["AA"] == pytest.approx(expected, rel=1e-12)
    entry = closes[-1] / (1 - 4 * returns[-5:].std(ddof=1))
    assert len(stopped(panel, holding(entry, 30, 59))) == 1
    assert stopped(panel, holding(entry, 30, 59), stop_volatility="horizon").empty


def test_dividends_since_the_entry_count_as_regained() -> None:
    """Bought at 100, a dividend of 5 % on the third session, now 95: nothing is lost."""
    closes = [100.0, 100, 95, 95, 95, 95, 95]
    panel = bars(closes, dividend_at=2)
    first = panel.sessions[0]
    assert stops.loss_from_entry(panel, "AA", 100.0, first) == pytest.approx(0, abs=1e-12)
    # bought on the ex-session itself, at its open: the dividend went to the seller
    assert stops.loss_from_entry(panel, "AA", 100.0, panel.sessions[2]) == pytest.approx(0.05)


def test_a_split_is_no_loss_and_is_not_counted_twice() -> None:
    """Bought at 100, split 2 for 1: the books say 50, the price is 49, the loss 2 %."""
    panel = bars([100.0, 100, 100, 50, 50, 49, 49], split_at=3)
    assert stops.loss_from_entry(panel, "AA", 50.0, panel.sessions[0]) == pytest.approx(0.02)


def test_a_split_with_a_dividend_before_it() -> None:
    """100, a dividend of 5 %, then 2 for 1: 47.5 after it is what 100 was."""
    closes = [100.0, 95, 95, 47.5, 47.5, 47.5, 47.5]
    panel = bars(closes, split_at=3)
    paid = panel.close.copy()
    paid.iloc[:1] *= 0.95
    panel = replace(panel, close=paid)
    assert stops.loss_from_entry(panel, "AA", 50.0, panel.sessions[0]) == pytest.approx(
        0, abs=1e-12
    )


def test_without_bars_enough_there_is_no_stop() -> None:
    assert stopped(bars([100.0, 50, 40]), holding(100, 0, 2)).empty
    unknown = stopped(bars(CALM), holding(1e6, 0, 6, symbol="ZZ"))
    assert unknown.empty


def test_a_missing_bar_is_left_out() -> None:
    closes = CALM[:3] + [math.nan] + CALM[3:]
    volatility = stops.stop_volatility(bars(closes), SETTINGS)["AA"]
    assert volatility == pytest.approx(limit_of_calm() / 3, rel=1e-12)


def test_stops_see_nothing_after_the_session() -> None:
    panel = factories.panel(6, 60)
    session = panel.sessions[-20]
    held = pd.concat(
        [
            holding(2 * float(panel.traded_close.loc[session, s]), 0, 0, symbol=s).assign(
                session=session, entry_session=panel.sessions[5]
            )
            for s in panel.symbols
        ]
    )
    events = stops.stops(held, panel, session, SETTINGS)
    assert set(events["symbol"]) == set(panel.symbols)
    pd.testing.assert_frame_equal(
        events, stops.stops(held, panel.until(session), session, SETTINGS)
    )


def stop_on(*at: int, symbol: str = "AA") -> pd.DataFrame:
    rows = [{"session": SESSIONS[i], "rule": "stop_loss", "symbol": symbol} for i in at]
    return typed(
        contracts.RiskEvent, [r | {"value": 0.1, "limit": 0.05, "detail": ""} for r in rows]
    )


def test_a_name_is_barred_for_five_decisions() -> None:
    events = stop_on(3)
    barred = [list(stops.barred(events, s, SETTINGS)) for s in SESSIONS[:10]]
    assert barred == [[]] * 3 + [["AA"]] * 5 + [[]] * 2
    assert stops.barred(NO_EVENTS, SESSIONS[5], SETTINGS).empty
    none = SETTINGS.model_copy(update={"stop_bar_sessions": 0})
    assert stops.barred(events, SESSIONS[3], none).empty


def test_a_second_stop_bars_anew_and_other_rules_do_not() -> None:
    brake = stop_on(4, symbol="").assign(rule="brake")
    events = pd.concat([stop_on(3, 6), brake, stop_on(5, symbol="BB")], ignore_index=True)
    assert list(stops.barred(events, SESSIONS[9], SETTINGS)) == ["AA", "BB"]
    assert list(stops.barred(events, SESSIONS[10], SETTINGS)) == ["AA"]


def test_every_session_of_a_bar_is_an_event() -> None:
    events = stop_on(3)
    assert stops.bar_events(events, SESSIONS[3], SETTINGS).empty  # the stop itself says it
    row = contracts.RiskEvent.check(stops.bar_events(events, SESSIONS[5], SETTINGS)).iloc[0]
    assert (row["rule"], row["symbol"], row["value"], row["limit"]) == ("barred", "AA", 2, 5)
    assert stops.bar_events(events, SESSIONS[8], SETTINGS).empty


def test_forced_exits_are_all_in_a_halt_and_else_those_stopped() -> None:
    held = pd.Series({"AA": 0.05, "BB": 0.03})
    calm, _ = risk.next_state(None, account([100, 100]), SESSIONS[1], SETTINGS)
    halted, _ = risk.next_state(None, account([100, 90]), SESSIONS[1], SETTINGS)
    assert stops.forced_exits(calm, stop_on(1), held).to_dict() == {"AA": 0.05}
    assert stops.forced_exits(calm, NO_EVENTS, held).empty
    assert stops.forced_exits(halted, NO_EVENTS, held).to_dict() == held.to_dict()


# ---- the arrays ----------------------------------------------------------------------------------


def by_hand(panel: Panel, symbol: str, entry_price: float, entry: pd.Timestamp) -> float:
    """One holding, bar by bar: what a share bought and all its dividends, reinvested, are worth."""
    since = panel.traded_close[symbol].loc[entry:].dropna().index
    if not len(since):
        return math.nan
    worth = float(panel.traded_close.loc[since[-1], symbol])
    for before, after in zip(since[:-1], since[1:], strict=True):
        printed = panel.traded_close.loc[[before, after], symbol].to_numpy()
        total = panel.close.loc[[before, after], symbol].to_numpy()
        volume = panel.volume.loc[[before, after], symbol].to_numpy()
        shares = panel.dollar_volume.loc[[before, after], symbol].to_numpy() / printed / volume
        if abs(shares[1] / shares[0] - 1) <= stops.SPLIT_MIN:
            worth *= total[1] / total[0] / (printed[1] / printed[0])
    return 1 - worth / entry_price


def with_actions(seed: int) -> Panel:
    """Random walks with dividends, a split in every third name, and bars that are missing."""
    panel, rng = factories.panel(9, 60, seed=seed), np.random.default_rng(seed)
    paid = np.where(rng.random(panel.close.shape) < 0.05, rng.uniform(0.001, 0.03), 0.0)
    split = np.ones(panel.close.shape)
    split[rng.integers(5, 55, 3), [0, 3, 6]] = rng.choice([0.5, 2.0, 3.0])
    later = np.cumprod((split * (1 + paid))[::-1], axis=0)[::-1]
    shares = np.cumprod(split[::-1], axis=0)[::-1]
    printed = panel.close * np.vstack([later[1:], np.ones(9)])
    volume = panel.volume
    traded = volume / np.vstack([shares[1:], np.ones(9)])
    hole = rng.random(panel.close.shape) < 0.08
    made = replace(panel, traded_close=printed, dollar_volume=printed * traded, volume=volume)
    return made.each(lambda values: values.mask(hole))


@pytest.mark.parametrize("seed", range(2))
def test_all_holdings_at_once_lose_what_each_loses_bar_by_bar(seed: int) -> None:
    panel, rng = with_actions(seed), np.random.default_rng(seed)
    for symbol in panel.symbols:
        entry = panel.sessions[int(rng.integers(0, 59))]
        expected = by_hand(panel, symbol, 90.0, entry)
        assert stops.loss_from_entry(panel, symbol, 90.0, entry) == pytest.approx(
            expected, rel=1e-12, nan_ok=True
        )
    held = pd.concat(
        [
            holding(90.0, 0, 0, symbol=s).assign(entry_session=panel.sessions[at])
            for s, at in zip(panel.symbols, rng.integers(0, 59, 9), strict=True)
        ]
    )
    events = stops.stops(held, panel, panel.sessions[-1], SETTINGS).set_index("symbol")
    for row in held.itertuples():
        loss = by_hand(panel, row.symbol, 90.0, row.entry_session)
        closes = panel.close[row.symbol].iloc[-15:].dropna().to_numpy()
        limit = 3 * np.std(np.diff(closes)[-5:] / closes[-6:-1], ddof=1)
        assert (row.symbol in events.index) == (loss > limit)
        if row.symbol in events.index:
            assert events.loc[row.symbol, "value"] == pytest.approx(loss, rel=1e-12)
            assert events.loc[row.symbol, "limit"] == pytest.approx(limit, rel=1e-12)


def test_closes_too_few_or_with_gaps() -> None:
    closes = np.array([[1.0, np.nan], [1.1, 1.0], [np.nan, 1.1], [1.2, np.nan], [1.1, 1.2]])
    returns = np.array([0.1, 1.2 / 1.1 - 1, 1.1 / 1.2 - 1])
    found = stops.last_deviation(closes, 3)
    assert found[0] == pytest.approx(returns.std(ddof=1)) and math.isnan(found[1])
    assert np.isnan(stops.last_deviation(closes, 5)).all()


@pytest.mark.parametrize("reading", ["daily", "horizon"])
def test_how_often_each_reading_sells_within_a_month_of_a_purchase(reading: str) -> None:
    """Of purchases of a Gaussian random walk: counted by the stop against counted by hand."""
    rng = np.random.default_rng(5)
    closes = 100 * np.cumprod(1 + rng.normal(0, 0.02, (60, 400)), axis=0)
    rules = SETTINGS.model_copy(update={"stop_volatility": reading})
    fired = np.zeros(400, dtype=bool)
    for now in range(31, 52):  # bought at the close of session 30
        since, shares = closes[30 : now + 1], np.ones((now - 29, 400))
        loss = stops.losses(since, since, shares, np.zeros(400, dtype=int), closes[30])
        recent = closes[max(0, now + 1 - stops.window(rules)) : now + 1]
        fired |= stops.exceeded(loss, 3 * stops.yardstick(recent, rules))
    by_count = np.zeros(400, dtype=bool)
    n, factor = (5, 1.0) if reading == "daily" else (21, math.sqrt(5))
    returns = pd.DataFrame(closes).pct_change()
    for now in range(31, 52):
        yard = factor * returns.iloc[now - n + 1 : now + 1].std().to_numpy()
        by_count |= 1 - closes[now] / closes[30] > 3 * yard
    assert fired.tolist() == by_count.tolist()
    assert (fired.mean() > 0.4) if reading == "daily" else (fired.mean() < 0.25)


@pytest.mark.parametrize("session", ["2015-08-24", "2018-02-05"])
def test_stops_on_days_when_the_market_fell(session: str) -> None:
    """Every name bought a week before the fall: those that lost more than three times their own
    volatility go, and no other; what the literal reading sells the longer one mostly keeps."""
    panel, _ = real_panel(session, 60)
    day, bought = panel.sessions[-1], panel.sessions[-6]
    at = panel.traded_close.loc[bought].dropna().index
    held = pd.concat(
        [
            holding(float(panel.traded_close.loc[bought, s]), 0, 0, symbol=s).assign(
                session=day, entry_session=bought
            )
            for s in at
        ]
    )
    daily = set(stops.stops(held, panel, day, SETTINGS)["symbol"])
    longer = RiskSettings(stop_volatility="horizon")
    horizon = set(stops.stops(held, panel, day, longer)["symbol"])
    returns = panel.close[at].pct_change(fill_method=None)
    fell = 1 - panel.close.loc[day, at] / panel.close.loc[bought, at]
    assert daily == set(at[fell > 3 * returns.iloc[-5:].std()])
    assert horizon == set(at[fell > 3 * math.sqrt(5) * returns.iloc[-21:].std()])
    assert len(horizon) < len(daily)
