"""Whatever a network or a gateway does to a call of an evening, no order is lost or doubled."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quant50lib.adapters.journal import Ledger
from quant50lib.errors import Quant50Error
from tests.proof import days
from tests.proof.wire import World

pytestmark = pytest.mark.proof
#: QUANT50_PROOF=all tries every fault at every call, and this many pairs
EVERYTHING = os.environ.get("QUANT50_PROOF") == "all"
PAIRS = 1000 if EVERYTHING else 40
STARTS = 4

HTTP: dict[str, dict[str, Any]] = {
    "401 before": {"status": {"code": 401, "body": {"message": "unauthorized."}}},
    "403 before": {"status": {"code": 403, "body": "<html>403</html>"}},
    "429 before": {"status": {"code": 429, "body": {"message": "too many requests."}}},
    "500 before": {"status": {"code": 500, "body": {"code": 50010000, "message": "error"}}},
    "503 before": {"status": {"code": 503, "body": "unavailable"}},
    "504 before": {"status": {"code": 504, "body": "<html>504</html>"}},
    "200 with nonsense": {"after": {"code": 200, "body": {"hello": "world"}}},
    "429 after": {"after": {"code": 429, "body": {"message": "too many requests."}}},
    "500 after": {"after": {"code": 500, "body": {"code": 50010000, "message": "error"}}},
    "504 after": {"after": {"code": 504, "body": "<html>504</html>"}},
    "drop before": {"drop_before": {}},
    "drop after": {"drop_after": {}},
    "reset before": {"reset": {}},
    "reset after": {"reset": {"when": "after"}},
    "hang": {"hang": {}},
    "slow": {"delay": {"s": 0.001, "when": "after"}},
    "truncated": {"truncate": {"bytes": 40}},
    "gateway page": {"html": {"code": 502}},
    "empty": {"empty_200": {}},
    "redirect": {"redirect": {}},
    "no requests left": {"ratelimit": {"remaining": 0}},
    "unknown word": {"unknown_status": {"value": "teleported"}},
    "seen late": {"duplicate_visible_late": {"lookups": 3}},
}


#: an order whose status nobody understands counts as live: its name takes no other that evening
CAUTIOUS = ("unknown word",)


@dataclass(frozen=True)
class Outcome:
    orders: list[tuple[str, str, str, str]]
    books: tuple[str, dict[str, str]]


class Evening:
    """The second evening, from one start; each trial has its own account and ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, itertools.count()
        market = days.market(folder)
        self.world = World.begin(market, folder / "start.db", days.at(days.FIRST), **days.RULES)
        self.books = folder / "start.duckdb"
        days.evening(self.world.broker(days.settings()), Ledger(self.books), days.FIRST)
        self.world.set_clock(days.at(days.SECOND))
        world, books = self.begin()
        before = len(world.wire.calls)
        days.evening(world.broker(days.settings()), Ledger(books), days.SECOND)
        self.calls = world.wire.calls[before:]
        self.wanted = self.outcome(world, Ledger(books))

    def begin(self) -> tuple[World, Path]:
        n = next(self.count)
        books = self.folder / f"{n}.duckdb"
        shutil.copyfile(self.books, books)
        return self.world.copy(self.folder / f"{n}.db"), books

    def outcome(self, world: World, ledger: Ledger) -> Outcome:
        orders = world.orders()
        assert not world.doubled()
        world.set_clock(days.at(days.THIRD))
        days.settle(world.broker(days.settings()), ledger, days.THIRD)
        agree(world, ledger)
        return Outcome(orders, world.books())

    def trial(self, *faults: tuple[int, str]) -> list[str]:
        """An evening with these faults at these calls; the reasons of the stops on the way."""
        world, books = self.begin()
        for call, name in faults:
            world.fault(HTTP[name], nth=call)
        with Ledger(books).held() as ledger:
            stops = lived(world, ledger)
            world.no_faults()
            found = self.outcome(world, ledger)
            if any(name in CAUTIOUS for _, name in faults):
                assert set(found.orders) <= set(self.wanted.orders), (faults, stops)
            else:
                assert found == self.wanted, (faults, stops)
        for path in (world.state, books):
            path.unlink()
        return stops


