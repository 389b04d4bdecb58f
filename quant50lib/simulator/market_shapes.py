"""What the control plane takes to set the market: assets, quotes and halts, bars, actions."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from quant50lib.simulator.announcements import FIELDS, OTHER, OWN, RATES
from quant50lib.simulator.market import ActionKind
from quant50lib.simulator.query import SYMBOL
from quant50lib.simulator.shapes import Shape

Symbol = Annotated[str, Field(pattern=SYMBOL.pattern, examples=["AAPL"])]
Amount = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Price = Annotated[float | str, Field(description="US dollars; text is exact", examples=["101.25"])]
Instant = Annotated[str, Field(description="RFC 3339", examples=["2024-06-03T13:30:00Z"])]
Date = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$", examples=["2024-06-03"])]
Venue = Literal["AMEX", "ARCA", "BATS", "NYSE", "NASDAQ", "NYSEARCA", "OTC"]


class AssetShape(Shape):
    """An asset; what is not said stays as it is, or as the twin has it by default."""

    symbol: Symbol
    id: str | None = None
    """A UUID; made from the symbol."""
    class_: Annotated[Literal["us_equity"], Field(alias="class")] = "us_equity"
    exchange: Venue | None = None
    name: str | None = None
    status: Literal["active", "inactive"] | None = None
    tradable: bool | None = None
    marginable: bool | None = None
    shortable: bool | None = None
    easy_to_borrow: bool | None = None
    borrow_status: Literal["easy_to_borrow", "hard_to_borrow"] | None = None
    fractionable: bool | None = None
    maintenance_margin_requirement: float | None = None
    margin_requirement_long: str | None = None
    margin_requirement_short: str | None = None
    attributes: list[str] | None = None
    cusip: str | None = None

    @field_validator("id")
    @classmethod
    def _is_uuid(cls, value: str | None) -> str | None:
        return value if value is None else str(UUID(value))


class MarketShape(Shape):
    """A quote (`symbol` with `last`, or `bid` and `ask`, or all), or a halt (`halt` and `on`)."""

    symbol: Symbol | None = None
    bid: Price | None = None
    ask: Price | None = None
    last: Price | None = None
    t: Instant | None = None
    """From when the quote stands; now, unless said."""
    halt: Symbol | None = None
    """The symbol whose trading is halted, or goes on."""
    on: bool = True

    @field_validator("bid", "ask", "last")
    @classmethod
    def _is_a_price(cls, value: float | str | None) -> float | str | None:
        if value is not None and not 0 < float(value) < 1e9:
            raise ValueError(f"{value!r} is no price")
        return value

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.symbol is None) == (self.halt is None):
            raise ValueError("either symbol (a quote) or halt is needed")
        sides = self.bid is not None and self.ask is not None
        if self.symbol is not None and self.last is None and not sides:
            raise ValueError("a quote needs last, or bid and ask")
        if sides and float(self.bid or 0) > float(self.ask or 0):
            raise ValueError("the bid is above the ask")
        return self


class BarShape(Shape):
    """A bar; only `t` and `c` are needed."""

    t: Annotated[str, Field(description="its start: RFC 3339, or the date of a daily bar")]
    o: Amount | None = None
    h: Amount | None = None
    l: Amount | None = None  # noqa: E741
    c: Amount
    v: Annotated[int, Field(ge=0, le=10**15)] = 1_000_000
    n: Annotated[int, Field(ge=0, le=10**15)] | None = None
    vw: Amount | None = None


class BarsShape(Shape):
    """Bars of a symbol; a bar replaces the one that starts with it."""

    symbol: Symbol
    timeframe: str = "1Day"
    raw: Literal[True] = True
    """Prices as traded: the adjusted ones follow from the corporate actions."""
    rows: list[BarShape]


class ActionShape(Shape):
    """A corporate action; which of the fields count depends on the type."""

    type: ActionKind
    id: str | None = None
    """A UUID; made where it is missing."""
    symbol: Symbol | None = None
    old_symbol: Symbol | None = None
    new_symbol: Symbol | None = None
    source_symbol: Symbol | None = None
    acquirer_symbol: Symbol | None = None
    acquiree_symbol: Symbol | None = None
    alternate_symbol: Symbol | None = None
    cusip: str | None = None
    old_cusip: str | None = None
    new_cusip: str | None = None
    source_cusip: str | None = None
    acquirer_cusip: str | None = None
    acquiree_cusip: str | None = None
    alternate_cusip: str | None = None
    rate: Amount | None = None
    old_rate: Amount | None = None
    new_rate: Amount | None = None
    source_rate: Amount | None = None
    acquirer_rate: Amount | None = None
    acquiree_rate: Amount | None = None
    alternate_rate: Amount | None = None
    cash_rate: Amount | None = None
    price: Amount | None = None
    special: bool | None = None
    foreign: bool | None = None
    ex_date: Date | None = None
    process_date: Date | None = None
    record_date: Date | None = None
    payable_date: Date | None = None
    effective_date: Date | None = None
    expiration_date: Date | None = None
    due_bill_on_date: Date | None = None
    due_bill_off_date: Date | None = None
    due_bill_redemption_date: Date | None = None
    lottery_date: Date | None = None
    lottery_type: str | None = None
    stock_movements: list[dict[str, Any]] | None = None

    @field_validator("id")
    @classmethod
    def _is_uuid(cls, value: str | None) -> str | None:
        return value if value is None else str(UUID(value))

    @model_validator(mode="after")
    def _dates_are_dates(self) -> Self:
        for name, value in self.given.items():
            if name.endswith("_date") and value is not None:
                if not 1990 <= dt.date.fromisoformat(value).year < 2045:
                    raise ValueError(f"{name}: {value} is outside the calendar, 1990 to 2044")
        return self

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        known = {"type", "id", *FIELDS[self.type]}
        if unknown := sorted(set(self.given) - known):
            listed = ", ".join(["type", "id", *FIELDS[self.type]])
            raise ValueError(f"{self.type} has no {', '.join(unknown)}; known: {listed}")
        if missing := [name for name in _needed(self.type) if getattr(self, name) is None]:
            raise ValueError(f"{self.type} needs {', '.join(missing)}")
        if self.day is None:
            raise ValueError(f"{self.type} needs {' or '.join(_dates(self.type))}")
        return self

    @property
    def day(self) -> str | None:
        """The date from which it holds."""
        return next(filter(None, (getattr(self, name) for name in _dates(self.type))), None)


def _dates(kind: str) -> list[str]:
    return [n for n in ("ex_date", "effective_date", "process_date") if n in FIELDS[kind]]


def _needed(kind: str) -> list[str]:
    """Symbols and rates without which an action cannot be carried out."""
    rates = [name for name in RATES.get(kind, ()) if name] + ["rate"] * (kind == "stock_dividend")
    optional = {"partial_call", "reorganization"}
    other = [OTHER[kind]] if kind in OTHER and kind != "cash_merger" else []
    return [OWN.get(kind, "symbol"), *other, *([] if kind in optional else rates)]
