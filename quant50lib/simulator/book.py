"""The books of the account: everything remembered, and written before it is told.

A change happens inside `change()`: at its end it is on disk, or it has not happened at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any

from quant50lib.errors import SettingsError
from quant50lib.simulator.market import Market
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.records import (
    EXACT,
    ZERO,
    Activity,
    Addition,
    Close,
    Entry,
    Order,
    Position,
    identifier,
)
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.state import StateFile
from quant50lib.simulator.timetable import (
    NEW_YORK,
    moment,
    new_york_date,
    parse_bound,
    timetable,
    utc_text,
)
from quant50lib.simulator.working import Working

CONFIGURATION: dict[str, Any] = {
    "disable_overnight_trading": False,
    "fractional_trading": True,
    "max_margin_multiplier": "1",
    "max_options_trading_level": None,
    "no_shorting": True,
    "ptp_no_exception_entry": False,
    "suspend_trade": False,
    "trade_confirm_email": "all",
}


@dataclass
class Account:
    """The figures that change, and what names the account."""

    now: int
    created_at: int
    cash: Decimal
    stamp: int = 0  # the last instant given to an event
    sequence: int = 0  # numbers orders, activities and cash movements
    configuration: dict[str, Any] = field(default_factory=lambda: dict(CONFIGURATION))
    key: list[str] | None = None  # the credentials that were used first, hashed


class Book:
    """One account on one market, in memory and in its state file.

    Raises
    ------
    SettingsError
        The state file belongs to another market, or is fresh and no time was given.
    """

    rules: Rules
    account: Account
    orders: dict[str, Order]  # by id, in the order of their arrival
    by_client_id: dict[str, Order]
    working: Working  # the open ones
    positions: dict[str, Position]
    activities: list[Activity]
    ledger: list[Entry]
    closes: list[Close]
    _dirty: dict[tuple[str, str], Any]  # what the next save writes; None: gone

    def __init__(
        self, market: Market, file: StateFile, rules: Rules, now: int | None, **changes: Any
    ) -> None:
        """`rules` and `now` begin a fresh state; `changes` to the rules apply to any."""
        self.times, self._file = timetable(), file
        self.prices = Prices(market, self.times)
        self.market = self.prices.market
        if file.meta():
            self._load()
        elif now is not None:
            self.reset(rules, now)
        else:
            raise SettingsError(f"{file.path} is a fresh state: say what time it is there (--now)")
        self._rule(replace(self.rules, **changes))
        self._save()
        self.prices.prepare(self.account.now)

    def _load(self) -> None:
        meta = self._file.meta()
        if meta["market"] != self.market.identity:
            raise SettingsError(
                f"the state file {self._file.path} belongs to the market {meta['market']!r}, not "
                f"to {self.market.identity!r}; name another state file, or move this one away"
            )
        self._rule(Rules(**meta["rules"]))
        self.market.load(self._file.load("overlay"))
        kept = dict(meta["account"])
        self.account = Account(**kept | {"cash": Decimal(kept["cash"])})
        self.orders = {o.id: o for o in self._file.load("orders")}
        self.by_client_id = {o.client_order_id: o for o in self.orders.values()}
        self.positions = {p.symbol: p for p in self._file.load("positions")}
        self.activities = self._file.load("activities")
        self.ledger = self._file.load("ledger")
        self.closes = self._file.load("closes")
        self.working = Working(o for o in self.orders.values() if o.is_open)
        self._dirty = {}

    def reset(self, rules: Rules, now: int) -> None:
        """An empty account on the market as it was started: what was set on top of it goes too."""
        self._rule(rules)
        self._dirty = {}
        self.market.clear()
        self.account = Account(now=now, created_at=now, cash=ZERO, stamp=now - 1)
        self.account.configuration |= {
            "max_margin_multiplier": rules.multiplier,
            "no_shorting": rules.no_shorting,
        }
        self.orders, self.by_client_id, self.positions = {}, {}, {}
        self.activities, self.ledger, self.closes, self.working = [], [], [], Working()
        self.pay(Decimal(rules.cash), now, "opening balance")
        self._save(empty_first=True)
        self.prices.prepare(now)

    def _rule(self, rules: Rules) -> None:
        """Follow these rules; the calendar is one of them."""
        self.times = timetable(rules.calendar)
        self.prices.set_times(self.times)
        self.prices.renamed_asset = rules.renamed_asset
        self.rules = rules

    def overlay(self, additions: Iterable[Addition]) -> None:
        """Put things on top of the market."""
        with self.change():
            for addition in additions:
                self.market.put(addition)
                self._dirty["overlay", addition.key] = addition

    def _meta(self) -> dict[str, Any]:
        account = asdict(self.account) | {"cash": str(self.account.cash)}
        return {"market": self.market.identity, "rules": asdict(self.rules), "account": account}

    def _save(self, *, empty_first: bool = False) -> None:
        live = [(kind, record) for (kind, _), record in self._dirty.items() if record is not None]
        gone = [key for key, record in self._dirty.items() if record is None]
        self._file.save(self._meta(), live, gone=gone, empty_first=empty_first)
        self.working.settle()
        self._dirty = {}

    @property
    def now(self) -> int:
        """The clock, in microseconds of UTC."""
        return self.account.now

    @contextmanager
    def change(self) -> Iterator[None]:
        """Whatever happens inside is on disk at the end, or has not happened."""
        try:
            yield
            self._save()
        except BaseException:
            self._load()
            raise

    def touch(self, order: Order) -> None:
        """Have the order written, and counted among the open ones if it is."""
        self._dirty["orders", str(order.seq)] = order
        self.working.put(order)

    def _number(self) -> int:
        self.account.sequence += 1
        return self.account.sequence

    def stamp(self) -> int:
        """Now, or the next microsecond: no two events share an instant."""
        self.account.stamp = max(self.account.now, self.account.stamp + 1)
        return self.account.stamp

    def hold(self, symbol: str, change: Decimal, value: Decimal) -> None:
        """Shares bought (positive) or sold for `value` dollars.

        What adds to the position adds its value to the cost; what closes takes a share of the
        cost away, at average cost.
        """
        position = self.positions.setdefault(symbol, Position(symbol))
        if position.qty * change >= 0:
            added = value if change > 0 else -value
        elif position.qty + change == 0:
            added = -position.cost
        else:
            added = EXACT.multiply(change, position.average)
        position.qty, position.cost = position.qty + change, EXACT.add(position.cost, added)
        self.keep(position)

    def keep(self, position: Position) -> None:
        """Have the position written; a flat one vanishes."""
        flat = position.qty == 0
        self._dirty["positions", position.symbol] = None if flat else position
        if flat:
            del self.positions[position.symbol]

    def pay(self, amount: Decimal, at: int, why: str) -> None:
        """Move cash, and write down why."""
        self.account.cash = EXACT.add(self.account.cash, amount)
        entry = Entry(self._number(), at, amount, self.account.cash, why)
        self.ledger.append(entry)
        self._dirty["ledger", str(entry.seq)] = entry

    def record(self, kind: str, at: int, body: dict[str, Any]) -> None:
        """A row of the account's activities; its id carries the time in New York.

        By the rule `activity_delay`, all but fills appear at the next midnight in New York.
        """
        seq, made_at = self._number(), at
        if kind != "FILL" and self.rules.activity_delay == "next_day":
            made_at = parse_bound(str(new_york_date(at)), last=True) + 1
        local = moment(made_at).astimezone(NEW_YORK)
        digits = local.strftime("%Y%m%d%H%M%S") + f"{local.microsecond // 1000:03d}"
        made = f"{digits}::{identifier('activity', self.rules.seed, self.account.created_at, seq)}"
        day = str(new_york_date(at))
        stamped = {"created_at": utc_text(made_at)} if kind != "FILL" else {}
        activity = Activity(seq, made, kind, made_at, day, {"id": made} | body | stamped, at)
        self.activities.append(activity)
        self._dirty["activities", str(seq)] = activity
