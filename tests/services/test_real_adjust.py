"""Our adjustment against what other people made of the same corporate actions.

The reference is a vendor's series that is adjusted for splits; a second vendor's gives the factors
of spin-offs and dividends; a third source has prices as traded.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from quant50lib.services.data import to_panel
from tests.adapters.market_frames import actions
from tests.real_bars import real_bars, real_table

pytestmark = pytest.mark.real
#: the reference writes prices before a split with four decimals
DECIMALS = 1e-4


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return real_bars()


@pytest.fixture(scope="module")
def traded() -> pd.DataFrame:
    return real_bars("us_daily_unadjusted_sample")


@pytest.fixture(scope="module")
def listed() -> pd.DataFrame:
    return real_table("corporate_actions", "ex_date")


def closes(bars: pd.DataFrame, symbol: str) -> pd.Series:
    return bars[bars["symbol"] == symbol].set_index("session")["close"]


def adjusted(bars: pd.DataFrame, symbol: str, acts: pd.DataFrame) -> pd.Series:
    own = bars[bars["symbol"] == symbol]
    return to_panel(own, acts, own["session"].max()).close[symbol].dropna()


def side_by_side(ours: pd.Series, theirs: pd.Series) -> pd.DataFrame:
    return pd.concat([ours, theirs], axis=1, keys=["ours", "theirs"], sort=True).dropna()


def test_apple_seven_for_one_gives_the_references_returns(reference, traded):
    """Where both feeds have the same last print. Where not, the feeds differ, not the adjustment.

    Off the same print are 175 of 1,259 sessions, by less than 0.12 %: one feed takes the closing
    auction, the other the last trade. The one exception is a listed defect of the reference.
    """
    acts = actions([("AAPL", "forward_split", "2014-06-09", 7, 1, np.nan)])
    both = side_by_side(adjusted(traded, "AAPL", acts), closes(reference, "AAPL"))
    assert len(both) == 1259
    returns = both.pct_change()
    split_day = returns.loc["2014-06-09"]
    assert split_day["ours"] == pytest.approx(split_day["theirs"], abs=1e-6)

    same = (both["ours"] - both["theirs"]).abs() < DECIMALS
    assert (~same).sum() == 175
    apart = (returns["ours"] - returns["theirs"]).abs()[same & same.shift(fill_value=False)]
    whole = apart.index > "2014-06-09"
    assert apart[whole].max() < 1e-6
    assert apart[~whole].max() < 2 * DECIMALS / both["theirs"].min()
    off = (both["ours"] / both["theirs"] - 1).abs()[~same]
    assert set(off[off > 1.2e-3].index) == {pd.Timestamp("2017-08-01")}


def test_the_sample_adjusts_volume_the_other_way(traded):
    acts = actions([("AAPL", "forward_split", "2014-06-09", 7, 1, np.nan)])
    own = traded[traded["symbol"] == "AAPL"]
    panel = to_panel(own, acts, own["session"].max())
    money = (panel.close * panel.volume)["AAPL"]
    pd.testing.assert_series_equal(money, panel.dollar_volume["AAPL"], rtol=1e-12)


def test_google_two_share_classes_explain_the_day_that_differs(reference, traded):
    """Until 2014-04-02 GOOG is the class A share, called GOOGL from the next day on.

    Its returns are those of the reference's GOOGL, whose factor is 1998 for 1000. The reference's
    GOOG before 2014-04-03 is the class C share when issued: another share, 0.1 % apart.
    """
    acts = actions([("GOOG", "stock_dividend", "2014-04-03", 2, 1, np.nan)])
    ours = adjusted(traded, "GOOG", acts)
    class_a = closes(reference, "GOOGL")
    before = side_by_side(ours, class_a).loc["2014-03-19":"2014-04-02"]
    np.testing.assert_allclose(*before.pct_change().dropna().to_numpy().T, atol=1e-6)
    as_traded = closes(traded, "GOOG")
    assert as_traded["2014-04-02"] / class_a["2014-04-02"] == pytest.approx(1.998, abs=1e-5)
    when_issued = closes(reference, "GOOG")["2014-04-02"]
    assert ours["2014-04-02"] / when_issued - 1 == pytest.approx(0.00097, abs=1e-5)
    after = side_by_side(ours, closes(reference, "GOOG")).loc["2014-04-03":"2014-04-30"]
    np.testing.assert_allclose(*after.pct_change().dropna().to_numpy().T, atol=1e-6)


@pytest.mark.parametrize(("symbol", "day"), [("BAX", "2015-07-01"), ("NI", "2015-07-02")])
def test_a_spin_off_of_the_listed_value_makes_the_holder_whole(reference, listed, symbol, day):
    """The plain close halves or worse; with what was handed out the day is an ordinary one."""
    row = listed[(listed["symbol"] == symbol) & (listed["ex_date"] == day)].iloc[0]
    plain = closes(reference, symbol)
    before = plain[plain.index < day].iloc[-1]
    worth = before * (1 - row["price_factor"])
    acts = actions([(symbol, "spin_off", day, 1, 1, worth)])
    gained = adjusted(reference, symbol, acts).pct_change()[day]
    expected = plain[day] / (before * row["price_factor"]) - 1
    assert gained == pytest.approx(expected, abs=1e-12)
    assert plain[day] / before - 1 < -0.4 and abs(gained) < 0.05


def test_ebay_is_made_whole_by_the_price_of_paypal(reference, listed):
    """The value from PayPal's own close when issued; the factor from two vendors' series."""
    ebay, paypal = closes(reference, "EBAY"), closes(reference, "PYPL")["2015-07-17"]
    acts = actions([("EBAY", "spin_off", "2015-07-20", 1, 1, paypal)])
    ours = adjusted(reference, "EBAY", acts)
    row = listed[(listed["symbol"] == "EBAY") & (listed["type"].str.startswith("spinoff"))].iloc[0]
    assert ours["2015-07-17"] / ebay["2015-07-17"] == pytest.approx(row["price_factor"], abs=5e-6)
    theirs = ebay["2015-07-20"] / (ebay["2015-07-17"] * row["price_factor"]) - 1
    # a factor with six digits is right to 1e-6 of 0.42: its return is right to 1e-5
    assert ours.pct_change()["2015-07-20"] == pytest.approx(theirs, abs=1e-5)


def test_every_dividend_ordinary_or_special_gives_the_vendors_factor(reference, listed):
    """8,225 dividends, 13 of them above 5 %: 1 - d / close against adjusted over plain close.

    The amounts are rounded to four decimals, half a unit of which is the difference allowed.
    """
    kinds = ["cash_dividend", "large_distribution"]
    paid = listed[listed["type"].isin(kinds) & (listed["already_in_prices"] == "no")]
    rows = paid[["symbol", "ex_date", "cash_amount"]].itertuples(index=False)
    acts = actions([(s, "cash_dividend", e, np.nan, np.nan, d) for s, e, d in rows])
    panel = to_panel(reference, acts, reference["session"].max())
    step = (panel.close / panel.traded_close).ffill()
    factor = step.shift(1) / step
    at = panel.sessions.searchsorted(paid["ex_date"]), panel.symbols.get_indexer(paid["symbol"])
    once = ~paid.duplicated(["symbol", "ex_date"], keep=False).to_numpy()
    found = pd.Series(factor.to_numpy()[at], index=paid.index)
    previous = panel.traded_close.ffill().shift(1).to_numpy()[at]
    known = once & np.isfinite(found)
    assert known.sum() > 8_200
    apart = (found - paid["price_factor"]).abs()[known]
    assert (apart <= 0.6 * DECIMALS / previous[known]).mean() > 0.999
    special = paid["type"][known] == "large_distribution"
    assert special.sum() == 13 and apart[special].max() < 1e-6


def test_a_one_for_eight_reverse_split_as_general_electrics(reference):
    """Constructed: prices of F as if eight shares had become one in 2017; none is in the window."""
    day = pd.Timestamp("2017-08-02")
    plain = reference[reference["symbol"] == "F"].astype({"volume": float})
    split = plain.copy()
    later = split["session"] >= day
    split.loc[later, ["open", "high", "low", "close"]] *= 8
    split.loc[later, "volume"] /= 8
    acts = actions([("F", "reverse_split", day, 1, 8, np.nan)])
    ours = adjusted(split, "F", acts).pct_change().dropna()
    theirs = closes(plain, "F").pct_change().dropna()
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_five_years_of_three_hundred_names_are_adjusted_in_a_moment(reference, listed):
    names = sorted(reference["symbol"].unique())[:300]
    frame = reference[reference["symbol"].isin(names)]
    paid = listed[listed["type"] == "cash_dividend"]
    rows = paid[["symbol", "ex_date", "cash_amount"]].itertuples(index=False)
    acts = actions([(s, "cash_dividend", e, np.nan, np.nan, d) for s, e, d in rows])
    spent = []
    for _ in range(3):
        started = time.process_time()
        panel = to_panel(frame, acts, pd.Timestamp("2018-02-07"))
        spent.append(time.process_time() - started)
    assert panel.close.shape == (1259, 300)
    assert min(spent) < 0.3  # about 0.04 s on a quiet machine
