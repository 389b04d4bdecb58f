"""Features beside pandas, polars, DuckDB, TA-Lib and pyqlib; prints JSON (see `peers.py`).

Ten features of synthetic bars: returns over 1, 5, 21 sessions, momentum 12-1, volatility 21 and 63,
Wilder's RSI-14, log dollar volume 21, Amihud 21, beta 60. CPU time, medians of calls in turn, one
thread. All engines start from what suits them (wide frames, a sorted long frame, a table in memory) and
end with ten columns in memory; ours ends with the frames that the pipeline uses. Every engine's values
are held against ours before they are timed: to 1e-9, RSI to 1e-6 because ours begins 252 sessions ago
and theirs at the first one (with TA-Lib on 252 closes: to 1e-9).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.services import features, features_state
from quant50lib.services.features_alpha158 import ALPHA158
from quant50lib.services.features_registry import together
from quant50lib.services.panel import Panel
from quant50lib.settings import FeatureSettings
from quant50lib.utils import dates

NAMES = (
    "ret_1", "ret_5", "ret_21", "mom_12_1", "vol_21", "vol_63", "rsi_14", "log_dollar_volume_21",
    "amihud_21", "beta_60",
)  # fmt: skip
TEN = FeatureSettings(names=NAMES)
SMOOTH, SESSIONS, WARM, TAIL = 1 / 14, 1260, 400, 300
YEAR = 252
Frames = dict[str, np.ndarray]


def panel(n: int, sessions: int = SESSIONS) -> Panel:
    """Bars of a one-factor market, from a seed."""
    rng = np.random.default_rng(7)
    market = 3e-4 + 9e-3 * rng.standard_t(5, (sessions, 1)) / np.sqrt(5 / 3)
    own = 0.013 * rng.standard_t(5, (sessions, n)) / np.sqrt(5 / 3)
    own[:, 0] = 0.0
    close = rng.uniform(10, 300, n) * np.exp(np.cumsum(np.clip(market + own, -0.4, 0.4), axis=0))
    volume = np.round(rng.lognormal(14.5, 0.8, n) * rng.lognormal(0, 0.35, (sessions, n)))
    opening = close * (1 + rng.normal(0, 4e-3, close.shape))
    high = np.maximum(opening, close) * (1 + np.abs(rng.normal(0, 8e-3, close.shape)))
    low = np.minimum(opening, close) * (1 - np.abs(rng.normal(0, 8e-3, close.shape)))
    index = dates.sessions_between("2000-01-03", "2024-06-28")[-sessions:]
    names = pd.Index(["SPY", *[f"S{k:05d}" for k in range(1, n)]])
    frame = lambda values: pd.DataFrame(values, index, names)  # noqa: E731
    made = {"open": opening, "high": high, "low": low, "close": close, "volume": volume}
    wide = {name: frame(values) for name, values in made.items()}
    return Panel(**wide, traded_close=wide["close"], dollar_volume=frame(close * volume))


def long(of: Panel) -> pd.DataFrame:
    """Rows sorted by symbol and session, with the benchmark's return."""
    columns = {f: getattr(of, f).to_numpy().T.ravel() for f in ("close", "volume")}
    market = of.close["SPY"].pct_change(fill_method=None).to_numpy()
    symbols = np.repeat(of.symbols.to_numpy(str), len(of.sessions))
    days, returns = (np.tile(x, len(of.symbols)) for x in (of.sessions.to_numpy(), market))
    return pd.DataFrame({"symbol": symbols, "date": days, **columns, "mret": returns})


Engine = tuple[Callable[[], Any], Callable[[Any], Frames]]


def by_pandas(of: Panel) -> Engine:
    c, v, m = of.close, of.volume, of.close["SPY"].pct_change(fill_method=None)

    def run() -> dict[str, pd.DataFrame]:
        r, d, dollars = c.pct_change(fill_method=None), c.diff(), c * v
        up = d.clip(lower=0).ewm(alpha=SMOOTH, adjust=False, min_periods=14).mean()
        down = (-d).clip(lower=0).ewm(alpha=SMOOTH, adjust=False, min_periods=14).mean()
        return {
            "ret_1": r,
            "ret_5": c.pct_change(5, fill_method=None),
            "ret_21": c.pct_change(21, fill_method=None),
            "mom_12_1": c.shift(21) / c.shift(252) - 1,
            "vol_21": r.rolling(21).std() * YEAR**0.5,
            "vol_63": r.rolling(63).std() * YEAR**0.5,
            "rsi_14": 100 - 100 / (1 + up / down),
            "log_dollar_volume_21": np.log(dollars.rolling(21).mean()),
            "amihud_21": (r.abs() / dollars).rolling(21).mean() * 1e6,
            "beta_60": r.rolling(60).cov(m).div(m.rolling(60).var(), axis=0),
        }

    return run, lambda found: {k: x.to_numpy() for k, x in found.items()}


