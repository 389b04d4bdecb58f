"""Start-up and crash recovery in one: our books against the broker's, until they agree exactly.

1. `resolve`    unfinished orders are looked up by their own names;
2. `news`       executions, corporate actions and payments become events of our books;
3. `comparison` every position, the cash and every working order have to be equal;
4. what a declared event explains keeps its name from being traded, and the others go on: an order
   that is stuck, or a split that the broker has not applied;
5. what is left over is a difference, and the desk does not trade on one. It stops with a page that
   shows both sides, until they agree or a person has adopted the broker's side for a reason.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.broker_records import BrokerOrder, Position
from quant50lib.adapters.journal import Ledger, Step
from quant50lib.errors import ReconciliationError
from quant50lib.pipeline.conversions import supposed
from quant50lib.pipeline.news import News, book_news, since_of
from quant50lib.pipeline.resolve import Sleep, each, remarks, resolve_orders, stuck
from quant50lib.services import comparison, comparison_page
from quant50lib.services.comparison import Line, Side, differing, number
from quant50lib.services.ledger import NOMINAL, Conversion, Entry, Event, Payment, decimal
from quant50lib.settings import ExecuteSettings
from quant50lib.utils import dates


@dataclass(frozen=True)
class Reconciliation:
    """What a reconciliation found and did."""

    at: pd.Timestamp  # the broker's time
    opened: bool  # the books were opened by it
    resolved: int  # orders whose state was brought up to date
    booked: Counter[str]  # entries by kind
    lines: list[Line]  # both sides of everything
    strangers: dict[str, Event]  # fills of orders that are not ours, as they could be adopted
    positions: dict[str, Position]  # the broker's
    cash: Decimal  # the broker's
    frozen: dict[str, str]  # names in which nothing may be sent, and why
    remarks: list[str]  # orders, and news of the broker, at which a person should look

    @property
    def differences(self) -> list[Line]:
        """What nothing explains."""
        return differing(self.lines)


def reconcile(
    broker: Broker,
    ledger: Ledger,
    actions: pd.DataFrame,
    settings: ExecuteSettings,
    run_date: pd.Timestamp,
    sleep: Sleep = time.sleep,
    closes: pd.DataFrame | None = None,
    page: Path | None = None,
) -> Reconciliation:
    """Bring our books up to now and hold them against the broker's.

    Parameters
    ----------
    actions : DataFrame
        symbol, type (forward_split, reverse_split, cash_dividend …), ex_date, new_rate, old_rate,
        cash (US dollars a share), and where known other_symbol.
    run_date : Timestamp
        Books that do not exist yet are opened at the close of this session.
    closes : DataFrame, (n_sessions, n_symbols), optional
        As traded, US dollars: they confirm a split that the broker has not applied.
    page : Path, optional
        Where to show both sides, should they differ.

    Raises
    ------
    ReconciliationError
        With a table of all differences; nothing may be traded before they are explained.
    """
    at = broker.clock()
    ledger.note_switch(at)
    opened = ledger.opened_at() is None
    if opened:
        _open_books(broker, ledger, at, run_date)
    done = examine(broker, ledger, actions, settings, at, sleep, closes, opened)
    if done.differences:
        where = write_page(page, done) if page else ""
        raise ReconciliationError(comparison.explained(done.differences, where))
    return done


def examine(
    broker: Broker,
    ledger: Ledger,
    actions: pd.DataFrame,
    settings: ExecuteSettings,
    at: pd.Timestamp,
    sleep: Sleep = time.sleep,
    closes: pd.DataFrame | None = None,
    opened: bool = False,
) -> Reconciliation:
    """As `reconcile` on books that exist, but differences are returned, not raised.

    Nothing is changed at the broker.
    """
    resolution = resolve_orders(broker, ledger, at, settings, sleep)
    ours = ledger.open_orders()
    booked: Counter[str] = Counter()
    for last_look in (False, True):
        news, account = book_news(broker, ledger, actions, at), broker.account()
        positions, working = broker.positions(), broker.orders(status="open")
        shares = {symbol: position.qty for symbol, position in positions.items()}
        late = _book_supposed(ledger, actions, positions, at)
        booked += Counter(_kind(entry) for entry in [*news.booked, *late])
        explained = _explained(ledger, shares, closes)
        theirs = Side(account.cash, shares, _in_words(working), news.fills)
        lines = comparison.compare(_our_side(ledger, ours, news), theirs, explained)
        if not differing(lines):
            break
        if not last_look:  # a fill may have come between two questions
            sleep(settings.grace_seconds)
    frozen = stuck(ledger, ours, at, settings) | explained
    ledger.freeze(frozen, at)
    return Reconciliation(
        at=at,
        opened=opened,
        resolved=resolution.moved,
        booked=booked,
        lines=[*resolution.lines, *lines],
        strangers=news.strangers,
        positions=positions,
        cash=account.cash,
        frozen=frozen,
        remarks=[*remarks(ours), *_unheard_of(broker)],
    )


def _unheard_of(broker: Broker) -> list[str]:
    """What the broker says that we do not know, in one line."""
    return [f"the broker's replies, new to us: {', '.join(broker.unknown)}"] * bool(broker.unknown)


def _kind(entry: Entry) -> str:
    """What an entry is counted as; a split of a name that is not owned counts as nothing."""
    return "" if entry.kind == "split" and not entry.qty else entry.kind


# -- the first day ----------------------------------------------------------------------------------


def _open_books(broker: Broker, ledger: Ledger, at: pd.Timestamp, run_date: pd.Timestamp) -> None:
    """Begin with the account's cash, from the close of the session on; it must hold nothing else."""
    held, working = broker.positions(), broker.orders(status="open")
    if held or working:
        raise ReconciliationError(
            f"the books of this desk begin here, and the account already has {len(held)} "
            f"positions ({', '.join(sorted(held)[:8])}) and {len(working)} open orders: sell and "
            "cancel them at the broker (or reset the paper account), or put the ledger that knows "
            "them back, then run this again"
        )
    cash = broker.account().cash
    begin = min(at, dates.close_of(run_date))
    ledger.book([Payment("opening", "opening", cash, begin, detail=at.isoformat())])


