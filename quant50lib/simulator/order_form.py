"""Reading what a client asks for: the body of a new order, before the account is looked at.

The order of the checks is that of the real service as far as it is known: what is required, types,
amounts, prices, time in force. Numbers may come as text or as JSON numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from quant50lib.simulator.prices import Prices
from quant50lib.simulator.records import SHARE, Side, cut, text
from quant50lib.simulator.refusals import Refusal, invalid, unprocessable

KINDS = ("market", "limit", "stop", "stop_limit", "trailing_stop")
TIMES_IN_FORCE = ("day", "gtc", "opg", "cls", "ioc", "fok")
CLASSES = ("", "simple", "bracket", "oco", "oto", "mleg")
INTENTS = ("buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close")
LONGEST_ID = 128
LEAST_NOTIONAL = Decimal(1)
MOST = Decimal("1E12")  # of any number in a request
CENT, PENNY_PART = Decimal("0.01"), Decimal("0.0001")

#: which prices an order of a kind has, and how the service asks for them
PRICES = {
    "market": ((), "market orders require no stop or limit price"),
    "limit": (("limit_price",), "limit orders require a limit price"),
    "stop": (("stop_price",), "stop orders require a stop price"),
    "stop_limit": (
        ("limit_price", "stop_price"),
        "stop limit orders require both stop and limit price",
    ),
    "trailing_stop": ((), "trailing stop orders require no stop or limit price"),
}


@dataclass(frozen=True)
class StopLoss:
    """The protective leg of a bracket, oco or oto."""

    stop_price: Decimal
    limit_price: Decimal | None = None


@dataclass(frozen=True)
class OrderRequest:
    """An order asked for; exactly one of `qty` and `notional`; `order_class` is "" if simple."""

    symbol: str
    side: Side
    qty: Decimal | None
    notional: Decimal | None
    client_order_id: str | None
    kind: str = "market"
    time_in_force: str = "day"
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    order_class: str = ""
    take_profit: Decimal | None = None
    stop_loss: StopLoss | None = None
    position_intent: str | None = None

    @property
    def is_fractional(self) -> bool:
        return self.qty is None or self.qty != self.qty.to_integral_value()


def read_body(raw: bytes) -> dict[str, Any]:
    """A JSON object whose numbers are exactly what was written."""
    try:
        body = json.loads(raw or b"null", parse_float=Decimal, parse_int=Decimal)
    except (ValueError, InvalidOperation, RecursionError) as error:
        raise Refusal(400, 40010000, "request body format is invalid") from error
    if not isinstance(body, dict):
        raise Refusal(400, 40010000, "request body format is invalid")
    return body


def parse_order(body: dict[str, Any], prices: Prices) -> OrderRequest:
    """The order asked for; a symbol may also be given as an asset id.

    Raises
    ------
    Refusal
        It is malformed, or contradicts itself.
    """
    order_class = _choice(body, "order_class", CLASSES) or ""
    if order_class == "mleg":
        raise unprocessable("mleg orders are for options, which this account does not trade")
    symbol, side = word(body, "symbol"), word(body, "side")
    kind, time_in_force = word(body, "type"), word(body, "time_in_force")
    if side not in ("buy", "sell"):
        raise invalid("invalid side")
    if kind not in KINDS:
        raise invalid("invalid order type")
    if time_in_force not in TIMES_IN_FORCE:
        raise invalid("invalid time_in_force")
    listing = prices.listing(symbol)
    qty, notional = _amounts(body)
    take_profit, stop_loss = _exits(body)
    request = OrderRequest(
        symbol=listing.symbol if listing else symbol,
        side="buy" if side == "buy" else "sell",
        qty=qty,
        notional=notional,
        client_order_id=client_id(body),
        kind=kind,
        time_in_force=time_in_force,
        limit_price=_entry_limit(body, order_class, take_profit),
        stop_price=price(body, "stop_price"),
        trail_price=price(body, "trail_price"),
        trail_percent=decimal(body, "trail_percent"),
        extended_hours=_flag(body, "extended_hours"),
        order_class="" if order_class == "simple" else order_class,
        take_profit=take_profit,
        stop_loss=stop_loss,
        position_intent=_choice(body, "position_intent", INTENTS) or None,
    )
    _check_class(request)
    check_prices(request)
    check_time_in_force(request)
    return request


# ---- fields


def word(body: dict[str, Any], name: str) -> str:
    """A text that has to be there."""
    value = body.get(name)
    if value is None or value == "":
        raise invalid(f"{name} is required")
    if not isinstance(value, str):
        raise invalid(f"invalid {name}")
    return value


def _choice(body: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str | None:
    value = body.get(name)
    if value in (None, ""):
        return None
    if not isinstance(value, str) or value not in allowed:
        raise invalid(f"invalid {name}")
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    """Clients send JSON booleans, and Python's spelling of them as text."""
    value = str(body.get(name) or False).lower()
    if value not in ("true", "false"):
        raise invalid(f"invalid {name}")
    return value == "true"


def decimal(body: dict[str, Any], name: str) -> Decimal | None:
    """A number, from text or from JSON; None where it is left out."""
    return text_decimal(body.get(name), name)


