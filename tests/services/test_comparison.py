"""Both sides compared, against cases by hand."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant50lib.services import comparison
from quant50lib.services.comparison import Line, Side, compare, differing
from quant50lib.services.comparison_page import facts_of, page
from quant50lib.services.ledger import Entry, Split, book, effective, fold

D = Decimal
DAY = pd.Timestamp("2024-06-28").as_unit("us")
OPEN = pd.Timestamp("2024-06-27 13:30", tz="UTC")


def side(cash: str = "100", **own: dict) -> Side:
    return Side(D(cash), own.get("shares", {}), own.get("orders", {}), own.get("fills", {}))


def test_equal_sides_differ_in_nothing() -> None:
    one = side(shares={"AAA": D(1)}, orders={"o": "buy"}, fills={"f": "buy"})
    lines = compare(one, one, {})
    assert [line.what for line in lines] == ["order", "fill", "shares", "cash"]
    assert differing(lines) == []


def test_each_kind_of_difference_is_a_line_of_its_own() -> None:
    ours = side(shares={"AAA": D(1), "BBB": D("2.5")}, orders={"o1": "buy 1 AAA, accepted"})
    theirs = side(
        "99.5",
        shares={"AAA": D(1), "CCC": D(3)},
        orders={"x": "buy 1 CCC, new"},
        fills={"f": "buy 3 CCC"},
    )
    found = {(n.what, n.name): n.difference for n in differing(compare(ours, theirs, {}))}
    assert found == {
        ("open order", "x"): "not ours",
        ("fill of an order not ours", "f"): "not ours",
        ("shares", "BBB"): "-2.5",
        ("shares", "CCC"): "+3",
        ("cash", ""): "-0.5000",
    }


@pytest.mark.parametrize(("gap", "differs"), [("0.0049", False), ("0.005", True), ("-0.01", True)])
def test_cash_agrees_to_the_cent(gap: str, differs: bool) -> None:
    lines = compare(side(), side(str(100 + D(gap))), {})
    assert bool(differing(lines)) is differs


def test_an_explained_difference_is_shown_and_stops_nothing() -> None:
    ours, theirs = side(shares={"AAA": D(3)}), side(shares={"AAA": D(2)})
    lines = compare(ours, theirs, {"AAA": "split not applied yet", "BBB": "nothing to explain"})
    assert differing(lines) == [] and lines[0].difference == "-1"
    assert (lines[0].remark, lines[0].explained) == ("split not applied yet", True)


amounts = st.dictionaries(
    st.sampled_from(["AAA", "BBB", "CCC"]), st.decimals("0.000000001", "9999", places=9)
)


@given(amounts, amounts)
def test_ours_and_the_difference_are_theirs(ours: dict, theirs: dict) -> None:
    lines = compare(side(shares=ours), side(shares=theirs), {})
    for line in lines[:-1]:
        exact = D(line.ours) + D(line.difference or 0)
        assert abs(exact - D(line.theirs)) <= D("1e-9")
        assert line.differs is (abs(D(line.ours) - D(line.theirs)) > D("1e-9"))


# -- a split that the broker has not applied ----------------------------------------------------


def owned(qty: str, *events: Split, symbol: str = "AAA") -> list[Entry]:
    bought = Entry("f", OPEN, "fill", symbol, qty=D(qty), cost=D(100))
    return [bought, *book(events, [bought])]


SPLIT = Split("AAA", DAY, D(3), D(2))


def closes(before: float, after: float | None) -> pd.DataFrame:
    table = pd.DataFrame({"AAA": [before]}, index=[DAY - pd.Timedelta(days=1)])
    if after is not None:
        table.loc[DAY] = after
    return table


@pytest.mark.parametrize(
    ("before", "after", "explained"),
    [
        (90.0, 60.0, True),
        (90.0, 66.0, True),  # it rose by a tenth on the day
        (90.0, 89.0, False),  # the price knows of no split
        (90.0, None, True),  # not seen since
    ],
)
def test_only_the_price_makes_a_missing_split_an_explanation(
    before: float, after: float | None, explained: bool
) -> None:
    found = comparison.pending_splits(owned("10", SPLIT), {"AAA": D(10)}, closes(before, after))
    assert bool(found) is explained
    if explained:
        assert found["AAA"] == (
            "split of 3 for 2 on 2024-06-28 not applied yet: our books have 15, the broker 10"
        )


def test_without_prices_or_with_another_number_of_shares_nothing_is_explained() -> None:
    entries, prices = owned("10", SPLIT), closes(90.0, 60.0)
    assert comparison.pending_splits(entries, {"AAA": D(10)}, None) == {}
    assert comparison.pending_splits(entries, {"AAA": D(11)}, prices) == {}
    assert comparison.pending_splits(entries, {}, prices) == {}
    assert comparison.pending_splits(entries, {"AAA": D(15)}, prices) == {}
    assert comparison.pending_splits(owned("10"), {"AAA": D(9)}, prices) == {}
    assert (
        comparison.pending_splits(entries, {"AAA": D(10)}, prices.rename(columns=str.lower)) == {}
    )


def test_what_was_sold_after_the_split_is_missing_on_both_sides() -> None:
    sold = Entry("s", effective(DAY) + pd.Timedelta(hours=6), "fill", "AAA", qty=D(-4), cost=D(-9))
    entries = [*owned("10", SPLIT), sold]
    assert fold(entries)["AAA"].qty == 11
    assert "AAA" in comparison.pending_splits(entries, {"AAA": D(6)}, closes(90.0, 60.0))


# -- words ----------------------------------------------------------------------------------------


def test_the_sentence_says_what_differs_and_what_to_do() -> None:
    said = comparison.explained(
        [Line("shares", "AAA", "1", "2", "+1")], "data/reports/reconcile_1.html"
    )
    for word in ("in 1 place,", "AAA", "+1", "data/reports/reconcile_1.html", "--adopt"):
        assert word in said


def test_the_page_shows_every_line_and_believes_no_markup() -> None:
    lines = [
        Line("shares", "AAA", "1", "2", "+1"),
        Line("order", "<b>o</b>", "buy", "buy"),
        Line("shares", "BBB", "3", "2", "-1", "split not applied yet", True),
    ]
    facts = facts_of(lines, **{"broker's time": "now"})
    assert facts == {"broker's time": "now", "lines compared": "3", "lines that differ": "1"}
    shown = page("Both sides", facts, lines)
    assert "What differs: 1 line<" in shown and "What agrees: 1 line<" in shown
    assert "<b>" not in shown and "&lt;b&gt;o" in shown
    assert shown.index('class="differs"') < shown.index('class="explained"')
    assert "Nothing is traded until" in shown and "--adopt" in shown
    calm = page("Both sides", {}, [])
    assert "nothing" in calm and "--adopt" not in calm
