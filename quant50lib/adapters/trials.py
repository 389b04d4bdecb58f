"""Every training that was ever done under this home, so that none is forgotten.

`models/trials.jsonl` holds one line a training, scheduled or by hand, scratch runs included: its
settings, its data and its out-of-fold score. Lines are appended under a lock, synced to disk and
never changed. A kill in the middle of a write leaves a torn line: it is recognised, closed by the
next one, and counted, since a training did happen.

What counts as a *configuration tried*: settings that differ in value (a setting that did not exist
yet when a line was written had the value that is its default now: a new one makes no new trial of an
old one); and, under equal settings and on equal
data, scores that differ, since training is deterministic and only an edit of features or notebook can
have changed them. A repeat is recorded and counts once, and so does the weekly training on newer
data: nobody chose between them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from quant50lib.adapters.registry import plain
from quant50lib.services.model import Trained
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings

FILE = "trials.jsonl"
#: of the headline figures, what a reader compares trials by
METRICS = ("rank_ic", "rank_ic_error", "auc", "auc_error", "sharpe_gain_equal_weight", "sessions")
#: settings that change no score
IDLE = {
    "threads",
    "max_age_sessions",
    "without_model",
    "min_training_sessions",
    "renew_after_sessions",
    "drift_max",
    "calibration_gap_max",
    "calibration_slope_min",
    "calibration_slope_max",
}
DEFAULTS: dict[str, BaseModel] = {
    "features": FeatureSettings(),
    "label": LabelSettings(),
    "model": ModelSettings(),
}

Trial = dict[str, Any]


class Trials:
    """The ledger of trials in a folder of models; several processes may write."""

    def __init__(self, models_dir: Path) -> None:
        self.path = Path(models_dir) / FILE

    def record(self, trial: Trial) -> None:
        """Append a trial, on disk before this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(plain(trial), sort_keys=True, allow_nan=False).encode() + b"\n"
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _torn(file.fileno()):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def all(self) -> list[Trial]:
        """All whole lines, oldest first."""
        return [trial for trial in self._lines() if trial is not None]

    def torn(self) -> int:
        """Lines that a kill cut off."""
        return sum(trial is None for trial in self._lines())

    def count(self, configuration: str | None = None) -> int:
        """Configurations tried, `configuration` included though it may not be recorded yet."""
        scores: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for trial in self.all():
            scores[_tried(trial)][trial["data_digest"]].add(trial["scores_digest"])
        found = sum(max(len(s) for s in by_data.values()) for by_data in scores.values())
        unseen = configuration is not None and configuration not in scores
        return found + self.torn() + int(unseen)

    def _lines(self) -> list[Trial | None]:
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [_parsed(line) for line in lines if line.strip()]


def _torn(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"


def _parsed(line: bytes) -> Trial | None:
    try:
        trial = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(trial, dict) and {"configuration", "data_digest", "scores_digest"} <= set(
        trial
    )
    return trial if whole else None


def configuration(sections: dict[str, BaseModel]) -> tuple[str, dict[str, Any]]:
    """Digest of the settings that shape a score, and those settings as plain values.

    Of a path its name alone is kept: a ledger holds no folder of a machine.
    """
    said = {name: _said(section) for name, section in sections.items()}
    return _identity(said), said


def _identity(said: dict[str, dict[str, Any]]) -> str:
    kept = {name: {k: v for k, v in s.items() if k not in IDLE} for name, s in said.items()}
    return _digest(json.dumps(kept, sort_keys=True).encode())


def _tried(trial: Trial) -> str:
    """The configuration of a line, settings that are younger than it at their defaults."""
    said = trial.get("settings")
    if said is None:
        return str(trial["configuration"])
    filled = {
        name: (_said(DEFAULTS[name]) if name in DEFAULTS else {}) | section
        for name, section in said.items()
    }
    return _identity(filled)


def _said(section: BaseModel) -> dict[str, Any]:
    values = section.model_dump()
    return {k: v.name if isinstance(v, Path) else v for k, v in sorted(values.items())}


def describe(
    trained: Trained,
    sections: dict[str, BaseModel],
    *,
    run_id: str,
    run_date: pd.Timestamp,
    at: pd.Timestamp,
    data_digest: str,
) -> Trial:
    """The line of a training: `at` is the run's clock, `data_digest` that of its bars."""
    digest, said = configuration(sections)
    scores = trained.predictions["score"].to_numpy()
    return {
        "at": at.isoformat(),
        "run_id": run_id,
        "run_date": str(run_date.date()),
        "configuration": digest,
        "settings": said,
        "features": list(trained.scaler.features),
        "data_digest": data_digest,
        "scores_digest": _digest(np.round(scores, 9).tobytes()),
        "metrics": {name: trained.metrics.get(name) for name in METRICS},
    }


def union(*ledgers: bytes) -> bytes:
    """The lines of several ledgers, each line once, torn ones included: what a restore leaves."""
    lines = dict.fromkeys(line for ledger in ledgers for line in ledger.splitlines() if line)
    return b"".join(line + b"\n" for line in lines)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
