"""Recall and false alarms of the quality gates on five years of real bars, judged point in time.

``python benchmarks/quality.py [--data FOLDER] [--sample N] [--seed S]`` reads
``us_daily_2013_2018.parquet``, ``corporate_actions.csv``, ``sectors.csv`` and ``known_defects.csv``.
Every hit carries the session whose bar brought it to light, so that one pass gives what a daily run
would have said on every day; that this is so is checked by running the gates on some sessions with
everything later cut off. Printed are

1. recall of the listed defects by kind: on the day itself, with the next session's bar, ever; and
   whose closes were missed (where the second source errs, as with WRK, nothing can be found);
2. flags and false alarms per 10,000 rows by gate. Right are flags that are listed, and flags that
   were looked at one by one: ``quality_verdicts.csv`` holds the verdicts with their facts. Of those
   not looked at, as many are taken to be wrong as among the looked-at of the same gate;
3. the sessions on which the day as a whole stops;
4. a seeded sample of flagged rows that are not listed, with what is needed to judge them.

The thresholds were set with this file in view: its figures are those of a fit, not of a forecast.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from quant50lib.services import quality
from quant50lib.services.adjust import PRICES
from quant50lib.services.quality_prices import disordered, many
from quant50lib.services.quality_scan import Hits, Scan
from quant50lib.settings import DataSettings
from quant50lib.utils import dates

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
VERDICTS = HERE / "quality_verdicts.csv"
SETTINGS = DataSettings()
#: a close that differs by more than this from the second source counts as wrong
WRONG_CLOSE = 0.02
#: gates that are no alarm about a bar: an absent bar, or an action that is known
NO_ALARM = ("stale", "gap", "action")
TYPES = {
    "cash_dividend": "cash_dividend",
    "large_distribution": "cash_dividend",
    "spinoff_or_special_distribution": "spin_off",
    "vendor_disagreement": "spin_off",
    "share_class_dividend": "stock_dividend",
}


def load(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Bars, actions that the prices do not contain yet, and the universe with its sectors."""
    bars = pd.read_parquet(folder / "us_daily_2013_2018.parquet").rename(
        columns={"date": "session"}
    )
    bars["session"] = pd.to_datetime(bars["session"]).astype("datetime64[us]")
    universe = pd.read_csv(folder / "sectors.csv", keep_default_na=False)
    universe["sector"] = universe["gics_sector"].where(universe["gics_sector"] != "", "ETF")
    return bars, actions(pd.read_csv(folder / "corporate_actions.csv"), bars), universe


