"""Killed at any instant of an evening, the desk ends with the orders of an undisturbed one."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from quant50lib.adapters.broker import TWIN_KEYS, connect
from quant50lib.adapters.journal import Ledger
from quant50lib.settings import Secrets
from quant50lib.simulator.process import Twin
from tests import twins
from tests.proof import crash, days

pytestmark = pytest.mark.proof
PAIRS = 8


@dataclass(frozen=True)
class Outcome:
    """What an evening left at the broker, and the books one session later."""

    orders: list[tuple[str, ...]]
    ended: list[tuple[str, str]]  # client_order_id, state in our ledger
    cash: str
    shares: dict[str, str]


class Evening:
    """The second evening of a desk, as often as it is wanted, each time from the same start."""

    def __init__(self, twin: Twin, folder: Path) -> None:
        self.twin, self.folder = twin, folder
        self.start = folder / "start.duckdb"
        twins.reset(twin, days.FIRST, **days.RULES)
        days.evening(self.broker(), Ledger(self.start), days.FIRST)
        bodies = [line["body"] for line in twins.requests_of(twin, "POST")]
        self.posts = [body for body in bodies if "client_order_id" in body]

    def broker(self) -> Any:
        return connect(days.settings(), Secrets(), self.twin.url)

    def begin(self) -> Path:
        """A fresh copy of books and account, at the second evening."""
        twins.reset(self.twin, days.FIRST, **days.RULES)
        key, secret = TWIN_KEYS
        headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
        for body in self.posts:
            url = f"{self.twin.url}/v2/orders"
            requests.post(url, data=body, headers=headers, timeout=10).raise_for_status()
        self.twin.set_clock(days.at(days.SECOND))
        books = self.folder / "books.duckdb"
        books.with_name("books.duckdb.wal").unlink(missing_ok=True)
        shutil.copyfile(self.start, books)
        return books

    def live(self, books: Path, fatal: int = 0, **words: float) -> tuple[int | None, list[str]]:
        """The evening in a process; its exit code and the instants it passed."""
        log = self.folder / "instants"
        log.unlink(missing_ok=True)
        code = crash.run(self.twin.url, books, days.SECOND, log, fatal, **words)
        return code, log.read_text().splitlines()

    def outcome(self, books: Path) -> Outcome:
        """The orders, and after the next session's fills the books, which are the twin's."""
        orders = self.twin.truth()["orders"]
        self.twin.set_clock(days.at(days.THIRD))
        ledger = Ledger(books)
        days.settle(self.broker(), ledger, days.THIRD)
        truth = self.twin.truth()
        shares = {row["symbol"]: row["qty"] for row in truth["positions"]}
        assert ledger.cash() == Decimal(truth["cash"])
        ours = {symbol: position.qty for symbol, position in ledger.positions().items()}
        assert ours == {symbol: Decimal(qty) for symbol, qty in shares.items()}
        fields = ("client_order_id", "symbol", "side", "qty")
        done = ledger.orders(days.SECOND)
        return Outcome(
            sorted(tuple(order[field] for field in fields) for order in orders),
            sorted(zip(done["client_order_id"], done["state"])),
            truth["cash"],
            shares,
        )


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evening]:
    folder = tmp_path_factory.mktemp("crash")
    with twins.running(folder) as twin:
        yield Evening(twin, folder)


@pytest.fixture(scope="module")
def undisturbed(evening: Evening) -> tuple[Outcome, list[str]]:
    books = evening.begin()
    code, instants = evening.live(books)
    assert code == 0
    return evening.outcome(books), instants


def test_the_undisturbed_evening_sells_buys_fills_in_parts_and_is_refused_one(
    evening: Evening, undisturbed: tuple[Outcome, list[str]]
) -> None:
    outcome, _ = undisturbed
    sides = [side for name, _, side, _ in outcome.orders if "20240522" in name]
    assert sides.count("sell") == 2 and sides.count("buy") == 1
    assert sorted(state for _, state in outcome.ended).count("refused") == 1
    fills = evening.twin.truth()["executions"]
    assert any(fill["type"] == "partial_fill" for fill in fills)


def test_killed_at_every_instant_the_next_start_ends_like_an_undisturbed_evening(
    evening: Evening, undisturbed: tuple[Outcome, list[str]]
) -> None:
    wanted, instants = undisturbed
    for fatal, what in enumerate(instants, start=1):
        books = evening.begin()
        code, passed = evening.live(books, fatal)
        assert code == -signal.SIGKILL and passed == instants[:fatal], what
        days.evening(evening.broker(), Ledger(books), days.SECOND)
        assert evening.outcome(books) == wanted, f"killed at {fatal}: {what}"
    print(f"\n{len(instants)} crash points tried: the same orders and books after each")
    assert sum("POST" in what for what in instants) >= 2 * 4


def test_killed_again_while_it_recovers_it_still_ends_the_same(
    evening: Evening, undisturbed: tuple[Outcome, list[str]]
) -> None:
    wanted, instants = undisturbed
    draw = random.Random(50)
    for _ in range(PAIRS):
        first, books = draw.randint(1, len(instants)), evening.begin()
        assert evening.live(books, first)[0] == -signal.SIGKILL
        second = draw.randint(1, 12)
        assert evening.live(books, second)[0] == -signal.SIGKILL
        assert evening.live(books)[0] == 0
        assert evening.outcome(books) == wanted, f"killed at {first}, then at {second}"


def test_an_order_that_arrives_after_its_sender_died_and_asked_is_not_doubled(
    evening: Evening, undisturbed: tuple[Outcome, list[str]]
) -> None:
    """The request waits at a gateway while the desk dies, restarts, asks, and sends it again."""
    wanted, _ = undisturbed
    books = evening.begin()
    twins.fault(evening.twin, {"delay": {"s": 8.0}}, method="POST", nth=2)
    code, instants = evening.live(books, patience=1.5)
    assert code == -signal.SIGKILL and instants[-1] == "http: before POST /orders"
    assert evening.live(books)[0] == 0
    statuses = wait_for_answers(evening.twin)
    assert statuses.count(422) == 1, "the late one came second and was refused as a repeat"
    assert evening.outcome(books) == wanted


def wait_for_answers(twin: Twin) -> list[int]:
    """The status of every POST, once all have one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        statuses = [line["status"] for line in twins.requests_of(twin, "POST")]
        if None not in statuses:
            return statuses
        time.sleep(0.1)
    raise AssertionError("a request was never answered")
