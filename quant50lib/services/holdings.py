"""What is owned, valued at the closes of a session. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import pandas as pd

from quant50lib.contracts import Holding
from quant50lib.errors import ContractError
from quant50lib.services.ledger import ZERO, Position, decimal
from quant50lib.utils.frames import typed


def holding_frame(
    positions: Mapping[str, Position],
    closes: Mapping[str, float],
    session: pd.Timestamp,
    cash: Decimal,
) -> pd.DataFrame:
    """What is owned at the close, as `contracts.Holding`.

    Parameters
    ----------
    closes : symbol to US dollars, as traded

    Raises
    ------
    ContractError
        A position has no close.
    """
    value = values(positions, closes, session)
    equity = cash + sum(value.values(), ZERO)
    return typed(
        Holding,
        [
            {
                "session": session,
                "symbol": symbol,
                "qty": float(position.qty),
                "entry_price": float(position.entry_price),
                "entry_session": position.entry_session,
                "price": float(closes[symbol]),
                "value": float(value[symbol]),
                "weight": float(value[symbol] / equity),
            }
            for symbol, position in sorted(positions.items())
        ],
    )


def values(
    positions: Mapping[str, Position], closes: Mapping[str, float], session: pd.Timestamp
) -> dict[str, Decimal]:
    """US dollars of each position at the closes (ContractError where one is missing)."""
    unpriced = sorted(s for s in positions if not closes.get(s, 0.0) > 0)
    if unpriced:
        raise ContractError(
            f"no close is known up to {session.date()} for the holdings {', '.join(unpriced)}: "
            "ingest their bars, then settle again"
        )
    return {symbol: p.qty * decimal(closes[symbol]) for symbol, p in positions.items()}
