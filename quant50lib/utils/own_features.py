"""A user's own features: the list `FEATURES` of the Python file that `features.file` names."""

from __future__ import annotations

import hashlib
import importlib.util
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from quant50lib.errors import SettingsError


def load(path: Path) -> tuple[Any, ...]:
    """What the file's list FEATURES holds; the file is run once, and again when it has changed.

    Raises
    ------
    SettingsError
        The file does not exist, cannot be run (says the line), or has no list FEATURES.
    """
    return _run(path, digest(path))


def digest(path: Path) -> str:
    """sha256 of the source; SettingsError if there is none."""
    if not path.is_file():
        raise SettingsError(f"features.file: {path} does not exist")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _run(path: Path, source: str) -> tuple[Any, ...]:
    spec = importlib.util.spec_from_file_location(f"own_features_{source[:12]}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SettingsError(f"features.file: {path}{_line(error, path)}: {_said(error)}") from error
    held = getattr(module, "FEATURES", None)
    if not isinstance(held, (list, tuple)) or not held:
        raise SettingsError(
            f"features.file: {path} needs a list FEATURES = [...] of features; see notebooks/features.md"
        )
    return tuple(held)


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f", line {frames[-1].lineno}" if frames else ""


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
