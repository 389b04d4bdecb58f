"""What the exchange remembers: orders, positions, activities; and decimals as text.

Money is exact: cash moves by quantity x price without rounding. Only divisions round.
"""

from __future__ import annotations

import decimal
import hashlib
import uuid
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Literal

ZERO = Decimal(0)
SHARE = Decimal("1E-9")  # the smallest part of a share
TICK = Decimal("1E-4")  # of an execution price
RATIO = Decimal("1E-16")  # divisions are cut here

OPEN_STATUSES = frozenset(
    {"new", "accepted", "pending_new", "partially_filled", "held"}
    | {"pending_cancel", "pending_replace", "accepted_for_bidding", "stopped", "suspended"}
    | {"calculated"}
)
LIVE_STATUSES = frozenset({"new", "partially_filled"})
SETTLED = LIVE_STATUSES | {"held", "accepted", "pending_new"}
STOP_KINDS = frozenset({"stop", "stop_limit", "trailing_stop"})
NAMESPACE = uuid.UUID("5c1f0a4e-7d0b-5e52-9f5e-50a1b2c3d4e5")

Side = Literal["buy", "sell"]

#: enough digits that products of shares and prices are never rounded
EXACT = decimal.Context(prec=60)


def identifier(*parts: object) -> str:
    """A UUID that is the same for the same parts, in every run."""
    return str(uuid.uuid5(NAMESPACE, "|".join(str(part) for part in parts)))