def by_polars(of: Panel, last: int | None = None) -> Engine:
    import polars as pl

    rows = long(of if last is None else of.each(lambda f: f.iloc[-last:]))
    table = pl.from_pandas(rows).with_columns(pl.col("symbol").cast(pl.Categorical))
    c, m = pl.col("close"), pl.col("mret")

    def run() -> Any:
        r, d, dollars = c / c.shift(1) - 1, c.diff(), c * pl.col("volume")
        smooth = {"alpha": SMOOTH, "adjust": False, "min_samples": 14}
        up = d.clip(lower_bound=0).ewm_mean(**smooth)
        down = (-d).clip(lower_bound=0).ewm_mean(**smooth)
        made = (
            table.lazy()
            .group_by("symbol", maintain_order=True)
            .agg(
                ret_1=r,
                ret_5=c / c.shift(5) - 1,
                ret_21=c / c.shift(21) - 1,
                mom_12_1=c.shift(21) / c.shift(252) - 1,
                vol_21=r.rolling_std(21) * YEAR**0.5,
                vol_63=r.rolling_std(63) * YEAR**0.5,
                rsi_14=100 - 100 / (1 + up / down),
                log_dollar_volume_21=dollars.rolling_mean(21).log(),
                amihud_21=(r.abs() / dollars).rolling_mean(21) * 1e6,
                beta_60=pl.rolling_cov(r, m, window_size=60) / m.rolling_var(60),
            )
        )
        return made.explode(NAMES).select(NAMES).collect()

    shape = len(of.symbols), len(of.sessions) if last is None else last
    return run, lambda found: {k: found[k].to_numpy().reshape(shape).T for k in NAMES}


SQL = f"""
with a as (select symbol, date, mret, close * volume as dollars, row_number() over w as i,
  close / lag(close) over w - 1 as ret_1, close / lag(close, 5) over w - 1 as ret_5,
  close / lag(close, 21) over w - 1 as ret_21,
  lag(close, 21) over w / lag(close, 252) over w - 1 as mom_12_1, close - lag(close) over w as dx
  from bars window w as (partition by symbol order by date)),
b as (select *, pow({1 - SMOOTH!r}, -i) as pw from a)
select symbol, date, ret_1, ret_5, ret_21, mom_12_1,
  stddev_samp(ret_1) over w21 * sqrt({YEAR}) as vol_21,
  stddev_samp(ret_1) over w63 * sqrt({YEAR}) as vol_63,
  100 - 100 / (1 + sum(greatest(dx, 0) * pw) over wa / sum(greatest(-dx, 0) * pw) over wa) as rsi_14,
  ln(avg(dollars) over w21) as log_dollar_volume_21,
  avg(abs(ret_1) / dollars) over w21 * 1e6 as amihud_21, regr_slope(ret_1, mret) over w60 as beta_60
from b window
 wa as (partition by symbol order by date rows unbounded preceding),
 w21 as (partition by symbol order by date rows 20 preceding),
 w60 as (partition by symbol order by date rows 59 preceding),
 w63 as (partition by symbol order by date rows 62 preceding)
"""


def by_duckdb(of: Panel) -> Engine:
    import duckdb

    rows = long(of)  # noqa: F841  (read by the statement below)
    con = duckdb.connect()
    con.execute("set threads = 1")
    con.execute("set enable_progress_bar = false")  # it would write among the JSON
    con.execute("create table bars as select * from rows")

    def get(_: Any) -> Frames:
        found = con.execute("select * from made").fetch_df()
        return {
            k: found.pivot(index="date", columns="symbol", values=k)[of.symbols].to_numpy()
            for k in NAMES
        }

    return (lambda: con.execute(f"create or replace temp table made as {SQL}")), get


