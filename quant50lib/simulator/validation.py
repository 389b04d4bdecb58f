"""What an order request must satisfy, in the order in which Alpaca seems to look."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from quant50lib.simulator.account import figures, held_for_orders
from quant50lib.simulator.prices import Prices
from quant50lib.simulator.records import EXACT, SHARE, ZERO, Side, cut, text
from quant50lib.simulator.refusals import Refusal, forbidden, invalid, unprocessable

if TYPE_CHECKING:
    from quant50lib.simulator.exchange import Exchange

TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
TIMES_IN_FORCE = ("day", "gtc", "opg", "cls", "ioc", "fok")
LONGEST_ID = 128
LEAST_NOTIONAL = Decimal(1)


@dataclass(frozen=True)
class OrderRequest:
    """A market order for the day; exactly one of `qty` and `notional`."""

    symbol: str
    side: Side
    qty: Decimal | None
    notional: Decimal | None
    client_order_id: str | None

    @property
    def is_fractional(self) -> bool:
        return self.qty is None or self.qty != self.qty.to_integral_value()


def read_body(raw: bytes) -> dict[str, Any]:
    """A JSON object whose numbers are exactly what was written."""
    try:
        body = json.loads(raw or b"null", parse_float=Decimal, parse_int=Decimal)
    except (ValueError, InvalidOperation) as error:
        raise Refusal(400, 40010000, "request body format is invalid") from error
    if not isinstance(body, dict):
        raise Refusal(400, 40010000, "request body format is invalid")
    return body


def parse_order(body: dict[str, Any], prices: Prices) -> OrderRequest:
    """The order asked for; raises Refusal where it is malformed or of a kind not simulated.

    A symbol may also be given as an asset id.
    """
    symbol, side = _word(body, "symbol"), _word(body, "side")
    kind, time_in_force = _word(body, "type"), _word(body, "time_in_force")
    if side not in ("buy", "sell"):
        raise invalid("invalid side")
    if kind not in TYPES:
        raise invalid("invalid order type")
    qty, notional = _amounts(body)
    _check_kind(body, kind)
    if time_in_force not in TIMES_IN_FORCE:
        raise invalid("invalid time_in_force")
    if time_in_force != "day":
        raise unprocessable(f"time_in_force {time_in_force} is not simulated; send day")
    made = body.get("client_order_id")
    if made is not None and (not isinstance(made, str) or len(made) > LONGEST_ID):
        raise invalid(f"client_order_id must be no more than {LONGEST_ID} characters")
    buy: Side = "buy" if side == "buy" else "sell"
    listing = prices.listing(symbol)
    return OrderRequest(listing.symbol if listing else symbol, buy, qty, notional, made or None)


def _word(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None or value == "":
        raise invalid(f"{name} is required")
    if not isinstance(value, str):
        raise invalid(f"invalid {name}")
    return value


def _amounts(body: dict[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    qty, notional = _decimal(body, "qty"), _decimal(body, "notional")
    if qty is None and notional is None:
        raise invalid("qty or notional is required")
    if qty is not None and notional is not None:
        raise invalid("only one of qty or notional is accepted")
    if qty is not None:
        qty = cut(qty, SHARE)
        if qty <= 0:
            raise invalid("qty must be > 0")
    if notional is not None and notional < LEAST_NOTIONAL:
        raise invalid("notional must be >= 1.00")
    if notional is not None and notional != cut(notional, Decimal("0.01")):
        raise invalid("notional value must be limited to 2 decimal places")
    return qty, notional


def _decimal(body: dict[str, Any], name: str) -> Decimal | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    try:
        found = Decimal(value) if isinstance(value, str | Decimal) else Decimal("NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise invalid(f"invalid {name}")
    return found


def _check_kind(body: dict[str, Any], kind: str) -> None:
    if kind != "market":
        raise unprocessable(f"order type {kind} is not simulated; send market")
    if body.get("limit_price") is not None or body.get("stop_price") is not None:
        raise invalid("market orders require no stop or limit price")
    if str(body.get("extended_hours") or False).lower() == "true":
        raise unprocessable("extended hours order must be DAY or GTC limit orders")
    if body.get("order_class") not in (None, "", "simple"):
        raise unprocessable(f"order class {body['order_class']} is not simulated; send simple")


def check_account(exchange: Exchange, request: OrderRequest) -> Decimal:
    """Refuse what the account may not do; the price at which a share is reserved otherwise."""
    if request.client_order_id in exchange.by_client_id:
        raise invalid("client_order_id must be unique")
    _check_asset(exchange, request)
    if exchange.account.configuration["suspend_trade"]:
        raise forbidden("new orders are rejected by user request")
    price = _reserve_price(exchange, request)
    if request.side == "sell":
        _check_position(exchange, request, price)
    _check_wash(exchange, request)
    if request.side == "buy":
        _check_buying_power(exchange, request, price)
    return price


def _check_asset(exchange: Exchange, request: OrderRequest) -> None:
    symbol = request.symbol
    if symbol not in exchange.market.listings():
        raise unprocessable(f'asset "{symbol}" not found')
    if not exchange.prices.is_active(symbol, exchange.now):
        raise unprocessable(f'asset "{symbol}" is not active')
    if request.is_fractional and not exchange.account.configuration["fractional_trading"]:
        raise forbidden("fractional trading is disabled for this account")


def _reserve_price(exchange: Exchange, request: OrderRequest) -> Decimal:
    price = exchange.prices.last(request.symbol, exchange.now)
    if price is None:
        raise unprocessable(f'asset "{request.symbol}" is not tradable')
    half = Decimal(str(exchange.rules.half_spread_bps)) / 10_000
    asked = price * (1 + half) if exchange.times.is_open(exchange.now) else price
    least = LEAST_NOTIONAL
    if request.qty is not None and request.is_fractional and request.qty * price < least:
        raise forbidden(f"cost basis must be >= minimal amount of order {least}")
    return EXACT.multiply(asked, Decimal(exchange.rules.reserve_factor))


def _check_position(exchange: Exchange, request: OrderRequest, price: Decimal) -> None:
    position = exchange.positions.get(request.symbol)
    if position is None:
        raise forbidden("account is not allowed to short")
    held = held_for_orders(exchange, request.symbol)
    available = position.qty - held
    wanted = request.qty
    if wanted is None:
        wanted = cut(EXACT.divide(request.notional or ZERO, price), SHARE)
    if wanted > available:
        raise forbidden(
            f"insufficient qty available for order (requested: {text(wanted)}, "
            f"available: {text(available)})",
            symbol=request.symbol,
            existing_qty=text(position.qty),
            held_for_orders=text(held),
            available=text(available),
        )


def _check_wash(exchange: Exchange, request: OrderRequest) -> None:
    for order in exchange.working.values():
        if order.symbol == request.symbol and order.side != request.side:
            raise forbidden(
                "potential wash trade detected. use complex orders",
                existing_order_id=order.id,
                reject_reason="opposite side market/stop order exists",
            )


def _check_buying_power(exchange: Exchange, request: OrderRequest, price: Decimal) -> None:
    cost = request.notional or EXACT.multiply(request.qty or ZERO, price)
    power = figures(exchange).buying_power
    if cost > power:
        raise forbidden(
            "insufficient buying power", buying_power=text(power), cost_basis=text(cost)
        )
