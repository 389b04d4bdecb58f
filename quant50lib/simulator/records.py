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

OPEN_STATUSES = frozenset({"new", "accepted", "pending_new", "partially_filled"})
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
    next_look: int | None = None  # when a remainder is looked at again
    looks: int = 0
    history: list[tuple[int, str]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def remaining(self) -> Decimal | None:
        """Shares still wanted; None for a notional order that has met no price yet."""
        return None if self.wanted is None else self.wanted - self.filled_qty

    @property
    def reserved(self) -> Decimal:
        """Buying power it holds back."""
        if self.side == "sell" or not self.is_open:
            return ZERO
        if self.notional is not None:
            return max(self.notional - self.filled_value, ZERO)
        return EXACT.multiply(self.remaining or ZERO, self.reserve_price)

    def move(self, status: str, at: int) -> None:
        """Enter a status."""
        self.status, self.updated_at = status, at
        self.history.append((at, status))


@dataclass
class Position:
    """Shares owned and what they cost; `cost` is exact for purchases, sales take their share."""

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


Record = Order | Position | Activity | Entry | Close

DECIMALS = frozenset(
    {"qty", "notional", "reserve_price", "filled_qty", "filled_value", "wanted", "cost"}
    | {"amount", "balance", "equity", "maintenance"}
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
