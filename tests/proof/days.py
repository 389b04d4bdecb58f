"""One evening of a desk on the small market of `tests.twins`: settle, plan, submit."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.journal import Ledger
from quant50lib.pipeline import desk
from quant50lib.services import execute
from quant50lib.settings import Settings
from quant50lib.simulator.market import FileMarket
from quant50lib.utils import dates
from tests import twins

FIRST, SECOND, THIRD, FOURTH = twins.SESSIONS[1:5]
CLOSES, ACTIONS = twins.closes(), twins.actions()
#: what is wanted at each evening: the second one sells two names and buys two, of which the broker
#: refuses one, because it reserves more than we think (`RULES`); half of all looks fill a part
WANTED = {
    FIRST: {"AAA": 0.25, "BBB": 0.30, "EEE": 0.25},
    SECOND: {"AAA": 0.10, "CCC": 0.12, "DDD": 0.075, "EEE": 0.15, "BBB": 0.30, "SPY": 0.04},
    THIRD: {"CCC": 0.1, "DDD": 0.1, "EEE": 0.2, "SPY": 0.2},
}
#: on later evenings these take turns; BBB and DDD split on the way
LATER = (
    {"BBB": 0.3, "DDD": 0.2, "AAA": 0.2},
    {"BBB": 0.2, "CCC": 0.3, "EEE": 0.1},
    {"BBB": 0.25, "DDD": 0.25, "SPY": 0.3},
)
RULES = {"p_partial": 0.5, "reserve_factor": "1.2", "cash": "100000"}


def wanted(session: pd.Timestamp) -> dict[str, float]:
    """The weights that the evening of a session is after."""
    return WANTED.get(session) or LATER[twins.SESSIONS.get_loc(session) % len(LATER)]


def settings(**own: Any) -> Settings:
    """A desk that does not wait; the broker is asked for all that our books think we can pay."""
    return twins.settings(max_order_weight=1.0, price_collar=0.0001, **own)


def market(folder: Path) -> FileMarket:
    twins.write_market(folder)
    return FileMarket(folder / "bars.parquet", folder / "actions.csv")


def settle(
    broker: Broker, ledger: Ledger, session: pd.Timestamp, knobs: Settings | None = None
) -> desk.Settlement:
    """The first half of an evening."""
    execute_settings = (knobs or settings()).execute
    return desk.settle(
        broker, ledger, ACTIONS, session, CLOSES, execute_settings, sleep=lambda seconds: None
    )


def evening(
    broker: Broker, ledger: Ledger, session: pd.Timestamp, knobs: Settings | None = None
) -> None:
    """What the notebooks of a day do with the broker, without the notebooks."""
    knobs = knobs or settings()
    done = settle(broker, ledger, session, knobs)
    orders = execute.plan_orders(
        twins.target(session, wanted(session)),
        done.holding,
        twins.universe(session, CLOSES),
        Decimal(str(done.summary["equity"])),
        Decimal(str(done.summary["cash"])),
        pd.Series(1e9, index=list(twins.SYMBOLS)),
        knobs.execute,
        session,
        ledger.open_symbols(),
        reduce_only=False,
        frozen=ledger.frozen(),
        coming=execute.coming_actions(ACTIONS, session, dates.shift(session, 1)),
        available={symbol: p.available for symbol, p in broker.positions().items()},
    )
    desk.submit(broker, ledger, orders, session, knobs.execute, sleep=lambda seconds: None)


def at(session: pd.Timestamp) -> pd.Timestamp:
    """The instant at which the evening of a session begins."""
    return dates.scheduled(session)
