"""The commands about data, on a desk of fifty names."""

from __future__ import annotations

import json
import os

import pandas as pd
import pytest
from typer.testing import CliRunner

from quant50lib import cli
from quant50lib.adapters.store import Store
from quant50lib.utils import dates
from tests import desks

RUNNER = CliRunner()
NEXT = str(dates.shift(desks.FIRST, 1).date())


@pytest.fixture
def home(tmp_path, monkeypatch):
    made = desks.write(tmp_path / "desk")
    for name, value in desks.environment(made).items():
        monkeypatch.setenv(name, value)
    return made


def said(*words: str, code: int = 0) -> str:
    done = RUNNER.invoke(cli.app, list(words))
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.slow
def test_a_store_is_filled_asked_saved_damaged_and_restored(home, tmp_path):
    first = said("ingest", "--now", desks.instant(desks.FIRST), "--from", "2024-01-02")
    assert "0 revised" in first and "100% complete" in first
    assert "names held against the vendor's adjusted closes: 0 differ" in first
    again = said(
        "ingest", "--now", desks.instant(NEXT), "--to", desks.FIRST, "--from", "2024-01-02"
    )
    assert "everything was there already" in again
    out = tmp_path / "bars.parquet"
    query = "SELECT session, count(*) AS n FROM bars GROUP BY session ORDER BY session"
    said("sql", query, "--format", "parquet", "--out", str(out))
    frame = pd.read_parquet(out)
    assert frame["session"].tolist() == list(dates.sessions_between("2024-01-02", desks.FIRST))
    assert frame["n"].min() > 40
    csv = said("sql", query, "--format", "csv").splitlines()
    assert csv[0] == "session,n" and len(csv) == len(frame) + 1
    assert json.loads(said("sql", "SELECT 1 AS x", "--format", "json")) == [{"x": 1}]
    assert "rows more" in said("sql", "SELECT symbol, session FROM bars")
    assert "read-only" in said("sql", "DELETE FROM bars", code=2)

    store = home / "data" / "market.duckdb"
    before, file = Store(store).contents(), tmp_path / "saved"
    assert "store, 1 files" in said("backup", str(file))
    os.truncate(store, store.stat().st_size // 3)
    assert "quant50 restore FILE" in said("sql", "SELECT sum(close) FROM bars", code=3)
    assert "restored: store" in said("restore", str(file), "--only", "store")
    assert Store(store).contents() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sql", "SELECT 1"], "quant50 ingest"),
        (["sql", "SELECT 1", "--format", "parquet"], "--out"),
        (["ingest", "--to", "2024-06-29"], "not a session"),
        (["ingest", "--from", "yesterday"], "YYYY-MM-DD"),
        (["backup", "b", "--only", "orders"], "store, books, models, runs"),
        (["backup", "nowhere/b"], "does not exist"),
        (["restore", "nothing.tar.zst"], "does not exist"),
    ],
)
def test_wrong_words_get_a_sentence_and_start_nothing(home, words, told):
    assert told in said(*words, code=2)
    assert not (home / "data" / "twin").exists()
