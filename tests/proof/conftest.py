"""A folder in memory: thousands of evenings sync to disk at each step, and kills are tried elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MEMORY = "/dev/shm"


@pytest.fixture(scope="module")
def quick_folder() -> Iterator[Path]:
    """In memory where the machine has such a place, else on disk."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(dir=place, prefix="quant50-") as folder:
        yield Path(folder)
