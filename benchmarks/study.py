"""What the rules of the desk earn and cost: books with and without brake and stops, on two markets.

``python benchmarks/study.py [--only real-zero-all-rules …] [--from D] [--to D] [--names N] [--again]`` runs
each case by the back-test with the fast solver and keeps its figures in build/study.jsonl as it is
done. A case that is kept for the same sessions and names is not run again, nor one that another process
has under way: start it once for every core, and again after an interruption. ``--table`` writes the
table between the `study` marks of the README. Real bars are those beside the checkout
(../shared/data); they are the members of the index at the end of the span, so that their returns
flatter every book alike. The crash is a demo market that falls by 35 % within 21 sessions.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import readme  # noqa: E402
from quant50lib.adapters import universe  # noqa: E402
from quant50lib.jobs import backtest as job  # noqa: E402
from quant50lib.services import backtest  # noqa: E402
from quant50lib.services import backtest_summary as summary  # noqa: E402
from quant50lib.services.backtest_market import Market, Window  # noqa: E402
from quant50lib.services.backtest_signals import SIGNALS, Learnt, Signal  # noqa: E402
from quant50lib.settings import Settings  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
KEPT = ROOT / "build" / "study.jsonl"
BOOKS = ("zero", "momentum", "model", "equal")
RULES = {"all rules": (False, False), "no brake, no stops": (True, True)}
#: more readings of the rules, for the book without alpha
READINGS = {"no brake": (True, False), "no stops": (False, True)}
FALL, FALL_SESSIONS = 0.35, 21
CRASH_FROM, CRASH, CRASH_TO = "2023-03-01", "2023-04-03", "2023-07-14"
#: what issue and design aim at, of the book under all rules
VOLATILITY, RATIO, EPISODE = (0.09, 0.11), (0.95, 1.08), 0.10


def real_market(names: int) -> tuple[Settings, Market]:
    """The names of largest median dollar volume among the real bars, and the index."""
    listed = pd.read_csv(DATA / "sectors.csv").rename(columns={"gics_sector": "sector"})
    listed = listed.rename(columns={"type": "kind"}).fillna({"sector": "ETF"})
    listed["name"] = listed["name"].fillna(listed["symbol"])
    bars = pd.read_parquet(
        DATA / "us_daily_2013_2018.parquet", columns=["symbol", "close", "volume"]
    )
    value = (bars["close"] * bars["volume"]).groupby(bars["symbol"]).median()
    stocks = listed.loc[listed["kind"] == "stock", "symbol"]
    chosen = [*value[value.index.isin(stocks)].nlargest(names).index, "SPY"]
    file = Path(tempfile.mkdtemp()) / "names.csv"
    columns = ["symbol", "name", "sector", "kind"]
    listed.loc[listed["symbol"].isin(chosen), columns].to_csv(file, index=False)
    twin = {
        "market": str(DATA / "us_daily_2013_2018.parquet"),
        "actions": str(DATA / "corporate_actions.csv"),
    }
    settings = _settings(simulator=twin, universe={"file": str(file)})
    return settings, job.market_of(settings, pd.Timestamp("2018-02-07"))


def crash_market(names: int) -> tuple[Settings, Market]:
    """A demo market of which every stock loses 35 % more than it would have, within a month."""
    listed = universe.load(None)
    stocks = listed[listed["kind"] == "stock"].groupby("sector").head(max(1, names // 11))
    small = pd.concat([stocks, listed[listed["symbol"].isin(["SPY"])]])
    file = Path(tempfile.mkdtemp()) / "names.csv"
    small.to_csv(file, index=False)
    settings = _settings(
        simulator={"first_session": "2020-01-02"},
        universe={"file": str(file)},
        data={"history_years": 3},
    )
    market = job.market_of(settings, pd.Timestamp(CRASH_TO))
    begin = market.row(pd.Timestamp(CRASH))
    step = (1 - FALL) ** (1 / FALL_SESSIONS)
    since = np.clip(np.arange(len(market.sessions)) - begin + 1, 0, FALL_SESSIONS)
    factor = (step**since)[:, None]
    prices = {n: v * (1 if n == "volume" else factor) for n, v in market.raw.fields.items()}
    return settings, replace(market, raw=market.raw._replace(fields=prices))


def _settings(**sections: dict) -> Settings:
    fixed = {"optimize": {"solver": "fast"}, "model": {"without_model": "zero"}}
    return Settings.model_validate(fixed | sections)


def cases() -> dict[str, tuple[str, str, str]]:
    """Name of each case: market, book, rules."""
    rules = {"real": {**RULES}, "crash": {**RULES}}
    found = [(m, b, r) for m in rules for b in BOOKS for r in rules[m]]
    found += [("real", "zero", r) for r in READINGS]
    found += [("real", "zero", "horizon stops")]
    return {f"{m}-{b}-{r.replace(', ', '-').replace(' ', '-')}": (m, b, r) for m, b, r in found}


def run(case: tuple[str, str, str], first: str, last: str, names: int) -> dict:
    """The figures of a case."""
    begun = time.process_time()
    kind, book, rules = case
    settings, market = (real_market if kind == "real" else crash_market)(names)
    if kind == "crash":
        first, last = CRASH_FROM, CRASH_TO
    if rules == "horizon stops":
        own = settings.risk.model_copy(update={"stop_volatility": "horizon"})
        settings = settings.model_copy(update={"risk": own})
    brake, stops = (RULES | READINGS).get(rules, (False, False))
    settings = backtest.without(settings, brake=brake, stops=stops)
    signal = LEARNT.setdefault((kind, book), Remembered(SIGNALS[book]))
    result = backtest.run(
        market, signal, settings, pd.Timestamp(first), pd.Timestamp(last), tell=_tell(case)
    )
    returns, others = summary.returns_of(result), summary.benchmarks(market, result)
    said = {**summary.summary(result), "market": kind, "book": book, "rules": rules, "names": names}
    said["sharpe_gaps"] = summary.compared(returns, others).to_dict("index")
    said["windows"] = _windows(returns)
    said["low_budget_run"] = _longest(result.daily["budget"] < 0.2)
    said["gap"] = float(-returns.min())
    said["returns"] = returns.round(9).tolist()
    said["cpu_seconds"] = time.process_time() - begun
    return said


class Remembered:
    """A signal that learns once a session for all cases: what it learns does not depend on the rules."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.learns = signal.learns
        self.expect = signal.expect
        self.known: dict[pd.Timestamp, Learnt | None] = {}

    def learn(self, window: Window, before: Learnt | None) -> Learnt | None:
        if window.session not in self.known:
            self.known[window.session] = self.signal.learn(window, before)
        return self.known[window.session]


