"""The account as figures and as Alpaca's replies show it; and an order as they show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from quant50lib.simulator.assets import is_marginable
from quant50lib.simulator.book import Book
from quant50lib.simulator.records import EXACT, ZERO, Order, divide, identifier, text
from quant50lib.simulator.timetable import new_york_date, utc_text

INITIAL, MAINTENANCE = Decimal("0.5"), Decimal("0.3")  # of the market value
CHEAP = Decimal("2.5")  # dollars: below it a long position is no collateral
CHEAP_SHORT = Decimal(5)  # dollars: below it a short one needs more
MARGIN_FROM = Decimal(2000)  # with less equity the account is a cash account
DAY_TRADES = 5  # sessions over which the old day-trade count runs


@dataclass(frozen=True)
class Figures:
    """US dollars, exact; `short_market_value` is not above zero."""

    cash: Decimal
    long_market_value: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    last_equity: Decimal
    last_maintenance_margin: Decimal
    multiplier: int
    reserved: Decimal
    short_market_value: Decimal = ZERO

    @property
    def equity(self) -> Decimal:
        return EXACT.add(self.cash, self.long_market_value + self.short_market_value)

    @property
    def regt_buying_power(self) -> Decimal:
        """Reg T: twice the equity that is not tied up; in a cash account the cash that is free."""
        return self._power(min(self.multiplier, 2), self.equity, self.initial_margin)

    @property
    def buying_power(self) -> Decimal:
        if self.multiplier == 4:
            return self._power(4, self.last_equity, self.last_maintenance_margin)
        return self.regt_buying_power

    @property
    def cash_buying_power(self) -> Decimal:
        """For what cannot be bought on margin: cash that neither orders nor shorts tie up."""
        return max(self.cash + 2 * self.short_market_value - self.reserved, ZERO)

    def _power(self, multiplier: int, equity: Decimal, margin: Decimal) -> Decimal:
        free = max(EXACT.subtract(equity, margin), ZERO) * multiplier
        return max(EXACT.subtract(free, self.reserved), ZERO)


def figures(exchange: Book) -> Figures:
    """The account at the exchange's moment; positions without a price count nothing."""
    longs, shorts, initial, maintenance = ZERO, ZERO, ZERO, ZERO
    cash_only = ZERO  # the part of the initial margin that no multiplier lightens
    for position in exchange.positions.values():
        price = exchange.prices.last(position.symbol, exchange.now)
        if price is None:
            continue
        value = EXACT.multiply(position.qty, price)
        longs, shorts = longs + max(value, ZERO), shorts + min(value, ZERO)
        maintenance += maintenance_margin(position.qty, price)
        whole = not is_marginable(exchange, position.symbol)
        initial, cash_only = initial + abs(value), cash_only + (abs(value) if whole else ZERO)
    multiplier = int(exchange.account.configuration["max_margin_multiplier"])
    if exchange.account.cash + longs + shorts < MARGIN_FROM:
        multiplier = 1
    if multiplier > 1:
        initial = cash_only + EXACT.multiply(initial - cash_only, INITIAL)
    last_equity, last_maintenance = _previous(exchange)
    return Figures(
        cash=exchange.account.cash,
        long_market_value=longs,
        initial_margin=initial,
        maintenance_margin=maintenance,
        last_equity=last_equity,
        last_maintenance_margin=last_maintenance,
        multiplier=multiplier,
        reserved=exchange.working.reserved,
        short_market_value=shorts,
    )


def maintenance_margin(qty: Decimal, price: Decimal) -> Decimal:
    """What a position needs at the close, from Alpaca's table of margin requirements.

    Long: all below 2.50 dollars a share, else 30 %. Short: below 5 dollars the larger of 2.50 a
    share and all, else the larger of 5 a share and 30 %.
    """
    value = EXACT.multiply(abs(qty), price)
    if qty >= 0:
        return value if price < CHEAP else EXACT.multiply(value, MAINTENANCE)
    if price < CHEAP_SHORT:
        return max(EXACT.multiply(-qty, CHEAP), value)
    return max(EXACT.multiply(-qty, CHEAP_SHORT), EXACT.multiply(value, MAINTENANCE))


def may_short(exchange: Book) -> bool:
    """Neither forbidden by the configuration nor by too little equity."""
    allowed = not exchange.account.configuration["no_shorting"]
    return allowed and figures(exchange).equity >= MARGIN_FROM


def _previous(exchange: Book) -> tuple[Decimal, Decimal]:
    """Equity and maintenance at the close before the current trading day."""
    today = exchange.times.current(exchange.now)
    for close in reversed(exchange.closes):
        if close.seq < today:
            return close.equity, close.maintenance
    return Decimal(exchange.rules.cash), ZERO


def _cents(value: Decimal) -> str | None:
    """Margins are shown cut to two decimals."""
    return text(value.quantize(Decimal("0.01"), ROUND_DOWN, EXACT))


