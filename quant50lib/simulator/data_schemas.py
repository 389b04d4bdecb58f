"""The published fields of the market-data service, and of its pages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from quant50lib.simulator.schemas import Date, Instant, Local, Number, Published, Uuid


class Bar(Published):
    t: Instant
    o: float
    h: float
    l: float  # noqa: E741
    c: float
    v: int
    n: int | None
    vw: float | None


class Quote(Published):
    t: Instant
    ax: str
    ap: float
    as_: Annotated[float, Field(alias="as")]
    bx: str
    bp: float
    bs: float
    c: list[str]
    z: str


class Trade(Published):
    t: Instant
    x: str
    p: float
    s: float
    c: list[str]
    i: int
    z: str
    u: str | None = None


class Print(Published):
    """Of an auction."""

    t: Instant
    x: str
    p: float
    s: float
    c: str


class Auctions(Published):
    """Of one day: opening and closing prints."""

    d: Date
    o: list[Print]
    c: list[Print]


class Page(Published):
    """A token as long as there is more."""

    next_page_token: str | None
    currency: str | None = None


class Bars(Page):
    bars: dict[str, list[Bar]]


class Quotes(Page):
    quotes: dict[str, list[Quote]]


class Trades(Page):
    trades: dict[str, list[Trade]]


class AuctionDays(Page):
    auctions: dict[str, list[Auctions]]


class OfOne(Published):
    """About one symbol."""

    symbol: str
    currency: str | None = None


class BarsOfOne(Page, OfOne):
    bars: list[Bar] | None


class QuotesOfOne(Page, OfOne):
    quotes: list[Quote] | None


class TradesOfOne(Page, OfOne):
    trades: list[Trade] | None


class AuctionDaysOfOne(Page, OfOne):
    auctions: list[Auctions] | None


class LatestBars(Published):
    bars: dict[str, Bar]
    currency: str | None = None


class LatestQuotes(Published):
    quotes: dict[str, Quote]
    currency: str | None = None


class LatestTrades(Published):
    trades: dict[str, Trade]
    currency: str | None = None


class LatestBar(OfOne):
    bar: Bar | None


class LatestQuote(OfOne):
    quote: Quote | None


class LatestTrade(OfOne):
    trade: Trade | None


class Snapshot(Published):
    """Any part may be missing."""

    latestTrade: Trade | None
    latestQuote: Quote | None
    minuteBar: Bar | None
    dailyBar: Bar | None
    prevDailyBar: Bar | None


class SnapshotOfOne(OfOne, Snapshot):
    pass


class ActionRecord(Published):
    """What it holds beside its id depends on its group; rates are numbers, days are dates."""

    model_config = ConfigDict(extra="allow", strict=True)

    id: Uuid
    process_date: Date


class CorporateActions(Published):
    corporate_actions: dict[str, list[ActionRecord]]
    next_page_token: str | None


class Announcement(Published):
    id: Uuid
    corporate_action_id: str
    ca_type: Literal["dividend", "merger", "spinoff", "split"]
    ca_sub_type: str
    initiating_symbol: str | None
    initiating_original_cusip: str | None
    target_symbol: str | None
    target_original_cusip: str | None
    declaration_date: Date | None
    ex_date: Date | None
    record_date: Date | None
    payable_date: Date | None
    cash: Number
    old_rate: Number
    new_rate: Number


class MarketName(Published):
    acronym: str
    bic: str
    mic: str
    name: str
    timezone: str


class MarketClock(Published):
    market: MarketName
    timestamp: Local
    is_market_day: bool
    next_market_open: Local
    next_market_close: Local
    phase: Literal["closed", "pre", "core", "post"]
    phase_until: Local


class MarketClocks(Published):
    clocks: list[MarketClock]


class MarketDay(Published):
    date: Date
    settlement_date: Date
    pre_start: str
    pre_end: str
    core_start: str
    core_end: str
    post_start: str
    post_end: str


class MarketCalendar(Published):
    market: MarketName
    calendar: list[MarketDay]
