"""What a training leaves behind: a line in the ledger of trials, a verdict, perhaps a new champion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from pydantic import BaseModel

from quant50lib.adapters.registry import Registry
from quant50lib.services import gate
from quant50lib.services.gate import Verdict
from quant50lib.services.model import Trained, TrainingSet
from quant50lib.settings import Settings


def sections(settings: Settings) -> dict[str, BaseModel]:
    """The settings that shape a score."""
    return {"features": settings.features, "label": settings.label, "model": settings.model}


def verdict(
    trained: Trained,
    rows: TrainingSet,
    registry: Registry,
    run_date: pd.Timestamp,
    settings: Settings,
    leaks: Sequence[str] = (),
) -> Verdict:
    """The gate's word on a challenger, against the model in use at its session."""
    champion = registry.load_latest(run_date)
    horizon = settings.label.horizon_sessions
    known = gate.standing(champion, trained, rows, run_date, horizon) if champion else None
    return gate.judge(trained.metrics, known, settings.model, leaks)


def keep(
    registry: Registry, trained: Trained, said: Verdict, run_date: pd.Timestamp, **facts: Any
) -> str:
    """Save a challenger, and promote it if it was accepted.

    Unless a model trained on more is in use: retraining a past session does not turn the desk back.
    """
    model_id = registry.save(trained, said, trained_at=run_date, **facts)
    newest = registry.champion_card()
    if said.accepted and not (newest and newest["trained_at"] > str(run_date.date())):
        registry.promote(model_id)
    return model_id
