"""An executed notebook as HTML, and as a PDF printed by a headless browser.

Both come from one template (`quant50lib/templates/q50`): code hidden, nothing loaded from the
network. The PDF is A4 with page numbers, bookmarks and tags. A file appears whole or not at all.
"""

from __future__ import annotations

import asyncio
import html
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import HTMLExporter, WebPDFExporter
from traitlets import Float, Unicode

from quant50lib.errors import BrowserMissing

TEMPLATES = Path(__file__).parents[1] / "templates"
VARIABLE = "QUANT50_CHROMIUM"
ON_PATH = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "msedge",
)
#: a cell with this tag is for the readers of the notebook, not of the report
NOTEBOOK_ONLY = "notebook-only"
REMEDY = (
    "the HTML is kept; for the PDF run `playwright install --with-deps chromium` (any machine), or "
    "`apt install chromium-headless-shell` (Debian), or name a browser in report.chromium or QUANT50_CHROMIUM"
)
OPTIONS: dict[str, Any] = {
    "template_name": "q50",
    "extra_template_basedirs": [str(TEMPLATES)],
    "exclude_input": True,
    "exclude_anchor_links": True,
    "mathjax_url": "",
    "require_js_url": "",
    "jquery_url": "",
    "mermaid_js_url": "",
    "config": {
        "TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": [NOTEBOOK_ONLY]},
    },
}
FOOTER = (
    "<div style='width:100%;padding:0 12mm;display:flex;justify-content:space-between;"
    'font:7px "DejaVu Sans",Verdana,sans-serif;color:#66737f\'>'
    "<span>{title}</span>"
    "<span>page <span class='pageNumber'></span> of <span class='totalPages'></span></span></div>"
)
MARGIN = {"top": "13mm", "bottom": "16mm", "left": "12mm", "right": "12mm"}
#: MIME type of a value glued by scrapbook
SCRAP = "application/scrapbook."
#: programs in a folder of playwright's, on Linux and on macOS
PROGRAMS = ("*/*headless*shell", "*/chrome", "*/*.app/Contents/MacOS/*")
#: seconds granted to a browser that no longer answers before it is left to its killer
PARTING = 5.0


def find_browser(setting: Path | None = None) -> Path | None:
    """A browser that can print, or None.

    In order: the setting, the variable QUANT50_CHROMIUM, playwright's own, then the usual names on
    PATH. What was asked for by name is taken at its word; `export_pdf` says so if it is not there.
    """
    asked = setting or os.environ.get(VARIABLE)
    if asked:
        return Path(shutil.which(asked) or asked)
    found = (shutil.which(name) for name in ON_PATH)
    on_path = next((Path(path) for path in found if path), None)
    return _of_playwright(_playwright_folder()) or on_path


def export_html(notebook: Path, out: Path, title: str) -> Path:
    """Write the executed notebook as one self-contained HTML page; returns `out`."""
    exporter = HTMLExporter(**OPTIONS)
    page, _ = exporter.from_notebook_node(_read(notebook), resources=_resources(title))
    return _write(out, page.encode("utf-8"))


def export_pdf(
    notebook: Path,
    out: Path,
    title: str,
    browser: Path | None,
    timeout: float = 90.0,
) -> Path:
    """Write the executed notebook as an A4 PDF; returns `out`.

    Parameters
    ----------
    title : str
        Stands in the footer of every page and in the properties of the document.
    browser : Path or None
        As `find_browser` found it.
    timeout : float
        Seconds for all that the browser does.

    Raises
    ------
    BrowserMissing
        There is no browser, or it does not start, crashes, or does not finish in time.
    """
    if browser is None:
        raise BrowserMissing(f"no browser on this machine to print the PDF with: {REMEDY}")
    if not os.access(browser, os.X_OK):
        raise BrowserMissing(f"{browser} is no program that can be run: {REMEDY}")
    exporter = A4PDFExporter(
        executable_path=str(browser), title=title, timeout_seconds=timeout, **OPTIONS
    )
    printed, _ = exporter.from_notebook_node(_read(notebook), resources=_resources(title))
    return _write(out, printed)


