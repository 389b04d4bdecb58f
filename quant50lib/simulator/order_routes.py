"""The routes of orders, and of closing positions, which makes orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from quant50lib.simulator.account import acknowledgement, order_reply
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.listing import flag, list_orders, roll_up
from quant50lib.simulator.order_form import OrderRequest, parse_order, read_body, text_decimal
from quant50lib.simulator.records import SHARE, Order, Position, cut
from quant50lib.simulator.refusals import Refusal, invalid, missing

order_routes = APIRouter()

NOT_CANCELABLE = 50010000


def exchange_in(request: Request) -> Exchange:
    found: Exchange = request.app.state.twin.exchange
    return found


def reply(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


@order_routes.post("/orders")
async def submit(request: Request) -> Response:
    exchange = exchange_in(request)
    wanted = parse_order(read_body(await request.body()), exchange.prices)
    order = exchange.submit(wanted)
    return reply(acknowledgement(order, exchange.legs_of(order)))


@order_routes.get("/orders")
async def orders(request: Request) -> Response:
    exchange, query = exchange_in(request), request.query_params
    nested = flag(query, "nested")
    found = list_orders(exchange, query)
    return reply([_shown(exchange, order, nested) for order in roll_up(found, nested)])


def _shown(exchange: Exchange, order: Order, nested: bool) -> dict[str, Any]:
    return order_reply(order, exchange.legs_of(order) if nested else ())


@order_routes.delete("/orders")
async def cancel_all(request: Request) -> Response:
    return reply(_cancel_all(exchange_in(request)), 207)


def _cancel_all(exchange: Exchange) -> list[dict[str, Any]]:
    """One row an order: 200 with the order, or 500 where it can no longer be cancelled."""
    rows = []
    for order in list(exchange.working.values()):
        try:
            exchange.cancel(order.id)
            rows.append({"id": order.id, "status": 200, "body": order_reply(order)})
        except Refusal as refusal:
            body = {"code": NOT_CANCELABLE, "message": f"failed to cancel order: {refusal}"}
            rows.append({"id": order.id, "status": 500, "body": body})
    return rows


@order_routes.get("/orders:by_client_order_id")
async def by_client_order_id(request: Request) -> Response:
    exchange = exchange_in(request)
    wanted = request.query_params.get("client_order_id", "")
    if wanted not in exchange.by_client_id:
        raise missing(f"order not found for {wanted}")
    return reply(order_reply(exchange.by_client_id[wanted]))


@order_routes.get("/orders/{order_id}")
async def order(request: Request, order_id: str) -> Response:
    exchange = exchange_in(request)
    nested = flag(request.query_params, "nested")
    return reply(_shown(exchange, exchange.order(order_id), nested))


@order_routes.delete("/orders/{order_id}")
async def cancel(request: Request, order_id: str) -> Response:
    exchange_in(request).cancel(order_id)
    return Response(status_code=204)


@order_routes.patch("/orders/{order_id}")
async def replace(request: Request, order_id: str) -> Response:
    body = read_body(await request.body())
    return reply(acknowledgement(exchange_in(request).replace(order_id, body)))


# ---- closing positions


@order_routes.delete("/positions")
async def close_all(request: Request) -> Response:
    exchange = exchange_in(request)
    if flag(request.query_params, "cancel_orders"):
        _cancel_all(exchange)
    held = sorted(exchange.positions.values(), key=lambda position: position.symbol)
    return reply([_closing_row(exchange, position) for position in held], 207)


def _closing_row(exchange: Exchange, position: Position) -> dict[str, Any]:
    symbol = position.symbol
    try:
        order = _close(exchange, position, abs(position.qty))
        return {"symbol": symbol, "status": 200, "body": acknowledgement(order)}
    except Refusal as refusal:
        return {"symbol": symbol, "status": refusal.status, "body": refusal.body}


@order_routes.delete("/positions/{key:path}")
async def close(request: Request, key: str) -> Response:
    """All of a position, or `qty` shares, or `percentage` of it, by a market order."""
    exchange, query = exchange_in(request), request.query_params
    position = find_position(exchange, key)
    qty, percentage = (text_decimal(query.get(name), name) for name in ("qty", "percentage"))
    if qty is not None and percentage is not None:
        raise invalid("only one of qty or percentage is accepted")
    if percentage is not None and not 0 < percentage <= 100:
        raise invalid("percentage must be > 0 and <= 100")
    wanted = abs(position.qty)
    if percentage is not None:
        wanted = cut(wanted * percentage / 100, SHARE)
    wanted = cut(qty, SHARE) if qty is not None else wanted
    if wanted <= 0:
        raise invalid("qty must be > 0")
    return reply(acknowledgement(_close(exchange, position, wanted)))


def find_position(exchange: Exchange, key: str) -> Position:
    """By symbol or asset id; raises Refusal (404) where nothing is held."""
    listing = exchange.prices.listing(key, exchange.now)
    symbol = listing.symbol if listing else key
    if symbol not in exchange.positions:
        raise missing("position does not exist")
    return exchange.positions[symbol]


def _close(exchange: Exchange, position: Position, qty: Decimal) -> Order:
    side, intent = ("sell", "sell_to_close") if position.qty > 0 else ("buy", "buy_to_close")
    return exchange.submit(
        OrderRequest(
            symbol=position.symbol,
            side="buy" if side == "buy" else "sell",
            qty=qty,
            notional=None,
            client_order_id=None,
            position_intent=intent,
        )
    )
