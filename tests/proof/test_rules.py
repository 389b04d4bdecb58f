"""Whatever the real service does where it says nothing, the desk's books are right."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quant50lib.adapters.journal import Ledger
from quant50lib.simulator.rules import GUESSES
from tests import twins
from tests.proof import days
from tests.proof.wire import World

pytestmark = pytest.mark.proof
EVERY = [(name, value) for name, values in GUESSES.items() for value in values]
WEEK = twins.SESSIONS[1:9]  # with a split of BBB and of DDD


@pytest.mark.parametrize(("name", "value"), EVERY)
def test_a_week_of_trading_agrees_to_the_last_digit(
    quick_folder: Path, name: str, value: Any
) -> None:
    folder = quick_folder / f"{name}-{value}"
    folder.mkdir()
    market = days.market(folder)
    rules = {"p_partial": 0.3, name: value}
    world = World.begin(market, folder / "twin.db", days.at(WEEK[0]), **rules)
    broker = world.broker(days.settings())
    with Ledger(folder / "ledger.duckdb").held() as ledger:
        for session in WEEK:
            world.set_clock(days.at(session))
            days.evening(broker, ledger, session)
            assert not world.doubled()
            agree_but_for_frozen(world, ledger)
    ended = ledger.orders().query("session < @WEEK[-1]")["state"]
    assert (ended == "filled").sum() >= 10
    assert set(ended) <= {"filled", "refused", "deferred"}


def agree_but_for_frozen(world: World, ledger: Ledger) -> None:
    """Cash to the last digit, and shares but where a split that paper did not make is known."""
    cash, shares = world.books()
    ours = {symbol: position.qty for symbol, position in ledger.positions().items()}
    theirs = {symbol: Decimal(qty) for symbol, qty in shares.items()}
    apart = {s for s in ours.keys() | theirs.keys() if ours.get(s) != theirs.get(s)}
    assert ledger.cash() == Decimal(cash) and apart <= set(ledger.frozen())
    assert not apart or world.twin.exchange.rules.splits_on_paper != "apply"
