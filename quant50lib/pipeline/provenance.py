"""Which code, which packages: what a manifest says of its own making."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from quant50lib import __version__
from quant50lib.contracts import STAGES
from quant50lib.utils import config

#: packages whose version can change a number
DECIDING = (
    "alpaca-py",
    "clarabel",
    "cvxpy",
    "duckdb",
    "exchange-calendars",
    "lightgbm",
    "llvmlite",
    "numba",
    "numpy",
    "pandas",
    "papermill",
    "pyarrow",
    "scikit-learn",
    "scipy",
)


@lru_cache(maxsize=1)
def code_digest() -> str:
    """sha256 over the package's sources and the stage notebooks."""
    package = Path(__file__).resolve().parents[1]
    files = sorted(package.rglob("*.py")) + sorted(package.rglob("*.csv"))
    files += [config.notebooks() / stage.notebook for stage in STAGES]
    whole = hashlib.sha256()
    for path in files:
        if path.is_file():
            whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def packages() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    return {name: metadata.version(name) for name in DECIDING}


def git(checkout: Path, *words: str) -> str | None:
    """What git says in the checkout, or None where there is no git or no repository."""
    try:
        asked = subprocess.run(
            ["git", "-C", str(checkout), *words], capture_output=True, text=True, timeout=20
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.rstrip() if asked.returncode == 0 else None


def edited_notebooks(checkout: Path) -> list[str]:
    """Stage notebooks that differ from the committed ones; empty where git cannot tell."""
    said = git(checkout, "status", "--porcelain", "--", "notebooks")
    changed = {line[3:].strip('"') for line in (said or "").splitlines()}
    return [s.notebook for s in STAGES if f"notebooks/{s.notebook}" in changed]


def describe(checkout: Path) -> dict[str, Any]:
    """Code commit and difference, environment and lock."""
    diff = git(checkout, "diff", "HEAD", "--", "quant50lib", "notebooks")
    lock = checkout / "requirements.lock"
    return {
        "quant50": __version__,
        "code": {
            "commit": git(checkout, "rev-parse", "HEAD"),
            "diff": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
            "digest": code_digest(),
        },
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(terse=True),
            "lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
            "packages": packages(),
        },
    }
