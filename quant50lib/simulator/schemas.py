"""The published fields of Alpaca's replies: types, nulls, and how numbers are written.

The trading service writes decimals as text, the data service as JSON numbers. Each model is closed:
a field that nobody published is an error. They document both services in the OpenAPI and judge what
the twin answers in the tests; replies do not pass through them on their way out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[str, Field(pattern=r"^-?(0|[1-9]\d*)(\.\d*[1-9])?$")]
Instant = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")]
Local = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?-0[45]:00$")
]  # New York
Date = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Time = Annotated[str, Field(pattern=r"^\d\d:\d\d$")]
Digits = Annotated[str, Field(pattern=r"^\d{4}$")]
Market = Literal["AMEX", "ARCA", "BATS", "NYSE", "NASDAQ", "NYSEARCA", "OTC", "CRYPTO"]
Status = Literal[
    "new", "partially_filled", "filled", "done_for_day", "canceled", "expired", "replaced",
    "pending_cancel", "pending_replace", "accepted", "pending_new", "accepted_for_bidding",
    "stopped", "rejected", "suspended", "calculated", "held",
]  # fmt: skip
Kind = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
Force = Literal["day", "gtc", "opg", "cls", "ioc", "fok"]
Intent = Literal["buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"]


class Published(BaseModel):
    """An object of a reply."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Clock(Published):
    timestamp: Local
    is_open: bool
    next_open: Local
    next_close: Local


class CalendarDay(Published):
    date: Date
    open: Time
    close: Time
    session_open: Digits
    session_close: Digits
    settlement_date: Date


class Account(Published):
    id: Uuid
    account_number: str
    status: Literal["ACTIVE"]
    crypto_status: Literal["ACTIVE"]
    currency: Literal["USD"]
    cash: Number
    equity: Number
    last_equity: Number
    portfolio_value: Number
    buying_power: Number
    regt_buying_power: Number
    non_marginable_buying_power: Number
    options_buying_power: Number
    effective_buying_power: Number
    multiplier: Literal["1", "2", "4"]
    initial_margin: Number
    maintenance_margin: Number
    last_maintenance_margin: Number
    long_market_value: Number
    short_market_value: Number
    position_market_value: Number
    sma: Number
    accrued_fees: Number
    pending_transfer_in: Number
    pending_transfer_out: Number
    pending_reg_taf_fees: Number
    intraday_adjustments: Number
    balance_asof: Date
    trading_blocked: bool
    transfers_blocked: bool
    account_blocked: bool
    trade_suspended_by_user: bool
    shorting_enabled: bool
    created_at: Instant
    options_approved_level: int
    options_trading_level: int
    admin_configurations: dict[str, Any]
    user_configurations: None
    pattern_day_trader: bool | None = Field(None, description="until 2026-07-06")
    daytrade_count: int | None = Field(None, description="until 2026-07-06")
    daytrading_buying_power: Number | None = Field(None, description="until 2026-07-06")


class Configuration(Published):
    disable_overnight_trading: bool
    fractional_trading: bool
    max_margin_multiplier: Literal["1", "2", "4"]
    max_options_trading_level: int | None
    no_shorting: bool
    ptp_no_exception_entry: bool
    suspend_trade: bool
    trade_confirm_email: Literal["all", "none"]
    dtbp_check: str | None = Field(None, description="until 2026-07-06")
    pdt_check: str | None = Field(None, description="until 2026-07-06")


class History(Published):
    """Arrays of one length; the timestamps are seconds of UTC."""

    timestamp: list[int]
    equity: list[float]
    profit_loss: list[float]
    profit_loss_pct: list[float | None]
    base_value: float
    base_value_asof: Date
    timeframe: Literal["1Min", "5Min", "15Min", "1H", "1D"]
    cashflow: dict[str, list[float]]


class Asset(Published):
    id: Uuid
    class_: Annotated[Literal["us_equity"], Field(alias="class")]
    exchange: Market
    symbol: str
    name: str
    status: Literal["active", "inactive"]
    tradable: bool
    marginable: bool
    shortable: bool
    easy_to_borrow: bool
    fractionable: bool
    borrow_status: Literal["easy_to_borrow", "hard_to_borrow"]
    maintenance_margin_requirement: float
    margin_requirement_long: Number
    margin_requirement_short: Number
    attributes: list[str]
    cusip: str | None


class Position(Published):
    asset_id: Uuid
    symbol: str
    exchange: Market
    asset_class: Literal["us_equity"]
    asset_marginable: bool
    avg_entry_price: Number
    qty: Number
    qty_available: Number
    side: Literal["long", "short"]
    market_value: Number | None
    cost_basis: Number
    unrealized_pl: Number | None
    unrealized_plpc: Number | None
    unrealized_intraday_pl: Number | None
    unrealized_intraday_plpc: Number | None
    current_price: Number | None
    lastday_price: Number | None
    change_today: Number | None


class Order(Published):
    id: Uuid
    client_order_id: str
    created_at: Instant
    updated_at: Instant
    submitted_at: Instant
    filled_at: Instant | None
    expired_at: Instant | None
    expires_at: Instant | None
    canceled_at: Instant | None
    failed_at: Instant | None
    replaced_at: Instant | None
    replaced_by: Uuid | None
    replaces: Uuid | None
    asset_id: Uuid
    symbol: str
    asset_class: Literal["us_equity"]
    notional: Number | None
    qty: Number | None
    filled_qty: Number
    filled_avg_price: Number | None
    order_class: Literal["", "simple", "bracket", "oco", "oto"]
    order_type: Kind
    type: Kind
    side: Literal["buy", "sell"]
    position_intent: Intent
    time_in_force: Force
    limit_price: Number | None
    stop_price: Number | None
    status: Status
    extended_hours: bool
    legs: list[Order] | None
    trail_percent: Number | None
    trail_price: Number | None
    hwm: Number | None
    subtag: str | None
    source: str | None


class Failure(Published):
    """What a refusal says; the data service often sends the message alone."""

    model_config = ConfigDict(extra="allow", strict=True)

    code: int | None = None
    message: str


class CancelRow(Published):
    id: Uuid
    status: int
    body: Order | Failure


class CloseRow(Published):
    symbol: str
    status: int
    body: Order | Failure


class Fill(Published):
    id: str
    activity_type: Literal["FILL"]
    transaction_time: Instant
    type: Literal["fill", "partial_fill"]
    price: Number
    qty: Number
    side: Literal["buy", "sell", "sell_short"]
    symbol: str
    leaves_qty: Number
    order_id: Uuid
    cum_qty: Number
    order_status: Status


class OtherActivity(Published):
    id: str
    activity_type: str
    activity_sub_type: str | None
    date: Date
    net_amount: Number
    symbol: str | None
    cusip: str | None
    qty: Number | None
    per_share_amount: Number | None
    price: Number | None = None
    description: str
    status: Literal["executed", "correct", "canceled"]
    created_at: Instant
    group_id: str | None
    currency: Literal["USD"]
