"""The ledger: what we meant, what we sent, what came of it, and what we own. On disk, append-only.

An order is written here before it leaves the machine. Every method returns only when its change is
on disk; each is one transaction. Connections live for milliseconds, or for the length of a block
`with ledger.held():`. The kill switch is a file beside the ledger, so that it works even while
another process holds the database, and every change of it is an event in the ledger as well.
"""

from __future__ import annotations

from quant50lib.adapters.journal_books import Books
from quant50lib.adapters.journal_brakes import Brakes
from quant50lib.adapters.journal_orders import Sent, Step

__all__ = ["Ledger", "Sent", "Step"]


class Ledger(Books, Brakes):
    """The books of one desk in one DuckDB file; safe among threads and processes.

    Parameters
    ----------
    path : Path
        Created, with its folder, on first use.
    wait_seconds : float
        Patience with another process or thread that has the file open; then `SettingsError`.
    """