def actions(listed: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    """The list in the store's form; a spin-off's value is what its factor took off the close."""
    listed = listed[(listed["already_in_prices"] != "yes") & listed["type"].isin(TYPES)]
    listed = listed.assign(ex_date=pd.to_datetime(listed["ex_date"]).astype("datetime64[us]"))
    closes = bars[["symbol", "session", "close"]].rename(columns={"session": "ex_date"})
    listed = pd.merge_asof(
        listed.sort_values("ex_date"),
        closes.sort_values("ex_date"),
        on="ex_date",
        by="symbol",
        allow_exact_matches=False,
    )
    kind, factor = listed["type"].map(TYPES), listed["price_factor"]
    worth = (listed["close"] * (1 - factor)).where(listed["type"] != "vendor_disagreement")
    return pd.DataFrame(
        {
            "symbol": listed["symbol"],
            "type": kind,
            "ex_date": listed["ex_date"],
            "new_rate": (1 / factor).where(kind == "stock_dividend"),
            "old_rate": 1.0,
            "cash": listed["cash_amount"].where(kind == "cash_dividend", worth),
        }
    )


def flags(scan: Scan, found: dict[str, Hits]) -> pd.DataFrame:
    """Every hit as a row: gate, symbol, session, after (sessions until it was seen), detail."""
    frames = [
        pd.DataFrame(
            {
                "gate": name,
                "symbol": scan.raw.symbols[hits.cols],
                "session": scan.raw.sessions[hits.rows],
                "after": hits.seen - hits.rows,
                "detail": hits.details,
                "row": hits.rows,
                "col": hits.cols,
            }
        )
        for name, hits in found.items()
    ]
    return pd.concat([*frames, absent(scan)], ignore_index=True)


def absent(scan: Scan) -> pd.DataFrame:
    """What `stale` says on each day but the last: a name that had bars before has none today."""
    present = scan.raw.present[:-1]
    rows, cols = np.nonzero(np.maximum.accumulate(present, axis=0) & ~present)
    return pd.DataFrame(
        {
            "gate": "stale",
            "symbol": scan.raw.symbols[cols],
            "session": scan.raw.sessions[rows],
            "after": 0,
            "detail": "no bar",
            "row": rows,
            "col": cols,
        }
    )


def kinds(folder: Path) -> pd.DataFrame:
    """The listed defects: symbol, session, kind; closes apart by how far they differ."""
    listed = pd.read_csv(folder / "known_defects.csv", parse_dates=["date"])
    apart = (listed["close"] / listed["close_second_source"] - 1).abs()
    differs = listed["issue"] == "close_differs_from_second_source"
    size = np.where(
        apart > WRONG_CLOSE, f"more than {WRONG_CLOSE:.0%}", f"0.5 to {WRONG_CLOSE:.0%}"
    )
    kind = listed["issue"].mask(differs, "close differs by " + pd.Series(size, listed.index))
    session = listed["date"].astype("datetime64[us]")
    return pd.DataFrame({"symbol": listed["symbol"], "session": session, "kind": kind})


def recall(listed: pd.DataFrame, flagged: pd.DataFrame) -> pd.DataFrame:
    """Share of the listed rows that any gate flags: on the day, with the next bar, ever."""
    grouped = soonest(listed, flagged).groupby("kind")["after"]
    return pd.DataFrame(
        {
            "rows": grouped.size(),
            "same day": grouped.apply(lambda after: (after <= 0).mean()),
            "next bar": grouped.apply(lambda after: (after <= 1).mean()),
            "ever": grouped.apply(lambda after: after.notna().mean()),
        }
    )


def soonest(listed: pd.DataFrame, flagged: pd.DataFrame) -> pd.DataFrame:
    """The listed rows with the sessions until the first flag; NaN where there is none."""
    alarm = flagged[flagged["gate"] != "action"]
    first = alarm.groupby(["symbol", "session"])["after"].min().reset_index()
    return listed.merge(first, how="left", on=["symbol", "session"])


def missed(listed: pd.DataFrame, flagged: pd.DataFrame) -> str:
    """The names of which a close that differs much was not seen, with how many rows."""
    rows = soonest(listed, flagged)
    rows = rows[rows["after"].isna() & rows["kind"].str.contains("more than")]
    counts = rows["symbol"].value_counts()
    return ", ".join(f"{symbol} {count}" for symbol, count in counts.items())


def alarms(flagged: pd.DataFrame, listed: pd.DataFrame, n_rows: int) -> pd.DataFrame:
    """Flags by gate: listed, judged right, judged wrong, not looked at; and false alarms."""
    verdicts = pd.read_csv(VERDICTS, parse_dates=["session"])
    verdicts = verdicts[["symbol", "session", "verdict"]].drop_duplicates(["symbol", "session"])
    known = listed[["symbol", "session"]].drop_duplicates().assign(listed=True)
    rows = flagged[~flagged["gate"].isin(NO_ALARM)].merge(known, how="left")
    rows = rows.merge(verdicts, how="left", on=["symbol", "session"])
    rows["state"] = rows["verdict"].fillna("open").where(rows["listed"].isna(), "listed")
    table = rows.groupby(["gate", "state"]).size().unstack(fill_value=0)
    table = table.reindex(columns=["listed", "right", "wrong", "open"], fill_value=0)
    # a row that several gates flag is one alarm
    once = rows.drop_duplicates(["symbol", "session"])["state"].value_counts()
    table.loc["rows flagged by any"] = once.reindex(table.columns, fill_value=0)
    looked = table["right"] + table["wrong"]
    per = 1e4 / n_rows
    share = (table["wrong"] / looked.where(looked > 0)).fillna(1.0)
    table["flags per 10,000"] = per * table[["listed", "right", "wrong", "open"]].sum(axis=1)
    table["false per 10,000"] = per * (table["wrong"] + share * table["open"])
    return table


def stops(scan: Scan, found: dict[str, Hits]) -> pd.DataFrame:
    """Sessions on which too many bars are out of place for the day to be traded."""
    suspects = disordered(scan)
    twins = np.zeros(scan.n_sessions)
    for name in ("repeated_row", "copied_row"):
        seen, count = np.unique(found[name].seen, return_counts=True)
        twins[seen] += count
    copied = many(scan, twins)
    chosen = suspects | copied
    return pd.DataFrame(
        {"stands apart": suspects, "equal to an earlier session's": copied},
        index=scan.raw.sessions.strftime("%Y-%m-%d"),
    )[chosen]


def check_causal(frames: tuple, flagged: pd.DataFrame, sessions: pd.DatetimeIndex, n: int) -> int:
    """Run the gates as of some sessions; their hits must be those of the full pass seen by then."""
    bars, acts, universe = frames
    rng = np.random.default_rng(1)
    for session in sorted(rng.choice(np.arange(80, len(sessions)), n, replace=False)):
        scan = quality.scanned(bars, acts, universe, sessions[session], SETTINGS)
        then = flags(scan, quality.all_hits(scan))
        then = then[then["gate"] != "stale"]
        now = flagged[(flagged["row"] + flagged["after"] <= session) & (flagged["gate"] != "stale")]
        key = ["gate", "symbol", "session", "after"]
        same = then[key].sort_values(key).reset_index(drop=True)
        if not same.equals(now[key].sort_values(key).reset_index(drop=True)):
            raise SystemExit(f"the gates saw something else on {sessions[session].date()}")
    return n


def context(scan: Scan, row: int, col: int) -> str:
    """Bars around a row, the moves of its sector and of the market, and how unusual they were."""
    moves, peers = scan.moves, np.flatnonzero(scan.groups == scan.groups[col])
    lines = []
    for at in range(max(row - 2, 0), min(row + 4, scan.n_sessions)):
        prices = "  ".join(f"{scan.field(name)[at, col]:>9.4g}" for name in PRICES)
        lines.append(
            f"  {'>' if at == row else ' '} {scan.day(at)}  {prices}"
            f"  {scan.field('volume')[at, col]:>12,.0f}  return {moves.change[at, col]:+6.1%}"
            f"  sector {np.nanmedian(moves.change[at, peers]):+6.1%}"
            f"  market {np.nanmedian(moves.change[at]):+6.1%}"
            f"  volume {moves.volume[at, col]:.1f}x  scales {moves.scales[at, col]:+.0f}"
        )
    return "\n".join(lines)


def show(scan: Scan, flagged: pd.DataFrame, listed: pd.DataFrame, n: int, seed: int) -> None:
    """A seeded sample of flagged rows that are not listed."""
    rows = flagged[~flagged["gate"].isin(NO_ALARM)]
    known = listed[["symbol", "session"]].drop_duplicates().assign(listed=True)
    rows = rows.merge(known, how="left")
    rows = rows[rows["listed"].isna()]
    rows = rows.sample(min(n, len(rows)), random_state=seed).sort_values(["gate", "session"])
    for at in rows.itertuples():
        print(f"\n{at.gate} {at.symbol} {at.session.date()} (+{at.after}): {at.detail}")
        print(context(scan, at.row, at.col))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sample", type=int, default=0, help="unlisted flags to show with context")
    parser.add_argument("--seed", type=int, default=50)
    parser.add_argument("--sessions", type=int, default=6, help="sessions to run point in time")
    asked = parser.parse_args()
    frames = load(asked.data)
    bars, acts, universe = frames
    begun = time.perf_counter()
    scan = quality.scanned(bars, acts, universe, bars["session"].max(), SETTINGS)
    found = quality.all_hits(scan)
    spent = time.perf_counter() - begun
    flagged, listed = flags(scan, found), kinds(asked.data)
    done = check_causal(frames, flagged, scan.raw.sessions, asked.sessions)
    print(
        f"{len(bars):,} rows, {scan.raw.present.shape[1]} names, {scan.n_sessions} sessions; "
        f"all gates in {spent:.2f} s; equal to {done} runs with the later sessions cut off\n"
    )
    print(recall(listed, flagged).to_string(float_format="{:.1%}".format), "\n")
    print("not seen, closes that differ by more than 2%:", missed(listed, flagged), "\n")
    print(alarms(flagged, listed, len(bars)).to_string(float_format="{:.2f}".format), "\n")
    print("the day stops:", stops(scan, found).to_string(), sep="\n")
    if asked.sample:
        show(scan, flagged, listed, asked.sample, asked.seed)


if __name__ == "__main__":
    main()
