"""Data beside its peers: wire to store, as-of panels, factors, and the size of the store.

``python benchmarks/data.py [--data FOLDER] [--repeats N] [--qlib PYTHON]`` reads
``us_daily_2013_2018.parquet`` (527 names, 1,259 sessions) and prints JSON: medians of pairs measured
in turn in one process, so that a busy machine slows both sides.

- Wire to store: a server on loopback, a process of its own, hands out ready-made pages in Alpaca's
  form. Ours is the ingest that the desk runs, bookkeeping included; the peer is alpaca-py's own
  `.df` and one INSERT of the frame into DuckDB.
- As-of panel: 300 names, every session, as known at an instant, adjusted closes as a wide matrix, on
  an opened market; the peer reads the same names' raw closes from Parquet and pivots them.
- Factors: 14 over 800 names and the sessions of 2007 to 2020, from raw bars in the store to one
  array. qlib publishes 7.4 s for a task of that shape with its caches filled (its own machine). With
  `--qlib`, an interpreter that has pyqlib computes the same formulas from the same bars.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import numpy as np
import orjson
import pandas as pd
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame

from quant50lib.adapters.market import connect, ingest
from quant50lib.adapters.reading import Market
from quant50lib.adapters.store import Store
from quant50lib.services import features
from quant50lib.settings import DataSettings, FeatureSettings
from quant50lib.utils import dates

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
PANEL = "us_daily_2013_2018.parquet"
FIRST, LAST = dates.as_session("2013-02-08"), dates.as_session("2018-02-07")
KNOWN_AT = dates.scheduled(LAST)
SETTINGS = DataSettings(vendor_sample=0)
KEYS = "PKBENCH", "secret"
NAMES_OF_PANEL = 300
FACTORS = (
    "ret_1 ret_5 ret_21 mom_12_1 mom_6_1 high_52w vol_21 vol_63 max_21 volume_trend_5_63 "
    "overnight_21 intraday_21 log_dollar_volume_21 amihud_21"
).split()


def load(folder: Path) -> pd.DataFrame:
    """Real bars: symbol, session, open, high, low, close, volume."""
    bars = pd.read_parquet(folder / PANEL).rename(columns={"date": "session"})
    bars["session"] = pd.to_datetime(bars["session"]).astype("datetime64[us]")
    return bars.sort_values(["symbol", "session"], ignore_index=True)


# -- the wire -----------------------------------------------------------------------------------


def serve(folder: Path, ready: Connection) -> None:
    """Hand out bars as Alpaca would; every row is ready-made, only pages are put together."""
    rows, series = rendered(load(folder))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = answer(parts.path, query, rows, series)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.send(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


Rows = dict[str, tuple[list[str], list[bytes]]]


def rendered(bars: pd.DataFrame) -> tuple[Rows, list[dict[str, Any]]]:
    """Each name's days and bars as JSON, and the list of assets."""
    rows: Rows = {}
    stamps = {s: midnight(s) for s in bars["session"].unique()}
    for symbol, own in bars.groupby("symbol", sort=True):
        moments = [stamps[session] for session in own["session"]]
        values = zip(
            moments, *(own[n].tolist() for n in ("open", "high", "low", "close", "volume"))
        )
        made = [
            orjson.dumps({"t": t, "o": o, "h": h, "l": lo, "c": c, "v": v, "n": 1000, "vw": c})
            for t, o, h, lo, c, v in values
        ]
        rows[str(symbol)] = [moment[:10] for moment in moments], made
    traits = {"name": "", "exchange": "NYSE", "status": "active", "tradable": True}
    return rows, [{"symbol": symbol, "fractionable": True, **traits} for symbol in rows]