# -- both sides -------------------------------------------------------------------------------------


def _our_side(ledger: Ledger, working: pd.DataFrame, news: News) -> Side:
    orders = {
        order["client_order_id"]: _words(
            order["side"], decimal(order["qty"]), order["symbol"], order["state"]
        )
        for order in each(working)
    }
    shares = {symbol: position.qty for symbol, position in ledger.positions().items()}
    ours = {name: words for name, words in news.fills.items() if name not in news.strangers}
    return Side(ledger.cash(), shares, orders, ours)


def _in_words(orders: list[BrokerOrder]) -> dict[str, str]:
    return {o.client_order_id: _words(o.side, o.qty, o.symbol, o.status) for o in orders}


def _words(side: str, qty: Decimal, symbol: str, state: str) -> str:
    return f"{side} {number(qty)} {symbol}, {state}"


def _explained(
    ledger: Ledger, theirs: Mapping[str, Decimal], closes: pd.DataFrame | None
) -> dict[str, str]:
    """Names whose shares may differ; without prices, what was explained before still counts."""
    entries = ledger.position_entries()
    if closes is not None:
        return comparison.pending_splits(entries, theirs, closes)
    ours = {symbol: position.qty for symbol, position in ledger.positions().items()}
    apart, frozen = comparison.share_differences(ours, theirs), ledger.frozen()
    told = {symbol: frozen[symbol] for symbol in apart if symbol in frozen}
    return {symbol: why for symbol, why in told.items() if why.startswith("split ")}


