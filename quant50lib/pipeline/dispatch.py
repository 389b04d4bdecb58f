"""Sending the orders of one plan: journal, one POST, journal; and a question where no answer came."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from quant50lib.adapters.broker import Broker
from quant50lib.adapters.journal import Ledger
from quant50lib.errors import BrokerError, OrderRefused, OutcomeUnknown, RiskHalt, Unreachable
from quant50lib.pipeline.reconcile import Sleep, adopt, resolve_orders
from quant50lib.services.ledger import SHARE, decimal
from quant50lib.settings import ExecuteSettings

#: a proven absent order is sent this often in one go, then it is left for the next start
SENDS = 3
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

    def run(self) -> None:
        """Send all that is planned, and stop with the reason where that cannot be done.

        Raises
        ------
        OutcomeUnknown, RiskHalt, BrokerError
            As `desk.submit`.
        """
        with self.ledger.held():
            self._send_all()
        self._await_acknowledgement()
        with self.ledger.held():
            self._require_known()
            self._require_not_halted()

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
        """What is still to be sent, in sequence; only sells while the kill switch is on."""
        unsent = self.ledger.unsent()
        times = unsent["client_order_id"].map(lambda name: self.sent[name])
        wanted = unsent["session"].eq(self.run_date) & times.lt(SENDS)
        if self.ledger.halted():
            wanted &= unsent["side"].eq("sell")
        return unsent[wanted]

    def _require_tradable(self) -> None:
        account = self.broker.account()
        if account.status != "ACTIVE" or account.blocked:
            raise BrokerError(
                f"the account is {account.status}, blocked by {account.blocked or 'nothing'}: no "
                "order was sent; see the broker's page of the account, then run this again"
            )

    def _send_until_unclear(self, todo: pd.DataFrame, total: int) -> bool:
        """Send in sequence; False if an outcome is unknown, and then the rest has not been sent."""
        for _, order in todo.iterrows():
            if order["side"] == "buy" and self.ledger.halted():
                return True
            self.progress(f"{order['side']} {order['symbol']}", len(self.sent), total)
            self.sent[order["client_order_id"]] += 1
            if not self._send(order):
                return False
        return True

    def _send(self, order: pd.Series) -> bool:
        """Journal, send once, journal what came of it; False if that is unknown."""
        name = order["client_order_id"]
        qty = decimal(order["qty"]).quantize(SHARE)
        self.ledger.transition(name, "sending", self.at)
        try:
            known = self.broker.submit(name, order["symbol"], order["side"], qty)
        except OrderRefused as error:
            self.ledger.transition(name, "refused", self.at, reason=str(error))
        except OutcomeUnknown as error:
            self.ledger.transition(name, "unknown", self.at, reason=str(error))
            return False
        else:
            adopt(self.ledger, order, known, self.at)
        return True

    def _resolve(self) -> None:
        """Ask what became of the unclear ones; those sent often enough are not sent again."""
        spent = {name for name, times in self.sent.items() if times >= SENDS}
        try:
            resolve_orders(self.broker, self.ledger, self.at, self.settings, self.sleep, spent)
        except Unreachable as error:
            raise OutcomeUnknown(f"{self._unclear()}; {error}") from error

    def _await_acknowledgement(self) -> None:
        """Look at the list until the broker has judged all that it took, or patience ends."""
        if not self.sent:
            return
        patience = self.settings.settle_seconds
        while True:
            known = self._pending_after_look()
            if not known or patience <= 0:
                return
            self.sleep(self.settings.poll_seconds)
            patience -= self.settings.poll_seconds

    def _pending_after_look(self) -> bool:
        """Adopt what the list of orders says; True if the broker has not judged all of it."""
        first = self.run_date.tz_localize("UTC") - pd.Timedelta(days=1)
        listed = {order.client_order_id: order for order in self.broker.orders(after=first)}
        with self.ledger.held():
            working = self.ledger.open_orders()
            known = working[working["client_order_id"].isin(listed)]
            for _, order in known.iterrows():
                adopt(self.ledger, order, listed[order["client_order_id"]], self.at)
        return any(listed[name].pending for name in known["client_order_id"])

    def _unclear(self) -> str:
        working = self.ledger.open_orders()
        names = working.loc[working["state"].isin(["sending", "unknown"]), "client_order_id"]
        return (
            f"it is not known whether these orders exist: {', '.join(names)}" if len(names) else ""
        )

    def _require_known(self) -> None:
        if unclear := self._unclear():
            raise OutcomeUnknown(
                f"{unclear}; they were sent {SENDS} times and nobody has seen them. Run the day "
                "again later: it asks first"
            )

    def _require_not_halted(self) -> None:
        reason = self.ledger.halted()
        unsent = self.ledger.unsent()
        if reason and len(unsent):
            raise RiskHalt(
                f"the desk is halted ({reason}): {len(unsent)} buys were not sent. `quant50 "
                "resume` lifts the halt; the same run then sends them while the session lasts"
            )
