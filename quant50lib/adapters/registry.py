"""The models on disk: each in a folder named after its content, and a pointer to the one in use.

    models/
    ├── registry/20261116-3f9a1c02/   booster.txt · model.pkl · scaler.pkl · card.json
    ├── latest            → registry/20261116-3f9a1c02
    ├── latest_model.pkl  → latest/model.pkl
    ├── scaler.pkl        → latest/scaler.pkl
    └── latest.json       → latest/card.json

A folder appears whole (written aside, synced, renamed) and is never changed. Promotion moves one
link, so that model, scaler and card always belong together, whatever is interrupted when. A pickle
can run code: nothing is unpickled before its digest agrees with the card, nor the card believed
before it agrees with the folder's name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd

from quant50lib.errors import ArchiveError
from quant50lib.services.gate import Verdict
from quant50lib.services.learners import Learnt
from quant50lib.services.model import LoadedModel, Trained
from quant50lib.utils import dates

BOOSTER, MODEL, SCALER, CARD = "booster.txt", "model.pkl", "scaler.pkl", "card.json"
LATEST = "latest"
#: what the outside sees, and where it leads
LINKS = {"latest_model.pkl": MODEL, "scaler.pkl": SCALER, "latest.json": CARD}

Card = dict[str, Any]


class Registry:
    """All models under a folder; several processes may read while one writes."""

    def __init__(self, models_dir: Path) -> None:
        self.root = Path(models_dir)
        self.folder = self.root / "registry"

    # ---- writing ---------------------------------------------------------------------------------

    def save(
        self,
        trained: Trained,
        verdict: Verdict,
        *,
        run_id: str,
        trained_at: pd.Timestamp,
        data_digest: str,
        settings: dict[str, Any] | None = None,
    ) -> str:
        """Keep a model, accepted or not, and return its id.

        The id is the session and a digest of the card: the same model, judged alike, is the same
        entry however often it is saved.

        Parameters
        ----------
        trained_at
            The session (run_date) at whose close it was trained.
        data_digest
            Of the bars it was trained on.
        settings
            The sections that shaped it, as plain values; kept for the reader.
        """
        files = {
            BOOSTER: trained.learnt.text().encode(),
            MODEL: pickle.dumps(trained.learnt, protocol=5),
            SCALER: pickle.dumps(trained.scaler, protocol=5),
        }
        card = plain(
            {
                "trained_at": str(trained_at.date()),
                "first_session": str(trained.first_session.date()),
                "last_session": str(trained.last_session.date()),
                "known_at": str(trained.known_at.date()),
                "learner": trained.learnt.learner,
                "features": list(trained.scaler.features),
                "metrics": trained.metrics,
                "calibration": dataclasses.asdict(trained.learnt.calibrator),
                "score_deciles": trained.score_deciles,
                "fitted_with": trained.settings.model_dump(),
                "accepted": verdict.accepted,
                "sound": verdict.accepted or verdict.sound,
                "reason": verdict.reason,
                "data_digest": data_digest,
                "settings": settings or {},
                "digests": {name: _digest(content) for name, content in files.items()},
            }
        )
        model_id = _id_of(card)
        if not (self.folder / model_id).exists():
            self._write(model_id, files, card | {"model_id": model_id, "run_id": run_id})
        return model_id

    def _write(self, model_id: str, files: dict[str, bytes], card: Card) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with _aside(self.folder) as aside:
            text = json.dumps(card, indent=2, sort_keys=True, allow_nan=False) + "\n"
            for name, content in (files | {CARD: text.encode()}).items():
                _write_synced(aside / name, content)
            os.replace(aside, self.folder / model_id)
        _sync(self.folder)

    def promote(self, model_id: str) -> None:
        """Make a model the one in use; also the way back to an older one.

        A person may promote one that the gate refused for not being better, never one that it found
        unsound.

        Raises
        ------
        ArchiveError
            There is no such model, it is unsound, or a file of it was altered.
        """
        card = self.card(model_id)
        if not card.get("sound", card["accepted"]):
            raise ArchiveError(f"{model_id} was refused ({card['reason']}): it cannot be promoted")
        for name in (BOOSTER, MODEL, SCALER):
            _checked(self.folder / model_id / name, card)
        _point(self.root / LATEST, Path("registry") / model_id)
        for name, target in LINKS.items():
            if not _leads(self.root / name, Path(LATEST) / target):
                _point(self.root / name, Path(LATEST) / target)

    def before(self, model_id: str) -> str:
        """The newest accepted model older than this one: where a rollback leads.

        Raises
        ------
        ArchiveError
            There is none.
        """
        cards = [card for card in self.list() if card["accepted"] or card["model_id"] == model_id]
        older = cards[: [card["model_id"] for card in cards].index(model_id)]
        if not older:
            raise ArchiveError(f"no accepted model is older than {model_id}: train, or name one")
        return str(older[-1]["model_id"])

    # ---- reading ---------------------------------------------------------------------------------

    def list(self) -> list[Card]:
        """The cards of all models, oldest first."""
        found = [self.card(path.parent.name) for path in self.folder.glob(f"[0-9]*/{CARD}")]
        return sorted(found, key=lambda card: (card["trained_at"], card["model_id"]))

    def card(self, model_id: str) -> Card:
        """The card of a model.

        Raises
        ------
        ArchiveError
            There is none, or it does not agree with the folder's name.
        """
        return _card_at(self.folder / model_id)

    def champion_card(self, run_date: pd.Timestamp | None = None) -> Card | None:
        """The card of the model in use, or of the one that was known at `run_date`.

        That is the promoted one if it was trained by then; else, for past dates, the newest that
        had been trained and accepted by then.
        """
        latest = self.root / LATEST
        if latest.is_symlink() or latest.exists():
            card = _card_at(latest)
            if run_date is None or _session(card) <= run_date:
                return card
        before = [c for c in self.list() if c["accepted"] and run_date and _session(c) <= run_date]
        return before[-1] if before else None

    def load_latest(self, run_date: pd.Timestamp) -> LoadedModel | None:
        """The model that decides at the close of `run_date`, or None if there was none by then.

        Raises
        ------
        ArchiveError
            A file is not what was saved; names it. Nothing of it has been executed.
        """
        card = self.champion_card(run_date)
        if card is None:
            return None
        for name, target in LINKS.items():
            if target in card["digests"] and self._in_use(card):
                _checked(self.root / name, card, target)
        return self.load(card["model_id"])

    def _in_use(self, card: Card) -> bool:
        latest = self.root / LATEST
        return latest.exists() and _card_at(latest)["model_id"] == card["model_id"]

    def load(self, model_id: str) -> LoadedModel:
        """A model by its id, digests checked before anything is unpickled."""
        card, folder = self.card(model_id), self.folder / model_id
        content = {name: _checked(folder / name, card) for name in (BOOSTER, MODEL, SCALER)}
        return LoadedModel(
            model_id,
            _learnt(pickle.loads(content[MODEL])),
            pickle.loads(content[SCALER]),
            card["metrics"],
            _session(card),
            tuple(card.get("score_deciles", ())),
        )


def _learnt(found: Learnt | lgb.Booster) -> Learnt:
    """A model as it is kept now; the first versions of the desk kept the booster alone."""
    if isinstance(found, lgb.Booster):
        return Learnt("lightgbm", tuple(found.feature_name()), (found,))
    return found


def _session(card: Card) -> pd.Timestamp:
    return dates.as_session(card["trained_at"])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _id_of(card: Card) -> str:
    """Session and digest of what the card says, except who saved it and under which id."""
    said = {key: value for key, value in card.items() if key not in ("model_id", "run_id")}
    text = json.dumps(said, sort_keys=True, allow_nan=False)
    return f"{card['trained_at'].replace('-', '')}-{_digest(text.encode())[:8]}"


def plain(value: Any) -> Any:
    """The value as JSON can hold it: plain numbers, None for what is not finite."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _card_at(folder: Path) -> Card:
    """The card in a folder, if it says of itself what its id says."""
    path = folder / CARD
    try:
        card: Card = json.loads(path.read_bytes())
        model_id = _id_of(card)
        name = card.get("model_id") if folder.name == LATEST else folder.name
    except FileNotFoundError as error:
        raise ArchiveError(f"{path} is missing: restore it, or train anew") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArchiveError(f"{path} is not a model's card: restore it, or train anew") from error
    if not model_id == card.get("model_id") == name:
        raise ArchiveError(f"{path} was altered: restore it, or train anew")
    return card


def _checked(path: Path, card: Card, name: str = "") -> bytes:
    """The content of a file whose digest agrees with the card."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: restore it, or train anew") from error
    if _digest(content) != card["digests"].get(name or path.name):
        raise ArchiveError(
            f"{path} is not what was saved as {card['model_id']}: it was not loaded; "
            "restore it, or train anew"
        )
    return content


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A new folder beside the others, gone at the end unless it was renamed."""
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    aside.chmod(0o755)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _leads(link: Path, target: Path) -> bool:
    return link.is_symlink() and Path(os.readlink(link)) == target


def _point(link: Path, target: Path) -> None:
    """Make `link` lead to `target` (relative) in one step; a real file or folder gives way.

    A real folder is what an archive that follows links leaves behind.
    """
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, link)
    _sync(link.parent)