class A4PDFExporter(WebPDFExporter):
    """nbconvert's webpdf with a browser of our choice, A4 pages, a footer, and a bound on time."""

    executable_path = Unicode(help="the browser").tag(config=True)
    title = Unicode(help="left half of the footer").tag(config=True)
    timeout_seconds = Float(90.0, help="for all that the browser does").tag(config=True)

    def run_playwright(self, html: str) -> bytes:
        """Print one page of HTML, given as text."""
        with tempfile.TemporaryDirectory(prefix="quant50-") as folder:
            page = Path(folder, "report.html")
            page.write_text(html, "utf-8")
            with ThreadPoolExecutor(1) as pool:  # the caller may have an event loop of its own
                return pool.submit(asyncio.run, self._within_time(page)).result()

    async def _within_time(self, page: Path) -> bytes:
        from playwright.async_api import Error

        begun = time.monotonic()
        try:
            return await asyncio.wait_for(self._print(page), self.timeout_seconds)
        except Exception as error:
            # playwright says that its driver did not start by a bare Exception
            if type(error) is not Exception and not isinstance(
                error, (Error, TimeoutError, OSError)
            ):
                raise
            after = time.monotonic() - begun
            said = str(error).strip().split("\n")[0] or type(error).__name__
            name = Path(self.executable_path).name
            raise BrowserMissing(
                f"{name} could not print the PDF ({said}, after {after:.0f} s): {REMEDY}"
            ) from error

    async def _print(self, page: Path) -> bytes:
        from playwright.async_api import async_playwright

        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=self.executable_path,
                args=[*self.browser_args, *root],
                timeout=1000 * self.timeout_seconds,
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
            try:
                return await self._pages(browser, page)
            finally:
                await _briefly(browser.close())

    async def _pages(self, browser: Any, page: Path) -> bytes:
        tab = await browser.new_page()
        await tab.emulate_media(media="print")
        await tab.goto(page.as_uri(), wait_until="load")
        await tab.evaluate("document.fonts.ready")
        printed: bytes = await tab.pdf(
            format="A4",
            print_background=True,
            tagged=True,
            outline=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER.format(title=html.escape(self.title)),
            margin=MARGIN,
        )
        return printed


async def _briefly(closing: Coroutine[Any, Any, None]) -> None:
    """Await the end of a browser, but no longer than `PARTING`."""
    await asyncio.wait([asyncio.ensure_future(closing)], timeout=PARTING)


def _playwright_folder() -> Path:
    """Where `playwright install` puts its browsers on this system."""
    chosen = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ms-playwright"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ms-playwright"


def _of_playwright(folder: Path) -> Path | None:
    """The newest browser completely installed there; the headless shell before the whole one."""
    for kind in ("chromium_headless_shell", "chromium"):
        for home in sorted(folder.glob(f"{kind}-*"), key=_revision, reverse=True):
            programs = [path for pattern in PROGRAMS for path in sorted(home.glob(pattern))]
            if programs and (home / "INSTALLATION_COMPLETE").exists():
                return programs[0]
    return None


def _revision(home: Path) -> int:
    digits = home.name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def _read(notebook: Path) -> Any:
    """The notebook without the values that scrapbook keeps in it, which have no face."""
    read = nbformat.read(notebook, as_version=4)
    for cell in read.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _is_scrap(output)]
    return read


def _is_scrap(output: Any) -> bool:
    kinds = output.get("data", {})
    return bool(kinds) and all(kind.startswith(SCRAP) for kind in kinds)


def _resources(title: str) -> dict[str, Any]:
    return {"metadata": {"name": title}}


def _write(out: Path, content: bytes) -> Path:
    """Write beside the place and move: a reader sees the old file or the new, never a half."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return out
