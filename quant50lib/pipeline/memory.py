"""What the risk rules remember, read from the ledger."""

from __future__ import annotations

import pandas as pd

from quant50lib.adapters.journal import Ledger
from quant50lib.services import risk
from quant50lib.services.book import Memory


def remembered(ledger: Ledger, session: pd.Timestamp, surprises: pd.Series) -> Memory:
    """The rules' memory for a session: the newest state before it, and all events before it.

    A session that was run already is judged anew from there, with the same outcome. But a halt that
    somebody has ended by command stays ended: the state is then that of the session itself.
    """
    following = session + pd.Timedelta(days=1)
    events = ledger.risk_events(following)
    settled = risk.ended_by_command(events, session)
    state = ledger.load_risk(following if len(settled) else session)
    return Memory(
        state if len(state) else None,
        events[events["session"] < session].reset_index(drop=True),
        surprises,
        settled,
    )
