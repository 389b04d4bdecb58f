"""Market data made ready: adjusted panels, findings of the gates, and the names of the day."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant50lib.contracts import Universe
from quant50lib.services.adjust import to_panel
from quant50lib.services.eligibility import (
    LIQUIDITY_SESSIONS,
    Facts,
    median_known,
    newest_gates,
    reasons,
)
from quant50lib.services.panel import Panel
from quant50lib.services.quality import findings, require_sound_day
from quant50lib.services.vendor import vendor_differences
from quant50lib.settings import DataSettings, FeatureSettings
from quant50lib.utils import dates

__all__ = ["day_universe", "findings", "require_sound_day", "to_panel", "vendor_differences"]


def day_universe(
    universe: pd.DataFrame,
    panel: Panel,
    found: pd.DataFrame,
    assets: pd.DataFrame,
    run_date: pd.Timestamp,
    data: DataSettings,
    features: FeatureSettings,
) -> pd.DataFrame:
    """The names of the day and, where one may not be bought, why; a `Universe` table.

    Parameters
    ----------
    universe : DataFrame
        symbol, name, sector, kind.
    panel : Panel
        Up to `run_date`; a symbol that it lacks counts as not listed.
    found : DataFrame
        A `Finding` table of the day.
    assets : DataFrame
        symbol, tradable, fractionable, status, as the broker says.

    The first reason that applies is given: "not listed", "quarantined: <gate>", "not tradable at
    the broker", "too short a history" (`data.min_history_sessions`), "not a member" (the panel does
    not admit it), "too cheap" (last close below `features.min_price`), "too thin" (median dollar
    volume over 21 sessions below `features.min_dollar_volume`).
    """
    run_date = dates.as_session(run_date)
    names = universe.sort_values("symbol", ignore_index=True)
    index = pd.Index(names["symbol"])
    said = assets.set_index("symbol").reindex(index)
    close = panel.traded_close.reindex(columns=index).loc[run_date]
    reason = _reasons(index, panel, found, said, data, features)
    return Universe.check(
        names[["symbol", "name", "sector", "kind"]].assign(
            session=pd.Series(run_date, index=names.index, dtype="datetime64[us]"),
            close=close.where(close > 0).to_numpy(),
            tradable=(reason == "").astype(bool),
            fractionable=_true(said["fractionable"]).to_numpy(),
            reason=pd.Series(reason, dtype="str"),
        )
    )


def _reasons(
    index: pd.Index,
    panel: Panel,
    found: pd.DataFrame,
    said: pd.DataFrame,
    data: DataSettings,
    features: FeatureSettings,
) -> np.ndarray:
    """Why each name may not be bought; empty where it may. The rules are in `eligibility`."""
    closes = panel.traded_close.reindex(columns=index)
    recent = closes.tail(data.quarantine_sessions).notna().any()
    dollars = panel.dollar_volume.reindex(columns=index).tail(LIQUIDITY_SESSIONS)
    facts = Facts(
        listed=(recent & (said["status"] == "active")).to_numpy(dtype=bool),
        tradable=_true(said["tradable"]).to_numpy(),
        bars=closes.notna().sum().to_numpy(),
        admitted=_admitted(panel, index).to_numpy(),
        price=closes.ffill().iloc[-1].to_numpy(),
        dollars=median_known(dollars.to_numpy()),
    )
    held = found[(found["severity"] == "quarantine") & found["symbol"].isin(index)]
    gates = newest_gates(
        index.get_indexer(pd.Index(held["symbol"])),
        held["session"].to_numpy(),
        held["gate"].to_numpy(dtype=object),
        len(index),
    )
    return reasons(facts, gates, data, features)


def _admitted(panel: Panel, index: pd.Index) -> pd.Series:
    """Whether the panel admits each name on its last session."""
    if panel.admitted is None:
        return pd.Series(True, index=index)
    return _true(panel.admitted.iloc[-1].reindex(index))


def _true(column: pd.Series) -> pd.Series:
    """Whether the broker said yes; silence is no."""
    return column.eq(True)
