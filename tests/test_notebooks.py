"""The shape of the stage notebooks, without a kernel."""

import ast

import nbformat
import pytest

from quant50lib.contracts import STAGES
from quant50lib.pipeline.context import StageContext
from quant50lib.utils import config

EVERY_STAGE = pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
OF_STAGES = {stage.notebook for stage in STAGES}
EVERY_OTHER = pytest.mark.parametrize(
    "path",
    [p for p in sorted(config.notebooks().glob("*.ipynb")) if p.name not in OF_STAGES],
    ids=lambda p: p.stem,
)
FORBIDDEN = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try, ast.If, ast.Lambda)
MAX_CELLS, MAX_CODE_LINES = 15, 12


def load(stage):
    return nbformat.read(str(config.notebooks() / stage.notebook), as_version=4)


def code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


@EVERY_STAGE
def test_the_parameters_are_two_plain_literals_and_each_is_read(stage):
    (cell,) = [c for c in code(load(stage)) if "parameters" in c.metadata.get("tags", [])]
    assigned = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(cell.source).body}
    assert assigned == {"run_date": "", "run_dir": ""}
    others = "\n".join(c.source for c in code(load(stage)) if c is not cell and c.id != cell.id)
    read = {n.id for n in ast.walk(ast.parse(others)) if isinstance(n, ast.Name)}
    assert set(assigned) <= read


@EVERY_STAGE
def test_a_notebook_tells_and_calls_and_does_no_more(stage):
    notebook = load(stage)
    tree = ast.parse("\n".join(c.source for c in code(notebook)))
    assert not [n for n in ast.walk(tree) if isinstance(n, FORBIDDEN)]
    assert len(notebook.cells) <= MAX_CELLS
    assert max(len(c.source.splitlines()) for c in code(notebook)) <= MAX_CODE_LINES


@EVERY_STAGE
def test_nothing_executed_is_committed(stage):
    notebook = load(stage)
    assert all(not c.outputs and c.execution_count is None for c in code(notebook))
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({c.id for c in notebook.cells}) == len(notebook.cells)


@EVERY_STAGE
def test_the_title_declares_what_the_contract_declares(stage):
    title = load(stage).cells[0].source
    assert title.startswith(f"# {stage.number} · {stage.name.capitalize()}")
    for table in stage.writes + stage.reads:
        assert f"`{table.__name__}`" in title, table.__name__
    for section in stage.settings:
        assert f"`[{section}]`" in title, section


@EVERY_STAGE
def test_it_opens_its_own_stage_and_touches_every_declared_table(stage):
    source = "\n".join(c.source for c in code(load(stage)))
    assert f'open_stage("{stage.name}", run_date, run_dir)' in source
    for table in stage.writes:
        assert f"stage.write({table.__name__}" in source.replace("(\n    ", "("), table.__name__
    for table in stage.reads:
        assert f"stage.read({table.__name__})" in source, table.__name__


@EVERY_STAGE
def test_a_stage_offers_what_its_notebook_asks_of_it(stage):
    tree = ast.parse("\n".join(c.source for c in code(load(stage))))
    asked = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "stage"
    }
    own = {"home", "stage", "folder", "settings"}
    assert asked - own <= set(dir(StageContext)), asked - own - set(dir(StageContext))


# ---- notebooks that are no stage -------------------------------------------------------------------


@EVERY_OTHER
def test_a_research_notebook_tells_and_calls_too(path):
    notebook = nbformat.read(str(path), as_version=4)
    tree = ast.parse("\n".join(c.source for c in code(notebook)))
    assert not [n for n in ast.walk(tree) if isinstance(n, FORBIDDEN)]
    assert len(notebook.cells) <= MAX_CELLS
    assert max(len(c.source.splitlines()) for c in code(notebook)) <= MAX_CODE_LINES
    assert notebook.cells[0].source.startswith("# ")
    assert all(not c.outputs and c.execution_count is None for c in code(notebook))
    assert len({c.id for c in notebook.cells}) == len(notebook.cells)


@EVERY_OTHER
def test_a_research_notebook_writes_nothing_and_knows_no_path(path):
    source = "\n".join(c.source for c in code(nbformat.read(str(path), as_version=4)))
    called = {
        n.func.attr
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
    }
    assert not called & {"write", "submit", "offer", "settle", "promote", "save"}
    assert "Path" not in source and "os." not in source and "/" not in source.replace("//", "")
