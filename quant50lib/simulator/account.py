"""The account and its positions as figures and as Alpaca's replies show them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from quant50lib.simulator.records import (
    EXACT,
    SHARE,
    ZERO,
    Order,
    Position,
    cut,
    divide,
    identifier,
    text,
)
from quant50lib.simulator.timetable import new_york_date, utc_text

if TYPE_CHECKING:
    from quant50lib.simulator.exchange import Exchange

INITIAL, MAINTENANCE, CHEAP_MAINTENANCE = Decimal("0.5"), Decimal("0.3"), Decimal(1)
CHEAP = Decimal("2.5")  # below it a long position is no collateral
MARGIN_FROM = Decimal(2000)  # with less equity the account is a cash account


@dataclass(frozen=True)
class Figures:
    """US dollars, exact."""

    cash: Decimal
    long_market_value: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    last_equity: Decimal
    last_maintenance_margin: Decimal
    multiplier: int
    reserved: Decimal

    @property
    def equity(self) -> Decimal:
        return EXACT.add(self.cash, self.long_market_value)

    @property
    def regt_buying_power(self) -> Decimal:
        """Reg T: twice the equity that is not tied up; cash alone in a cash account."""
        return self._power(min(self.multiplier, 2), self.equity, self.initial_margin)

    @property
    def buying_power(self) -> Decimal:
        if self.multiplier == 4:
            return self._power(4, self.last_equity, self.last_maintenance_margin)
        return self.regt_buying_power

    def _power(self, multiplier: int, equity: Decimal, margin: Decimal) -> Decimal:
        free = self.cash if multiplier == 1 else max(equity - margin, ZERO) * multiplier
        return max(EXACT.subtract(free, self.reserved), ZERO)


def figures(exchange: Exchange) -> Figures:
    """The account at the exchange's moment."""
    values = [
        (EXACT.multiply(p.qty, price), price)
        for p in exchange.positions.values()
        if (price := exchange.prices.last(p.symbol, exchange.now)) is not None
    ]
    total = sum((value for value, _ in values), ZERO)
    maintenance = sum(
        (EXACT.multiply(v, MAINTENANCE if p >= CHEAP else CHEAP_MAINTENANCE) for v, p in values),
        ZERO,
    )
    multiplier = int(exchange.account.configuration["max_margin_multiplier"])
    if exchange.account.cash + total < MARGIN_FROM:
        multiplier = 1
    last_equity, last_maintenance = _previous(exchange)
    return Figures(
        cash=exchange.account.cash,
        long_market_value=total,
        initial_margin=total * (INITIAL if multiplier > 1 else 1),
        maintenance_margin=maintenance,
        last_equity=last_equity,
        last_maintenance_margin=last_maintenance,
        multiplier=multiplier,
        reserved=sum((order.reserved for order in exchange.working.values()), ZERO),
    )


def held_for_orders(exchange: Exchange, symbol: str) -> Decimal:
    """Shares that open sells have set aside."""
    found = ZERO
    for order in exchange.working.values():
        if order.symbol == symbol and order.side == "sell":
            if order.remaining is not None:
                found += order.remaining
            else:
                found += cut(EXACT.divide(order.notional or ZERO, order.reserve_price), SHARE)
    return found


def _previous(exchange: Exchange) -> tuple[Decimal, Decimal]:
    """Equity and maintenance at the close before the current trading day."""
    today = exchange.times.current(exchange.now)
    for close in reversed(exchange.closes):
        if close.seq < today:
            return close.equity, close.maintenance
    return Decimal(exchange.rules.cash), ZERO


def _cents(value: Decimal) -> str | None:
    """Margins are shown cut to two decimals."""
    return text(value.quantize(Decimal("0.01"), rounding="ROUND_DOWN"))


