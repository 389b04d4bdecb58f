"""What the account must be able to bear: the checks of a new order that need its books.

In the order in which the real service seems to look: the client's id, the asset, fractions, the
hours of auctions, shares held, opposite orders, buying power.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from quant50lib.simulator.account import figures, may_short
from quant50lib.simulator.assets import asset_reply
from quant50lib.simulator.holdings import held_for_orders
from quant50lib.simulator.life import Life
from quant50lib.simulator.order_form import LEAST_NOTIONAL, OrderRequest
from quant50lib.simulator.records import EXACT, SHARE, ZERO, Order, Position, cut, text
from quant50lib.simulator.refusals import INVALID, Refusal, forbidden, invalid, unprocessable
from quant50lib.simulator.timetable import NEW_YORK, SECOND, moment

MINUTE = 60 * SECOND
OPG_UNTIL, CLS_UNTIL = 2 * MINUTE, 10 * MINUTE  # before the open, and before the close
QUEUE_FROM = 19  # o'clock in New York: from then on auction orders are for the next session


@dataclass(frozen=True)
class Terms:
    """What the checks found out about an order: the price of its reserve, and its intent."""

    reserve_price: Decimal
    position_intent: str


def check_account(exchange: Life, request: OrderRequest, replaced: Order | None = None) -> Terms:
    """Refuse what the account may not do; `replaced` no longer binds anything.

    Raises
    ------
    Refusal
        As Alpaca words it.
    """
    check_client_id(exchange, request.client_order_id)
    _check_asset(exchange, request)
    if exchange.account.configuration["suspend_trade"]:
        raise forbidden("new orders are rejected by user request")
    _check_fractions(exchange, request)
    _check_window(exchange, request)
    price = _reserve_price(exchange, request)
    intent = _check_position(exchange, request, price, replaced)
    if request.position_intent not in (None, intent):
        raise unprocessable(
            f"position intent mismatch, inferred: {intent}, specified: {request.position_intent}"
        )
    _check_wash(exchange, request, replaced)
    if intent.endswith("open"):
        _check_buying_power(exchange, request, price, replaced)
    return Terms(price, intent)


def check_client_id(exchange: Life, wanted: str | None) -> None:
    """An id is taken for ever, or by the rule `client_ids` while its order is open."""
    known = exchange.by_client_id.get(wanted or "")
    if known is not None and (known.is_open or exchange.rules.client_ids == "for_ever"):
        raise invalid("client_order_id must be unique")


def _check_asset(exchange: Life, request: OrderRequest) -> None:
    symbol = request.symbol
    listing = exchange.market.listings().get(symbol)
    asset = asset_reply(exchange, listing) if listing else None
    if asset is None:
        raise unprocessable(f'asset "{symbol}" not found')
    if asset["status"] != "active":
        words = f'asset "{symbol}" is not active'
        raise _either(exchange, unprocessable(words), Refusal(422, INVALID, words))
    if not asset["tradable"]:
        raise unprocessable(f'asset "{symbol}" is not tradable')
    if request.is_fractional and not asset["fractionable"]:
        words = "requested asset is not fractionable"
        raise _either(exchange, unprocessable(words), forbidden(words))


def _either(exchange: Life, table: Refusal, other: Refusal) -> Refusal:
    """Both have been seen; the rule `refusal_status` chooses."""
    return table if exchange.rules.refusal_status == "table" else other


def _check_fractions(exchange: Life, request: OrderRequest) -> None:
    if request.is_fractional and not exchange.account.configuration["fractional_trading"]:
        raise forbidden("fractional trading is disabled for this account")


def _check_window(exchange: Life, request: OrderRequest) -> None:
    """Auction orders are refused from shortly before the auction until the evening."""
    force, now, times = request.time_in_force, exchange.now, exchange.times
    if force not in ("opg", "cls"):
        return
    today = times.current(now)
    local = moment(now).astimezone(NEW_YORK)
    if times.day(today) != local.date() or local.hour >= QUEUE_FROM:
        return
    last = times.opens[today] - OPG_UNTIL if force == "opg" else times.closes[today] - CLS_UNTIL
    if now >= last:
        at = moment(int(last)).astimezone(NEW_YORK)
        raise forbidden(
            f"{force} orders are not accepted from {at:%H:%M} to {QUEUE_FROM}:00 New York time"
        )


# ---- prices


def _reserve_price(exchange: Life, request: OrderRequest) -> Decimal:
    """What a share is taken to cost: the order's own price, else the market's."""
    own = request.limit_price or request.stop_price
    market = _market_price(exchange, request)
    price = own or market
    if price is None:
        raise unprocessable(f'asset "{request.symbol}" is not tradable')
    least = LEAST_NOTIONAL
    if request.qty is not None and request.is_fractional and request.qty * price < least:
        raise forbidden(f"cost basis must be >= minimal amount of order {least}")
    return own or EXACT.multiply(price, Decimal(exchange.rules.reserve_factor))


def _market_price(exchange: Life, request: OrderRequest) -> Decimal | None:
    """The ask in the session, the middle in the hours around it, else the latest price."""
    symbol, now, half = request.symbol, exchange.now, exchange.rules.half_spread_bps
    quote = exchange.prices.quote(symbol, now, half)
    if quote is not None:
        return quote.ask
    quote = exchange.prices.outside(symbol, now, half) if exchange.in_extended_hours() else None
    if quote is not None:
        return (quote.bid + quote.ask) / 2
    return exchange.prices.last(symbol, now)


# ---- shares


def _check_position(
    exchange: Life, request: OrderRequest, price: Decimal, replaced: Order | None
) -> str:
    """The intent of the order; refused where the account has not the shares for it."""
    symbol, sign = request.symbol, 1 if request.side == "buy" else -1
    held = exchange.positions.get(symbol, Position(symbol)).qty
    wanted = request.qty
    if wanted is None:
        wanted = cut(EXACT.divide(request.notional or ZERO, price), SHARE)
    if held * sign < 0:
        if request.order_class in ("bracket", "oto"):
            raise unprocessable(f"{request.order_class} orders must be entry orders")
        _check_available(exchange, request, held, wanted, replaced)
        return f"{request.side}_to_close"
    if request.side == "sell":
        _check_short(exchange, request)
    if request.order_class == "oco":
        raise unprocessable("oco orders must be exit orders")
    return f"{request.side}_to_open"


def _check_available(
    exchange: Life, request: OrderRequest, held: Decimal, wanted: Decimal,
    replaced: Order | None,
) -> None:  # fmt: skip
    bound = held_for_orders(exchange, request.symbol)
    if replaced is not None:
        bound -= replaced.held_shares
        wanted -= replaced.filled_qty
    free = abs(held) - bound
    if wanted > free:
        raise forbidden(
            f"insufficient qty available for order (requested: {text(wanted)}, "
            f"available: {text(free)})",
            symbol=request.symbol,
            existing_qty=text(held),
            held_for_orders=text(bound),
            available=text(free),
        )


def _check_short(exchange: Life, request: OrderRequest) -> None:
    if not may_short(exchange):
        raise forbidden("account is not allowed to short")
    listing = exchange.market.listings()[request.symbol]
    asset = asset_reply(exchange, listing)
    if asset is None or not asset["shortable"]:
        raise unprocessable(f'asset "{request.symbol}" cannot be sold short')
    if request.is_fractional:
        raise unprocessable("fractional orders cannot be sold short")


# ---- opposite orders


def _check_wash(exchange: Life, request: OrderRequest, replaced: Order | None) -> None:
    """An account must not trade with itself; groups and trailing stops are exempt."""
    if request.order_class or request.kind == "trailing_stop":
        return
    for order in exchange.working.of(request.symbol):
        if order.side == request.side or order is replaced:
            continue
        if order.order_class or order.kind == "trailing_stop" or order.awaits:
            continue
        if _may_cross(order, request):
            raise _wash(exchange, order)


def _may_cross(order: Order, request: OrderRequest) -> bool:
    if order.kind != "limit" or request.kind != "limit":
        return True
    assert order.limit_price is not None and request.limit_price is not None
    sign = 1 if request.side == "buy" else -1
    return (request.limit_price - order.limit_price) * sign >= 0


def _wash(exchange: Life, order: Order) -> Refusal:
    kind = "limit" if order.kind == "limit" else "market/stop"
    extra = {
        "existing_order_id": order.id,
        "reject_reason": f"opposite side {kind} order exists",
    }
    if order.limit_price is not None:
        extra[f"{order.side}_limit_price"] = str(text(order.limit_price))
    words = "potential wash trade detected. use complex orders"
    return forbidden(words, **extra) if exchange.rules.refusal_status == "table" else Refusal(
        422, 42210000, words, **extra
    )  # fmt: skip


# ---- money


def _check_buying_power(
    exchange: Life, request: OrderRequest, price: Decimal, replaced: Order | None
) -> None:
    cost = request.notional or EXACT.multiply(request.qty or ZERO, price)
    found = figures(exchange)
    if replaced is not None:
        found = replace(found, reserved=found.reserved - replaced.reserved)
        cost -= EXACT.multiply(replaced.filled_qty, price)
    power = found.buying_power
    if cost > power:
        raise forbidden(
            "insufficient buying power", buying_power=text(power), cost_basis=text(cost)
        )
