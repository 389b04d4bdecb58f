"""Assets as GET /v2/assets shows them: the market's listings, and what the control plane said."""

from __future__ import annotations

from typing import Any

from quant50lib.simulator.book import Book
from quant50lib.simulator.market import Listing


def exchange_of(kind: str, symbol: str) -> str:
    """Where a security is listed; the markets do not say, so funds and stocks are spread."""
    if kind == "etf":
        return "ARCA"
    return "NASDAQ" if len(symbol) >= 4 else "NYSE"


def asset_reply(exchange: Book, listing: Listing) -> dict[str, Any] | None:
    """An asset; None before the first session of a name, when nobody has heard of it."""
    symbol = listing.symbol
    if not exchange.prices.is_known(symbol, exchange.now):
        return None
    active = exchange.prices.is_active(symbol, exchange.now)
    usual: dict[str, Any] = {
        "id": exchange.prices.asset_id(symbol),
        "class": "us_equity",
        "exchange": exchange_of(listing.kind, symbol),
        "symbol": symbol,
        "name": listing.name,
        "status": "active" if active else "inactive",
        "tradable": active,
        "marginable": True,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "shortable": active,
        "easy_to_borrow": active,
        "borrow_status": "easy_to_borrow" if active else "hard_to_borrow",
        "fractionable": active,
        "attributes": [],
        "cusip": None,
    }
    told = {k: v for k, v in exchange.market.assets.get(symbol, {}).items() if k in usual}
    ended = {} if active else {"status": "inactive", "tradable": False}
    return usual | told | ended


def is_marginable(exchange: Book, symbol: str) -> bool:
    return bool(exchange.market.assets.get(symbol, {}).get("marginable", True))