def account_reply(exchange: Exchange) -> dict[str, Any]:
    """The body of GET /v2/account."""
    f, account = figures(exchange), exchange.account
    made = identifier("account", exchange.rules.seed, account.created_at)
    suspended = account.configuration["suspend_trade"]
    cash_power = max(f.cash - f.reserved, ZERO)
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
        "non_marginable_buying_power": text(cash_power),
        "options_buying_power": text(cash_power),
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
        "short_market_value": "0",
        "position_market_value": text(f.long_market_value),
        "initial_margin": _cents(f.initial_margin),
        "maintenance_margin": _cents(f.maintenance_margin),
        "last_maintenance_margin": _cents(f.last_maintenance_margin),
        "sma": "0",
        "multiplier": str(f.multiplier),
        "trading_blocked": False,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": suspended,
        "shorting_enabled": False,
        "created_at": utc_text(account.created_at),
        "balance_asof": str(new_york_date(exchange.now)),
    }


def exchange_of(kind: str, symbol: str) -> str:
    """Where a security is listed; the markets do not say, so funds and stocks are spread."""
    if kind == "etf":
        return "ARCA"
    return "NASDAQ" if len(symbol) >= 4 else "NYSE"


def position_reply(exchange: Exchange, position: Position) -> dict[str, Any]:
    """A row of GET /v2/positions."""
    symbol, now = position.symbol, exchange.now
    listing = exchange.market.listings()[symbol]
    price = exchange.prices.last(symbol, now)
    today = exchange.times.current(now)
    before = exchange.prices.close_before(symbol, now, today)
    common = {
        "asset_id": identifier("asset", symbol),
        "symbol": symbol,
        "exchange": exchange_of(listing.kind, symbol),
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": text(position.qty),
        "qty_available": text(position.qty - held_for_orders(exchange, symbol)),
        "avg_entry_price": text(position.average),
        "side": "long",
        "cost_basis": text(position.cost),
    }
    return common | _marks(exchange, position, price, before)


def _marks(
    exchange: Exchange, position: Position, price: Decimal | None, before: Decimal | None
) -> dict[str, Any]:
    """What depends on prices; all null where there is none."""
    names = ("market_value", "current_price", "lastday_price", "change_today")
    gains = ("unrealized_pl", "unrealized_plpc", "unrealized_intraday_pl")
    if price is None or before is None:
        return dict.fromkeys((*names, *gains, "unrealized_intraday_plpc"))
    value, base = EXACT.multiply(position.qty, price), _intraday_base(exchange, position, before)
    return {
        "market_value": text(value),
        "current_price": text(price),
        "lastday_price": text(before),
        "change_today": text(divide(price - before, before)),
        "unrealized_pl": text(value - position.cost),
        "unrealized_plpc": text(divide(value - position.cost, position.cost)),
        "unrealized_intraday_pl": text(value - base),
        "unrealized_intraday_plpc": text(divide(value - base, base)),
    }


def _intraday_base(exchange: Exchange, position: Position, before: Decimal) -> Decimal:
    """Shares bought today at their cost, the others at the last day's price."""
    bought, paid = ZERO, ZERO
    for order in exchange.orders_of(exchange.times.current(exchange.now)):
        if order.symbol == position.symbol and order.side == "buy":
            bought, paid = bought + order.filled_qty, paid + order.filled_value
    bought_kept = min(bought, position.qty)
    cost = paid if bought_kept == bought else EXACT.multiply(bought_kept, divide(paid, bought))
    return cost + EXACT.multiply(position.qty - bought_kept, before)


def order_reply(order: Order) -> dict[str, Any]:
    """The order object, every key that Alpaca sends."""
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
        "replaced_at": None,
        "replaced_by": None,
        "replaces": None,
        "asset_id": identifier("asset", order.symbol),
        "symbol": order.symbol,
        "asset_class": "us_equity",
        "notional": text(order.notional),
        "qty": text(order.qty),
        "filled_qty": text(order.filled_qty),
        "filled_avg_price": text(average),
        "order_class": "",
        "order_type": "market",
        "type": "market",
        "side": order.side,
        "position_intent": "buy_to_open" if order.side == "buy" else "sell_to_close",
        "time_in_force": "day",
        "limit_price": None,
        "stop_price": None,
        "status": order.status,
        "extended_hours": False,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
        "subtag": None,
        "source": None,
    }