def lived(world: World, ledger: Ledger) -> list[str]:
    """Start until the evening is done; what stopped it before is an error of ours, with words."""
    stops: list[str] = []
    for _ in range(STARTS):
        try:
            days.evening(world.broker(days.settings()), ledger, days.SECOND)
            return stops
        except Quant50Error as error:
            assert str(error)
            stops.append(f"{type(error).__name__}: {error}")
    raise AssertionError(f"the evening never ends: {stops}")


def agree(world: World, ledger: Ledger) -> None:
    """Our cash and shares are the twin's, to the last digit."""
    cash, shares = world.books()
    assert ledger.cash() == Decimal(cash)
    ours = {symbol: position.qty for symbol, position in ledger.positions().items()}
    assert ours == {symbol: Decimal(qty) for symbol, qty in shares.items()}


@pytest.fixture(scope="module")
def evening(quick_folder: Path) -> Evening:
    return Evening(quick_folder)


def test_every_fault_at_every_call(evening: Evening) -> None:
    """At each POST every fault; at the reads, every fault at every eighth call unless asked."""
    singles = [
        (call, name)
        for call, what in enumerate(evening.calls, start=1)
        for position, name in enumerate(HTTP)
        if EVERYTHING or what.startswith("POST") or (call + position) % 8 == 0
    ]
    stopped = sum(bool(evening.trial(single)) for single in singles)
    print(f"\n{len(singles)} of {len(evening.calls) * len(HTTP)} faults at calls tried: the same")
    print(f"orders and books after each; {stopped} stopped with a reason first")


@pytest.mark.parametrize("name", ["503 before", "hang", "504 after"])
def test_an_outage_from_any_call_on_stops_with_a_reason_and_nothing_is_lost(
    evening: Evening, name: str
) -> None:
    for call in range(1, len(evening.calls) + 1):
        world, books = evening.begin()
        world.fault(HTTP[name], nth=call, times=1000)
        with Ledger(books).held() as ledger:
            with pytest.raises(Quant50Error, match="again|unknown|not known|usable"):
                days.evening(world.broker(days.settings()), ledger, days.SECOND)
            world.no_faults()
            lived(world, ledger)
            assert evening.outcome(world, ledger) == evening.wanted, (call, name)


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ({"reject_later": {"reason": "halted by the venue"}}, "refused"),
        ({"stick": {"status": "accepted"}}, "accepted"),
        ({"stick": {"status": "pending_new"}}, "accepted"),
    ],
)
def test_an_order_on_which_the_broker_changes_its_mind_or_sits(
    evening: Evening, action: dict[str, Any], state: str
) -> None:
    """It stays what the broker says, its name takes no other order, and the books are right."""
    world, books = evening.begin()
    world.fault(action, nth=3, method="POST")
    broker = world.broker(days.settings())
    with Ledger(books).held() as ledger:
        days.evening(broker, ledger, days.SECOND)
        world.set_clock(days.at(days.THIRD))
        days.evening(broker, ledger, days.THIRD)
        agree(world, ledger)
        third = ledger.orders(days.SECOND).set_index("client_order_id")["state"]
        name = world.orders_sent(days.SECOND)[2]
        assert third[name] == state
        symbol = name.split("-")[2]
        sent = {n.split("-")[2] for n in world.orders_sent(days.THIRD)}
        assert state == "refused" or (symbol in ledger.frozen() and symbol not in sent)
        world.no_faults()
        world.set_clock(days.at(days.FOURTH))
        days.evening(broker, ledger, days.FOURTH)
        agree(world, ledger)
        assert not world.doubled() and symbol not in ledger.frozen()


def test_random_pairs_of_faults(evening: Evening) -> None:
    draw = random.Random(50)
    for _ in range(PAIRS):
        pair = [(draw.randint(1, len(evening.calls) + 6), draw.choice(list(HTTP))) for _ in "ab"]
        evening.trial(*pair)
    print(f"\n{PAIRS} random pairs of faults tried: the same orders and books after each")
