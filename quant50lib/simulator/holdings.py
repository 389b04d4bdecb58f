"""Positions as GET /v2/positions shows them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from quant50lib.simulator.assets import exchange_of, is_marginable
from quant50lib.simulator.book import Book
from quant50lib.simulator.market import Listing
from quant50lib.simulator.records import EXACT, ZERO, Position, divide, text


def held_for_orders(exchange: Book, symbol: str) -> Decimal:
    """Shares that open orders have set aside to close the position, not below zero."""
    return sum((order.held_shares for order in exchange.working.of(symbol)), ZERO)


def available(exchange: Book, position: Position) -> Decimal:
    """Shares of the position that no order holds; negative for a short one."""
    held = held_for_orders(exchange, position.symbol)
    return position.qty - held if position.qty >= 0 else position.qty + held


def position_reply(exchange: Book, position: Position) -> dict[str, Any]:
    """A row of GET /v2/positions."""
    symbol, now = position.symbol, exchange.now
    listing = exchange.market.listings().get(symbol, Listing(symbol, symbol, "", "stock"))
    told = exchange.market.assets.get(symbol, {})
    price = exchange.prices.last(symbol, now)
    before = exchange.prices.close_before(symbol, now, exchange.times.current(now))
    common = {
        "asset_id": exchange.prices.asset_id(symbol),
        "symbol": symbol,
        "exchange": told.get("exchange") or exchange_of(listing.kind, symbol),
        "asset_class": "us_equity",
        "asset_marginable": is_marginable(exchange, symbol),
        "qty": text(position.qty),
        "qty_available": text(available(exchange, position)),
        "avg_entry_price": text(position.average),
        "side": "long" if position.qty >= 0 else "short",
        "cost_basis": text(position.cost),
    }
    return common | _marks(exchange, position, price, before)


def _marks(
    exchange: Book, position: Position, price: Decimal | None, before: Decimal | None
) -> dict[str, Any]:
    """What depends on prices; null where there is none."""
    value = EXACT.multiply(position.qty, price) if price is not None else None
    base = _intraday_base(exchange, position, before) if before is not None else None
    change = price - before if price is not None and before is not None else None
    return {
        "current_price": text(price),
        "lastday_price": text(before),
        "market_value": text(value),
        "change_today": text(_ratio(change, before)),
        **_gain("unrealized", value, position.cost),
        **_gain("unrealized_intraday", value, base),
    }


def _gain(name: str, value: Decimal | None, base: Decimal | None) -> dict[str, str | None]:
    gain = value - base if value is not None and base is not None else None
    return {f"{name}_pl": text(gain), f"{name}_plpc": text(_ratio(gain, base))}


def _ratio(gain: Decimal | None, base: Decimal | None) -> Decimal | None:
    """A gain as a fraction of what it grew from; zero where it grew from nothing."""
    if gain is None or base is None:
        return None
    return divide(gain, abs(base)) if base else ZERO


def _intraday_base(exchange: Book, position: Position, before: Decimal) -> Decimal:
    """Shares that were added today at their price, the others at the last day's."""
    sign = 1 if position.qty >= 0 else -1
    added, paid = _added_today(exchange, position.symbol, "buy" if sign > 0 else "sell")
    kept = min(added, abs(position.qty))
    cost = paid if kept == added else EXACT.multiply(kept, divide(paid, added))
    return sign * (cost + EXACT.multiply(abs(position.qty) - kept, before))


def _added_today(exchange: Book, symbol: str, side: str) -> tuple[Decimal, Decimal]:
    """Shares filled on one side since midnight in New York, and their value."""
    qty, value = ZERO, ZERO
    midnight = int(exchange.times.midnights[exchange.times.current(exchange.now)])
    for activity in reversed(exchange.activities):
        if activity.at < midnight:
            break
        body = activity.body
        if activity.type == "FILL" and body["symbol"] == symbol and body["side"] == side:
            size = Decimal(body["qty"])
            qty, value = qty + size, value + EXACT.multiply(size, Decimal(body["price"]))
    return qty, value
