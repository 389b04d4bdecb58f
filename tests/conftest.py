"""Fixtures shared by all tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import desks


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a small desk after `quant50 demo` on its first session; do not change it."""
    home = desks.write(tmp_path_factory.mktemp("demo") / "desk")
    done = desks.quant50(home, "demo", "--now", desks.instant(desks.FIRST))
    assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture
def desk(demo_home: Path, tmp_path: Path) -> Path:
    """A copy of that home, to do anything with."""
    home = tmp_path / "desk"
    shutil.copytree(demo_home, home, symlinks=True)
    for name in ("quant50.toml",):
        text = (home / name).read_text()
        (home / name).write_text(text.replace(str(demo_home), str(home)))
    return home
