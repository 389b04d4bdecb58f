"""Orders per second through journal, POST and poll, beside plain alpaca-py; and a large reconciliation.

``python benchmarks/orders.py [--orders N] [--repeats R] [--reconcile M]`` starts two twins that are
alike. In turn, one takes N orders from plain alpaca-py, with no journal, and the other the same
orders from the desk: journalled, sent, journalled, and looked at once more in the list. Then M
orders whose replies were all lost are settled with the twin, and once more after their fills.
Prints JSON: seconds, and figures that are no seconds with their unit in brackets.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd
import requests
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

from quant50lib.adapters.broker import TWIN_KEYS, Broker, connect
from quant50lib.adapters.journal import Ledger, Step
from quant50lib.contracts import Order
from quant50lib.pipeline import desk
from quant50lib.pipeline.reconcile import reconcile
from quant50lib.settings import Secrets, Settings, SimulatorSettings
from quant50lib.simulator.process import Twin, attach_or_start
from quant50lib.utils import dates
from quant50lib.utils.frames import typed

SESSION = dates.as_session("2026-06-01")
MARKET = SimulatorSettings(first_session="2026-05-01", cash="1000000000", p_partial=0.0)
NO_ACTIONS = pd.DataFrame(
    columns=["symbol", "type", "ex_date", "new_rate", "old_rate", "cash"]
).astype({"ex_date": "datetime64[us]"})


def start(folder: Path) -> Twin:
    """A twin of the demo market after the close of the session."""
    return attach_or_start(folder / "twin.db", MARKET, None, dates.scheduled(SESSION))


def empty(twin: Twin) -> None:
    """The same twin with nothing in its account."""
    body = {"now": dates.scheduled(SESSION).isoformat(), "cash": MARKET.cash, "p_partial": 0.0}
    requests.post(f"{twin.control_url}/sim/reset", json=body, timeout=60).raise_for_status()


def plain(twin: Twin) -> TradingClient:
    """alpaca-py as it comes."""
    return TradingClient(*TWIN_KEYS, paper=True, url_override=twin.url)


def plan(twin: Twin, count: int) -> pd.DataFrame:
    """So many buys of one share each, over all names that may be traded: an Order frame."""
    assets = plain(twin).get("/assets", {"status": "active"})
    symbols = sorted(asset["symbol"] for asset in assets if asset["tradable"])
    rows = [
        {
            "session": SESSION,
            "client_order_id": f"q50-{SESSION:%Y%m%d}-{symbol}-buy-rebalance-{attempt}",
            "symbol": symbol,
            "side": "buy",
            "intent": "rebalance",
            "attempt": attempt,
            "qty": 1.0,
            "price": 10.0,
            "notional": 10.0,
            "state": "planned",
            "broker_id": "",
            "filled_qty": 0.0,
            "filled_price": None,
            "reason": "",
        }
        for attempt, symbol in (
            (1 + n // len(symbols), symbols[n % len(symbols)]) for n in range(count)
        )
    ]
    return typed(Order, rows)


def send_plainly(client: TradingClient, orders: pd.DataFrame) -> float:
    """Seconds that alpaca-py takes to send the orders."""
    begun = time.perf_counter()
    for order in orders.itertuples():
        request = MarketOrderRequest(
            symbol=order.symbol,
            qty=order.qty,
            side=OrderSide(order.side),
            time_in_force=TimeInForce.DAY,
            client_order_id=order.client_order_id,
        )
        client.submit_order(request)
    return time.perf_counter() - begun


def send_by_desk(broker: Broker, ledger: Ledger, orders: pd.DataFrame) -> float:
    """Seconds that the desk takes from the plan to orders that the broker has taken."""
    begun = time.perf_counter()
    known = desk.submit(broker, ledger, orders, SESSION, Settings().execute)
    seconds = time.perf_counter() - begun
    assert known["state"].eq("accepted").all(), known["state"].value_counts()
    return seconds


def compare(folder: Path, count: int, repeats: int) -> dict[str, float]:
    """Both ways, in turn; medians of the pairs."""
    (folder / "plain").mkdir()
    (folder / "desk").mkdir()
    with start(folder / "plain") as one, start(folder / "desk") as other:
        orders = plan(one, count)
        pairs = []
        for n in range(repeats + 1):  # the first warms both up
            for twin in (one, other):
                empty(twin)
            broker = connect(Settings(), Secrets(), other.url)
            ledger = Ledger(folder / f"ledger{n}.duckdb")
            theirs = send_plainly(plain(one), orders)
            pairs.append((theirs, send_by_desk(broker, ledger, orders)))
    rates = [(count / theirs, count / ours) for theirs, ours in pairs[1:]]
    return {
        "alpaca-py alone (orders a second)": statistics.median(rate for rate, _ in rates),
        "journal, POST and poll (orders a second)": statistics.median(rate for _, rate in rates),
        "the second over the first (ratio)": statistics.median(b / a for a, b in rates),
    }


def settle_many(folder: Path, count: int) -> dict[str, float]:
    """Seconds to settle orders whose replies were lost, and again after their fills."""
    execute = Settings().execute
    (folder / "many").mkdir()
    with start(folder / "many") as twin:
        broker, ledger = connect(Settings(), Secrets(), twin.url), Ledger(folder / "many.duckdb")
        reconcile(broker, ledger, NO_ACTIONS, execute, SESSION)
        orders = plan(twin, count)
        at = broker.clock()
        with ledger.held():
            ledger.plan(orders, SESSION, at)
            ledger.advance([Step(name, "sending") for name in orders["client_order_id"]], at)
        send_plainly(plain(twin), orders)
        seconds = [timed_reconciliation(broker, ledger, SESSION)]
        following = dates.shift(SESSION, 1)
        twin.set_clock(dates.scheduled(following))
        seconds.append(timed_reconciliation(broker, ledger, following))
    return {
        f"reconcile {count} orders of unknown fate": seconds[0],
        f"reconcile {count} fills": seconds[1],
    }


def timed_reconciliation(broker: Broker, ledger: Ledger, session: pd.Timestamp) -> float:
    """Seconds of one reconciliation, as the desk does it."""
    begun = time.perf_counter()
    with ledger.held():
        reconcile(broker, ledger, NO_ACTIONS, Settings().execute, session)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--reconcile", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = compare(folder, asked.orders, asked.repeats)
        figures |= settle_many(folder, asked.reconcile)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