def account_reply(exchange: Book) -> dict[str, Any]:
    """The body of GET /v2/account."""
    f, account = figures(exchange), exchange.account
    made = identifier("account", exchange.rules.seed, account.created_at)
    configuration = account.configuration
    return {
        "id": made,
        "admin_configurations": {},
        "user_configurations": None,
        "account_number": "PA3" + made.replace("-", "").upper()[:9],
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "buying_power": text(f.buying_power),
        "regt_buying_power": text(f.regt_buying_power),
        "effective_buying_power": text(f.buying_power),
        "non_marginable_buying_power": text(f.cash_buying_power),
        "options_buying_power": text(f.cash_buying_power),
        "options_approved_level": 0,
        "options_trading_level": 0,
        "cash": text(f.cash),
        "accrued_fees": "0",
        "pending_transfer_in": "0",
        "pending_transfer_out": "0",
        "pending_reg_taf_fees": "0",
        "intraday_adjustments": "0",
        "portfolio_value": text(f.equity),
        "equity": text(f.equity),
        "last_equity": text(f.last_equity),
        "long_market_value": text(f.long_market_value),
        "short_market_value": text(f.short_market_value),
        "position_market_value": text(f.long_market_value + f.short_market_value),
        "initial_margin": _cents(f.initial_margin),
        "maintenance_margin": _cents(f.maintenance_margin),
        "last_maintenance_margin": _cents(f.last_maintenance_margin),
        "sma": "0",
        "multiplier": str(f.multiplier),
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": configuration["suspend_trade"],
        "shorting_enabled": not configuration["no_shorting"] and f.equity >= MARGIN_FROM,
        "created_at": utc_text(account.created_at),
        "balance_asof": str(new_york_date(exchange.now)),
    } | (_day_trading(exchange, f) if exchange.rules.legacy_pdt_fields else {})


def _day_trading(exchange: Book, f: Figures) -> dict[str, Any]:
    """The fields of the pattern-day-trader rule, which replies lost on 2026-07-06."""
    count = day_trades(exchange)
    power = f.buying_power if f.multiplier == 4 else ZERO
    return {
        "pattern_day_trader": f.multiplier == 4 and count > 3,
        "daytrade_count": count,
        "daytrading_buying_power": text(power),
    }


def day_trades(exchange: Book) -> int:
    """Symbols bought and sold on one day, over the last five sessions."""
    first = str(exchange.times.day(max(exchange.times.current(exchange.now) - DAY_TRADES + 1, 0)))
    seen: dict[tuple[str, str], set[str]] = {}
    for activity in reversed(exchange.activities):
        if activity.day < first:
            break
        if activity.type == "FILL":
            seen.setdefault((activity.day, activity.body["symbol"]), set()).add(
                activity.body["side"]
            )
    return sum(len(sides) == 2 for sides in seen.values())


def configuration_reply(exchange: Book) -> dict[str, Any]:
    """The body of GET /v2/account/configurations."""
    old = {"dtbp_check": "entry", "pdt_check": "entry"}
    return exchange.account.configuration | (old if exchange.rules.legacy_pdt_fields else {})


def acknowledgement(order: Order, legs: Sequence[Order] = ()) -> dict[str, Any]:
    """An order as the reply to its request shows it: as it was taken in, before all that follows."""
    shown = order_reply(order) | {
        "status": order.history[0][1],
        "updated_at": utc_text(order.created_at),
        "submitted_at": utc_text(order.created_at),
        "legs": [acknowledgement(leg) for leg in legs] or None,
    }
    if not order.replaces:
        shown |= {"filled_qty": "0", "filled_avg_price": None}
    return shown | dict.fromkeys(("filled_at", "failed_at", "canceled_at", "expired_at"))


def order_reply(order: Order, legs: Sequence[Order] = ()) -> dict[str, Any]:
    """The order object, every key that Alpaca sends; `legs` where they are to be nested."""
    average = divide(order.filled_value, order.filled_qty) if order.filled_qty else None
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": utc_text(order.created_at),
        "updated_at": utc_text(order.updated_at),
        "submitted_at": utc_text(order.submitted_at),
        "filled_at": utc_text(order.filled_at),
        "expired_at": utc_text(order.expired_at),
        "expires_at": utc_text(order.expires_at),
        "canceled_at": utc_text(order.canceled_at),
        "failed_at": utc_text(order.failed_at),
        "replaced_at": utc_text(order.replaced_at),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": order.asset_id,
        "symbol": order.symbol,
        "asset_class": "us_equity",
        "notional": text(order.notional),
        "qty": text(order.qty),
        "filled_qty": text(order.filled_qty),
        "filled_avg_price": text(average),
        "order_class": order.order_class,
        "order_type": order.kind,
        "type": order.kind,
        "side": order.side,
        "position_intent": order.position_intent,
        "time_in_force": order.time_in_force,
        "limit_price": text(order.limit_price),
        "stop_price": text(order.stop_price),
        "status": order.status,
        "extended_hours": order.extended_hours,
        "legs": [order_reply(leg) for leg in legs] or None,
        "trail_percent": text(order.trail_percent),
        "trail_price": text(order.trail_price),
        "hwm": text(order.hwm),
        "subtag": None,
        "source": None,
    }
