"""One suite over all tables and stages."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant50lib import contracts
from quant50lib.contracts import STAGES, TABLES, Label
from quant50lib.errors import ContractError
from quant50lib.utils import config
from quant50lib.utils.pages import contracts_page

EVERY_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda t: t.__name__)


def labels(n: int = 3) -> pd.DataFrame:
    days = pd.date_range("2024-01-02", periods=n, unit="us")
    return pd.DataFrame(
        {
            "session": days,
            "symbol": [f"A{chr(65 + i)}" for i in range(n)],
            "known_at": days + pd.Timedelta(days=7),
            "excess_return": np.linspace(-0.1, 0.1, n),
            "positive": [i % 2 == 0 for i in range(n)],
        }
    )


@EVERY_TABLE
def test_an_empty_table_keeps_its_contract(table):
    checked = table.check(table.empty())
    assert list(checked.columns) == table.columns() and len(checked) == 0


@EVERY_TABLE
def test_every_table_has_a_key_of_its_own_columns_and_a_docstring(table):
    assert table.key() and set(table.key()) <= set(table.columns())
    assert table.__doc__


@EVERY_TABLE
def test_a_surplus_or_missing_column_is_refused(table):
    with pytest.raises(ContractError, match="surplus"):
        table.check(table.empty().assign(zzz=1.0))
    with pytest.raises(ContractError, match="missing"):
        table.check(table.empty().drop(columns=table.key()[0]))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.assign(symbol="not a symbol"), "symbol"),
        (lambda f: f.assign(positive=1), "positive"),
        (lambda f: f.assign(excess_return=np.nan), "excess_return"),
        (lambda f: f.assign(session=f["session"].astype("datetime64[ns]")), "datetime64"),
        (lambda f: pd.concat([f, f]), "repeated"),
        (lambda f: f.assign(session=pd.Timestamp("1970-01-01").as_unit("us")), "session"),
    ],
)
def test_a_broken_table_is_refused_with_the_column_named(spoil, said):
    with pytest.raises(ContractError, match=said):
        Label.check(spoil(labels()))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.permutations(range(6)))
def test_checking_sorts_by_key_whatever_the_order(order):
    frame = labels(6)
    pd.testing.assert_frame_equal(Label.check(frame.iloc[order]), frame)


def test_each_stage_reads_only_what_an_earlier_stage_of_its_schedule_wrote():
    for schedule in ("daily", "weekly"):
        written: set[str] = set()
        for stage in contracts.stages_of(schedule):
            assert {t.__name__ for t in stage.reads} <= written, stage.name
            written |= {t.__name__ for t in stage.writes}


def test_no_table_is_written_by_two_stages():
    names = [t.__name__ for stage in STAGES for t in stage.writes]
    assert len(names) == len(set(names))


def test_stage_numbers_count_the_notebooks():
    assert [s.number for s in STAGES] == list(range(1, 8))
    with pytest.raises(KeyError, match="ingest"):
        contracts.stage_named("nothing")


def test_the_committed_page_of_contracts_is_current():
    page = config.notebooks() / "README.md"
    assert (
        page.read_text("utf-8") == contracts_page()
    ), "run: quant50 contracts > notebooks/README.md"
