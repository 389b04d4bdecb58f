"""The tables of the ledger and the ways of an order's life. Everything is appended, never changed.

Instants are UTC without zone; shares have nine decimals, money eighteen, so sums are exact.
"""

from __future__ import annotations

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
"""

#: states in which the broker may still act on an order
OPEN = ("sending", "unknown", "accepted", "partially_filled")
ENDED = ("filled", "cancelled", "expired", "refused")
#: where an order may go from each state; `planned` again only when it is proven that none arrived
WAYS: dict[str, tuple[str, ...]] = {
    "planned": ("sending", "expired"),
    "sending": ("accepted", "partially_filled", "unknown", "planned", *ENDED),
    "unknown": ("accepted", "partially_filled", "planned", *ENDED),
    "accepted": ("partially_filled", *ENDED),
    "partially_filled": ("partially_filled", *ENDED),
}


def require_way(client_order_id: str, before: str, after: str) -> None:
    """Refuse a step that an order cannot take (ReconciliationError)."""
    if after not in WAYS.get(before, ()):
        raise ReconciliationError(
            f"{client_order_id} is {before} in our books and cannot become {after}; compare it "
            "with the broker's order before trading on"
        )