def cpu(run: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of CPU, and what came out."""
    begun = time.process_time()
    found = run()
    return 1000 * (time.process_time() - begun), found


def medians(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median of each, called in turn after one call that does not count."""
    for run in runs.values():
        run()
    taken = [{name: cpu(run)[0] for name, run in runs.items()} for _ in range(repeats)]
    return {name: statistics.median(t[name] for t in taken) for name in runs}


def many(run: Callable[[], Any], times: int) -> float:
    """Milliseconds of CPU of one of many calls."""
    run()
    return cpu(lambda: [run() for _ in range(times)])[0] / times


def agree(peer: str, found: Frames, ours: Frames) -> None:
    """Values after the warm-up are the same."""
    worst = {}
    for name in NAMES:
        a, b = found[name][WARM:], ours[name][WARM:]
        scale = np.abs(b) + 1e-3 * np.median(np.abs(b))
        worst[name] = float(np.max(np.abs(a - b) / scale))
        assert worst[name] < (1e-6 if name == "rsi_14" else 1e-9), (peer, name, worst[name])
    rsi = worst.pop("rsi_14")
    print(f"{peer}: largest difference {max(worst.values()):.1e}, RSI {rsi:.1e}", file=sys.stderr)


def row(
    measure: str, ours: float, peer: str, theirs: float, target: float | None, unit: str = "ms"
) -> dict[str, Any]:
    return {
        "measure": measure,
        "ours": ours,
        "peer": peer,
        "theirs": theirs,
        "unit": unit,
        "ratio": theirs / ours,
        "target": target,
    }


def whole(n: int, repeats: int) -> list[dict[str, Any]]:
    """The ten features of a whole panel."""
    of = panel(n)
    engines = {"pandas wide": by_pandas(of), "polars": by_polars(of), "DuckDB SQL": by_duckdb(of)}
    ours = {k: v.to_numpy() for k, v in features.compute(of, TEN, "SPY").items()}
    for peer, (run, get) in engines.items():
        agree(peer, get(run()), ours)
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: features.compute(of, TEN, "SPY")}
    taken = medians(runs | {k: run for k, (run, _) in engines.items()}, repeats)
    targets = {"polars": 10.0, "pandas wide": 20.0, "DuckDB SQL": 60.0}
    title = f"ten features, {n:,} × {SESSIONS:,}"
    return [
        row(title, taken["ours"], peer, taken[peer], targets[peer] if n == 300 else None)
        for peer in targets
    ]


def growth() -> list[dict[str, Any]]:
    """Whether ten thousand names cost 33 times three hundred.

    The results of the many are a gigabyte. Taken afresh, its pages are zeroed by the system before
    they are written, which is no part of the small panel's cost: its memory is handed back and forth.
    So both are measured a second time into memory at hand, and the first touch of a gigabyte alone.
    """
    afresh, at_hand = {}, {}
    formulas = [s.formula for s in features.chosen(TEN) if s.formula]
    for n in (300, 10_000):
        of = panel(n)
        out = np.empty((len(formulas), n, SESSIONS))
        taken = medians(
            {
                "afresh": lambda: features.compute(of, TEN, "SPY"),
                "at hand": lambda: together(of, formulas, "SPY", out),
                "touch": lambda: np.empty(out.shape).fill(0.0),
                "fill": lambda: out.fill(0.0),
            },
            7 if n < 999 else 5,
        )
        afresh[n], at_hand[n] = taken["afresh"], taken["at hand"]
    title, peer = f"ten features, 10,000 × {SESSIONS:,}", "ours, 300 names, × 33.3"
    return [
        row(title, afresh[10_000], peer, afresh[300] * 100 / 3, 1.0),
        row(
            f"{title}, results into memory at hand",
            at_hand[10_000],
            peer,
            at_hand[300] * 100 / 3,
            1.0,
        ),
        row(
            "filling the memory of 10,000 names' results",
            taken["fill"],
            "the same, fresh pages",
            taken["touch"],
            None,
        ),
    ]


def rsi(repeats: int) -> list[dict[str, Any]]:
    """RSI alone, beside TA-Lib."""
    import talib

    of, only = panel(300), FeatureSettings(names=("rsi_14",))
    closes = np.ascontiguousarray(of.close.to_numpy().T)
    last = [talib.RSI(np.ascontiguousarray(c[-252:]), 14)[-1] for c in closes]
    ours = features.compute(of, only, "SPY")["rsi_14"].iloc[-1]
    np.testing.assert_allclose(ours, last, rtol=1e-9)
    taken = medians(
        {
            "ours": lambda: features.compute(of, only, "SPY"),
            "TA-Lib": lambda: np.array([talib.RSI(c, 14) for c in closes]),
        },
        repeats,
    )
    return [row(f"RSI-14, 300 × {SESSIONS:,}", taken["ours"], "TA-Lib", taken["TA-Lib"], None)]