def midnight(session: pd.Timestamp) -> str:
    moment = pd.Timestamp(session).tz_localize(dates.NEW_YORK).tz_convert("UTC")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def answer(path: str, query: dict[str, str], rows: Rows, assets: list[dict[str, Any]]) -> bytes:
    """The body of a reply."""
    if path != "/v2/stocks/bars":
        nothing = {"corporate_actions": {}, "next_page_token": None}
        return orjson.dumps(assets if path == "/v2/assets" else nothing)
    begin, end = query["start"][:10], query["end"][:10]
    left, offset = int(query["limit"]), int(query.get("page_token", "0"))
    parts, more = [], "null"
    for symbol in query["symbols"].split(","):
        days, made = rows[symbol]
        a, b = bisect_left(days, begin), bisect_right(days, end)
        taken = made[a + offset : b][:left]
        if taken:
            parts.append(b'"%s":[%s]' % (symbol.encode(), b",".join(taken)))
        offset = max(offset - (b - a), 0)
        left -= len(taken)
        if left == 0:
            more = f'"{int(query.get("page_token", "0")) + int(query["limit"])}"'
            break
    return b'{"bars":{%s},"next_page_token":%s}' % (b",".join(parts), more.encode())


def ours_to_store(url: str, path: Path, symbols: list[str], until: pd.Timestamp) -> int:
    """Rows stored by the desk's own ingest."""
    market = connect(url, url, *KEYS, SETTINGS)
    done = ingest(
        market, Store(path), symbols, until, dates.scheduled(until), SETTINGS, quiet, FIRST
    )
    return done.new


def theirs_to_store(url: str, path: Path, symbols: list[str]) -> int:
    """Rows stored by way of alpaca-py's frame."""
    client = StockHistoricalDataClient(*KEYS, url_override=url)
    request = StockBarsRequest(
        symbol_or_symbols=symbols,
        timeframe=TimeFrame.Day,
        start=FIRST.tz_localize(dates.NEW_YORK).to_pydatetime(),
        end=LAST.tz_localize(dates.NEW_YORK).to_pydatetime(),
        adjustment=Adjustment.RAW,
        feed=DataFeed.SIP,
    )
    frame = client.get_stock_bars(request).df.reset_index()
    with duckdb.connect(str(path)) as connection:
        connection.register("frame", frame)
        connection.execute("CREATE TABLE bars AS SELECT * FROM frame LIMIT 0")
        connection.execute("INSERT INTO bars SELECT * FROM frame")
    return len(frame)


def quiet(doing: str, share: float) -> None:
    """Nobody watches."""


def wire(url: str, folder: Path, symbols: list[str], repeats: int) -> dict[str, float]:
    """Rows a second of both ways, and the size of the store."""
    pairs = []
    for n in range(repeats):
        own, other = folder / f"ours{n}.duckdb", folder / f"theirs{n}.duckdb"
        mine = timed(lambda: ours_to_store(url, own, symbols, LAST))
        peers = timed(lambda: theirs_to_store(url, other, symbols))
        assert mine[1] == peers[1], (mine, peers)
        pairs.append((mine[1] / mine[0], peers[1] / peers[0]))
    rows = mine[1]
    return {
        "wire to store (rows a second)": statistics.median(a for a, _ in pairs),
        "wire to store by alpaca-py's .df and pandas (rows a second)": statistics.median(
            b for _, b in pairs
        ),
        "wire to store, the first over the second (ratio)": statistics.median(
            a / b for a, b in pairs
        ),
        "store (MB a million bars)": own.stat().st_size / rows,
    }


