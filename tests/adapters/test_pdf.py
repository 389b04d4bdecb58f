"""The report as a page and as a PDF: what is in it, what is not, and what happens without a browser."""

from __future__ import annotations

import ast
import asyncio
import re
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pypdf import PdfReader

import quant50lib.pipeline
from quant50lib.adapters import pdf
from quant50lib.contracts import REPORT, Kpi
from quant50lib.errors import BrowserMissing, SettingsError, by_name
from quant50lib.services import report
from quant50lib.utils import config
from tests import report_frames as frames

TITLE = "Quant50 · daily report · 2017-06-14 · SIMULATED prices and account"


def notebook(folder: Path, *cells: Any) -> Path:
    path = folder / "notebook.ipynb"
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def shown(source: str, **data: Any) -> Any:
    """A code cell with an output of those MIME types; `/` is written as `_`."""
    bundle = {mime.replace("_", "/", 1): value for mime, value in data.items()}
    return new_code_cell(source, outputs=[new_output("execute_result", bundle, execution_count=1)])


def program(path: Path, body: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


# ── which browser ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any browser."""
    monkeypatch.delenv(pdf.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "browsers"))
    return tmp_path


def test_without_a_browser_there_is_none(bare: Path) -> None:
    assert pdf.find_browser() is None


def test_browsers_are_looked_for_in_order(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chrome = program(bare / "bin" / "google-chrome")
    assert pdf.find_browser() == chrome
    shell = program(bare / "bin" / "chromium-headless-shell")
    assert pdf.find_browser() == shell
    whole = program(bare / "browsers" / "chromium-900" / "chrome-linux64" / "chrome")
    assert pdf.find_browser() == shell, "a broken installation of playwright's is none"
    (bare / "browsers" / "chromium-900" / "INSTALLATION_COMPLETE").touch()
    assert pdf.find_browser() == whole
    for revision in ("999", "1255"):
        home = bare / "browsers" / f"chromium_headless_shell-{revision}"
        newest = program(home / "linux" / "chrome-headless-shell")
        (home / "INSTALLATION_COMPLETE").touch()
    assert pdf.find_browser() == newest and "1255" in str(newest)
    monkeypatch.setenv(pdf.VARIABLE, str(chrome))
    assert pdf.find_browser() == chrome
    assert pdf.find_browser(Path("chromium-headless-shell")) == shell


def test_a_browser_asked_for_by_name_is_taken_at_its_word(bare: Path) -> None:
    program(bare / "bin" / "chromium")
    assert pdf.find_browser(Path("nowhere/chrome")) == Path("nowhere/chrome")


def test_playwrights_folder_follows_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLAYWRIGHT_BROWSERS_PATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setattr(pdf.sys, "platform", "linux")
    assert pdf._playwright_folder() == Path("cache/ms-playwright")
    monkeypatch.setattr(pdf.sys, "platform", "darwin")
    assert pdf._playwright_folder().parts[-2:] == ("Caches", "ms-playwright")


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def page(tmp_path: Path) -> str:
    noisy = new_code_cell(
        "noisy()",
        outputs=[
            new_output("stream", name="stderr", text="DeprecationWarning: old"),
            new_output("stream", name="stdout", text="1 < 2"),
            new_output("display_data", {"application/scrapbook.scrap.json+json": {"x": 1}}),
            new_output("error", ename="ContractError", evalue="a <bad> table", traceback=["at"]),
        ],
    )
    made = notebook(
        tmp_path,
        new_markdown_cell("# For readers of code", metadata={"tags": [pdf.NOTEBOOK_ONLY]}),
        new_markdown_cell("## Performance\nWith *prose*."),
        shown("secret_call(1)", text_html="<b>piece</b>", text_plain="Html of 5"),
        shown(
            "figure()", **{"image_svg+xml": "<svg><text>drawn</text></svg>", "image_png": "QQ=="}
        ),
        shown("photo()", image_png="QUJD"),
        shown("words()", text_markdown="*told*"),
        shown("number()", text_plain="3 < 4"),
        noisy,
    )
    return pdf.export_html(made, tmp_path / "deep" / "report.html", TITLE).read_text("utf-8")


def test_the_page_shows_outputs_and_prose_and_no_code(page: str) -> None:
    assert f"<title>{TITLE}</title>" in page
    for wanted in (
        "<h2>Performance</h2>",
        "<em>prose</em>",
        "<b>piece</b>",
        "<svg><text>drawn</text></svg>",
        "data:image/png;base64,QUJD",
        "<em>told</em>",
        "<pre>3 &lt; 4</pre>",
        "<pre>1 &lt; 2</pre>",
        "ContractError: a &lt;bad&gt; table",
    ):
        assert wanted in page
    for unwanted in ("secret_call", "figure()", "For readers", "Html of 5", "QQ==", "Deprecation"):
        assert unwanted not in page


def test_the_page_needs_no_network_and_runs_no_script(page: str) -> None:
    assert not re.search(r"https?://|<script|<link|@import", page)


def test_a_page_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, out = notebook(tmp_path, new_markdown_cell("new")), tmp_path / "report.html"
    out.write_text("old")

    def full_disk(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match="No space"):
            pdf.export_html(made, out, TITLE)
    assert out.read_text() == "old" and sorted(p.name for p in tmp_path.iterdir()) == [
        "notebook.ipynb",
        "report.html",
    ]


# ── without a browser, or with a bad one ─────────────────────────────────────────────────────────


def test_our_error_is_known_by_its_name_and_asks_for_settings() -> None:
    assert by_name("BrowserMissing") is BrowserMissing and issubclass(BrowserMissing, SettingsError)


@pytest.mark.parametrize("browser", [None, Path("nowhere/chrome")])
def test_a_missing_browser_is_an_error_that_names_the_remedy(
    tmp_path: Path, browser: Path | None
) -> None:
    out = tmp_path / "report.pdf"
    with pytest.raises(BrowserMissing, match="playwright install.*apt install.*report.chromium"):
        pdf.export_pdf(notebook(tmp_path), out, TITLE, browser)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("body", ["exit 3", "exec sleep 60"], ids=["crashes", "hangs"])
def test_a_browser_that_does_not_start_is_bounded(tmp_path: Path, body: str) -> None:
    browser, out = program(tmp_path / "chrome", body), tmp_path / "report.pdf"
    out.write_bytes(b"old")
    begun = time.monotonic()
    with pytest.raises(BrowserMissing, match="chrome could not print the PDF .* HTML is kept"):
        pdf.export_pdf(notebook(tmp_path), out, TITLE, browser, timeout=2)
    assert time.monotonic() - begun < 20 and out.read_bytes() == b"old"
    assert not [p for p in psutil.Process().children(recursive=True) if "sleep" in p.name()]


@pytest.fixture(scope="module")
def browser() -> Path:
    found = pdf.find_browser()
    if found is None:
        pytest.skip("no browser on this machine")
    return found


@pytest.mark.slow
def test_a_browser_that_hangs_in_a_page_is_bounded_and_leaves_nothing_behind(
    tmp_path: Path, browser: Path
) -> None:
    endless = shown("x", text_html="<script>while (true) {}</script>")
    begun = time.monotonic()
    with pytest.raises(BrowserMissing, match="could not print"):
        pdf.export_pdf(notebook(tmp_path, endless), tmp_path / "r.pdf", TITLE, browser, timeout=4)
    assert time.monotonic() - begun < 25
    assert not [p for p in psutil.Process().children(recursive=True) if "chrom" in p.name()]


@pytest.mark.slow
def test_a_caller_with_an_event_loop_may_print(tmp_path: Path, browser: Path) -> None:
    async def handler() -> Path:
        made = notebook(tmp_path, new_markdown_cell("hello"))
        return pdf.export_pdf(made, tmp_path / "r.pdf", "a <b> & c", browser)

    (only,) = PdfReader(asyncio.run(handler())).pages
    assert "hello" in only.extract_text() and "a <b> & c" in only.extract_text()


# ── the report itself ────────────────────────────────────────────────────────────────────────────


def executed(folder: Path, stage: frames.FakeStage, patch: pytest.MonkeyPatch) -> Path:
    """The committed report notebook, run cell by cell in this process on a made-up day."""
    made = nbformat.read(config.notebooks() / REPORT.notebook, as_version=4)
    patch.setattr(quant50lib.pipeline, "open_stage", lambda *_: stage)
    space: dict[str, Any] = {}
    for cell in (c for c in made.cells if c.cell_type == "code"):
        *body, last = ast.parse(cell.source).body
        exec(compile(ast.Module(body, []), cell.id, "exec"), space)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), cell.id, "exec"), space)
            continue
        value = eval(compile(ast.Expression(last.value), cell.id, "eval"), space)
        bundle = {"text/html": value._repr_html_(), "text/plain": repr(value)}
        cell.outputs = [new_output("execute_result", bundle, execution_count=1)]
    path = folder / REPORT.notebook
    nbformat.write(made, path)
    return path