def _book_supposed(
    ledger: Ledger, actions: pd.DataFrame, positions: Mapping[str, Position], at: pd.Timestamp
) -> list[Entry]:
    """Book what the broker has done by its positions and not reported yet."""
    theirs = {symbol: position.qty for symbol, position in positions.items()}
    ours = {symbol: position.qty for symbol, position in ledger.positions().items()}
    if not comparison.share_differences(ours, theirs):
        return []
    prices = {s: p.entry_price for s, p in positions.items() if p.entry_price > 0}
    return ledger.book(supposed(ledger, actions, theirs, prices, since_of(ledger), at))


# -- what a person sees and does ------------------------------------------------------------------------


def write_page(path: Path, done: Reconciliation) -> str:
    """Write the page that shows both sides; returns its place as people know it."""
    facts = comparison_page.facts_of(
        done.lines, **{"broker's time": f"{done.at:%Y-%m-%d %H:%M} UTC"}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(comparison_page.page("Our books and the broker's", facts, done.lines), "utf-8")
    return f"{path.parent.parent.name}/{path.parent.name}/{path.name}"


def page_name(at: pd.Timestamp) -> str:
    """File name of the page of a day."""
    return f"reconcile_{at:%Y%m%d}.html"


def adopt_differences(
    ledger: Ledger, done: Reconciliation, who: str, reason: str, symbol: str = ""
) -> list[Entry]:
    """Take the broker's side over into our books, as events that say who, when and why.

    Executions of orders that are not ours are booked as they happened; what is then left of shares
    is booked at the broker's average price, and what is left of cash as it is. Orders that the
    broker has lost are ended. All of it is one transaction but for the orders' ends.

    Parameters
    ----------
    symbol : str
        Adopt the shares of this name alone, even if a declared event explains the difference.

    Raises
    ------
    ReconciliationError
        There are open orders that are not ours: they have to be cancelled at the broker first.
    """
    foreign = [line.name for line in done.differences if line.what == "open order"]
    if foreign:
        raise ReconciliationError(
            f"orders that are not ours are open at the broker: cancel {', '.join(foreign)} there, "
            "then adopt what is left"
        )
    detail = f"adopted by {who}: {reason}"
    lost = [Step(line.name, "expired", reason=detail) for line in done.lines if _is_lost(line)]
    ledger.advance([] if symbol else lost, done.at)
    events: list[Event] = [] if symbol else _strangers(done, detail)
    events += _leftover(ledger, done, events, detail, symbol)
    return ledger.book(events)


def _is_lost(line: Line) -> bool:
    return line.what == "order lost"


def _strangers(done: Reconciliation, detail: str) -> list[Event]:
    return [
        Conversion(**{**vars(event), "detail": f"{detail} ({event.detail})"})
        for event in done.strangers.values()
        if isinstance(event, Conversion)
    ]


def _leftover(
    ledger: Ledger, done: Reconciliation, events: list[Event], detail: str, symbol: str
) -> list[Event]:
    """What the events leave of the differences in shares and cash."""
    ours = {name: position.qty for name, position in ledger.positions().items()}
    cash = ledger.cash()
    for event in events:
        if isinstance(event, Conversion):
            ours[event.symbol] = ours.get(event.symbol, Decimal(0)) + event.qty
            cash += event.amount
    theirs = {name: position.qty for name, position in done.positions.items()}
    gaps = comparison.share_differences(ours, theirs)
    explained = {line.name for line in done.lines if line.explained}
    stamp = f"{done.at:%Y%m%dT%H%M%S%f}"
    chosen = {s: gap for s, gap in gaps.items() if s == symbol or not (symbol or s in explained)}
    found: list[Event] = [
        Conversion(
            f"adopted-{name}-{stamp}",
            "adopted",
            name,
            gap,
            Decimal(0),
            done.at,
            detail,
            _price(done.positions.get(name)),
        )
        for name, gap in chosen.items()
    ]
    if not symbol and done.cash != cash:
        found.append(
            Payment(f"adopted-{stamp}", "adopted_cash", done.cash - cash, done.at, detail=detail)
        )
    return found


def _price(position: Position | None) -> Decimal:
    return position.entry_price if position and position.entry_price > 0 else NOMINAL
