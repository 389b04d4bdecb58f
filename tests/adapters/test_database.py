"""Opening a database that somebody else has open, with real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from quant50lib.adapters import database
from quant50lib.errors import SettingsError

HOLD = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@contextmanager
def another_process(path: Path, seconds: float) -> Iterator[int]:
    """A process that keeps the file open for so long."""
    words = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_the_error_names_the_process_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with another_process(path, 60) as pid:
        began = time.monotonic()
        with pytest.raises(SettingsError, match=rf"in use by process {pid} \(.*python"):
            with database.connect(path, wait_seconds=0.2):
                pass
        assert time.monotonic() - began < 5


def test_it_waits_for_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with another_process(path, 0.3):
        with database.connect(path, wait_seconds=30) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_two_ways_of_opening_in_one_process_wait_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with database.connect(path):
        with pytest.raises(SettingsError, match="another connection of this process"):
            with database.connect(path, read_only=True, wait_seconds=0.05):
                pass


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    path.write_bytes(b"not a database" * 500)
    with pytest.raises(SettingsError, match="a.duckdb cannot be opened"):
        with database.connect(path):
            pass


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    with database.connect(tmp_path / "a.duckdb") as connection:
        connection.execute("CREATE TABLE t (i INTEGER PRIMARY KEY)")
        with pytest.raises(duckdb.ConstraintException):
            with database.transaction(connection):
                connection.execute("INSERT INTO t VALUES (1)")
                connection.execute("INSERT INTO t VALUES (1)")
        with database.transaction(connection):
            connection.execute("INSERT INTO t VALUES (2)")
        assert connection.execute("SELECT * FROM t").fetchall() == [(2,)]
