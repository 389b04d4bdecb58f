"""Splitters that do not leak (`splitters`) and errors for what is measured (`inference`), by one name."""

from quant50lib.services.inference import (
    Estimate,
    auc,
    auc_parts,
    block_bootstrap,
    cross_fitted,
    deflated_sharpe,
    expected_maximum_sharpe,
    hac_lags,
    hac_mean,
    rank_ic,
)
from quant50lib.services.splitters import (
    CombinatorialPurgedKFold,
    PurgedKFold,
    WalkForward,
    overlapping,
)

__all__ = [
    "CombinatorialPurgedKFold",
    "Estimate",
    "PurgedKFold",
    "WalkForward",
    "auc",
    "auc_parts",
    "block_bootstrap",
    "cross_fitted",
    "deflated_sharpe",
    "expected_maximum_sharpe",
    "hac_lags",
    "hac_mean",
    "overlapping",
    "rank_ic",
]