def uniform(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = hashlib.blake2b("|".join(str(p) for p in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def text(value: Decimal | None) -> str | None:
    """Plain decimal digits without trailing zeros."""
    if value is None:
        return None
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


def divide(a: Decimal, b: Decimal) -> Decimal:
    """a / b to sixteen decimals."""
    return EXACT.divide(a, b).quantize(RATIO, context=EXACT)


def cut(value: Decimal, step: Decimal) -> Decimal:
    """Towards zero to a multiple of a power of ten."""
    return value.quantize(step, rounding=decimal.ROUND_DOWN, context=EXACT)


@dataclass
class Order:
    """An order and its whole life; instants are microseconds of UTC."""

    seq: int
    id: str
    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal | None
    notional: Decimal | None
    session: int  # index of the session in which it may trade
    reserve_price: Decimal  # what a share is taken to cost until it is bought
    created_at: int
    submitted_at: int
    updated_at: int
    expires_at: int
    status: str = "accepted"
    filled_qty: Decimal = ZERO
    filled_value: Decimal = ZERO  # sum of quantity x price
    filled_at: int | None = None
    expired_at: int | None = None
    canceled_at: int | None = None
    failed_at: int | None = None
    wanted: Decimal | None = None  # shares: `qty`, or the notional over the first price
    next_look: int | None = None  # when it is looked at again
    looks: int = 0
    history: list[tuple[int, str]] = field(default_factory=list)
    kind: str = "market"
    time_in_force: str = "day"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None  # the best price a trailing stop has seen
    extended_hours: bool = False
    order_class: str = ""
    position_intent: str = ""
    asset_id: str = ""
    parent: str | None = None  # of a leg
    legs: list[str] = field(default_factory=list)
    replaces: str | None = None
    replaced_by: str | None = None
    replaced_at: int | None = None
    awaits: str | None = None  # the order it is to replace, until that one gives way
    triggered: bool = False  # a stop whose price was reached
    armed: bool = False  # a held stop whose price is watched, beside its live sibling
    stuck: bool = False  # by the control plane: nothing happens to it until it is released
    last_fill_at: int | None = None
    reason: str = ""  # of a rejection after acceptance

    def __post_init__(self) -> None:
        """Fills in what state files of an earlier make lack."""
        closing = "sell_to_close" if self.side == "sell" else "buy_to_open"
        self.position_intent = self.position_intent or closing
        self.asset_id = self.asset_id or identifier("asset", self.symbol)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def is_live(self) -> bool:
        """Whether it can be executed as it stands."""
        return self.status in LIVE_STATUSES

    @property
    def is_free(self) -> bool:
        """Whether nothing keeps it from its next transition."""
        return not self.stuck and self.awaits is None

    @property
    def is_waiting(self) -> bool:
        """Whether it is a leg that is not live yet, though a cancel may be on its way."""
        known = (status for _, status in reversed(self.history) if status in SETTLED)
        return bool(self.parent) and next(known, "held") == "held"

    @property
    def is_stop(self) -> bool:
        """Whether it still waits for its stop price."""
        return self.kind in STOP_KINDS and not self.triggered

    @property
    def opens(self) -> bool:
        """Whether it opens a position or adds to one."""
        return self.position_intent.endswith("open")

    @property
    def sign(self) -> int:
        return 1 if self.side == "buy" else -1

    @property
    def remaining(self) -> Decimal | None:
        """Shares still wanted; None for a notional order that has met no price yet."""
        return None if self.wanted is None else self.wanted - self.filled_qty

    @property
    def binds(self) -> bool:
        """Whether it sets shares or buying power aside: what waits for another order does not."""
        return self.is_open and not self.is_waiting and self.awaits is None

    @property
    def reserved(self) -> Decimal:
        """Buying power it holds back."""
        if not self.opens or not self.binds:
            return ZERO
        if self.notional is not None:
            return max(self.notional - self.filled_value, ZERO)
        return EXACT.multiply(self.remaining or ZERO, self.reserve_price)

    @property
    def held_shares(self) -> Decimal:
        """Shares of the position it sets aside to close."""
        if self.opens or not self.binds:
            return ZERO
        if self.remaining is not None:
            return self.remaining
        return cut(EXACT.divide(self.notional or ZERO, self.reserve_price), SHARE)

    def move(self, status: str, at: int) -> None:
        """Enter a status."""
        self.status, self.updated_at = status, at
        self.history.append((at, status))


@dataclass
class Position:
    """Shares owned and what they cost; closing takes a share of the cost away.

    Sold short, both are negative: the cost is what the sale brought.
    """

    symbol: str
    qty: Decimal = ZERO
    cost: Decimal = ZERO

    @property
    def average(self) -> Decimal:
        return divide(self.cost, self.qty)


@dataclass
class Activity:
    """A row of the account's history, as the wire shows it."""

    seq: int
    id: str
    type: str
    created_at: int
    day: str  # date in New York
    body: dict[str, Any]
    t: int = 0  # when it happened, which may be before its row was made

    @property
    def at(self) -> int:
        return self.t or self.created_at


def moved(row: Activity) -> Decimal:
    """Shares that an activity added to the account, or (negative) took away."""
    qty = Decimal(row.body.get("qty") or 0)
    return -qty if row.type == "FILL" and row.body["side"] == "sell" else qty


@dataclass
class Entry:
    """A movement of cash."""

    seq: int
    t: int
    amount: Decimal
    balance: Decimal
    why: str


@dataclass
class Close:
    """The account at the end of a session; `seq` is the session's index."""

    seq: int
    equity: Decimal
    maintenance: Decimal


@dataclass
class Addition:
    """What the control plane set on top of the market; `body` is plain JSON."""

    sort: str  # asset, bars, quote, halt or action
    name: str  # what it is about: setting it again replaces it
    body: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.sort}|{self.name}"


Record = Order | Position | Activity | Entry | Close | Addition

DECIMALS = frozenset(
    {"qty", "notional", "reserve_price", "filled_qty", "filled_value", "wanted", "cost"}
    | {"amount", "balance", "equity", "maintenance"}
    | {"limit_price", "stop_price", "trail_price", "trail_percent", "hwm"}
)


def to_json(record: Record) -> dict[str, Any]:
    """Plain values: decimals as text."""
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in asdict(record).items()
    }


def from_json(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the record that `to_json` wrote."""
    found: dict[str, Any] = {
        name: Decimal(value) if name in DECIMALS and value is not None else value
        for name, value in values.items()
    }
    if "history" in found:
        found["history"] = [(at, status) for at, status in found["history"]]
    return found
