"""The control plane: moves the clock, breaks things on purpose, and tells the truth.

It listens on a port of its own, so that no client of the broker's interface can reach it. What a
call takes and gives is written in its OpenAPI (/openapi.json, for people at /docs).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from quant50lib.simulator import calls
from quant50lib.simulator import control_shapes as shapes
from quant50lib.simulator import scenario
from quant50lib.simulator.account import order_reply
from quant50lib.simulator.app import Twin, as_json, refuse
from quant50lib.simulator.control_market import control_market_routes
from quant50lib.simulator.docs_page import docs_route
from quant50lib.simulator.fault_shapes import FaultList, Nothing
from quant50lib.simulator.faults import App, Receive, Scope, Send
from quant50lib.simulator.records import text
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.reprice import Repriced, RepriceShape, reprice
from quant50lib.simulator.shapes import explain
from quant50lib.simulator.timetable import utc_text

REFUSALS: dict[int | str, dict[str, Any]] = {
    422: {"model": shapes.Problem, "description": "Refused; nothing was changed"}
}
control_routes = APIRouter(prefix="/sim", responses=REFUSALS)
JSON = (b"content-type", b"application/json")


def control_app(twin: Twin) -> App:
    """The application of the second port."""
    return AnyJson(control_api(twin))


def control_api(twin: Twin) -> FastAPI:
    """Its routes and its OpenAPI."""
    app = FastAPI(
        title="Control plane of the twin",
        version=version("quant50"),
        description="Scripts any day of the twin of Alpaca: clock, prices, faults, and the truth.",
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.twin = twin
    app.include_router(control_routes)
    app.include_router(control_market_routes, responses=REFUSALS)
    app.include_router(docs_route())
    app.add_exception_handler(Refusal, refuse)
    app.add_exception_handler(RequestValidationError, _misshapen)
    app.add_exception_handler(HTTPException, _no_such_call)
    return app


class AnyJson:
    """Bodies are JSON whatever the sender calls them; curl calls them a form."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            kept = [(k, v) for k, v in scope["headers"] if k.lower() != b"content-type"]
            scope["headers"] = [*kept, JSON]
        await self._app(scope, receive, send)


