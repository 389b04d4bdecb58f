"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import desks


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a small desk after `quant50 demo` on its first session; do not change it."""
    home = desks.write(tmp_path_factory.mktemp("demo") / "desk")
    done = desks.quant50(home, "demo", "--now", desks.instant(desks.FIRST))
    assert done.code == 0, done.out + done.err
    return home


@pytest.fixture
def desk(demo_home: Path, tmp_path: Path) -> Path:
    """A copy of that home, to do anything with."""
    return desks.copy(demo_home, tmp_path / "desk")
