"""The loop: nothing of the future in it, books that balance, and rules that hold on every day."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from quant50lib.contracts import Equity, Holding, Order, Target
from quant50lib.errors import SettingsError
from quant50lib.services import backtest, backtest_summary, covariance, data
from quant50lib.services.adjust import to_panel
from quant50lib.services.adjust_rolling import Rolling
from quant50lib.services.backtest_account import Account, Costs, Sent
from quant50lib.services.backtest_market import Window
from quant50lib.services.backtest_signals import Model, rank_ic_by_session
from quant50lib.services.universe import admit
from quant50lib.utils import dates
from tests.small_market import always, poisoned, small_market, small_settings

FIRST, MIDDLE, LAST = (pd.Timestamp(d) for d in ("2023-03-13", "2023-03-21", "2023-03-29"))
FRAMES = ("daily", "holdings", "targets", "orders", "fills", "breaches", "events", "equity")


def run(market, signal, last=MIDDLE, settings=None, costs=None):
    return backtest.run(market, signal, settings or small_settings(), FIRST, last, costs)


@pytest.fixture(scope="module")
def momentum():
    return run(small_market(), "momentum", LAST)


# -- no look-ahead --------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", ["momentum", "model"])
def test_with_the_future_poisoned_everything_before_is_identical(signal, momentum):
    clean = momentum if signal == "momentum" else run(small_market(), signal)
    dirty = run(poisoned(small_market(), MIDDLE), signal)
    for name in FRAMES:
        one, other = getattr(clean, name), getattr(dirty, name)
        one = one.loc[:MIDDLE] if name == "daily" else one[one["session"] <= MIDDLE]
        pd.testing.assert_frame_equal(one, other, check_exact=True, obj=name)


def test_a_model_waits_until_there_is_history_enough():
    market, settings = small_market(), small_settings()
    window = Window.at(market, market.row(MIDDLE), settings)
    assert Model().learn(window, None) is not None
    more = settings.model.model_copy(update={"min_training_sessions": len(market.sessions)})
    waiting = settings.model_copy(update={"model": more})
    assert Model().learn(Window.at(market, market.row(MIDDLE), waiting), None) is None


def test_poison_of_the_past_is_noticed(momentum):
    dirty = run(poisoned(small_market(), pd.Timestamp("2023-03-14")), "momentum")
    assert not dirty.targets.equals(momentum.targets[momentum.targets["session"] <= MIDDLE])


def test_a_window_is_the_panel_that_a_run_of_that_day_makes():
    market, settings = small_market(), small_settings()
    rows, cols = np.nonzero(market.raw.present)
    fields = {name: values[rows, cols] for name, values in market.raw.fields.items()}
    keys = {"symbol": market.raw.symbols[cols], "session": market.sessions[rows]}
    bars = pd.DataFrame(keys | fields)
    for session in ("2022-08-31", "2023-06-30"):
        window = Window.at(market, market.row(pd.Timestamp(session)), settings)
        wanted = to_panel(
            bars[bars["session"] >= market.sessions[window.first]],
            market.actions,
            window.session,
            market.raw.symbols,
        )
        wanted = admit(wanted, always(market.raw.symbols), settings.data.min_history_sessions)
        tail = window.panel(260)
        for name in ("open", "close", "volume", "traded_close", "dollar_volume", "admitted"):
            whole, same = getattr(wanted, name), {"check_exact": True, "check_column_type": False}
            pd.testing.assert_frame_equal(getattr(window.panel(), name), whole, **same)
            pd.testing.assert_frame_equal(getattr(tail, name), whole.tail(260), **same)


def test_prices_adjusted_from_session_to_session_are_those_adjusted_at_once():
    """Forwards by one session and by many, and back again; with a split in a halt."""
    market, settings = small_market(), small_settings()
    at = market.row(MIDDLE)
    raw = market.raw._replace(fields={n: v.copy() for n, v in market.raw.fields.items()})
    for values in raw.fields.values():
        values[at - 2 : at + 1, 3] = np.nan
    acts = [(raw.symbols[3], "forward_split", market.sessions[at - 1], 3.0, 1.0, np.nan, "")]
    acts += [(raw.symbols[3], "cash_dividend", market.sessions[at + 2], np.nan, np.nan, 0.7, "")]
    more = pd.DataFrame(acts, columns=market.actions.columns).astype(market.actions.dtypes)
    actions = pd.concat([market.actions, more]).sort_values("ex_date", ignore_index=True)
    market = replace(market, raw=raw, actions=actions)
    rolling = Rolling(raw, actions)
    for row in [*range(at - 60, at + 4), at + 40, at - 1]:
        moved = Window.at(market, row, settings, rolling).panel(120)
        whole = Window.at(market, row, settings).panel(120)
        for name in ("open", "high", "low", "close", "volume", "dollar_volume"):
            pd.testing.assert_frame_equal(
                getattr(moved, name), getattr(whole, name), check_exact=True
            )


def test_the_gates_of_the_past_say_what_they_said_on_the_day():
    market, settings = small_market(), small_settings()
    raw = market.raw._replace(
        fields={n: v.copy() for n, v in market.raw.fields.items()},
        present=market.raw.present.copy(),
    )
    at = market.row(pd.Timestamp("2023-03-15"))
    for values in raw.fields.values():
        values[at, :2] = values[at + 1, :2]  # rows that equal the next session's
        values[at - 3, 4] = np.nan
    raw.fields["close"][at - 8, 6] *= 2.5  # a jump
    raw.fields["high"][at - 8, 6] *= 3
    raw.present[at - 3, 4] = False
    market = type(market)(market.names, raw, market.actions, market.membership)
    rows, cols = np.nonzero(raw.present)
    keys = {"symbol": raw.symbols[cols], "session": raw.sessions[rows]}
    bars = pd.DataFrame(keys | {n: v[rows, cols] for n, v in raw.fields.items()})
    past, seen = market.past(settings), set()
    for row in range(at - 9, at + 14, 2):
        session = raw.sessions[row]
        found = data.findings(bars, market.actions, market.names, session, settings.data, "SPY")
        held = found[found["severity"] == "quarantine"]
        cols, rows, gates = past.quarantines(row)
        assert set(zip(raw.symbols[cols], raw.sessions[rows], gates, strict=True)) == set(
            zip(held["symbol"], held["session"], held["gate"], strict=True)
        )
        stops = found.loc[found["severity"] == "stop", "gate"]
        assert past.unfit(row, "SPY") == ", ".join(stops)
        seen |= set(held["gate"])
    assert {"jump", "repeated_row", "gap"} <= seen


def test_the_ic_of_momentum_is_spearmans_correlation_of_the_pairs_known():
    rng = np.random.default_rng(0)
    score = pd.DataFrame(np.round(rng.normal(size=(6, 30)), 1))  # with ties
    outcome = pd.DataFrame(rng.normal(size=(6, 30))).mask(rng.random((6, 30)) < 0.1)
    found = rank_ic_by_session(score, outcome)
    for n in range(6):
        known = outcome.loc[n].notna()
        wanted = spearmanr(score.loc[n, known], outcome.loc[n, known]).statistic
        assert found[n] == pytest.approx(wanted, abs=1e-12)


# -- books and rules ------------------------------------------------------------------------------


def test_cash_moves_by_fills_and_dividends_alone_and_equity_is_their_sum(momentum):
    daily, fills = momentum.daily, momentum.fills
    sign = fills["side"].map({"buy": -1.0, "sell": 1.0})
    flows = (sign * fills["value"]).groupby(fills["session"]).sum().reindex(daily.index).fillna(0)
    moved = daily["cash"].diff().fillna(0.0) - flows
    held = momentum.holdings.set_index(["session", "symbol"])["qty"]
    paid = small_market().actions_between(FIRST, LAST)
    paid = paid[paid["type"] == "cash_dividend"]
    due = pd.Series(0.0, daily.index)
    for row in paid.itertuples():
        due[row.ex_date] += row.cash * held.get((dates.shift(row.ex_date, -1), row.symbol), 0.0)
    np.testing.assert_allclose(moved, due, atol=1e-6)
    value = momentum.holdings.groupby("session")["value"].sum().reindex(daily.index).fillna(0)
    np.testing.assert_allclose(daily["equity"], daily["cash"] + value, atol=1e-6)
    assert len(fills) > 20 and (fills["side"] == "sell").any()


def test_every_hard_rule_holds_on_every_day(momentum):
    assert momentum.breaches.empty
    target, own = momentum.targets, momentum.settings.optimize
    by_day = target.groupby("session")
    assert (by_day["weight"].sum() <= 1 - own.cash_buffer + 1e-8).all()
    assert target["weight"].max() <= own.max_weight + 1e-8
    assert (target.groupby(["session", "sector"])["weight"].sum() <= own.max_sector + 1e-8).all()
    free = target[target["intent"] != "stop"]
    moved = (free["weight"] - free["held"]).abs().groupby(free["session"]).sum()
    assert (moved <= own.max_turnover + 1e-8).all()
    assert (momentum.daily["ex_ante"] <= own.max_volatility_annual + 1e-8).all()
    assert (momentum.daily["names"] <= own.max_names).all()


def test_frames_keep_their_contracts(momentum):
    for table, frame in (
        (Target, momentum.targets),
        (Order, momentum.orders),
        (Holding, momentum.holdings),
        (Equity, momentum.equity),
    ):
        assert len(table.check(frame)) == len(frame)


def test_fills_are_half_a_spread_from_the_open(momentum):
    opens = small_market().raw.fields["open"]
    for fill in momentum.fills.itertuples():
        row, col = small_market().row(fill.session), small_market().raw.symbols.get_loc(fill.symbol)
        away = (fill.price / round(opens[row, col], 2) - 1) * (1 if fill.side == "buy" else -1)
        assert away == pytest.approx(1e-4, abs=0.000051 / fill.price)


def order(symbol, side, qty, price=10.0):
    return [Sent(f"q50-{symbol}-{side}", symbol, side, Decimal(repr(qty)), price)]


def action(kind, day, new=np.nan, old=np.nan, cash=np.nan, other=""):
    row = {"symbol": "AA", "type": kind, "ex_date": day, "new_rate": new, "old_rate": old}
    return [*pd.DataFrame([row | {"cash": cash, "other_symbol": other}]).itertuples()]


@pytest.mark.parametrize("dividends", ["cash", "due"])
def test_splits_dividends_and_a_merger_by_hand(dividends):
    days = list(dates.sessions_between("2023-03-13", "2023-03-17"))
    account = Account(Decimal(1000), Costs(0.0, dividends))
    account.open(days[0], [], order("AA", "buy", 10.0), {"AA": 50.0})
    account.close(days[0], {"AA": 52.0})
    account.open(days[1], action("forward_split", days[1], 4, 1), [], {})
    held = account.close(days[1], {"AA": 13.0})
    assert (held.qty.tolist(), held.entry_price.tolist()) == ([40.0], [12.5])
    account.open(days[2], action("cash_dividend", days[2], cash=0.5), [], {})
    account.close(days[2], {"AA": 12.5})
    assert account.lines[-1]["cash"] == (520.0 if dividends == "cash" else 500.0)
    assert account.lines[-1]["dividends"] == (0.0 if dividends == "cash" else 20.0)
    account.open(days[3], action("cash_merger", days[3], cash=20.0), [], {})
    assert not len(account.close(days[3], {}).symbols)
    assert account.lines[-1]["equity"] == (1320.0 if dividends == "cash" else 1300.0)


@pytest.mark.parametrize(
    ("kind", "terms", "held", "cash"),
    [
        # 3 BB for 2 AA: 15 BB at the whole cost of 500
        ("stock_merger", (3.0, 2.0, np.nan, "BB"), {"BB": (15.0, 500 / 15)}, 500.0),
        # one BB and 20 dollars for one AA: the cash comes off the cost
        ("stock_and_cash_merger", (1.0, 1.0, 20.0, "BB"), {"BB": (10.0, 30.0)}, 700.0),
        ("name_change", (1.0, 1.0, np.nan, "BB"), {"BB": (10.0, 50.0)}, 500.0),
        # one BB for 4 AA on top: 2.5 BB take their open of 40 each out of the cost of AA
        ("spin_off", (1.0, 4.0, np.nan, "BB"), {"AA": (10.0, 40.0), "BB": (2.5, 40.0)}, 500.0),
        # of a name that the market lacks: cash at the last close of AA, 52; nothing of a spin-off
        ("stock_merger", (3.0, 2.0, np.nan, "ZZ"), {}, 1020.0),
        ("spin_off", (1.0, 4.0, np.nan, "ZZ"), {"AA": (10.0, 50.0)}, 500.0),
        ("worthless_removal", (np.nan, np.nan, np.nan, ""), {}, 500.0),
    ],
)
def test_shares_of_another_name_by_hand(kind, terms, held, cash):
    days = list(dates.sessions_between("2023-03-13", "2023-03-17"))
    account = Account(Decimal(1000), Costs(0.0))
    account.open(days[0], [], order("AA", "buy", 10.0), {"AA": 50.0})
    account.close(days[0], {"AA": 52.0, "BB": 41.0})
    account.open(days[1], action(kind, days[1], *terms), [], {"AA": 53.0, "BB": 40.0})
    owned = account.close(days[1], {"AA": 42.0, "BB": 40.0})
    cost = dict(zip(owned.symbols, zip(owned.qty, owned.entry_price, strict=True), strict=True))
    assert {name: pytest.approx(values) for name, values in held.items()} == cost
    assert account.cash == Decimal(cash)


def test_an_order_of_a_name_that_does_not_open_expires():
    account = Account(Decimal(1000), Costs(1.0))
    account.open(FIRST, [], order("AA", "buy", 10.0), {"AA": np.nan})
    assert not len(account.close(FIRST, {}).symbols) and account.cash == 1000


def test_a_session_that_the_market_lacks_is_refused():
    with pytest.raises(SettingsError, match="holds no session"):
        run(small_market(), "zero", pd.Timestamp("2023-03-01"))


def test_without_brake_and_stops_nothing_is_forced():
    settings = small_settings(risk={"stop_multiple": 0.01})
    acting = run(small_market(), "zero", pd.Timestamp("2023-03-16"), settings)
    assert acting.daily["forced"].sum() > 0
    quiet = backtest.without(settings, brake=True, stops=True)
    still = run(small_market(), "zero", pd.Timestamp("2023-03-16"), quiet)
    assert still.daily["forced"].sum() == 0 and (still.daily["budget"] == 1).all()


# -- what is said of it -----------------------------------------------------------------------------


def test_the_least_variance_book_beats_every_long_book_nearby():
    window = Window.at(small_market(), small_market().row(LAST), small_settings())
    weights = backtest_summary.least_variance(window, window.settings)
    panel = window.panel(254)
    risk = covariance.risk_model(panel, weights.index, window.settings.optimize, 1)
    least, rng = risk.variance(weights), np.random.default_rng(0)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    for _ in range(200):
        other = 0.9 * weights + 0.1 * rng.dirichlet(np.ones(len(weights)))
        assert risk.variance(other) >= least


def test_a_book_that_is_another_is_no_better():
    returns = pd.Series(np.random.default_rng(1).normal(0, 0.01, 300))
    assert backtest_summary.sharpe_difference(returns, returns) == (0.0, 0.0, 0.0)
    value, low, high = backtest_summary.return_difference(returns + 0.001, returns)
    assert value == pytest.approx(0.252) and low == pytest.approx(0.252) == high


def test_benchmarks_are_what_anybody_could_have_had(momentum):
    found = backtest_summary.benchmarks(small_market(), momentum)
    spy = small_market().raw.fields["close"][:, small_market().raw.symbols.get_loc("SPY")]
    rows = [small_market().row(s) for s in found.index]
    plain = pd.Series([spy[r] / spy[r - 1] - 1 for r in rows], found.index)
    paid = small_market().actions.query("symbol == 'SPY' and type == 'cash_dividend'")["ex_date"]
    clear = ~found.index.isin(paid)
    np.testing.assert_allclose(found["SPY"][clear], plain[clear], rtol=1e-9)
    assert found.notna().all().all() and len(found) == len(momentum.daily) - 1


def test_exposures_are_those_of_the_holdings_by_hand(momentum):
    """Beta by a regression on the returns of 252 sessions; sector weights by a loop."""
    market = small_market()
    found = backtest_summary.exposures(market, momentum)
    session = momentum.daily.index[-1]
    held = momentum.holdings[momentum.holdings["session"] == session].set_index("symbol")["weight"]
    panel = Window.at(market, market.row(session), small_settings()).panel(253)
    returns = panel.close.pct_change(fill_method=None).iloc[1:]
    beta = 0.0
    for symbol, weight in held.items():
        known = returns[[symbol, "SPY"]].dropna() if symbol != "SPY" else None
        slope = 1.0 if known is None else np.polyfit(known["SPY"], known[symbol], 1)[0]
        beta += weight * slope
        assert found.loc[session, market.sectors[symbol]] >= weight - 1e-12
    assert found.loc[session, "beta"] == pytest.approx(beta, rel=1e-9)
    gross = momentum.holdings.groupby("session")["weight"].sum().reindex(found.index).fillna(0.0)
    assert found.drop(columns="beta").sum(axis=1).to_list() == pytest.approx(gross.to_list())
