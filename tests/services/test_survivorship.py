"""What a universe has forgotten, on a market made by hand and on the real index of 2013 to 2018."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest

from quant50lib.adapters import universe
from quant50lib.services import survivorship
from quant50lib.services.universe import intervals, renames
from quant50lib.settings import UniverseSettings
from quant50lib.utils import dates
from tests.real_bars import FOLDER

SESSIONS = dates.sessions_between("2020-12-28", "2022-01-10")
NEW_YEAR = dates.sessions_between("2021-01-01", "2021-01-10")[0]


def names(*symbols: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"symbol": symbols, "kind": ["etf" if s == "SPY" else "stock" for s in symbols]}
    )


def made() -> pd.DataFrame:
    """OLD dies in 2021, NEW is listed then, KEPT stays; KEPT earns nothing, NEW a percent a day."""
    days = np.arange(len(SESSIONS))
    close = pd.DataFrame({"KEPT": 10.0, "SPY": 400.0, "NEW": 1.01**days, "OLD": 20.0}, SESSIONS)
    close.loc[SESSIONS[100] :, "OLD"] = np.nan
    close.loc[: SESSIONS[99], "NEW"] = np.nan
    return close


def test_who_was_there_and_what_became_of_them():
    told = intervals(
        [
            ("KEPT", None, None),
            ("OLD", None, SESSIONS[99]),
            ("NEW", SESSIONS[150], None),
            ("LOST", None, SESSIONS[10]),
            ("NEVER", "2023-01-03", None),
        ]
    )
    found = survivorship.measure(made(), names("KEPT", "NEW", "OLD", "SPY"), told)
    assert found.ever == 4 and found.absent == ("LOST",)
    assert found.years["session"].tolist() == [SESSIONS[0], NEW_YEAR, pd.Timestamp("2022-01-03")]
    assert found.years["members"].tolist() == [3, 3, 2]
    assert found.years["priced"].tolist() == [2, 2, 2]
    assert found.years["alive"].tolist() == [1, 1, 2]
    # all names: NEW is half of the list from its second bar on; members: 50 sessions later
    count = len(SESSIONS) - 1
    for annual, first in ((found.listed_annual, 101), (found.members_annual, 151)):
        gain = 1.005 ** (len(SESSIONS) - first)
        assert annual == pytest.approx(gain ** (252 / count) - 1, rel=1e-12)
    assert found.bias_annual == found.listed_annual - found.members_annual > 0


def test_a_list_without_dates_is_judged_by_its_bars():
    close = made()
    listed = names("KEPT", "NEW", "OLD", "SPY")
    always = intervals((symbol, None, None) for symbol in listed["symbol"])
    found = survivorship.measure(close, listed, always)
    assert found.years["members"].tolist() == [2, 2, 3] and found.ever == 3
    assert found.years["alive"].tolist() == [1, 1, 2]
    assert found.bias_annual == pytest.approx(0, abs=1e-12)
    assert "names that went are still in it" in words(found)
    survivors = survivorship.measure(close.drop(columns="OLD"), names("KEPT", "NEW"), always)
    assert survivors.years["alive"].equals(survivors.years["members"])
    assert "a list of survivors" in words(survivors) and "not to be measured" in words(survivors)


def words(found: survivorship.Survivorship) -> str:
    return survivorship.survivorship_table(found).markup


def test_the_page_says_who_is_missing_and_that_the_bias_is_a_lower_bound():
    told = intervals([("KEPT", None, None), *((f"L{k}", None, SESSIONS[9]) for k in range(20))])
    said = words(survivorship.measure(made(), names("KEPT", "NEW"), told))
    assert "20: L0, L1, L10" in said and "and 8 more" in said
    assert "Survivorship adds, at least" in said and "95.2% of the members are missing" in said


def test_an_index_that_had_no_member_is_nothing_to_judge():
    told = intervals([("NEVER", "2023-01-03", None)])
    found = survivorship.measure(made(), names("KEPT"), told)
    assert found.ever == 0 and found.years["members"].eq(0).all()
    assert "nothing to judge" in words(found)


@pytest.mark.real
@pytest.mark.skipif(not FOLDER.exists(), reason="the real data are not beside the checkout")
def test_the_real_index_of_2013_to_2018_a_second_way():
    """Counts by plain loops over the files, the bias from long tables instead of matrices."""
    bars = pd.read_parquet(
        FOLDER / "us_daily_2013_2018.parquet", columns=["symbol", "date", "close"]
    )
    bars["date"] = pd.to_datetime(bars["date"]).astype("datetime64[us]")
    listed = pd.read_csv(FOLDER / "sectors.csv").rename(columns={"type": "kind"})
    settings = UniverseSettings(membership=FOLDER / "sp500_membership.csv")
    told = universe.membership(settings, listed[["symbol", "kind"]], renames([]))
    close = bars.pivot(index="date", columns="symbol", values="close")
    found = survivorship.measure(close, listed[["symbol", "kind"]], told)

    with (FOLDER / "sp500_membership.csv").open(encoding="utf-8") as lines:
        rows = [
            (r["symbol"], r["start_date"], r["end_date"] or "9999") for r in csv.DictReader(lines)
        ]
    stocks = set(listed.loc[listed["kind"] == "stock", "symbol"])
    ends = {s: str(d.date()) for s, d in bars.groupby("symbol")["date"].max().items()}
    for year in found.years.itertuples():
        day = str(year.session.date())
        held = {symbol for symbol, first, last in rows if first <= day <= last}
        alive = {s for s in held & stocks if ends[s] >= "2018-01-31"}
        assert (year.members, year.alive) == (len(held), len(alive))
    assert found.years.loc[0, ["members", "alive"]].tolist() == [497, 389]
    ever = {s for s, first, last in rows if first <= "2018-02-07" and last >= "2013-02-08"}
    assert found.ever == len(ever) == 618
    assert set(found.absent) == ever - stocks and len(found.absent) == 618 - 499

    bars = bars[bars["symbol"].isin(stocks)].sort_values(["symbol", "date"])
    order = {day: k for k, day in enumerate(sorted(bars["date"].unique()))}
    at = bars["date"].map(order)
    before = bars.groupby("symbol")["close"].shift()
    follows = at.groupby(bars["symbol"]).diff() == 1
    bars = bars.assign(gain=(bars["close"] / before - 1).where(follows)).dropna()
    eve = bars["date"].map({day: eve for eve, day in zip(order, list(order)[1:])})
    spans = pd.DataFrame(rows, columns=["symbol", "first", "last"])
    long = bars.assign(eve=eve.dt.strftime("%Y-%m-%d")).merge(spans, on="symbol")
    inside = long[(long["first"] <= long["eve"]) & (long["eve"] <= long["last"])]
    annual = []
    for part in (bars, inside):
        daily = part.groupby("date")["gain"].mean()
        annual.append(np.exp(np.log1p(daily).sum() * 252 / len(daily)) - 1)
    assert [found.listed_annual, found.members_annual] == pytest.approx(annual, rel=1e-9)
    assert found.bias_annual == pytest.approx(0.0144, abs=5e-4), "a lower bound, a year"
