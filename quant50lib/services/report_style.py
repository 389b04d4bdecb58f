"""House style of all figures and tables: palette, number formats, the `Chart` that draws itself.

A figure function is wrapped in `chart`: it is drawn and rendered under `STYLE` whatever the
caller's matplotlib settings are, and yields the same SVG for the same data.
"""

from __future__ import annotations

import functools
import html
import io
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter

# Okabe and Ito's colours, muted; no meaning rests on red against green
INK, SOFT, FAINT, PAPER = "#22303c", "#66737f", "#d8dee4", "#f4f6f8"
BLUE, SKY, ORANGE, TEAL, RED = "#2b5f8c", "#9dbfd9", "#c8702a", "#3b8a80", "#b0302f"
CYCLE = (BLUE, ORANGE, TEAL, "#8a5a94", "#b59b2b", SKY, SOFT)
DIVERGING = mpl.colors.LinearSegmentedColormap.from_list("q50", [ORANGE, "#fbfbfa", BLUE])

WIDTH = 7.3  # inches: the text width of an A4 page with our margins
MISSING = "–"
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 8.0,
    "axes.facecolor": "white",
    "axes.titlesize": 9.0,
    "axes.titlecolor": "auto",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.labelsize": 8.0,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.spines.bottom": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.linestyle": "-",
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,  # two dollar signs are money, not a formula
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "xtick.major.width": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0.0,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "savefig.bbox": "standard",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "svg.fonttype": "none",  # text stays text: searchable in the PDF
    "svg.hashsalt": "quant50",  # the same data gives the same bytes
}


def use_style() -> None:
    """Set the house style for figures that a notebook draws on its own."""
    mpl.rcParams.update(STYLE)


class Chart(Figure):
    """A matplotlib figure that shows itself as SVG, in Jupyter and in the PDF, without pyplot."""

    def _repr_svg_(self) -> str:
        buffer = io.StringIO()
        with mpl.rc_context(STYLE):
            self.savefig(buffer, format="svg", dpi=200, metadata=NO_METADATA)
        picture = buffer.getvalue()
        label = html.escape(self.description, quote=True)
        return picture[picture.index("<svg") :].replace(
            "<svg ", f'<svg role="img" aria-label="{label}" ', 1
        )

    @property
    def markup(self) -> str:
        """As a piece of HTML."""
        return f"<figure>{self._repr_svg_()}</figure>"

    @property
    def description(self) -> str:
        """The titles of its axes, for those who listen to a page."""
        titles = [axes.get_title(loc="left") for axes in self.axes]
        return "; ".join(title for title in titles if title) or "figure"


P = ParamSpec("P")


