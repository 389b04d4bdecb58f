"""The part of the control plane that sets the market: assets, quotes, halts, bars, actions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from quant50lib.simulator.announcements import OTHER, OWN, action_id, read_rates
from quant50lib.simulator.app import Twin, as_json
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.market import Action
from quant50lib.simulator.market_shapes import (
    ActionShape,
    AssetShape,
    BarShape,
    BarsShape,
    MarketShape,
)
from quant50lib.simulator.records import Addition
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.shapes import Shape
from quant50lib.simulator.timeframes import (
    Timeframe,
    first_days,
    midnights,
    new_york_days,
    read_timeframe,
)
from quant50lib.simulator.timetable import parse_bound, parse_instant, utc_text

FIRST, LAST = (parse_bound(day, last=False) for day in ("1990-01-03", "2045-12-01"))

control_market_routes = APIRouter(prefix="/sim")


class Symbols(Shape):
    """The symbols that were set."""

    symbols: list[str]


class QuoteSet(Shape):
    """The moment from which the quote stands, or of the halt."""

    symbol: str
    t: str


class BarsSet(Shape):
    """How many bars were set."""

    symbol: str
    timeframe: str
    rows: int


class ActionsSet(Shape):
    """The ids of the corporate actions, in the order in which they came."""

    ids: list[str]


def _twin(request: Request) -> Twin:
    found: Twin = request.app.state.twin
    return found


@control_market_routes.post("/assets", response_model=Symbols)
async def post_assets(request: Request, body: list[AssetShape]) -> Response:
    """Add assets, or change some of their flags."""
    set_assets(_twin(request), body)
    return as_json({"symbols": [asset.symbol for asset in body]})


@control_market_routes.post("/market", response_model=QuoteSet)
async def post_market(request: Request, body: MarketShape) -> Response:
    """Set a quote, or halt a symbol; resting orders are looked at again."""
    at = set_market(_twin(request), body)
    return as_json({"symbol": body.symbol or body.halt, "t": utc_text(at)})


@control_market_routes.post("/bars", response_model=BarsSet)
async def post_bars(request: Request, body: BarsShape) -> Response:
    """Set bars; they replace those that start with them."""
    set_bars(_twin(request), body)
    shown = {"symbol": body.symbol, "timeframe": str(read_length(body.timeframe))}
    return as_json(shown | {"rows": len(body.rows)})


@control_market_routes.post("/corporate_actions", response_model=ActionsSet)
async def post_actions(request: Request, body: list[ActionShape]) -> Response:
    """Set corporate actions, known at once and in force from 04:00 of their day."""
    return as_json({"ids": set_actions(_twin(request), body)})


# ---- what the calls do


def set_assets(twin: Twin, shapes: list[AssetShape]) -> None:
    """Put assets on top of the market; flags that are not said stay."""
    assets = twin.exchange.market.assets
    merged: dict[str, dict[str, Any]] = {}
    for shape in shapes:
        told = {name: value for name, value in shape.given.items() if value is not None}
        known = merged.get(shape.symbol, assets.get(shape.symbol, {}))
        merged[shape.symbol] = known | told
    twin.exchange.overlay(Addition("asset", symbol, body) for symbol, body in merged.items())


def set_market(twin: Twin, shape: MarketShape) -> int:
    """Set a quote or a halt; the moment from which it holds."""
    exchange = twin.exchange
    if shape.halt is not None:
        return _set_halt(exchange, shape.halt, shape.on)
    at = exchange.now if shape.t is None else _instant(shape.t)
    sides = {"bid": shape.bid, "ask": shape.ask, "last": shape.last}
    body = {name: None if side is None else str(Decimal(str(side))) for name, side in sides.items()}
    exchange.overlay([Addition("quote", f"{shape.symbol}|{at}", body)])
    exchange.look_again(str(shape.symbol))
    return at


def _set_halt(exchange: Exchange, symbol: str, on: bool) -> int:
    """A halt of a halted symbol changes nothing; its end has the orders looked at."""
    since = exchange.market.halts.get(symbol, exchange.now) if on else None
    exchange.overlay([Addition("halt", symbol, {"since": since})])
    if not on:
        exchange.look_again(symbol)
    return since if since is not None else exchange.now


def _instant(text: str) -> int:
    try:
        return _within_reason(parse_instant(text))
    except (ValueError, OverflowError) as error:
        raise Refusal(422, None, f"t: {text!r} is not an RFC 3339 instant with a zone") from error


def _within_reason(at: int) -> int:
    if not FIRST <= at < LAST:
        raise ValueError(at)
    return at


def read_length(text: str) -> Timeframe:
    """A timeframe in the body of a call."""
    try:
        return read_timeframe(text)
    except Refusal as error:
        raise Refusal(422, None, str(error)) from error


def set_bars(twin: Twin, shape: BarsShape) -> None:
    """Put bars on top of the market, at the session's start where they last a day or longer."""
    exchange, timeframe = twin.exchange, read_length(shape.timeframe)
    rows = exchange.market.bars_set(shape.symbol, str(timeframe))
    rows |= dict(_bars(exchange, shape.rows, timeframe))
    body = {"rows": [[t, *rest] for t, rest in sorted(rows.items())]}
    exchange.overlay([Addition("bars", f"{shape.symbol}|{timeframe}", body)])


