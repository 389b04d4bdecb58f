"""Each part of the risk forecast on real bars: how well it says the volatility that comes.

Usage: risk_forecast.py [--file F] [--from D] [--to D] [--names N] [--table]. The bars are symbol,
date, OHLC, volume; by default those beside the checkout. `--table` prints Markdown, not JSON rows.

Four books of the names with the largest volume: no alpha (an equal premium, optimised at every close
with solver = "fast"), 12-1 momentum (the same with alpha = 0.02 x volatility x score), equal weight,
and least variance (chosen every 21 sessions). Books are chosen by the slow shape alone and filled at
the close, so that every forecast is judged on the same returns: the next session's return over its
daily volatility is one observation z. `ratio` is the root of the mean of z^2, realised over ex-ante
volatility, to be near 1; `windows` its range over 63 sessions; `qlike` the loss z^2 + log(variance)
(Patton 2011), less that of the slow shape with the feedback, with a 95 % interval of a moving-block
bootstrap: below 0 is better.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize, nnls

from quant50lib.services import covariance, inference, optimize, risk
from quant50lib.services.covariance import Risk
from quant50lib.services.panel import Panel
from quant50lib.settings import OptimizeSettings, RiskSettings

BARS = Path(__file__).resolve().parents[2] / "shared" / "data" / "us_daily_2013_2018.parquet"
HORIZON, A_YEAR, MONTH, QUARTER = 5, 252, 21, 63
PREMIUM, IC = 0.05 * HORIZON / A_YEAR, 0.02
CHOSEN = OptimizeSettings(solver="fast", fast_scale=False, max_sector=1.0, swap_solves=0)
#: forecast -> settings of the fast scale (None: off), half-life of the feedback (None: off)
FORECASTS: dict[str, tuple[dict[str, float] | None, float | None]] = {
    "slow shape": (None, None),
    "+ fast scale, both ways, 21": ({"fast_scale_sessions": 21, "fast_scale_min": 0.0}, None),
    "+ fast scale, up only, 21": ({"fast_scale_sessions": 21, "fast_scale_min": 1.0}, None),
    "+ fast scale, up only, 10": ({"fast_scale_sessions": 10, "fast_scale_min": 1.0}, None),
    "+ feedback, 21": (None, 21.0),
    "+ feedback, 10": (None, 10.0),
    "+ feedback, 42": (None, 42.0),
    "+ both ways, 21, feedback, 21": ({"fast_scale_sessions": 21, "fast_scale_min": 0.0}, 21.0),
    "+ up only, 42, feedback, 21": ({"fast_scale_sessions": 42, "fast_scale_min": 1.0}, 21.0),
    "+ up only, 21, feedback, 21": ({"fast_scale_sessions": 21, "fast_scale_min": 1.0}, 21.0),
    "+ up only, 10, feedback, 21": ({"fast_scale_sessions": 10, "fast_scale_min": 1.0}, 21.0),
    "+ up only, 10, feedback, 10": ({"fast_scale_sessions": 10, "fast_scale_min": 1.0}, 10.0),
}
HELD_AGAINST = "+ feedback, 21"
BOOKS = ("no alpha", "momentum", "equal weight", "least variance")
DRAWS, SEED = 1000, 50


@dataclass(frozen=True)
class Seen:
    """One session: the market's returns in the window before it, and each book's return over cash
    with the daily volatility that the slow shape forecast for it."""

    market: pd.Series
    returns: dict[str, float]
    slow: dict[str, float]


def panel_of(path: str, n: int) -> Panel:
    """The names with the largest volume of the first 252 sessions."""
    bars = pd.read_parquet(path).rename(columns={"date": "session"})
    bars["session"] = pd.to_datetime(bars["session"]).astype("datetime64[us]")
    fields = ("open", "high", "low", "close", "volume")
    wide = {
        f: bars.pivot(index="session", columns="symbol", values=f).astype(float) for f in fields
    }
    dollars = wide["close"] * wide["volume"]
    panel = Panel(**wide, traded_close=wide["close"], dollar_volume=dollars)
    return panel.only(sorted(dollars.iloc[:A_YEAR].median().nlargest(n).index))


def optimised(expected: pd.Series, model: Risk, before: pd.Series) -> pd.Series:
    """The weights that the desk would want."""
    names = pd.Index([*expected.index, *before.index]).unique()
    found = optimize.target_weights(
        expected,
        0 * expected,
        model,
        before,
        pd.Series("One", index=names, dtype="str"),
        pd.Series(True, index=expected.index),
        {},
        1.0,
        CHOSEN,
        HORIZON,
    ).weights
    return found[found > 0]


def momentum(known: Panel, model: Risk) -> pd.Series:
    """The premium, and alpha by 12-1 momentum (Grinold)."""
    close = known.close[model.symbols].ffill()
    past = close.iloc[-MONTH - 1] / close.iloc[-A_YEAR - 1] - 1
    score = ((past - past.mean()) / past.std()).fillna(0.0).clip(-3, 3)
    variances = np.einsum("ij,ij->j", model.factors, model.factors) + model.diagonal
    return PREMIUM + IC * np.sqrt(variances) * score


def least_variance(model: Risk) -> pd.Series:
    """Long-only weights of least variance, sum one; see backtest_summary.least_variance."""
    root = np.linalg.cholesky(model.matrix().to_numpy() * A_YEAR / HORIZON)
    ones = np.ones(len(model.symbols))
    weights, _ = nnls(root.T, np.linalg.solve(root, ones), maxiter=20 * len(ones))
    found = pd.Series(weights / weights.sum(), model.symbols)
    return found[found > 0]


def chosen(
    known: Panel, model: Risk, held: dict[str, pd.Series], begins: bool
) -> dict[str, pd.Series]:
    """The books of an evening; `held` are those of the evening before, as prices left them."""
    even = pd.Series(1 / len(model.symbols), index=model.symbols)
    calm = held["least variance"]
    return {
        "no alpha": optimised(pd.Series(PREMIUM, model.symbols), model, held["no alpha"]),
        "momentum": optimised(momentum(known, model), model, held["momentum"]),
        "equal weight": even,
        "least variance": (
            least_variance(model) if begins else calm[calm.index.isin(model.symbols)]
        ),
    }


def watched(panel: Panel, first: str, last: str) -> Iterator[Seen]:
    """Every session after `first`."""
    moves = panel.close.ffill().pct_change()
    days = panel.sessions[(panel.sessions >= first) & (panel.sessions <= last)]
    held = {name: pd.Series(dtype=float) for name in BOOKS}
    for n, (today, following) in enumerate(zip(days[:-1], days[1:], strict=True)):
        known = panel.until(today)
        names = covariance.eligible(known, CHOSEN)
        model = covariance.risk_model(known, names, CHOSEN, HORIZON)
        books = chosen(known, model, held, n % MONTH == 0)
        gains = {b: moves.loc[following].reindex(w.index).fillna(0.0) for b, w in books.items()}
        market = known.close[names].iloc[-CHOSEN.covariance_sessions - 1 :]
        yield Seen(
            market.pct_change(fill_method=None).iloc[1:].mean(axis=1),
            {b: float(w @ gains[b]) for b, w in books.items()},
            {b: model.volatility_annual(w) / np.sqrt(A_YEAR) for b, w in books.items()},
        )
        for b, weights in books.items():
            grown = weights * (1 + gains[b])
            held[b] = grown / (1 - weights.sum() + grown.sum())


def surprises(
    returns: np.ndarray, volatility: np.ndarray, half_life: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """z of every session, and the daily volatility that was forecast, feedback included."""
    known = RiskSettings(feedback=half_life is not None)
    if half_life is not None:
        known = known.model_copy(update={"feedback_half_life_sessions": half_life})
    level, forecast = 1.0, np.empty(len(returns))
    for n, (gain, slow) in enumerate(zip(returns, volatility, strict=True)):
        forecast[n] = slow * level
        level = risk.feedback(level, gain / forecast[n], known)
    return returns / forecast, forecast


def judged(seen: list[Seen]) -> list[dict]:
    """A row for every book and forecast; the first quarter only teaches."""
    scales = {
        name: (
            np.array(
                [covariance.fast_scale(s.market, CHOSEN.model_copy(update=scale)) for s in seen]
            )
            if scale is not None
            else np.ones(len(seen))
        )
        for name, (scale, _) in FORECASTS.items()
    }
    rows = []
    for book in BOOKS:
        returns = np.array([s.returns[book] for s in seen])
        slow = np.array([s.slow[book] for s in seen])
        found = {
            name: surprises(returns, slow * np.sqrt(scales[name]), half_life)
            for name, (_, half_life) in FORECASTS.items()
        }
        loss = {name: (z**2 + 2 * np.log(vol))[QUARTER:] for name, (z, vol) in found.items()}
        for name, (z, _) in found.items():
            rows.append(_row(book, name, z[QUARTER:], loss[name] - loss[HELD_AGAINST]))
    return rows


def _row(book: str, forecast: str, z: np.ndarray, gap: np.ndarray) -> dict:
    ratio = float(np.sqrt(np.mean(z**2)))
    quarters = [np.sqrt(np.mean(z[n : n + QUARTER] ** 2)) for n in range(len(z) - QUARTER + 1)]
    low, high = inference.block_bootstrap(
        gap[:, None], lambda sample: sample.mean(axis=(1, 2)), MONTH, SEED, DRAWS
    )
    return {
        "measure": f"{book}, {forecast}: realised over ex-ante volatility, {len(z)} sessions",
        "ours": ratio,
        "peer": "a perfect forecast",
        "theirs": 1.0,
        "unit": "",
        "ratio": ratio,
        "target": None,
        "book": book,
        "forecast": forecast,
        "windows": [float(min(quarters)), float(max(quarters))],
        "spread": float(np.std(np.log(quarters))),
        "qlike": float(gap.mean()),
        "qlike_interval": [low, high],
    }


def elasticities(seen: list[Seen]) -> list[dict]:
    """How a book's variance follows the market's: ``z^2 ~ level x scale^b`` by the same loss, b one
    number where the scale (both ways, 21 sessions) is below 1 and another above."""
    free = CHOSEN.model_copy(update={"fast_scale_sessions": 21, "fast_scale_min": 0.0})
    scale = np.log([covariance.fast_scale(s.market, free) for s in seen])
    sides = np.column_stack([np.ones(len(seen)), np.minimum(scale, 0), np.maximum(scale, 0)])
    rows = []
    for book in BOOKS:
        squares = np.array([(s.returns[book] / s.slow[book]) ** 2 for s in seen])[QUARTER:]

        def loss(b: np.ndarray, squares: np.ndarray = squares) -> float:
            logs = sides[QUARTER:] @ b
            return float(np.mean(squares * np.exp(-logs) + logs))

        found = minimize(loss, [0.0, 0.5, 0.5], method="Nelder-Mead").x
        for side, value in zip(("below", "above"), found[1:], strict=True):
            rows.append(
                {
                    "measure": f"{book}: elasticity of its variance, market {side} its usual",
                    "ours": float(value),
                    "peer": "in proportion",
                    "theirs": 1.0,
                    "unit": "",
                    "ratio": float(value),
                    "target": None,
                }
            )
    return rows


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| book | forecast | realised over ex-ante | over 63 sessions | QLIKE, 95 % |",
        "|---|---|--:|--:|--:|",
    ]
    for row in (row for row in rows if "book" in row):
        (least, most), (low, high) = row["windows"], row["qlike_interval"]
        lines.append(
            f"| {row['book']} | {row['forecast']} | {row['ratio']:.3f} | {least:.2f} to {most:.2f} "
            f"| {row['qlike']:+.3f} [{low:+.3f}, {high:+.3f}] |"
        )
    lines += ["", "| | |", "|---|--:|"]
    lines += [f"| {row['measure']} | {row['ours']:.2f} |" for row in rows if "book" not in row]
    return "\n".join(lines)


def main() -> None:
    """Watch the books once, and judge every forecast on what was seen."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--file", default=str(BARS))
    asked.add_argument("--from", dest="first", default="2014-03-03")
    asked.add_argument("--to", dest="last", default="2018-02-07")
    asked.add_argument("--names", type=int, default=100)
    asked.add_argument("--table", action="store_true")
    given = asked.parse_args()
    seen = list(watched(panel_of(given.file, given.names), given.first, given.last))
    rows = judged(seen) + elasticities(seen)
    print(table(rows) if given.table else json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
