"""The books alone, by the command line: both sides shown, a difference adopted, the kill switch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from quant50lib.adapters.journal import Ledger
from quant50lib.cli import app
from quant50lib.pipeline import archive, desk
from quant50lib.simulator.process import Twin, attach_or_start
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home
from tests import twins
from tests.adapters.test_database import another_process

pytestmark = pytest.mark.slow
DAY, NEXT = twins.SESSIONS[1:3]
SETTINGS = """
[universe]
file = "{folder}/names.csv"
[simulator]
market = "{folder}/bars.parquet"
actions = "{folder}/actions.csv"
p_partial = 0.0
[execute]
grace_seconds = 0.05
[data]
store_wait_seconds = 0.3
"""


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Twin]]:
    """A home and its running twin, which every command attaches to."""
    folder = tmp_path_factory.mktemp("books")
    twins.write_market(folder)
    home = Home(folder / "desk")
    home.twin.parent.mkdir(parents=True)
    (home.root / "quant50.toml").write_text(SETTINGS.format(folder=folder))
    settings = config.load(home).simulator
    with attach_or_start(
        home.twin, settings, folder / "names.csv", dates.scheduled(DAY)
    ) as running:
        yield home, running


@pytest.fixture
def opened(twin: tuple[Home, Twin], monkeypatch: pytest.MonkeyPatch) -> tuple[Home, Twin]:
    """The same with fresh books of an evening."""
    home, running = twin
    monkeypatch.setenv("QUANT50_HOME", str(home.root))
    for path in (home.ledger, home.ledger.with_name("HALT")):
        path.unlink(missing_ok=True)
    twins.reset(running)
    knobs = twins.settings().execute
    desk.settle(
        twins.broker(running), Ledger(home.ledger), twins.actions(), DAY, twins.closes(), knobs
    )
    return home, running


def quant50(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "160"})


def test_books_that_agree_are_shown_with_exit_0(opened: tuple[Home, Twin]) -> None:
    home, _ = opened
    done = quant50("reconcile")
    assert done.exit_code == 0, done.output
    assert "0 differ" in done.stdout and f"reconcile_{DAY:%Y%m%d}.html" in done.stdout
    page = home.reports / f"reconcile_{DAY:%Y%m%d}.html"
    assert "What differs: nothing" in page.read_text()


def test_a_difference_is_exit_7_until_it_is_adopted_for_a_reason(
    opened: tuple[Home, Twin],
) -> None:
    home, running = opened
    twins.broker(running).submit("by-hand", "AAA", "buy", Decimal(3))
    refused = quant50("reconcile", "--adopt", "mine")
    assert refused.exit_code == 7 and "cancel by-hand there" in refused.stderr
    running.set_clock(dates.scheduled(NEXT))
    done = quant50("reconcile", "--json")
    assert done.exit_code == 7 and "differ in 3 places" in done.stderr
    lines = json.loads(done.stdout)
    gaps = {line["name"]: line["difference"] for line in lines if line["what"] == "shares"}
    assert gaps == {"AAA": "+3"}
    posts = len(twins.requests_of(running, "POST")) + len(twins.requests_of(running, "DELETE"))
    adopted = quant50("reconcile", "--adopt", "my own trade, 3 AAA")
    assert adopted.exit_code == 0 and "events adopted: 1" in adopted.stdout, adopted.output
    entry = Ledger(home.ledger).position_entries()[-1]
    assert entry.qty == 3 and ": my own trade, 3 AAA (buy 3 AAA at" in entry.detail
    assert quant50("reconcile").exit_code == 0
    now = len(twins.requests_of(running, "POST")) + len(twins.requests_of(running, "DELETE"))
    assert now == posts == 1


def test_without_books_there_is_nothing_to_compare(opened: tuple[Home, Twin]) -> None:
    opened[0].ledger.unlink()
    done = quant50("reconcile")
    assert done.exit_code == 2 and "no books yet" in done.stderr


def test_the_kill_switch_survives_and_is_shown(opened: tuple[Home, Twin]) -> None:
    home, _ = opened
    assert quant50("halt", "odd quotes").exit_code == 0
    assert Ledger(home.ledger).halted() == "odd quotes"
    assert "halted: odd quotes" in quant50("status").stdout
    assert quant50("resume", "they were right").exit_code == 0
    assert Ledger(home.ledger).halted() == "" and "halted" not in quant50("status").stdout
    again = quant50("resume", "once more")
    assert again.exit_code == 2 and "nothing to resume" in again.stderr


def test_the_switch_works_while_a_run_keeps_the_ledger(opened: tuple[Home, Twin]) -> None:
    home, _ = opened
    with archive.locked(home.lock, "a run"), another_process(home.ledger, 30) as holder:
        done = quant50("halt", "stop now")
        assert done.exit_code == 0 and f"in use by process {holder}" in done.stdout, done.output
        assert Ledger(home.ledger).switched() == "stop now"
        assert "halted: stop now" in quant50("status").stdout
