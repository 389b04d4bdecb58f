"""What is owned, valued at the closes of a session. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from quant50lib.contracts import TIME, Holding
from quant50lib.errors import ContractError
from quant50lib.services.ledger import ZERO, Position, decimal
from quant50lib.utils.frames import TEXT, dtypes


class Holdings(NamedTuple):
    """What is owned at a close, arrays by name in alphabetical order."""

    symbols: pd.Index
    qty: np.ndarray  # shares
    entry_price: np.ndarray  # US dollars
    entry_session: np.ndarray  # datetime64[us]
    price: np.ndarray  # close as traded, US dollars
    value: np.ndarray  # US dollars
    weight: np.ndarray  # of equity


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
    worth = values(positions, closes, session)
    return to_frame(valued(positions, closes, worth, cash + sum(worth.values(), ZERO)), session)


def valued(
    positions: Mapping[str, Position],
    closes: Mapping[str, float],
    worth: Mapping[str, Decimal],
    equity: Decimal,
) -> Holdings:
    """Positions with their closes and what each is `worth`, US dollars."""
    owned = [positions[symbol] for symbol in sorted(positions)]
    floats = lambda found: np.array([float(x) for x in found], dtype=float)  # noqa: E731
    return Holdings(
        pd.Index([p.symbol for p in owned], dtype=TEXT),
        floats(p.qty for p in owned),
        floats(p.entry_price for p in owned),
        np.array([p.entry_session.to_datetime64() for p in owned], dtype=TIME),
        floats(closes[p.symbol] for p in owned),
        floats(worth[p.symbol] for p in owned),
        floats(worth[p.symbol] / equity for p in owned),
    )


def to_frame(held: Holdings, session: pd.Timestamp) -> pd.DataFrame:
    """Holdings as `contracts.Holding`."""
    frame = pd.DataFrame(columns(held, session), columns=Holding.columns())
    return frame.astype(dtypes(Holding))


def columns(held: Holdings, session: pd.Timestamp) -> dict[str, Any]:
    """Holdings by column of `contracts.Holding`."""
    found = held._asdict() | {"symbol": held.symbols, "session": session}
    del found["symbols"]
    return found


def holdings_of(frame: pd.DataFrame) -> Holdings:
    """A Holding table as arrays."""
    rows = frame.sort_values("symbol")
    numbers = ("qty", "entry_price", "entry_session", "price", "value", "weight")
    return Holdings(
        pd.Index(rows["symbol"], name=None), *(rows[name].to_numpy() for name in numbers)
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
