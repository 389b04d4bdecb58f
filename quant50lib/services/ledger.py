"""Booking: what an execution, a split or a payment does to cash and positions. Pure and exact.

Money is US dollars and shares are counts, both `Decimal`; nothing here is ever a float. An *entry*
is the effect of one event on one name; cash and positions are sums of entries, so the order in which
entries are stored does not matter, only the order in which events are booked. An event that turns
one name into another has two entries, the second under the event's id and `SECOND`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal, localcontext
from functools import lru_cache

import pandas as pd

from quant50lib.errors import ReconciliationError
from quant50lib.utils import dates

ZERO = Decimal(0)
#: the smallest part of a share that a broker counts
SHARE = Decimal("0.000000001")
#: the smallest part of a dollar that the books keep
MONEY = Decimal("0.000000000000000001")
#: entries that are owed to us but were never paid: kept apart from cash
MEMO = "dividend_due"
#: ends the id of an event's second entry
SECOND = "-in"
#: in the id of a payment that brings another to what the broker made of it later
REVISED = "-revised-"
#: shares that come out of nothing that we know the cost of are booked at this, US dollars each
NOMINAL = Decimal("0.01")


@dataclass(frozen=True)
class Execution:
    """One fill, as the broker reports it."""

    fill_id: str
    client_order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    at: pd.Timestamp  # instant, UTC

    @property
    def event_id(self) -> str:
        return self.fill_id


@dataclass(frozen=True)
class Split:
    """`new` shares in place of `old` ones, before the open of the ex-session."""

    symbol: str
    ex_session: pd.Timestamp
    new: Decimal
    old: Decimal

    @property
    def event_id(self) -> str:
        return f"split-{self.symbol}-{self.ex_session:%Y%m%d}"

    @property
    def at(self) -> pd.Timestamp:
        return effective(self.ex_session)


@dataclass(frozen=True)
class Payment:
    """Cash that moves, or is owed, for another reason than a fill."""

    event_id: str
    kind: str  # opening, flow, dividend, dividend_due, fee, interest, split_cash …
    amount: Decimal
    at: pd.Timestamp
    symbol: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Conversion:
    """Shares that come or go otherwise than by a fill: a merger into cash, a name that became
    worthless, a split that only the broker knows of, a difference that was adopted."""

    event_id: str
    kind: str  # merger, worthless, split, spin_off, adopted
    symbol: str
    qty: Decimal  # change of shares
    amount: Decimal  # cash received
    at: pd.Timestamp
    detail: str = ""
    price: Decimal = NOMINAL  # what each share that comes is booked at


@dataclass(frozen=True)
class Swap:
    """Shares of another name for ours: a rename, a merger into stock (and cash), a spin-off.

    The cost goes with the shares, less the cash received, but at least `NOMINAL` a share. In a
    spin-off nothing goes: the new shares take `price` each out of the cost of the old ones.
    """

    event_id: str
    kind: str  # rename, merger, spin_off
    symbol: str
    qty: Decimal  # shares that go
    new_symbol: str
    new_qty: Decimal
    at: pd.Timestamp
    amount: Decimal = ZERO  # cash received
    detail: str = ""
    price: Decimal = NOMINAL


Event = Execution | Split | Payment | Conversion | Swap
#: kinds of entries that move shares
MOVES_SHARES = ("fill", "split", "merger", "rename", "spin_off", "worthless", "adopted")


@dataclass(frozen=True)
class Position:
    """What is owned of one name: shares, what they cost, and since when."""

    symbol: str
    qty: Decimal
    cost: Decimal
    entry_session: pd.Timestamp

    @property
    def entry_price(self) -> Decimal:
        """Average cost of a share."""
        return self.cost / self.qty


@dataclass(frozen=True)
class Entry:
    """The effect of one event on the books."""

    event_id: str
    at: pd.Timestamp
    kind: str
    symbol: str
    cash: Decimal = ZERO
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    detail: str = ""


def effective(ex_session: pd.Timestamp) -> pd.Timestamp:
    """The instant at which a corporate action takes effect: 04:00 New York of its ex-session."""
    four = pd.Timestamp(ex_session) + pd.Timedelta(hours=4)
    return four.tz_localize(dates.NEW_YORK).tz_convert("UTC")


@lru_cache(maxsize=4096)
def session_of(at: pd.Timestamp) -> pd.Timestamp:
    """The New York date of an instant, as a naive midnight."""
    return at.tz_convert(dates.NEW_YORK).tz_localize(None).normalize().as_unit("us")


def entries_of(event: Event, positions: Mapping[str, Position]) -> list[Entry]:
    """What an event does to the books, given the positions just before.

    Raises
    ------
    ReconciliationError
        More goes than is owned.
    """
    position = positions.get(event.symbol)
    if isinstance(event, Execution):
        return [_bought(event) if event.side == "buy" else _sold(event, position)]
    if isinstance(event, Split):
        return [_split(event, position)]
    if isinstance(event, Conversion):
        return [_converted(event, position)]
    if isinstance(event, Swap):
        return _swapped(event, position)
    return [
        Entry(
            event.event_id,
            event.at,
            event.kind,
            event.symbol,
            cash=event.amount,
            detail=event.detail,
        )
    ]


def _bought(fill: Execution) -> Entry:
    value = fill.qty * fill.price
    return Entry(
        fill.event_id, fill.at, "fill", fill.symbol, -value, fill.qty, value, fill.client_order_id
    )


def _sold(fill: Execution, position: Position | None) -> Entry:
    cost = _share_of_cost(position, fill.qty, fill.symbol, fill.client_order_id)
    value = fill.qty * fill.price
    return Entry(
        fill.event_id, fill.at, "fill", fill.symbol, value, -fill.qty, -cost, fill.client_order_id
    )


def _share_of_cost(position: Position | None, qty: Decimal, symbol: str, by: str) -> Decimal:
    """Average cost of the shares that leave; the last share takes all that is left."""
    if position is None or qty > position.qty:
        owned = position.qty if position else ZERO
        raise ReconciliationError(
            f"{by} takes {qty} {symbol} away, but our books own {owned}; compare the broker's "
            "activities with our orders"
        )
    if qty == position.qty:
        return position.cost
    with localcontext(prec=50):
        return (position.cost * qty / position.qty).quantize(MONEY, ROUND_HALF_EVEN)


def _converted(event: Conversion, position: Position | None) -> Entry:
    cost = ZERO
    if event.kind != "split":
        cost = event.qty * event.price
        if event.qty < 0:
            cost = -_share_of_cost(position, -event.qty, event.symbol, event.event_id)
    return Entry(
        event.event_id,
        event.at,
        event.kind,
        event.symbol,
        event.amount,
        event.qty,
        cost.quantize(MONEY, ROUND_HALF_EVEN),
        event.detail,
    )


def _swapped(event: Swap, position: Position | None) -> list[Entry]:
    gone, come = _costs_of_swap(event, position)
    second = f"{event.event_id}{SECOND}"
    return [
        Entry(
            event.event_id,
            event.at,
            event.kind,
            event.symbol,
            event.amount,
            -event.qty,
            -gone,
            event.detail,
        ),
        Entry(
            second,
            event.at,
            event.kind,
            event.new_symbol,
            qty=event.new_qty,
            cost=come,
            detail=event.detail,
        ),
    ]


def _costs_of_swap(event: Swap, position: Position | None) -> tuple[Decimal, Decimal]:
    """What leaves the old shares, and what the new ones are booked at."""
    nominal = event.new_qty * NOMINAL
    if event.qty:
        gone = _share_of_cost(position, event.qty, event.symbol, event.event_id)
        come = max(gone - event.amount, nominal)
    else:
        most = position.cost / 2 if position else nominal
        gone = come = min(event.new_qty * event.price, most)
    gone, come = (cost.quantize(MONEY, ROUND_HALF_EVEN) for cost in (gone, come))
    return gone, come


def _split(split: Split, position: Position | None) -> Entry:
    owned = position.qty if position else ZERO
    return Entry(
        split.event_id,
        split.at,
        "split",
        split.symbol,
        qty=split_qty(owned, split.new, split.old) - owned,
        detail=f"{split.new.normalize():f} for {split.old.normalize():f}",
    )


def split_qty(qty: Decimal, new: Decimal, old: Decimal) -> Decimal:
    """Shares after a split, cut to the nine decimals that a broker keeps."""
    with localcontext(prec=50):
        return (qty * new / old).quantize(SHARE, ROUND_DOWN)


def book(
    events: Iterable[Event],
    stored: Iterable[Entry] = (),
    positions: Mapping[str, Position] | None = None,
) -> list[Entry]:
    """Entries of new events, each on the position as it was at its own moment.

    Parameters
    ----------
    stored : iterable of Entry
        What is booked already; a late event finds its place among them.
    positions : mapping, optional
        What was owned before all of these.
    """
    lines: list[tuple[pd.Timestamp, bool, str, Event | Entry]] = [
        *((entry.at, False, entry.event_id, entry) for entry in stored),
        *((event.at, True, event.event_id, event) for event in events),
    ]
    now = dict(positions or {})
    entries: list[Entry] = []
    for *_, item in sorted(lines, key=lambda line: line[:3]):
        if isinstance(item, Entry):
            move(now, item)
            continue
        made = entries_of(item, now)
        for entry in made:
            move(now, entry)
        entries += made
    return entries


def fold(entries: Iterable[Entry]) -> dict[str, Position]:
    """Positions after the entries, in the order given; closed ones are gone."""
    positions: dict[str, Position] = {}
    for entry in entries:
        move(positions, entry)
    return positions


def move(positions: dict[str, Position], entry: Entry) -> None:
    """Change positions by an entry; one that is closed is gone."""
    if not entry.qty and not entry.cost:
        return
    before = positions.pop(entry.symbol, None)
    qty = (before.qty if before else ZERO) + entry.qty
    cost = (before.cost if before else ZERO) + entry.cost
    since = before.entry_session if before else session_of(entry.at)
    if qty:
        positions[entry.symbol] = Position(entry.symbol, qty, cost, since)


def decimal(value: object) -> Decimal:
    """The shortest decimal that reads back as the same number."""
    return value if isinstance(value, Decimal) else Decimal(repr(float(value)))  # type: ignore[arg-type]


def dividends_due(
    dividends: Iterable[tuple[str, pd.Timestamp, Decimal]], owned: Mapping[str, Decimal]
) -> list[Payment]:
    """What is owed for cash dividends on the shares owned before the open of the ex-session.

    Parameters
    ----------
    dividends : iterable of (symbol, ex-session, US dollars a share)
    owned : symbol to shares, as they were then
    """
    return [
        Payment(
            f"dividend-{symbol}-{ex_session:%Y%m%d}",
            MEMO,
            owned[symbol] * rate,
            effective(ex_session),
            symbol,
            f"{rate} a share on {owned[symbol].normalize()}",
        )
        for symbol, ex_session, rate in dividends
        if owned.get(symbol)
    ]


def slippage_bps(side: str, price: float, planned: float) -> float:
    """Paid above (+) the price that an order was planned on, in basis points."""
    sign = 1 if side == "buy" else -1
    return sign * (price / planned - 1) * 1e4
