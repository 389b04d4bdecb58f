"""How likely it is that the best of several trials was best by chance.

Combinatorially symmetric cross-validation of Bailey, Borwein, López de Prado and Zhu (2017), "The
probability of backtest overfitting":

1. cut the sessions into an even number of blocks;
2. for each choice of half of them, pick the trial with the best Sharpe ratio in that half;
3. see which place it takes among all trials in the other half;
4. the probability of overfitting is the share of choices in which it comes in the lower half.

The trials are the return series that are given, side by side over the same sessions. Trainings of
the past, whose returns nobody kept, are not among them: the deflated Sharpe ratio counts those.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from quant50lib.errors import DataQualityError

#: at most, and sessions that each must have left
BLOCKS, SESSIONS_MIN = 12, 3


@dataclass(frozen=True)
class Overfitting:
    """What became of the trial that looked best.

    `probability`: that it is below the median of the trials out of sample; `probability_of_loss`:
    that its Sharpe ratio there is negative. `choices` has a row for each choice of blocks: `trial`,
    `in_sample` and `out_of_sample` (Sharpe ratios a session), and `logit` of its relative place.
    """

    probability: float
    probability_of_loss: float
    trials: int
    choices: pd.DataFrame


def probability_of_overfitting(
    returns: pd.DataFrame, blocks: int | None = None, overlap_sessions: int = 0
) -> Overfitting:
    """Of trials' return series, (n_sessions, n_trials), one column a trial.

    A trial that never has a return is left out, and so are sessions at which one of the others has none.

    Parameters
    ----------
    blocks
        Even; C(blocks, blocks / 2) choices are tried. None: 12, or as many as few sessions allow.
    overlap_sessions
        Sessions left out at the end of each block because their returns reach into the next one:
        horizon - 1 for returns over a horizon that are decided at every session.

    Raises
    ------
    DataQualityError
        Fewer than two trials, or not three sessions left in a block.
    ValueError
        An odd number of blocks.
    """
    returns = returns.dropna(axis=1, how="all").dropna()
    values = returns.to_numpy(dtype=float)
    if blocks is None:
        blocks = most_blocks(len(values), overlap_sessions)
    if blocks < 2 or blocks % 2:
        raise ValueError(f"{blocks} blocks cannot be halved: choose an even number")
    shortest = len(values) // blocks - overlap_sessions
    if values.shape[1] < 2 or shortest < SESSIONS_MIN:
        raise DataQualityError(
            f"{values.shape[1]} trials over {len(values)} sessions cannot be compared in {blocks} "
            "blocks: keep the returns of at least two, for longer, or use fewer blocks"
        )
    inside, outside = _sharpes(values, blocks, overlap_sessions)
    best, every = inside.argmax(axis=1), np.arange(len(inside))
    place = stats.rankdata(outside, axis=1)[every, best] / (values.shape[1] + 1)
    choices = pd.DataFrame(
        {
            "trial": returns.columns.to_numpy()[best],
            "in_sample": inside[every, best],
            "out_of_sample": outside[every, best],
            "logit": np.log(place / (1 - place)),
        }
    )
    return Overfitting(
        float((choices["logit"] <= 0).mean()),
        float((choices["out_of_sample"] < 0).mean()),
        values.shape[1],
        choices,
    )


def most_blocks(sessions: int, overlap_sessions: int) -> int:
    """The even number of blocks, 2 to 12, into which so many sessions can be cut."""
    return max(2, min(BLOCKS, sessions // (SESSIONS_MIN + overlap_sessions) // 2 * 2))


def _sharpes(values: np.ndarray, blocks: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Sharpe ratios in every half and in the other half, (n_choices, n_trials) each."""
    parts = [
        part[: len(part) - overlap] - values.mean(axis=0) for part in np.array_split(values, blocks)
    ]
    count = np.array([len(part) for part in parts])[:, None]
    total = np.array([part.sum(axis=0) for part in parts])
    square = np.array([(part**2).sum(axis=0) for part in parts])
    chosen = list(combinations(range(blocks), blocks // 2))
    half = np.zeros((len(chosen), blocks))
    half[np.arange(len(chosen))[:, None], chosen] = 1.0

    def sharpe(weights: np.ndarray) -> np.ndarray:
        n = weights @ count
        mean = weights @ total / n
        variance = np.maximum(weights @ square / n - mean**2, 0.0) * n / (n - 1)
        level = mean + values.mean(axis=0)
        return np.divide(level, np.sqrt(variance), out=np.zeros_like(level), where=variance > 0)

    return sharpe(half), sharpe(1 - half)
