"""Sending the orders of one plan: journal, one POST, journal; and a question where no answer came."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.journal import Ledger, Step
from quant50lib.errors import (
    BrokerError,
    OrderRefused,
    OutcomeUnknown,
    ReconciliationError,
    RiskHalt,
    Unreachable,
)
from quant50lib.pipeline.resolve import (
    SENDS,
    UNCLEAR,
    Row,
    Sleep,
    each,
    resolve_orders,
    step_of,
    stuck,
)
from quant50lib.services import comparison
from quant50lib.services.ledger import SHARE, decimal
from quant50lib.settings import ExecuteSettings

#: so many orders are written down as being sent at once: each write has to reach the disk
AHEAD = 16
#: what is being done, how many orders are done, how many there are
Progress = Callable[[str, int, int], None]


@dataclass
class Dispatch:
    """The orders of one session on their way to the broker, from what the ledger says of them."""

    broker: Broker
    ledger: Ledger
    run_date: pd.Timestamp
    at: pd.Timestamp  # the broker's time when it began
    settings: ExecuteSettings
    progress: Progress
    sleep: Sleep = time.sleep
    sent: Counter[str] = field(default_factory=Counter)

    def send(self) -> bool:
        """Send all that is planned; True if the broker has not judged all of what it took.

        The ledger is held meanwhile by the caller.

        Raises
        ------
        OutcomeUnknown, BrokerError, ReconciliationError
            As `desk.submit`.
        """
        self._drop_frozen()
        self._send_all()
        return bool(self.sent) and self._pending_after_look()

    def await_judgement(self) -> None:
        """Look at the list until the broker has judged all that it took, or patience ends."""
        patience = self.settings.settle_seconds
        while patience > 0:
            self.sleep(self.settings.poll_seconds)
            patience -= self.settings.poll_seconds
            with self.ledger.held():
                if not self._pending_after_look():
                    return

    def require_done(self) -> None:
        """Stop with the reason where something could not be done (`desk.submit` says how)."""
        self._require_known()
        self._require_not_halted()

    def _drop_frozen(self) -> None:
        """What was planned in a name that has been frozen since is not sent any more."""
        frozen, unsent = self.ledger.frozen(), self.ledger.unsent()
        steps = [
            Step(order["client_order_id"], "expired", reason=f"frozen: {frozen[order['symbol']]}")
            for order in each(unsent[unsent["symbol"].isin(frozen)])
        ]
        self.ledger.advance(steps, self.at)

    def _send_all(self) -> None:
        todo = self._unsent()
        if len(todo):
            self._require_tradable()
        total = len(todo)
        while len(todo):
            if not self._send_until_unclear(todo, total):
                self._resolve()
            todo = self._unsent()

    def _unsent(self) -> pd.DataFrame:
        """What is still to be sent, in sequence; only sells while nothing may be bought."""
        unsent = self.ledger.unsent()
        times = unsent["client_order_id"].map(lambda name: self.sent[name])
        wanted = unsent["session"].eq(self.run_date) & times.lt(SENDS)
        if self._brake():
            wanted &= unsent["side"].eq("sell")
        return unsent[wanted]

    def _brake(self) -> str:
        """Why nothing may be bought, or empty: the kill switch, or the risk rules."""
        if reason := self.ledger.halted():
            return f"the desk is halted ({reason})"
        if self.ledger.reduce_only(self.run_date):
            return "the risk rules allow to reduce only"
        return ""

    def _require_tradable(self) -> None:
        account = self.broker.account()
        if account.status != "ACTIVE" or account.blocked:
            raise BrokerError(
                f"the account is {account.status}, blocked by {account.blocked or 'nothing'}: no "
                "order was sent; see the broker's page of the account, then run this again"
            )

    def _send_until_unclear(self, todo: pd.DataFrame, total: int) -> bool:
        """Send in sequence; False if an outcome is unknown, and then the rest has not been sent.

        That an order is being sent is on disk before it is, for `AHEAD` orders at a time, together
        with what came of those before. What a crash then leaves as `sending` is asked about.
        """
        answers: list[Step] = []
        ahead: list[str] = []
        orders = list(each(todo))
        try:
            for n, order in enumerate(orders):
                if order["side"] == "buy" and self.ledger.switched():
                    return True
                if not ahead:
                    ahead = [o["client_order_id"] for o in orders[n : n + AHEAD]]
                    begun = [Step(name, "sending") for name in ahead]
                    self.ledger.advance([*answers, *begun], self.at)
                    answers = []
                self.progress(f"{order['side']} {order['symbol']}", len(self.sent), total)
                self.sent[ahead.pop(0)] += 1
                answers.append(self._send(order))
                if answers[-1].state == "unknown":
                    return False
            return True
        finally:
            kept = [Step(name, "planned", reason="not sent after all") for name in ahead]
            self.ledger.advance([*answers, *kept], self.at)

    def _send(self, order: Row) -> Step:
        """Send once; what came of it."""
        name, qty = order["client_order_id"], decimal(order["qty"]).quantize(SHARE)
        try:
            known = self.broker.submit(name, order["symbol"], order["side"], qty)
        except OrderRefused as error:
            return Step(name, "refused", reason=str(error))
        except OutcomeUnknown as error:
            return Step(name, "unknown", reason=str(error))
        return step_of(order, known)

    def _resolve(self) -> None:
        """Ask what became of the unclear ones; those sent often enough are not sent again."""
        spent = {name for name, times in self.sent.items() if times >= SENDS}
        try:
            done = resolve_orders(
                self.broker, self.ledger, self.at, self.settings, self.sleep, spent
            )
        except Unreachable as error:
            raise OutcomeUnknown(f"{self._words(self._unclear())}; {error}") from error
        if done.lines:
            raise ReconciliationError(comparison.explained(done.lines))

    def _pending_after_look(self) -> bool:
        """Adopt what the list of orders says; True if the broker has not judged all of it."""
        first = self.run_date.tz_localize("UTC") - pd.Timedelta(days=1)
        listed = {order.client_order_id: order for order in self.broker.orders(after=first)}
        working = self.ledger.open_orders()
        known = working[working["client_order_id"].isin(listed)]
        steps = [step_of(order, listed[order["client_order_id"]]) for order in each(known)]
        self.ledger.advance(steps, self.at)
        return any(listed[name].pending for name in known["client_order_id"])

    def _unclear(self) -> pd.DataFrame:
        working = self.ledger.open_orders()
        return working[working["state"].isin(UNCLEAR)]

    @staticmethod
    def _words(unclear: pd.DataFrame) -> str:
        names = ", ".join(unclear["client_order_id"])
        return f"it is not known whether these orders exist: {names}" if names else ""

    def _require_known(self) -> None:
        """Stop for orders of unknown fate; those past their deadline freeze their name instead."""
        unclear = self._unclear()
        overdue = stuck(self.ledger, unclear, self.at, self.settings)
        if overdue:
            self.ledger.freeze(self.ledger.frozen() | overdue, self.at)
        unclear = unclear[~unclear["symbol"].isin(overdue)]
        if len(unclear):
            raise OutcomeUnknown(
                f"{self._words(unclear)}; they were sent {SENDS} times and nobody has seen them. "
                "Run the day again later: it asks first"
            )

    def _require_not_halted(self) -> None:
        brake = self._brake()
        unsent = self.ledger.unsent()
        if brake and len(unsent):
            raise RiskHalt(
                f"{brake}: {len(unsent)} buys were not sent. `quant50 resume` lifts a halt; the "
                "same run then sends them while the session lasts"
            )
