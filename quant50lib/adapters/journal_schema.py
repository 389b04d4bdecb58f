"""The tables of the ledger and the ways of an order's life. Everything is appended, never changed.

Instants are UTC without zone; shares have nine decimals, money eighteen, so sums are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quant50lib.errors import ReconciliationError

TABLES = """
CREATE SEQUENCE IF NOT EXISTS event;
CREATE TABLE IF NOT EXISTS plans (
    session DATE PRIMARY KEY, moment TIMESTAMP NOT NULL, orders INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    client_order_id VARCHAR PRIMARY KEY, session DATE NOT NULL, symbol VARCHAR NOT NULL,
    side VARCHAR NOT NULL, intent VARCHAR NOT NULL, attempt INTEGER NOT NULL,
    qty DECIMAL(28, 9) NOT NULL, price DECIMAL(28, 9) NOT NULL, place INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS order_events (
    event BIGINT PRIMARY KEY DEFAULT nextval('event'), client_order_id VARCHAR NOT NULL,
    state VARCHAR NOT NULL, broker_id VARCHAR NOT NULL, filled_qty DECIMAL(28, 9) NOT NULL,
    filled_price DECIMAL(38, 18), reason VARCHAR NOT NULL, moment TIMESTAMP NOT NULL);
CREATE TABLE IF NOT EXISTS fills (
    fill_id VARCHAR PRIMARY KEY, client_order_id VARCHAR NOT NULL, symbol VARCHAR NOT NULL,
    side VARCHAR NOT NULL, qty DECIMAL(28, 9) NOT NULL, price DECIMAL(28, 9) NOT NULL,
    session DATE NOT NULL, moment TIMESTAMP NOT NULL);
CREATE TABLE IF NOT EXISTS cash_events (
    event BIGINT DEFAULT nextval('event'), event_id VARCHAR PRIMARY KEY, moment TIMESTAMP NOT NULL,
    kind VARCHAR NOT NULL, symbol VARCHAR NOT NULL, amount DECIMAL(38, 18) NOT NULL,
    detail VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS position_events (
    event BIGINT DEFAULT nextval('event'), event_id VARCHAR PRIMARY KEY, moment TIMESTAMP NOT NULL,
    kind VARCHAR NOT NULL, symbol VARCHAR NOT NULL, qty DECIMAL(28, 9) NOT NULL,
    cost DECIMAL(38, 18) NOT NULL, detail VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    event BIGINT PRIMARY KEY DEFAULT nextval('event'), session DATE NOT NULL,
    settled_by DATE NOT NULL, cash DECIMAL(38, 18) NOT NULL, holdings DECIMAL(38, 18) NOT NULL,
    broker_equity DECIMAL(38, 18), dividends DECIMAL(38, 18) NOT NULL,
    flow DECIMAL(38, 18) NOT NULL, turnover DECIMAL(38, 18) NOT NULL);
CREATE TABLE IF NOT EXISTS risk_states (
    event BIGINT PRIMARY KEY DEFAULT nextval('event'), session DATE NOT NULL, body JSON NOT NULL);
CREATE TABLE IF NOT EXISTS risk_events (
    event BIGINT PRIMARY KEY DEFAULT nextval('event'), session DATE NOT NULL, body JSON NOT NULL);
CREATE TABLE IF NOT EXISTS halts (
    event BIGINT PRIMARY KEY DEFAULT nextval('event'), halted BOOLEAN NOT NULL,
    reason VARCHAR NOT NULL, moment TIMESTAMP NOT NULL);
CREATE TABLE IF NOT EXISTS freezes (
    event BIGINT PRIMARY KEY DEFAULT nextval('event'), symbol VARCHAR NOT NULL,
    reason VARCHAR NOT NULL, moment TIMESTAMP NOT NULL);
"""

#: states in which the broker may still act on an order
OPEN = ("sending", "unknown", "accepted", "partially_filled")
ENDED = ("filled", "cancelled", "expired", "refused")
#: where an order may go from each state. `planned` again only when it is proven that none arrived;
#: `planned` to `unknown` when such a one was not sent again in time and is asked about once more.
WAYS: dict[str, tuple[str, ...]] = {
    "planned": ("sending", "expired", "unknown"),
    "sending": ("accepted", "partially_filled", "unknown", "planned", *ENDED),
    "unknown": ("accepted", "partially_filled", "planned", *ENDED),
    "accepted": ("partially_filled", *ENDED),
    "partially_filled": ENDED,
}
#: facts of an order that an event may change
FACTS = ("state", "broker_id", "filled_qty", "filled_price", "reason")


def next_event(before: Mapping[str, Any], step: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event that a step of an order makes; None for a repeat.

    In the state that it has, an order may learn more: that more is filled, the broker's name for
    it, and while it is open another remark. An ended one stays ended, but shares that were filled
    before its end may come to light.

    Parameters
    ----------
    before, step : mappings
        The order as it stands (with its `qty`), and what it becomes.

    Raises
    ------
    ReconciliationError
        The order cannot take that step, would lose what was filled, or gets more than was ordered.
    """
    name, state = before["client_order_id"], step["state"]
    after = {"client_order_id": name} | {fact: step[fact] for fact in FACTS}
    after["broker_id"] = step["broker_id"] or before["broker_id"]
    _require_growth(before, after)
    if state != before["state"]:
        require_way(name, before["state"], state)
        return after
    learnt = any(after[fact] != before[fact] for fact in ("broker_id", "filled_qty"))
    remarked = state in OPEN and after["reason"] != before["reason"]
    return after if learnt or remarked else None


def _require_growth(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    name, filled, broker_id = after["client_order_id"], after["filled_qty"], after["broker_id"]
    if filled < before["filled_qty"] or before["broker_id"] not in ("", broker_id):
        raise ReconciliationError(
            f"{name}: the broker takes back what it said: {before['filled_qty']} filled as "
            f"{before['broker_id']}, now {filled} as {broker_id}"
        )
    if filled > before["qty"]:
        raise ReconciliationError(
            f"{name}: {filled} filled of {before['qty']} ordered; look at it at the broker"
        )


def require_way(client_order_id: str, before: str, after: str) -> None:
    """Refuse a step that an order cannot take (ReconciliationError)."""
    if after not in WAYS.get(before, ()):
        raise ReconciliationError(
            f"{client_order_id} is {before} in our books and cannot become {after}; compare it "
            "with the broker's order before trading on"
        )
