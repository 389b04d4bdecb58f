"""The packaged universe is what it says; a user's own file is read or refused clearly."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from quant50lib.adapters import universe
from quant50lib.adapters.store import Store
from quant50lib.errors import SettingsError
from quant50lib.services import universe as service
from quant50lib.settings import UniverseSettings
from quant50lib.utils import dates

SECTORS = Path(__file__).parents[3] / "shared" / "data" / "sectors.csv"
GICS = {
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
}
FUND_GROUPS = {"Broad Equity", "International Equity", "Bonds", "Commodities"}
SECTOR_FUNDS = {
    "XLB": "Materials",
    "XLC": "Communication Services",
    "XLE": "Energy",
    "XLF": "Financials",
    "XLI": "Industrials",
    "XLK": "Information Technology",
    "XLP": "Consumer Staples",
    "XLRE": "Real Estate",
    "XLU": "Utilities",
    "XLV": "Health Care",
    "XLY": "Consumer Discretionary",
    "VNQ": "Real Estate",
}
#: sector of April 2018 to sector of today: (names, old, new, from when, why)
MOVES = (
    (
        "GOOG GOOGL NFLX",
        "Information Technology",
        "Communication Services",
        "2018-09-24",
        "GICS: the new sector took in internet media",
    ),
    (
        "CHTR CMCSA DIS NWSA OMC",
        "Consumer Discretionary",
        "Communication Services",
        "2018-09-24",
        "GICS: the new sector took in media and cable",
    ),
    (
        "T VZ",
        "Telecommunication Services",
        "Communication Services",
        "2018-09-24",
        "GICS: the sector was widened and renamed",
    ),
    (
        "EBAY",
        "Information Technology",
        "Consumer Discretionary",
        "2018-09-24",
        "GICS: online marketplaces joined retailing",
    ),
    (
        "CVS",
        "Consumer Staples",
        "Health Care",
        "2018-12-03",
        "bought Aetna at the end of November 2018 and is a health-care service since",
    ),
    (
        "FIS FISV GPN MA PYPL V",
        "Information Technology",
        "Financials",
        "2023-03-20",
        "GICS: payment processing moved",
    ),
    (
        "ADP PAYX",
        "Information Technology",
        "Industrials",
        "2023-03-20",
        "GICS: payroll and human-resource services moved",
    ),
    (
        "DG DLTR TGT",
        "Consumer Discretionary",
        "Consumer Staples",
        "2023-03-20",
        "GICS: retailers that sell mostly staples moved",
    ),
)


@pytest.fixture(scope="module")
def names():
    return universe.load()


def test_it_holds_about_three_hundred_names_in_all_eleven_sectors(names):
    stocks = names[names["kind"] == "stock"]
    assert 275 <= len(stocks) <= 290 and (names["kind"] == "etf").sum() == 24
    assert set(stocks["sector"]) == GICS
    assert stocks["sector"].value_counts().min() >= 12
    assert set(names["sector"]) == GICS | FUND_GROUPS
    assert list(names["symbol"]) == sorted(names["symbol"])


def test_class_shares_take_a_dot_and_sector_funds_the_sector_they_track(names):
    groups = names.set_index("symbol")["sector"].to_dict()
    assert {"BRK.B", "BF.B"} <= set(groups)
    assert {symbol: groups[symbol] for symbol in SECTOR_FUNDS} == SECTOR_FUNDS
    assert {groups[s] for s in ("SPY", "QQQ", "IWM", "DIA", "VTI")} == {"Broad Equity"}
    assert {groups[s] for s in ("TLT", "IEF", "AGG")} == {"Bonds"}


@pytest.mark.real
@pytest.mark.skipif(not SECTORS.exists(), reason="the real data are not beside the checkout")
def test_sectors_agree_with_those_of_2018_but_for_the_moves_listed(names):
    with SECTORS.open(encoding="utf-8") as lines:
        then = {row["symbol"]: row["gics_sector"] for row in csv.DictReader(lines)}
    now = names[names["kind"] == "stock"].set_index("symbol")["sector"].to_dict()
    moved = {s: (old, new) for group, old, new, *_ in MOVES for s in group.split()}
    both = set(then) & set(now)
    assert len(both) >= 255
    assert {s: (then[s], now[s]) for s in both if then[s] != now[s]} == moved


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "names.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_own_file_replaces_it_sorted_and_trimmed(tmp_path):
    path = write(
        tmp_path, "kind,symbol,name,sector,note\netf, SPY ,Fund,Broad,x\nstock,NA,N,Tech,y\n"
    )
    found = universe.load(path)
    assert found.to_dict("list") == {
        "symbol": ["NA", "SPY"],
        "name": ["N", "Fund"],
        "sector": ["Tech", "Broad"],
        "kind": ["stock", "etf"],
    }


HEAD = "symbol,name,sector,kind\n"
SPY = "SPY,Fund,Broad,etf\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("symbol,name\nSPY,Fund\n", r"lacks \['sector', 'kind'\]"),
        (
            HEAD + SPY + "AAPL,Apple,Tech,stock\nAAPL,Apple,Tech,stock\n",
            r"more than once: AAPL \(line 4\)",
        ),
        (HEAD + SPY + "brk-b,B,Fin,stock\n", r"not a symbol.*brk-b \(line 3\)"),
        (HEAD + SPY + "BTC,Coin,Money,crypto\n", "kind is not one of stock, etf: BTC"),
        (HEAD + SPY + "XYZ,,Tech,stock\n", "without a name: XYZ"),
        (HEAD + SPY + "XYZ,X,,stock\n", "without a sector: XYZ"),
        (HEAD + "AAPL,Apple,Tech,stock\n", "benchmark SPY"),
        ("", "cannot be read"),
        ('symbol,name,sector,kind\nSPY,"open,Broad,etf\n', "cannot be read"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path, text, said):
    with pytest.raises(SettingsError, match=said):
        universe.load(write(tmp_path, text))


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="universe.file"):
        universe.load(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(SettingsError, match="universe.file"):
        universe.load(tmp_path / "b.csv")


def test_all_bad_rows_are_named_at_once(tmp_path):
    path = write(tmp_path, HEAD + "a,A,Tech,stock\nXYZ,,Tech,bond\n")
    with pytest.raises(SettingsError) as caught:
        universe.load(path, benchmark="QQQ")
    for part in ("not a symbol", "without a name", "kind is not", "benchmark QQQ"):
        assert part in str(caught.value)


# ---- membership and changes of name --------------------------------------------------------------

NAMES = pd.DataFrame({"symbol": ["AAA", "BBB", "SPY"], "kind": ["stock", "stock", "etf"]})
NO_CHANGE = service.renames([])
OPEN = (pd.NaT, pd.NaT)


def told(found: pd.DataFrame) -> list[tuple[str, str, str]]:
    return [(s, str(a)[:10], str(b)[:10]) for s, a, b in found.itertuples(index=False, name=None)]


def files(tmp_path: Path, **texts: str) -> UniverseSettings:
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    return UniverseSettings(**{name: tmp_path / f"{name}.csv" for name in texts})


def test_the_packaged_universe_tells_no_dates_so_every_name_is_always_in_it():
    found = universe.membership(UniverseSettings(), universe.load(), NO_CHANGE)
    assert len(found) == len(universe.load()) and found[["first", "last"]].isna().all(axis=None)


def test_dates_in_the_universe_count_and_so_do_those_of_a_file_of_its_own(tmp_path):
    own = (
        "symbol,name,sector,kind,first,last\n"
        "AAA,A,X,stock,2020-01-02,\nBBB,B,X,stock,,2021-03-04\nSPY,F,Broad,etf,,\n"
    )
    expected = [
        ("AAA", "2020-01-02", "NaT"),
        ("BBB", "NaT", "2021-03-04"),
        ("SPY", "NaT", "NaT"),
    ]
    settings = files(tmp_path, file=own)
    assert list(universe.load(settings.file).columns) == ["symbol", "name", "sector", "kind"]
    assert told(universe.membership(settings, NAMES, NO_CHANGE)) == expected
    apart = "symbol,start_date,end_date\nAAA,2020-01-02,\n\nBBB,,2021-03-04\n"
    settings = files(tmp_path, file=HEAD + SPY, membership=apart)
    assert told(universe.membership(settings, NAMES, NO_CHANGE)) == expected


def test_a_file_of_renames_leads_from_one_ticker_to_the_other(tmp_path):
    settings = files(
        tmp_path,
        membership="symbol,first,last\nOLD,2019-01-02,2020-06-30\nNEXT,2020-07-01,\nBBB,,\n",
        renames="symbol,later_symbol,return_correlation,date\nOLD,AAA,0.99,2020-07-01\n"
        "NEXT,AAA,,\n",
    )
    found = told(universe.membership(settings, NAMES, NO_CHANGE))
    assert [row for row in found if row[0] == "AAA"] == [
        ("AAA", "2019-01-02", "2020-06-30"),
        ("AAA", "2020-07-01", "NaT"),
    ]
    market = service.renames([("OLD", "AAA", "2020-07-01"), ("NEXT", "AAA", None)])
    without = UniverseSettings(membership=settings.membership)
    assert told(universe.membership(without, NAMES, market)) == found


INTERVALS = "symbol,first,last\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("membership", "symbol,first\nAAA,\n", r"membership.csv lacks \['last'\]"),
        ("membership", INTERVALS + "AAA,,\naaa-b,,\n", r"not a symbol.*aaa-b \(line 3\)"),
        ("membership", INTERVALS + "AAA,2020-13-01,\n", r"first is no date.*2020-13-01 \(line 2\)"),
        ("membership", INTERVALS + "\nAAA,,soon\n", r"last is no date.*soon \(line 3\)"),
        (
            "membership",
            INTERVALS + "AAA,2020-01-02,2019-01-02\n",
            r"last before first: AAA \(line 2\)",
        ),
        (
            "membership",
            INTERVALS + "AAA,2020-01-02,\nBBB,,\nAAA,2018-01-02,2020-01-02\n",
            r"has ended: AAA \(line 2\)",
        ),
        (
            "membership",
            INTERVALS + "AAA,2019-01-02,2020-01-02\nAAA,,2018-01-02\nAAA,2018-01-02,2018-02-01\n",
            r"has ended: AAA \(line 4\)",
        ),
        ("membership", INTERVALS + "CCC,,\n", r"no stock of the universe \(AAA, BBB …\) is in"),
        ("renames", "symbol,new\nA,B\n", "renames.csv lacks"),
        ("renames", "symbol,later_symbol\nA,b c\n", r"not a symbol.*A \(line 2\)"),
        ("renames", "symbol,later_symbol,date\nA,B,1.5.2020\n", r"date is no date.*line 2"),
        ("renames", "symbol,later_symbol\nA,A\n", r"renamed to itself: A \(line 2\)"),
        ("renames", "symbol,later_symbol\nA,B\nA,C\n", r"more than once: A \(line 3\)"),
        ("renames", "", "universe.renames"),
    ],
)
def test_a_bad_row_is_named_with_its_file_and_line(tmp_path, name, text, said):
    good = {"membership": INTERVALS + "AAA,,\n"}
    settings = files(tmp_path, **{**good, name: text})
    with pytest.raises(SettingsError, match=said):
        universe.membership(settings, NAMES, NO_CHANGE)


@pytest.mark.real
@pytest.mark.skipif(not SECTORS.exists(), reason="the real data are not beside the checkout")
def test_the_members_of_the_index_are_those_that_were_counted_by_hand():
    """Figures of the data's own description, and an account of every single day by plain loops."""
    folder = SECTORS.parent
    listed = pd.read_csv(SECTORS).rename(columns={"type": "kind"})[["symbol", "kind"]]
    settings = UniverseSettings(membership=folder / "sp500_membership.csv")
    index = universe.membership(settings, listed, NO_CHANGE)
    stocks = index[~index["symbol"].isin(listed.loc[listed["kind"] == "etf", "symbol"])]
    sessions = dates.sessions_between("2013-02-08", "2018-02-07")
    inside = service.members(stocks, stocks["symbol"].unique(), sessions)
    assert inside.any().sum() == 618
    priced = inside.loc[:, inside.columns.isin(listed["symbol"])]
    days = ["2013-02-08", "2015-06-30", "2018-02-07"]
    assert inside.loc[days].sum(axis=1).tolist() == [497, 500, 506]
    assert priced.loc[days].sum(axis=1).tolist() == [389, 427, 499]
    with (folder / "sp500_membership.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for session in sessions[::63]:
        day = str(session.date())
        held = {
            r["symbol"]
            for r in rows
            if r["start_date"] <= day and (not r["end_date"] or day <= r["end_date"])
        }
        assert set(inside.columns[inside.loc[session]]) == held
    with_renames = settings.model_copy(update={"renames": folder / "ticker_aliases.csv"})
    found = universe.membership(with_renames, listed, NO_CHANGE)
    gained = set(listed["symbol"]) & (set(found["symbol"]) - set(index["symbol"]))
    assert {"CBG", "HCN", "LUK", "PCLN", "DPS"} <= gained


def test_changes_of_name_are_read_as_they_were_known(tmp_path):
    store = Store(tmp_path / "market.duckdb")
    run, known = pd.Timestamp("2024-06-28"), dates.scheduled("2024-06-28")
    later = known + pd.Timedelta(days=3)
    assert universe.changes_of_name(store, run, known).empty
    actions = pd.DataFrame(
        {"id": ["1", "2"], "symbol": ["OLD", "IR"], "type": "name_change", "new_rate": None}
        | {"ex_date": pd.to_datetime(["2024-06-26", "2024-06-25"]), "other_symbol": ["NEW", "TT"]}
        | {"old_rate": None, "cash": None}
    )
    store.append_actions(actions, known)
    bar = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    traded = {"OLD": "2024-06-26", "IR": "2024-06-26", "NEW": "2024-06-28"}
    bars = pd.DataFrame(
        [{"symbol": s, "session": pd.Timestamp(d)} | bar for s, d in traded.items()]
    )
    store.append_bars(bars, known)
    reused = pd.DataFrame([{"symbol": "OLD", "session": run} | bar])
    store.append_bars(reused, later)
    assert universe.changes_of_name(store, run, known)["old"].tolist() == ["OLD"]
    assert universe.changes_of_name(store, run, later).empty, "OLD is somebody else by then"
    before = known - pd.Timedelta(seconds=1)
    assert universe.changes_of_name(store, run, before).empty
    early = universe.changes_of_name(store, pd.Timestamp("2024-06-25"), known)
    assert early["old"].tolist() == ["IR"], "as of then it has not been traded since"
    assert universe.changes_of_name(store, pd.Timestamp("2024-06-24"), known).empty