def daily(url: str, folder: Path, symbols: list[str], repeats: int) -> dict[str, float]:
    """Seconds of the ingest of one session into a store that holds all before it."""
    eve = dates.shift(LAST, -1)
    seconds = []
    for n in range(repeats):
        path = folder / f"daily{n}.duckdb"
        ours_to_store(url, path, symbols, eve)
        seconds.append(timed(lambda: ours_to_store(url, path, symbols, LAST))[0])
    return {f"daily ingest of {len(symbols)} names, warm store": statistics.median(seconds)}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds, and what came of it."""
    begun = time.perf_counter()
    found = work()
    return time.perf_counter() - begun, found


# -- panels and factors -------------------------------------------------------------------------


def panel(store: Path, data: Path, symbols: list[str], repeats: int) -> dict[str, float]:
    """Milliseconds of a wide matrix of adjusted closes, and of a pivot of raw ones."""
    names = symbols[:NAMES_OF_PANEL]

    def pivot() -> pd.DataFrame:
        columns = ["symbol", "date", "close"]
        long = pd.read_parquet(data / PANEL, columns=columns, filters=[("symbol", "in", names)])
        return long.pivot(index="date", columns="symbol", values="close")

    pairs = []
    with Market(store) as market:
        for _ in range(4 * repeats + 1):
            ours = timed(lambda: market.closes(LAST, KNOWN_AT, 1260, names))
            theirs = timed(pivot)
            np.testing.assert_array_equal(ours[1].to_numpy(), theirs[1].to_numpy())
            pairs.append((1000 * ours[0], 1000 * theirs[0]))
    ours_ms, theirs_ms = (statistics.median(column) for column in zip(*pairs[1:]))
    return {
        "as-of panel of 300 x 1,259 adjusted closes (ms)": ours_ms,
        "pandas pivot of the raw closes from Parquet (ms)": theirs_ms,
    }


def synthetic(n_symbols: int = 800) -> pd.DataFrame:
    """Bars of the shape of qlib's data task, from a seed; no number in them means anything."""
    sessions = dates.sessions_between("2007-01-01", "2020-12-31")
    rng = np.random.default_rng(50)
    shape = len(sessions), n_symbols
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    opening = close * np.exp(rng.normal(0, 0.005, shape))
    high = np.maximum(close, opening) * np.exp(np.abs(rng.normal(0, 0.005, shape)))
    low = np.minimum(close, opening) * np.exp(-np.abs(rng.normal(0, 0.005, shape)))
    fields = {"open": opening, "high": high, "low": low, "close": close}
    prices = {name: values.T.ravel().round(2) for name, values in fields.items()}
    volume = np.exp(rng.normal(13, 1, shape)).T.ravel().round()
    symbols = np.repeat([f"S{n:04d}" for n in range(n_symbols)], len(sessions))
    days = np.tile(sessions.to_numpy(), n_symbols)
    return pd.DataFrame({"symbol": symbols, "session": days, **prices, "volume": volume})


def dataset(store: Path, last: pd.Timestamp) -> tuple[np.ndarray, pd.DataFrame]:
    """All factors of all names and sessions as one array, and those of the last session."""
    with Market(store) as market:
        known = market.panel(last)
    found = features.compute(known, FeatureSettings(names=tuple(FACTORS)), known.symbols[0])
    array = np.stack([found[name].to_numpy() for name in FACTORS], axis=-1)
    return array, pd.DataFrame({name: found[name].iloc[-1] for name in FACTORS})


def factors(folder: Path, repeats: int, qlib: str | None) -> dict[str, float]:
    """Seconds from raw bars in a store to the array, and qlib's."""
    bars = synthetic()
    store, last = Store(folder / "factors.duckdb"), pd.Timestamp(bars["session"].max())
    store.append_bars(bars, dates.scheduled(last))
    done = [timed(lambda: dataset(store.path, last)) for _ in range(repeats)]
    task = "14 factors, 800 names, 2007-2020"
    figures = {f"{task}, from the store": statistics.median(seconds for seconds, _ in done)}
    if qlib:
        bars.to_parquet(folder / "factors.parquet", index=False)
        command = [qlib, str(HERE / "qlib_data.py"), str(folder / "factors.parquet")]
        reply = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        theirs = json.loads(reply.stdout.splitlines()[-1])
        agree(done[-1][1][1], pd.DataFrame.from_dict(theirs["last"], orient="index"))
        figures[f"{task}, pyqlib on one core, first call"] = theirs["seconds"][0]
        figures[f"{task}, pyqlib on one core, again from memory"] = theirs["seconds"][1]
    return figures


def agree(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Both sides have computed the same; qlib stores single precision."""
    for name in FACTORS:
        error = (theirs[name].reindex(ours.index) - ours[name]).abs().median()
        size = ours[name].abs().median()
        print(f"{name}: median difference {error / size:.1e} of its size", file=sys.stderr)
        assert error < 1e-2 * size, name


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--qlib", help="an interpreter that has pyqlib")
    asked = parser.parse_args()
    symbols = sorted(load(asked.data)["symbol"].unique())
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(asked.data, there))
    server.start()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder, url = Path(name), here.recv()
            figures = wire(url, folder, symbols, asked.repeats)
            figures |= daily(url, folder, symbols[:NAMES_OF_PANEL], asked.repeats)
            figures |= panel(folder / "ours0.duckdb", asked.data, symbols, asked.repeats)
            figures |= factors(folder, asked.repeats, asked.qlib)
    finally:
        server.kill()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