DAYS: dict[str, tuple[dict[str, Any], str]] = {
    "first": (
        {"sessions": 1, "held": 0, "ordered": 30, "filled": 0, "found": 0, "stopped": 0},
        "SIMULATED prices and account",
    ),
    "busy": (
        {"sessions": 250, "held": 50, "ordered": 60, "filled": 60, "found": 20, "breach": True},
        "Alpaca paper account",
    ),
    "quiet": (
        {"sessions": 10, "held": 40, "ordered": 5, "filled": 5, "found": 0, "stopped": 0},
        "real prices, simulated account",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAYS)
def test_the_report_prints_on_a_few_pages_of_a4(
    name: str, tmp_path: Path, browser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, simulated = DAYS[name]
    stage = frames.FakeStage(frames.day(**shape), simulated, {} if name == "first" else None)
    made = executed(tmp_path, stage, monkeypatch)
    title = report.document_title(stage.settings.report.title, stage.run_date, simulated)
    reader = PdfReader(pdf.export_pdf(made, tmp_path / "r.pdf", title, browser))
    pages = [" ".join(p.extract_text().split()) for p in reader.pages]
    everything = " ".join(pages)

    assert 3 <= len(pages) <= 5
    assert all(abs(float(p.mediabox.width) - 595.3) < 1 for p in reader.pages)
    assert all(abs(float(p.mediabox.height) - 841.9) < 1 for p in reader.pages)
    assert reader.metadata and reader.metadata.title == title
    for number, text in enumerate(pages, 1):
        assert f"page {number} of {len(pages)}" in text and title in text
        assert len(text) > 400, "no page is left nearly empty"
    assert simulated in pages[0] and "2017-06-14" in pages[0]
    for heading in ("Performance", "The book", "Orders and fills", "Books, data and model"):
        assert heading in everything
    for code in ("open_stage", "import ", "stage.read", "report.", "Reads"):
        assert code not in everything
    assert str(tmp_path) not in everything and str(config.checkout()) not in everything
    assert stage.written["Kpi"].equals(Kpi.check(stage.written["Kpi"]))
    whole, parts = reader.outline
    assert whole["/Title"] == stage.settings.report.title
    assert "The book" in [mark["/Title"] for mark in parts if isinstance(mark, dict)]
    if name == "first":
        assert "no fills yet: the first orders fill at the next open" in everything
        assert "nothing is held: the account is all cash" in everything
    if name == "busy":
        assert "1 of 17 limits is breached: Sector: Energy" in pages[0]
        assert "and 40 more" in everything