def text_decimal(value: Any, name: str) -> Decimal | None:
    """The same of a value that stands alone."""
    if value is None or value == "":
        return None
    try:
        found = Decimal(value) if isinstance(value, str | Decimal) else Decimal("NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or abs(found) > MOST:
        raise invalid(f"invalid {name}")
    return found


def price(body: dict[str, Any], name: str) -> Decimal | None:
    """A positive price: from one dollar up whole cents, below it at most four decimals."""
    found = decimal(body, name)
    if found is None:
        return None
    if found <= 0:
        raise invalid(f"{name} must be > 0")
    if found != cut(found, CENT if found >= 1 else PENNY_PART):
        raise unprocessable(
            f"invalid {name} {text(found)}. sub-penny increment does not fulfill minimum "
            "pricing criteria"
        )
    return found


def client_id(body: dict[str, Any]) -> str | None:
    """The client's own name of the order."""
    made = body.get("client_order_id")
    if made is not None and (not isinstance(made, str) or len(made) > LONGEST_ID):
        raise invalid(f"client_order_id must be no more than {LONGEST_ID} characters")
    return made or None


def shares(body: dict[str, Any]) -> Decimal | None:
    """`qty`, cut at nine decimals."""
    qty = decimal(body, "qty")
    if qty is None:
        return None
    qty = cut(qty, SHARE)
    if qty <= 0:
        raise invalid("qty must be > 0")
    return qty


def _amounts(body: dict[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    qty, notional = decimal(body, "qty"), decimal(body, "notional")
    if qty is None and notional is None:
        raise invalid("qty or notional is required")
    if qty is not None and notional is not None:
        raise invalid("only one of qty or notional is accepted")
    if notional is not None and notional < LEAST_NOTIONAL:
        raise invalid("notional must be >= 1.00")
    if notional is not None and notional != cut(notional, CENT):
        raise invalid("notional value must be limited to 2 decimal places")
    return shares(body), notional


def _part(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"invalid {name}")
    return value


def _exits(body: dict[str, Any]) -> tuple[Decimal | None, StopLoss | None]:
    """The prices of take_profit and stop_loss."""
    loss = _part(body, "stop_loss")
    stop, limit = price(loss, "stop_price"), price(loss, "limit_price")
    if limit is not None and stop is None:
        raise invalid("stop_loss.stop_price is required")
    found = StopLoss(stop, limit) if stop is not None else None
    return price(_part(body, "take_profit"), "limit_price"), found


def _entry_limit(
    body: dict[str, Any], order_class: str, take_profit: Decimal | None
) -> Decimal | None:
    """The limit of an oco is its take-profit: there is no entry."""
    given = price(body, "limit_price")
    return take_profit if order_class == "oco" and given is None else given


# ---- what must agree


def check_prices(request: OrderRequest) -> None:
    """Each kind of order has its prices, and no others."""
    wanted, words = PRICES[request.kind]
    for name in ("limit_price", "stop_price"):
        if name in wanted and getattr(request, name) is None:
            raise invalid(words)
        if name not in wanted and getattr(request, name) is not None:
            other = f"{request.kind} orders require no {name.replace('_', ' ')}"
            raise invalid(other if wanted else words)
    trails = [request.trail_price, request.trail_percent]
    if (request.kind == "trailing_stop") != (trails.count(None) == 1):
        raise invalid("trailing stop orders must specify one of trail_price or trail_percent")
    if request.trail_percent is not None and not 0 < request.trail_percent < 100:
        raise invalid("trail_percent must be > 0 and < 100")


def _check_class(request: OrderRequest) -> None:
    profit, loss, name = request.take_profit, request.stop_loss, request.order_class
    if name in ("bracket", "oco") and profit is None:
        raise invalid(f"{name} orders require take_profit.limit_price")
    if name in ("bracket", "oco") and loss is None:
        raise invalid(f"{name} orders require stop_loss.stop_price")
    if name == "oto" and (profit is None) == (loss is None):
        raise invalid("oto orders require one of take_profit and stop_loss")
    if name == "" and (profit is not None or loss is not None):
        raise invalid("simple orders require no take_profit or stop_loss")
    if name == "oco" and request.kind != "limit":
        raise unprocessable("oco orders must be limit orders")
    if name in ("bracket", "oto") and request.kind not in ("market", "limit"):
        raise unprocessable(f"{name} orders must be market or limit orders")
    _check_exits(request)


def _check_exits(request: OrderRequest) -> None:
    """Profit lies on the better side of the loss, and both around a limited entry."""
    if request.order_class == "":
        return
    upward = (request.side == "buy") != (request.order_class == "oco")
    sign = 1 if upward else -1
    entry = request.limit_price if request.order_class != "oco" else None
    profit = request.take_profit
    loss = request.stop_loss.stop_price if request.stop_loss else None
    far, near = ("higher", "lower") if upward else ("lower", "higher")
    if profit is not None and loss is not None and (profit - loss) * sign <= 0:
        raise unprocessable(f"take_profit.limit_price must be {far} than stop_loss.stop_price")
    if profit is not None and entry is not None and (profit - entry) * sign <= 0:
        raise unprocessable(f"take_profit.limit_price must be {far} than limit_price")
    if loss is not None and entry is not None and (entry - loss) * sign <= 0:
        raise unprocessable(f"stop_loss.stop_price must be {near} than limit_price")


def check_time_in_force(request: OrderRequest) -> None:
    kind, force = request.kind, request.time_in_force
    if request.is_fractional and force != "day":
        raise unprocessable("fractional orders must be DAY orders")
    if request.is_fractional and request.order_class:
        raise unprocessable("fractional orders must be simple orders")
    if request.is_fractional and kind == "trailing_stop":
        raise unprocessable("fractional orders must be market, limit, stop or stop_limit orders")
    if request.notional is not None and kind != "market":
        raise unprocessable("notional orders must be market orders")
    if request.extended_hours:
        simple = request.order_class == ""
        if kind != "limit" or force not in ("day", "gtc") or not simple:
            raise unprocessable("extended hours order must be DAY or GTC limit orders")
    if force in ("opg", "cls", "ioc", "fok") and kind not in ("market", "limit"):
        raise unprocessable(f"{force} orders must be market or limit orders")
    if request.order_class and force not in ("day", "gtc"):
        raise unprocessable(f"{request.order_class} orders must be DAY or GTC orders")