def chart(draw: Callable[P, Chart]) -> Callable[P, Chart]:
    """Decorator of figure functions: draws in the house style, whatever is set outside."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Chart:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def canvas(height: float, width: float = WIDTH) -> Chart:
    """An empty chart of that height and width in inches."""
    return Chart(figsize=(width, height), layout="constrained")


def panels(height: float, upper: float = 1.6) -> tuple[Chart, Axes, Axes]:
    """Two axes over one time: the upper one `upper` times as high as the lower."""
    figure = canvas(height)
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=[upper, 1])
    return figure, top, low


def draw_fall(axes: Axes, wealth: pd.Series) -> pd.Series:
    """Fill the drawdown of `wealth` (growth of 1) from its running maximum, and return it."""
    fall: pd.Series = wealth / wealth.cummax() - 1
    axes.fill_between(fall.index, fall, 0, color=ORANGE, alpha=0.5, linewidth=0)
    axes.plot(fall.index, fall, color=ORANGE, linewidth=0.8)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_ylim(min(1.15 * fall.min(), -0.002), 0)
    pct_axis(axes.yaxis)
    date_axis(axes)
    return fall


def placeholder(text: str, title: str = "", width: float = WIDTH) -> Chart:
    """A line of text where a figure would have nothing to show."""
    figure = canvas(0.55 if title else 0.35, width)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(title)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.text(0.0, 0.5, text, color=SOFT, va="center", style="italic")
    return figure


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


def _number(value: float, spec: str, before: str = "", after: str = "", sign: bool = False) -> str:
    if value is None or pd.isna(value):
        return MISSING
    text = format(abs(float(value)), spec)
    if not text.strip("0.,"):  # a rounded zero has no sign
        return f"{before}{text}{after}"
    mark = "−" if value < 0 else "+" if sign else ""
    return f"{mark}{before}{text}{after}"


def usd(value: float, digits: int = 0, sign: bool = False) -> str:
    """US dollars: 12345.6 → '$12,346', -5 → '−$5'."""
    return _number(value, f",.{digits}f", before="$", sign=sign)


def pct(value: float, digits: int = 1, sign: bool = False) -> str:
    """A fraction as percent: 0.1234 → '12.3%'."""
    scaled = None if value is None or pd.isna(value) else 100 * value
    return _number(scaled, f",.{digits}f", after="%", sign=sign)  # type: ignore[arg-type]


def bps(value: float, digits: int = 1, sign: bool = True) -> str:
    """Basis points given as such: 3.21 → '+3.2 bp'."""
    return _number(value, f",.{digits}f", after=" bp", sign=sign)


def num(value: float, digits: int = 2, sign: bool = False) -> str:
    """A plain number with thousands separators: 1234.5 → '1,234.50'."""
    return _number(value, f",.{digits}f", sign=sign)


def shares(value: float) -> str:
    """A number of shares, fractions to three decimals."""
    return num(value, 3)


def day(session: pd.Timestamp) -> str:
    """A session as ISO date."""
    return MISSING if pd.isna(session) else f"{pd.Timestamp(session):%Y-%m-%d}"


# ── axes ─────────────────────────────────────────────────────────────────────────────────────────


class PercentTicks(Formatter):
    """Fractions as percent, with as many digits as it takes to tell the ticks exactly."""

    def __init__(self, digits: int | None = None) -> None:
        self.digits = digits

    def __call__(self, value: float, position: int | None = None) -> str:
        return pct(value, 1 if self.digits is None else self.digits)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        digits = self._needed(values) if self.digits is None else self.digits
        return [pct(value, digits) for value in values]

    def _needed(self, values: Sequence[float]) -> int:
        ticks = 100 * np.asarray(values, dtype=float)
        exact = (d for d in range(3) if np.allclose(ticks, ticks.round(d), rtol=0, atol=1e-7))
        return next(exact, 3)


def pct_axis(axis: Any, digits: int | None = None) -> None:
    """Ticks of a fraction as percent."""
    axis.set_major_formatter(PercentTicks(digits))


def usd_axis(axis: Any) -> None:
    """Ticks in US dollars with thousands separators."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: usd(value)))


def date_axis(axes: Axes) -> None:
    """Few, short dates; a single session is written out."""
    locator = AutoDateLocator(minticks=3, maxticks=8, interval_multiples=True)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=True))
    axes.margins(x=0.01)


def names_axis(axes: Axes, names: Sequence[str]) -> None:
    """Horizontal bars, read from the top: one name per row."""
    axes.set_yticks(np.arange(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    axes.tick_params(axis="x", size=0)
    axes.spines["bottom"].set_visible(False)


def bar_height(rows: int, each: float = 0.17, rest: float = 0.6) -> float:
    """Height in inches of a chart of `rows` horizontal bars."""
    return rest + each * max(rows, 1)


def last_label(axes: Axes, x: Any, y: float, text: str, colour: str) -> None:
    """The name of a line at its end, in place of a legend."""
    axes.annotate(
        text,
        (x, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=colour,
        fontsize=7.5,
        annotation_clip=False,
    )


def signed(values: pd.Series) -> list[str]:
    """Blue for gains, orange for losses."""
    return [BLUE if value >= 0 else ORANGE for value in values]