#: by market and book
LEARNT: dict[tuple[str, str], Remembered] = {}


def _tell(case: tuple[str, str, str]) -> backtest.Tell:
    """Says every tenth part of a case that is done."""
    told = set()

    def tell(day: str, share: float) -> None:
        tenth = int(share * 10)
        if tenth not in told:
            told.add(tenth)
            print(f"{' '.join(case)}: {share:.0%}, {day}", file=sys.stderr, flush=True)

    return tell


def kept() -> list[dict]:
    """The figures of every case that was run, in the order of time."""
    return [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []


def keep(row: dict) -> None:
    """Append the figures of a case, whole, whoever else is writing."""
    with KEPT.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(row, default=str) + "\n")


def is_kept(case: tuple[str, str, str], asked: list) -> bool:
    """Whether a case has been run on the same sessions and names."""
    return any(
        (r["market"], r["book"], r["rules"], r.get("asked")) == (*case, asked) for r in kept()
    )


@contextmanager
def claimed(name: str) -> Iterator[bool]:
    """Whether the case is ours: no other process has it under way."""
    with (KEPT.parent / f"study-{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False


def _windows(returns: pd.Series) -> float:
    """Share of 252-session windows with a volatility of 7 to 12.5 %; missing below two years."""
    rolling = returns.rolling(252).std().dropna() * np.sqrt(252)
    return float(rolling.between(0.07, 0.125).mean()) if len(rolling) > 252 else float("nan")


def _longest(flags: pd.Series) -> int:
    runs = flags.groupby((~flags).cumsum()).sum()
    return int(runs.max()) if len(runs) else 0


def table(rows: list[dict]) -> str:
    """All cases as Markdown, the prices of safety, and the aims that were met or not."""
    head = (
        "| market | book | rules | from | sessions × names | return | vol. | real./ex-ante | episode dd | since inc. "
        "| worst day | braked | halted | exposure | turnover | stops | names | breaches |"
    )
    said = f"{len(rows)} of {len(cases())} cases have been run, on the names and sessions they say."
    lines = [said, "", head, "|---|---|---|" + "--:|" * 15]
    lines += [_line(row) for row in rows]
    return "\n".join([*lines, "", *_prices(rows), "", *_aims(rows)])


def _line(row: dict) -> str:
    breaches = ", ".join(f"{k} {v}" for k, v in row["breaches"].items()) or "none"
    cells = (
        f"{row['first']} | {row['sessions']} × {row['names']} | {row['return_annual']:+.1%} | {row['volatility_annual']:.1%} "
        f"| {row['realised_over_ex_ante']:.2f} | {row['drawdown_episode']:.1%} "
        f"| {row['drawdown']:.1%} | {row['worst_day']:.1%} | {row['braked_sessions']} "
        f"| {row['halted_sessions']} | {row['exposure_mean']:.0%} | {row['turnover_daily']:.1%} "
        f"| {row['stops']} | {row['names_max']} | {breaches} |"
    )
    return f"| {row['market']} | {row['book']} | {row['rules']} | {cells}"


def _prices(rows: list[dict]) -> list[str]:
    """What the rules cost a year beside the same book without them, with a 95 % interval."""
    found = []
    for row in rows:
        base = [
            other
            for other in rows
            if (other["market"], other["book"], other["first"], other["last"])
            == (row["market"], row["book"], row["first"], row["last"])
            and other["rules"] == "no brake, no stops"
        ]
        if not base or row is base[0]:
            continue
        gap = summary.return_difference(pd.Series(base[0]["returns"]), pd.Series(row["returns"]))
        found.append(
            f"- {row['market']}, {row['book']}: {row['rules']} cost {gap[0]:+.1%} a year "
            f"({gap[1]:+.1%} to {gap[2]:+.1%})"
        )
    return found


def _aims(rows: list[dict]) -> list[str]:
    found = []
    for row in rows:
        if row["rules"] != "all rules":
            continue
        aims = {
            "realised/ex-ante 0.95-1.08": RATIO[0] <= row["realised_over_ex_ante"] <= RATIO[1],
            "volatility 9-11 %": VOLATILITY[0] <= row["volatility_annual"] <= VOLATILITY[1],
            "episode within 10 % and a day's gap": row["drawdown_episode"] <= EPISODE + row["gap"],
            "B < 0.2 never longer than 21": row["low_budget_run"] <= 21,
            "no breach of a hard limit": not row["breaches"],
        }
        if row["windows"] == row["windows"]:
            aims["volatility 7-12.5 % in nine of ten windows"] = row["windows"] >= 0.9
        said = "; ".join(f"{aim} {'met' if met else '**not met**'}" for aim, met in aims.items())
        found.append(f"- {row['market']}, {row['book']}: {said}")
    return found


def main() -> None:
    """Run what is asked for, and write the table of everything that is kept."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--only", nargs="*", help="cases by name; default: all")
    asked.add_argument("--from", dest="first", default="2014-03-03")
    asked.add_argument("--to", dest="last", default="2018-02-07")
    asked.add_argument("--names", type=int, default=300)
    asked.add_argument("--again", action="store_true", help="also what is kept already")
    asked.add_argument("--table", action="store_true", help="only write the table of what is kept")
    given = asked.parse_args()
    KEPT.parent.mkdir(exist_ok=True)
    span = [given.first, given.last, given.names]
    for name, case in cases().items():
        if given.table or (given.only and name not in given.only):
            continue
        with claimed(name) as ours:
            if not ours or (not given.again and is_kept(case, span)):
                continue
            keep(run(case, *span) | {"asked": span})
    newest = {(r["market"], r["book"], r["rules"]): r for r in kept()}
    made = table([newest[case] for case in cases().values() if case in newest])
    print(made)
    if given.table:
        readme.write("study", made)


if __name__ == "__main__":
    main()