async def _misshapen(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return as_json({"message": explain(error.errors())}, 422)


async def _no_such_call(request: Request, error: Exception) -> Response:
    """Paths and methods that are not there, and bodies that are no text."""
    assert isinstance(error, HTTPException)
    status = 422 if error.status_code == 400 else error.status_code
    reply = as_json({"message": f"{error.detail}; see /docs"}, status)
    reply.headers.update(error.headers or {})
    return reply


def _call(
    method: str, path: str, gives: Any, **more: Any
) -> Callable[[Callable[..., Awaitable[Response]]], Any]:
    """A route whose reply is documented, and sent as it is."""
    documented: dict[int | str, dict[str, Any]] = {200: {"model": gives}}
    return control_routes.api_route(
        path, methods=[method], responses=documented, response_model=None, **more
    )


def _twin(request: Request) -> Twin:
    found: Twin = request.app.state.twin
    return found


def _now(twin: Twin) -> Response:
    return as_json({"now": utc_text(twin.exchange.now)})


@_call("GET", "/info", shapes.Info)
async def info(request: Request) -> Response:
    """Which market it is, and where its clock stands."""
    exchange = _twin(request).exchange
    market, times = exchange.market, exchange.times
    last = market.last_day or times.day(times.last_closed(exchange.now))
    body = {
        "market": market.name,
        "simulated_prices": market.simulated,
        "identity": market.identity,
        "now": utc_text(exchange.now),
        "first_session": str(market.first_day),
        "last_session": str(last),
    }
    return as_json(body)


@_call("GET", "/rules", list[shapes.RuleShape])
async def rules(request: Request) -> Response:
    """Every rule that a reset can set: its default, its other values, and what it is about."""
    return as_json(shapes.rules_listed(_twin(request).exchange.rules))


@_call("POST", "/reset", shapes.Now)
async def reset(
    request: Request, body: Annotated[shapes.Reset, Body()] = shapes.Reset()  # type: ignore[valid-type]
) -> Response:
    """An empty account on the market as it was started; faults, log and scenario go too."""
    twin = _twin(request)
    calls.reset(twin, body)
    twin.script = None
    return _now(twin)


@_call("POST", "/clock", shapes.Now)
async def move_clock(request: Request, body: shapes.Clock) -> Response:
    """Time passes; what falls due on the way happens, in order."""
    twin = _twin(request)
    calls.advance(twin, calls.target(twin.exchange, body))
    return _now(twin)


@_call("POST", "/faults", shapes.Count)
async def add_faults(request: Request, body: Annotated[FaultList, Body()]) -> Response:
    """Put faults into force: a list of them, or one."""
    twin = _twin(request)
    calls.set_faults(twin, body)
    return as_json({"faults": len(twin.faults.rules)})


@_call("GET", "/faults", list[shapes.FaultSeen])
async def list_faults(request: Request) -> Response:
    """The faults that are set, and how many requests matched each so far."""
    return as_json([fault.shown for fault in _twin(request).faults.rules])


@_call("DELETE", "/faults", shapes.Count)
async def clear_faults(request: Request) -> Response:
    """End all faults; orders that were stuck go on."""
    twin = _twin(request)
    calls.clear_faults(twin, Nothing())
    return as_json({"faults": 0})


@_call("POST", "/reprice", Repriced)
async def reprice_days(request: Request, body: RepriceShape) -> Response:
    """Move the daily bars of the sessions to come: a crash, or the raw prices after a split."""
    return as_json({"symbols": reprice(_twin(request), body)})


@_call("POST", "/scenario", shapes.ScenarioState)
async def begin_scenario(request: Request, body: shapes.ScenarioCall) -> Response:
    """Reset, and have the steps of a scenario happen as the clock moves."""
    twin, (how, value) = _twin(request), body.chosen
    if how == "name" and value not in scenario.names():
        known = ", ".join(scenario.names())
        raise Refusal(422, None, f"there is no scenario {value}; known: {known}")
    found = scenario.load(value) if how == "name" else scenario.parse(value, "toml")
    scenario.begin(twin, found)
    return as_json(_state(twin))


@_call("GET", "/scenario", shapes.ScenarioState)
async def scenario_state(request: Request) -> Response:
    """The scenario at work, and which of its steps are done."""
    return as_json(_state(_twin(request)))


def _state(twin: Twin) -> dict[str, Any]:
    if twin.script is None:
        return {"title": None, "claim": None, "steps": []}
    return twin.script.shown


@_call("GET", "/scenarios", list[str])
async def scenarios(request: Request) -> Response:
    """The names of the scenarios that are shipped."""
    return as_json(scenario.names())


@_call("GET", "/requests", list[shapes.Logged])
async def requests_log(request: Request) -> Response:
    """The requests to Alpaca's interface, oldest first."""
    return as_json(list(_twin(request).requests))


@_call("GET", "/truth", shapes.Truth)
async def truth(request: Request) -> Response:
    """Orders with their histories, executions, cash movements, positions and cash."""
    exchange = _twin(request).exchange
    held = sorted(exchange.positions.values(), key=lambda position: position.symbol)
    body = {
        "orders": [_whole(order) for order in exchange.orders.values()],
        "executions": [a.body for a in exchange.activities if a.type == "FILL"],
        "cash_ledger": [_moved(entry) for entry in exchange.ledger],
        "positions": [{"symbol": p.symbol, "qty": text(p.qty)} for p in held],
        "cash": text(exchange.account.cash),
    }
    return as_json(body)


def _whole(order: Any) -> dict[str, Any]:
    history = [{"t": utc_text(t), "status": status} for t, status in order.history]
    return order_reply(order) | {"history": history, "reason": order.reason or None}


def _moved(entry: Any) -> dict[str, Any]:
    amount, balance = text(entry.amount), text(entry.balance)
    return {"t": utc_text(entry.t), "amount": amount, "balance": balance, "why": entry.why}
