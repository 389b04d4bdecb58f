"""250 sessions of a seeded demo market with a fault on most evenings: books equal to the cent."""

from __future__ import annotations

import random
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant50lib.adapters.journal import Ledger
from quant50lib.errors import Quant50Error
from quant50lib.pipeline import desk
from quant50lib.services import execute
from quant50lib.simulator.demo import DemoMarket
from quant50lib.simulator.market import read_universe
from quant50lib.utils import dates
from tests import twins
from tests.proof.test_faults import HTTP, STARTS, agree
from tests.proof.wire import World

pytestmark = pytest.mark.proof
SESSIONS = dates.sessions_between("2023-06-30", "2024-06-28")[:251]
SEED, STOCKS, FUNDS, HELD = 50, 24, 4, 8
FAULTY = 0.6  # share of the evenings with a fault


class Desk:
    """A desk that wants another random book every evening."""

    def __init__(self, folder: Path) -> None:
        listings = read_universe(Path(str(files("quant50lib") / "universe.csv")))
        stocks = [listing for listing in listings if listing.kind == "stock"][:STOCKS]
        funds = [listing for listing in listings if listing.kind == "etf"][:FUNDS]
        market = DemoMarket(SEED, "2021-01-04", [*stocks, *funds])
        self.knobs = twins.settings(max_order_weight=1.0).execute
        self.world = World.begin(
            market, folder / "twin.db", dates.scheduled(SESSIONS[0]), p_partial=0.3
        )
        self.broker = self.world.broker(twins.settings())
        self.ledger = Ledger(folder / "ledger.duckdb")
        self.symbols = [listing.symbol for listing in (*stocks, *funds)]
        self.draw, self.stops = random.Random(SEED), 0
        market.extend(SESSIONS[-1].date())
        self.closes = pd.DataFrame({s: self._closes(s) for s in self.symbols}).sort_index()
        self.actions = self._actions()

    def _closes(self, symbol: str) -> pd.Series:
        series = self.world.market.series(symbol)
        assert series is not None
        return pd.Series(series.close, pd.DatetimeIndex(series.day).as_unit("us"))

    def _actions(self) -> pd.DataFrame:
        rows = [
            (a.symbol, a.kind, pd.Timestamp(a.ex_date), float(a.new), float(a.old), float(a.cash))
            for a in self.world.market.actions()
        ]
        names = ["symbol", "type", "ex_date", "new_rate", "old_rate", "cash"]
        return pd.DataFrame(rows, columns=names)

    def evening(self, session: pd.Timestamp) -> None:
        """Settle, plan and submit, started again after each stop."""
        self.world.set_clock(dates.scheduled(session))
        self._break_something()
        weights = self._weights(session)
        for _ in range(5 * STARTS):
            try:
                self._live(session, weights)
                return self.world.no_faults()
            except Quant50Error:
                self.stops += 1
        raise AssertionError(f"the evening of {session.date()} never ends")

    def _break_something(self) -> None:
        for _ in range(2 * (self.draw.random() < FAULTY)):
            nth, times = self.draw.randint(1, 30), self.draw.choice([1, 1, 6])
            self.world.fault(HTTP[self.draw.choice(list(HTTP))], nth, times)

    def _weights(self, session: pd.Timestamp) -> dict[str, float]:
        alive = self.closes.loc[session].dropna().index
        chosen = self.draw.sample(sorted(alive), HELD)
        parts = np.array([self.draw.random() for _ in chosen])
        return dict(zip(chosen, 0.9 * parts / parts.sum()))

    def _live(self, session: pd.Timestamp, weights: dict[str, float]) -> None:
        known = self.actions[self.actions["ex_date"] <= dates.shift(session, 1)]
        done = desk.settle(
            self.broker,
            self.ledger,
            known,
            session,
            self.closes.loc[:session],
            self.knobs,
            sleep=lambda seconds: None,
        )
        universe = self._universe(session)
        orders = execute.plan_orders(
            twins.target(session, weights),
            done.holding,
            universe,
            Decimal(str(done.summary["equity"])),
            Decimal(str(done.summary["cash"])),
            pd.Series(1e9, index=self.symbols),
            self.knobs,
            session,
            self.ledger.open_symbols(),
            reduce_only=False,
            frozen=self.ledger.frozen(),
            coming=execute.coming_actions(self.actions, session, dates.shift(session, 1)),
            available={s: p.available for s, p in self.broker.positions().items()},
        )
        desk.submit(
            self.broker, self.ledger, orders, session, self.knobs, sleep=lambda seconds: None
        )

    def _universe(self, session: pd.Timestamp) -> pd.DataFrame:
        close = self.closes.loc[session].dropna()
        return pd.DataFrame(
            {
                "session": session,
                "symbol": close.index.astype("str"),
                "name": "Name",
                "sector": "Energy",
                "kind": "stock",
                "close": close.to_numpy(),
                "tradable": True,
                "fractionable": True,
                "reason": "",
            }
        )


def test_a_year_of_faults_leaves_the_books_equal_to_the_last_digit(quick_folder: Path) -> None:
    mine = Desk(quick_folder)
    for month in range(0, len(SESSIONS), 21):
        with mine.ledger.held():
            for session in SESSIONS[month : month + 21]:
                mine.evening(session)
        assert not mine.world.doubled()
    world, ledger = mine.world, mine.ledger
    agree_after_the_last_evening(mine)
    orders = ledger.orders()
    ours = set(orders.loc[~orders["state"].isin(["deferred", "shadow"]), "client_order_id"])
    theirs = {name for name, *_ in world.orders()}
    refused = set(orders.loc[orders["state"] == "refused", "client_order_id"])
    never = set(orders.loc[orders["state"] == "expired", "client_order_id"])
    assert theirs <= ours and ours - theirs <= refused | never
    assert mine.stops > 20 and (orders["state"] == "filled").sum() > 1000
    print(f"\n{len(SESSIONS)} sessions, {len(theirs)} orders, {mine.stops} stops by faults:")
    print(f"cash {ledger.cash():,.2f} and {len(ledger.positions())} positions equal the twin's")


def agree_after_the_last_evening(mine: Desk) -> None:
    """Fills of the next session come in by one more settlement."""
    after = dates.shift(SESSIONS[-1], 1)
    mine.world.set_clock(dates.scheduled(after))
    mine.closes = pd.DataFrame({s: mine._closes(s) for s in mine.symbols}).sort_index()
    desk.settle(
        mine.broker,
        mine.ledger,
        mine.actions[mine.actions["ex_date"] <= after],
        after,
        mine.closes.loc[:after],
        mine.knobs,
        sleep=lambda seconds: None,
    )
    agree(mine.world, mine.ledger)
