"""Booking, against sums by hand and against a model in fractions."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.contracts import Holding
from quant50lib.errors import ContractError, ReconciliationError
from quant50lib.services import holdings, ledger
from quant50lib.services.ledger import Conversion, Execution, Payment, Position, Split, Swap

DAY = pd.Timestamp("2024-06-28").as_unit("us")
OPEN = pd.Timestamp("2024-06-28 13:30", tz="UTC")
D = Decimal


def fill(n: int, side: str, qty: str, price: str, symbol: str = "AAA") -> Execution:
    at = OPEN + pd.Timedelta(minutes=n)
    return Execution(f"f{n}", f"order-{n}", symbol, side, D(qty), D(price), at)


def test_average_cost_of_two_buys_and_a_sale() -> None:
    entries = ledger.book([fill(1, "buy", "10", "4"), fill(2, "buy", "30", "8")])
    position = ledger.fold(entries)["AAA"]
    assert (position.qty, position.cost, position.entry_price) == (D(40), D(280), D(7))
    sale = ledger.book([fill(3, "sell", "10", "9")], entries)[0]
    assert (sale.cash, sale.qty, sale.cost) == (D(90), D(-10), D(-70))


def test_the_last_share_takes_the_rest_of_the_cost() -> None:
    entries = ledger.book(
        [fill(1, "buy", "3", "1"), fill(2, "sell", "1", "1"), fill(3, "sell", "2", "1")]
    )
    assert sum(entry.cost for entry in entries) == 0
    assert ledger.fold(entries) == {}


def test_a_name_bought_again_begins_anew() -> None:
    later = Execution("x", "o", "AAA", "buy", D(1), D(1), OPEN + pd.Timedelta(days=3))
    entries = ledger.book([fill(1, "buy", "1", "1"), fill(2, "sell", "1", "1"), later])
    assert ledger.fold(entries)["AAA"].entry_session == pd.Timestamp("2024-07-01")


def test_more_cannot_be_sold_than_is_owned() -> None:
    with pytest.raises(ReconciliationError, match="order-2 takes 2 AAA away, .* own 1"):
        ledger.book([fill(1, "buy", "1", "1"), fill(2, "sell", "2", "1")])
    with pytest.raises(ReconciliationError, match="own 0"):
        ledger.book([fill(1, "sell", "2", "1")])


def test_a_split_changes_shares_and_not_cost() -> None:
    split = Split("AAA", DAY + pd.Timedelta(days=3), D(3), D(2))
    position = ledger.fold(ledger.book([fill(1, "buy", "5", "6"), split]))["AAA"]
    assert (position.qty, position.cost) == (D("7.5"), D(30))


def test_a_reverse_split_is_cut_at_the_ninth_decimal() -> None:
    assert ledger.split_qty(D(20), D(1), D(7)) == D("2.857142857")


def test_a_split_counts_only_what_was_owned_before_the_open_of_its_day() -> None:
    split = Split("AAA", DAY, D(2), D(1))
    assert split.at == pd.Timestamp("2024-06-28 08:00", tz="UTC")
    assert ledger.fold(ledger.book([fill(1, "buy", "5", "6"), split]))["AAA"].qty == 5
    late = ledger.book([split], ledger.book([fill(1, "buy", "5", "6")]))
    assert late[0].qty == 0


def test_a_merger_takes_the_shares_and_pays_cash() -> None:
    merger = Conversion("m", "merger", "AAA", D(-5), D("61.25"), OPEN + pd.Timedelta(days=1))
    entries = ledger.book([fill(1, "buy", "5", "6"), merger])
    assert ledger.fold(entries) == {}
    assert sum(entry.cash for entry in entries) == D("31.25")
    assert sum(entry.cost for entry in entries) == 0


LATER = OPEN + pd.Timedelta(days=1)


def after(event: ledger.Event, qty: str = "5", price: str = "6") -> tuple[list, dict]:
    """Entries of an event on a position of AAA, and the positions then."""
    before = ledger.book([fill(1, "buy", qty, price)])
    entries = ledger.book([event], before)
    return entries, ledger.fold([*before, *entries])


def test_a_rename_moves_shares_and_cost_and_nothing_else() -> None:
    entries, now = after(Swap("r", "rename", "AAA", D(5), "NEW", D(5), LATER))
    assert [(e.event_id, e.symbol, e.qty, e.cost, e.cash) for e in entries] == [
        ("r", "AAA", D(-5), D(-30), D(0)),
        ("r-in", "NEW", D(5), D(30), D(0)),
    ]
    assert list(now) == ["NEW"]


def test_a_merger_into_stock_and_cash_takes_the_cash_out_of_the_cost() -> None:
    entries, now = after(Swap("m", "merger", "AAA", D(5), "BUY", D(2), LATER, D("12.5")))
    assert sum(e.cash for e in entries) == D("12.5")
    assert (now["BUY"].qty, now["BUY"].cost) == (D(2), D("17.5"))
    _, rich = after(Swap("m", "merger", "AAA", D(5), "BUY", D(2), LATER, D(99)))
    assert rich["BUY"].cost == D("0.02")  # a share never costs nothing


def test_a_spin_off_takes_its_cost_out_of_the_parent() -> None:
    spin = Swap("s", "spin_off", "AAA", D(0), "KID", D(10), LATER, price=D("0.7"))
    entries, now = after(spin)
    assert (now["AAA"].qty, now["AAA"].cost) == (D(5), D(23))
    assert (now["KID"].qty, now["KID"].cost) == (D(10), D(7))
    assert sum(e.cost for e in entries) == 0
    _, dear = after(Swap("s", "spin_off", "AAA", D(0), "KID", D(10), LATER, price=D(9)))
    assert dear["AAA"].cost == dear["KID"].cost == D(15)  # never more than half


def test_shares_that_become_worthless_take_their_cost_along() -> None:
    entries, now = after(Conversion("w", "worthless", "AAA", D(-5), D(0), LATER))
    assert now == {} and (entries[0].cost, entries[0].cash) == (D(-30), D(0))


def test_an_adopted_difference_comes_at_its_price_and_goes_at_average_cost() -> None:
    come = Conversion("a", "adopted", "AAA", D(5), D(0), LATER, price=D(8))
    assert after(come)[1]["AAA"].cost == D(70)
    gone = Conversion("a", "adopted", "AAA", D(-1), D(0), LATER)
    assert after(gone)[1]["AAA"].cost == D(24)


@settings(max_examples=30, deadline=None)
@given(
    st.decimals("0.000000001", "999", places=9),
    st.decimals("0.000000001", "999", places=9),
    st.decimals("0", "999", places=2),
    st.sampled_from(["rename", "merger", "spin_off"]),
)
def test_no_swap_makes_or_loses_cost(come: Decimal, qty: Decimal, cash: Decimal, kind: str) -> None:
    gone = D(0) if kind == "spin_off" else qty
    entries, now = after(Swap("x", kind, "AAA", gone, "NEW", come, LATER, cash), str(qty))
    assert now["NEW"].qty == come and now["NEW"].cost > 0
    lost = -sum(Fraction(e.cost) for e in entries)
    most = max(min(Fraction(cash), Fraction(qty) * 6), 0)
    least = -Fraction(come) / 100  # the nominal cost of what comes
    assert least <= lost <= (most if kind != "spin_off" else 0)
    assert sum(e.cash for e in entries) == cash


def test_winter_and_summer_have_their_own_four_o_clock() -> None:
    assert ledger.effective(pd.Timestamp("2024-01-05")) == pd.Timestamp("2024-01-05 09:00Z")
    assert ledger.effective(pd.Timestamp("2024-07-05")) == pd.Timestamp("2024-07-05 08:00Z")


def test_the_session_of_an_instant_is_its_date_in_new_york() -> None:
    evening = pd.Timestamp("2024-07-02 02:00", tz="UTC")
    assert ledger.session_of(evening) == pd.Timestamp("2024-07-01")
    assert ledger.session_of(evening).unit == "us"


def test_a_dividend_is_owed_on_what_is_owned() -> None:
    due = ledger.dividends_due(
        [("AAA", DAY, D("0.25")), ("BBB", DAY, D(9))], {"AAA": D("10.5"), "BBB": D(0)}
    )
    assert [(p.symbol, p.amount, p.kind) for p in due] == [("AAA", D("2.625"), ledger.MEMO)]
    assert due[0].event_id == "dividend-AAA-20240628"


def test_slippage_is_what_was_paid_too_much() -> None:
    assert ledger.slippage_bps("buy", 101.0, 100.0) == pytest.approx(100)
    assert ledger.slippage_bps("sell", 101.0, 100.0) == pytest.approx(-100)


def test_holdings_at_the_close() -> None:
    positions = {
        "BBB": Position("BBB", D(2), D(30), DAY),
        "AAA": Position("AAA", D("10"), D(50), DAY),
    }
    frame = holdings.holding_frame(positions, {"AAA": 6.0, "BBB": 20.0}, DAY, D(100))
    Holding.check(frame)
    assert frame["symbol"].tolist() == ["AAA", "BBB"]
    assert frame["value"].tolist() == [60.0, 40.0]
    assert frame["weight"].tolist() == [0.3, 0.2]
    assert frame["entry_price"].tolist() == [5.0, 15.0]


@pytest.mark.parametrize("close", [{}, {"AAA": float("nan")}, {"AAA": 0.0}])
def test_a_holding_without_a_close_stops_the_day(close: dict[str, float]) -> None:
    position = {"AAA": Position("AAA", D(1), D(1), DAY)}
    with pytest.raises(ContractError, match="AAA"):
        holdings.values(position, close, DAY)


def test_no_holding_is_a_frame_without_rows() -> None:
    Holding.check(holdings.holding_frame({}, {}, DAY, D(100)))


quantities = st.decimals("0.000000001", "99999", places=9)
costs = st.decimals("0.0001", "5000", places=4)
ratios = st.sampled_from([(2, 1), (3, 2), (1, 7), (20, 1), (1, 30)])
steps = st.lists(
    st.tuples(st.sampled_from(["AAA", "BBB"]), st.floats(0, 1), quantities, costs, ratios),
    max_size=14,
)


def story(draws: list) -> list[ledger.Event]:
    """Events that can happen: no more is sold than is owned."""
    owned: dict[str, Decimal] = defaultdict(Decimal)
    events: list[ledger.Event] = [Payment("open", "opening", D(10) ** 6, OPEN)]
    for n, (symbol, choice, qty, price, ratio) in enumerate(draws, start=1):
        at = OPEN + pd.Timedelta(days=n)
        if choice < 0.5:
            side = "buy"
        elif choice < 0.85 and owned[symbol]:
            side, qty = "sell", min(qty, owned[symbol])
        else:
            new, old = map(D, ratio)
            events.append(Split(symbol, DAY + pd.Timedelta(days=n), new, old))
            owned[symbol] = ledger.split_qty(owned[symbol], new, old)
            continue
        owned[symbol] += qty if side == "buy" else -qty
        events.append(Execution(f"f{n}", f"o{n}", symbol, side, qty, price, at))
    return events


@settings(max_examples=60, deadline=None)
@given(steps)
def test_cash_and_shares_are_conserved_exactly(draws: list) -> None:
    events = story(draws)
    cash, shares = Fraction(0), defaultdict(Fraction)
    for event in events:
        if isinstance(event, Payment):
            cash += Fraction(event.amount)
        elif isinstance(event, Split):
            exact = shares[event.symbol] * Fraction(event.new) / Fraction(event.old)
            shares[event.symbol] = Fraction(int(exact * 10**9), 10**9)
        else:
            sign = 1 if event.side == "buy" else -1
            cash -= sign * Fraction(event.qty) * Fraction(event.price)
            shares[event.symbol] += sign * Fraction(event.qty)
    entries = ledger.book(events)
    assert sum(Fraction(entry.cash) for entry in entries) == cash
    owned = {symbol: Fraction(p.qty) for symbol, p in ledger.fold(entries).items()}
    assert owned == {symbol: qty for symbol, qty in shares.items() if qty}


@settings(max_examples=40, deadline=None)
@given(steps, st.integers(0, 15), st.randoms())
def test_booking_in_parts_and_out_of_order_is_booking_at_once(
    draws: list, cut: int, random: object
) -> None:
    events = story(draws)
    whole = ledger.book(events)
    first = ledger.book(events[:cut])
    assert ledger.fold([*first, *ledger.book(events[cut:], first)]) == ledger.fold(whole)
    random.shuffle(events)  # type: ignore[attr-defined]
    assert ledger.book(events) == whole