def _bars(
    exchange: Exchange, shapes: list[BarShape], timeframe: Timeframe
) -> Iterator[tuple[int, list[float]]]:
    for shape in shapes:
        o = shape.c if shape.o is None else shape.o
        h, low = shape.h or max(o, shape.c), shape.l or min(o, shape.c)
        n = max(shape.v // 120, min(shape.v, 1)) if shape.n is None else shape.n
        vw = round((o + h + low + shape.c) / 4, 4) if shape.vw is None else shape.vw
        yield _start(exchange, shape.t, timeframe), [o, h, low, shape.c, shape.v, n, vw]


def _start(exchange: Exchange, text: str, timeframe: Timeframe) -> int:
    """The instant at which a bar starts."""
    try:
        at = _within_reason(parse_bound(text, last=False))
    except (ValueError, OverflowError) as error:
        raise Refusal(422, None, f"t: {text!r} is neither an instant nor a date") from error
    day = new_york_days(np.array([at]))
    if timeframe.is_daily and day[0] not in exchange.times.days:
        raise Refusal(422, None, f"t: {day[0]} is no session, it cannot have a daily bar")
    if not timeframe.is_within_a_day:
        return int(midnights(day if timeframe.is_daily else first_days(day, timeframe))[0])
    if (at - int(midnights(day)[0])) % timeframe.length:
        raise Refusal(422, None, f"t: no bar of {timeframe} starts at {text}")
    return at


def set_actions(twin: Twin, shapes: list[ActionShape]) -> list[str]:
    """Put corporate actions on top of the market; their ids."""
    additions = [_action(shape) for shape in shapes]
    twin.exchange.overlay(additions)
    return [addition.name for addition in additions]


def _action(shape: ActionShape) -> Addition:
    told = {name: value for name, value in shape.given.items() if value is not None}
    kind, day = shape.type, str(shape.day)
    exact = read_rates(kind, told)
    action = Action(
        kind,
        told[OWN.get(kind, "symbol")],
        dt.date.fromisoformat(day),
        **exact,
        special=bool(shape.special),
        other_symbol=str(told.get(OTHER.get(kind, ""), "")),
        shown=told,
    )
    made = action_id(action)
    texts = {name: str(value) for name, value in exact.items()}
    own = {"kind": kind, "symbol": action.symbol, "ex_date": day, "special": action.special}
    more = {"other_symbol": action.other_symbol, "shown": told | {"id": made}}
    return Addition("action", made, texts | own | more)