def day(n: int, repeats: int) -> list[dict[str, Any]]:
    """One more session from a state, beside polars on the last 300 bars."""
    of = panel(n, TAIL + 60)
    formulas = [s.formula for s in features.chosen(TEN) if s.formula]
    plan = features_state.programme(tuple(formulas))
    state = features_state.begin(formulas, of.each(lambda f: f.iloc[:-1]), "SPY")[0]
    bars = features_state._bars(of, "SPY", -1)
    checked = cpu(lambda: features_state.advance(formulas, state, of, "SPY"))[1].values
    for k, spec in enumerate(features.chosen(TEN)):
        wanted = spec.function(of, "SPY").iloc[-1]
        np.testing.assert_allclose(checked[k], wanted, rtol=1e-9)
    run, _ = by_polars(of, TAIL)
    theirs = medians({"polars": run}, repeats)["polars"]
    pushed = statistics.median(
        many(lambda: features_state.push(plan, state, bars), 200) for _ in range(repeats)
    )

    seen = features_state.sums(of, "SPY", plan.window, -1)

    def again() -> None:  # the same session once more: the clock is turned back
        state.session, state.sums = of.sessions[-2], seen
        features_state.advance(formulas, state, of, "SPY")

    checks = statistics.median(many(again, 20) for _ in range(repeats))
    title = f"ten features of one more day, {n:,} names"
    peer = f"polars, last {TAIL} bars"
    return [
        row(title, pushed, peer, theirs, 300.0 if n == 300 else None),
        row(f"{title}, with the checks for restated bars", checks, peer, theirs, None),
    ]


def alpha158(repeats: int) -> list[dict[str, Any]]:
    """The 158 factors, beside pyqlib on its own store."""
    import qlib
    from qlib.contrib.data.loader import Alpha158DL
    from qlib.data import D
    from qlib.data.cache import H

    of = panel(300)
    formulas = [s.formula for s in ALPHA158.values() if s.formula]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        days = [str(d.date()) for d in of.sessions]
        for part in ("calendars", "instruments"):
            (folder / part).mkdir()
        (folder / "calendars" / "day.txt").write_text("\n".join(days))
        lines = [f"{s}\t{days[0]}\t{days[-1]}" for s in of.symbols]
        (folder / "instruments" / "all.txt").write_text("\n".join(lines))
        typical = (of.high + of.low + of.close) / 3
        for symbol in of.symbols:
            home = folder / "features" / symbol.lower()
            home.mkdir(parents=True)
            for field in ("open", "high", "low", "close", "volume", "vwap"):
                values = typical if field == "vwap" else getattr(of, field)
                stored = np.concatenate([[0], values[symbol]]).astype("<f4")
                stored.tofile(home / f"{field}.day.bin")
        qlib.init(
            provider_uri=str(folder), region="us", kernels=1, joblib_backend="threading",
            expression_cache=None, dataset_cache=None, logging_level=50,
        )  # fmt: skip
        expressions, _ = Alpha158DL.get_feature_config()

        def theirs() -> Any:
            H.clear()
            return D.features(D.instruments("all"), expressions, days[0], days[-1], freq="day")

        once = cpu(theirs)[0]
    ours = medians({"ours": lambda: together(of, formulas, "SPY")}, repeats)["ours"]
    return [row(f"alpha158, 300 × {SESSIONS:,}", ours, "pyqlib, one call", once, 50.0)]


def cross(repeats: int) -> list[dict[str, Any]]:
    """Ranks of a feature across 300 names, session by session."""
    of = panel(300)
    values = features.compute(of, FeatureSettings(names=("vol_21",)), "SPY")
    none = pd.Series(dtype=str)
    sectors = pd.Series("x", of.symbols)
    described = statistics.median(
        cpu(lambda: features.describe(of, sectors, FeatureSettings(), "SPY"))[0]
        for _ in range(repeats)
    )
    print(f"describe, whole core set and its ranks: {described:.0f} ms", file=sys.stderr)
    taken = medians(
        {
            "ours": lambda: features.standardise(values, none, None, "rank"),
            "pandas": lambda: values["vol_21"].rank(axis=1),
        },
        repeats,
    )
    return [
        row(
            f"ranks per session, 300 × {SESSIONS:,}",
            taken["ours"],
            "pandas rank",
            taken["pandas"],
            None,
        )
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="of whole, day, rsi, growth, cross, alpha158")
    asked = parser.parse_args()
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "whole": lambda: whole(300, asked.repeats) + whole(3000, 3),
        "day": lambda: day(300, asked.repeats) + day(3000, asked.repeats),
        "rsi": lambda: rsi(asked.repeats),
        "growth": growth,
        "cross": lambda: cross(asked.repeats),
        "alpha158": lambda: alpha158(3),
    }
    wanted = asked.only or list(parts)
    print(json.dumps([r for name in wanted for r in parts[name]()], indent=1))


if __name__ == "__main__":
    main()
