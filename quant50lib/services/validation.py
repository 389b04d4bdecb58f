"""Splitters that do not leak (`splitters`) and errors for what is measured (`inference`), by one name."""

from quant50lib.services.inference import (
    Estimate,
    auc,
    auc_parts,
    block_bootstrap,
    deflated_sharpe,
    expected_maximum_sharpe,
    fold_sizes,
    rank_ic,
    session_mean,
    shared_learning,
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
    "deflated_sharpe",
    "expected_maximum_sharpe",
    "fold_sizes",
    "overlapping",
    "rank_ic",
    "session_mean",
    "shared_learning",
]
