"""Back-tests of the desk: the markets they can run on, and the folder that keeps a result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.adapters import universe
from quant50lib.contracts import TIME
from quant50lib.errors import SettingsError
from quant50lib.services import backtest, backtest_summary, report
from quant50lib.services import universe as membership
from quant50lib.services.backtest import Result
from quant50lib.services.backtest_market import Market
from quant50lib.services.backtest_signals import SIGNALS
from quant50lib.settings import Settings
from quant50lib.simulator import market as simulated
from quant50lib.simulator.demo import DemoMarket
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home

SIMULATED, REAL = "SIMULATED prices", "real prices"
#: under the desk's home, and the headline in each folder of it
FOLDER, SAID = "backtests", "summary.json"
#: beta and sector weights at each close
EXPOSED = "exposures.parquet"
#: frames of a result that are kept, one Parquet each
KEPT = ("daily", "holdings", "targets", "orders", "fills", "breaches", "events", "equity")


def market_of(settings: Settings, last: pd.Timestamp) -> Market:
    """The market of the settings up to a session: the demo's, or that of a Parquet of real bars.

    Raises
    ------
    ContractError
        The file of bars or of actions cannot be read.
    SettingsError
        No name of the universe has a bar.
    """
    names = universe.load(settings.universe.file, settings.universe.benchmark)
    listings = [simulated.Listing(**row) for row in names.to_dict("records")]
    made, label = _made(settings, listings), REAL
    if made.simulated:
        made.extend(last.date())
        label = SIMULATED
    bars = bars_of(made, names["symbol"].tolist(), last)
    actions = actions_frame(made.actions())
    none = membership.renames([])
    members = universe.membership(settings.universe, names, none)
    return Market.of(bars, actions, names, label, members)


def _made(settings: Settings, listings: list[simulated.Listing]) -> simulated.Market:
    own = settings.simulator
    if own.market == "demo":
        return DemoMarket(own.seed, own.first_session, listings, own.planted_ic)
    known = {listing.symbol: listing for listing in listings}
    return simulated.FileMarket(Path(own.market), own.actions, known)


def bars_of(made: simulated.Market, symbols: list[str], last: pd.Timestamp) -> pd.DataFrame:
    """Bars of a market in the store's form, up to a session."""
    parts = [_series(s, found) for s in symbols if (found := made.series(s)) is not None]
    if not parts:
        raise SettingsError("no name of the universe has a bar: name another universe")
    bars = pd.concat(parts, ignore_index=True)
    return bars[bars["session"] <= last].reset_index(drop=True)


def _series(symbol: str, series: simulated.Series) -> pd.DataFrame:
    prices = {name: getattr(series, name) for name in (*simulated.PRICES, "volume")}
    days = series.day.astype(TIME)
    return pd.DataFrame({"symbol": symbol, "session": days, **prices}).astype({"volume": float})


def actions_frame(actions: list[simulated.Action]) -> pd.DataFrame:
    """Corporate actions in the store's form."""
    rows = [
        {
            "symbol": action.symbol,
            "type": action.kind,
            "ex_date": pd.Timestamp(action.ex_date),
            "new_rate": float(action.new) if _has_rate(action) else np.nan,
            "old_rate": float(action.old) if _has_rate(action) else np.nan,
            "cash": float(action.cash) if action.cash else np.nan,
            "other_symbol": action.other_symbol,
        }
        for action in actions
    ]
    columns = ["symbol", "type", "ex_date", "new_rate", "old_rate", "cash", "other_symbol"]
    kinds = {"symbol": "str", "ex_date": TIME, "other_symbol": "str"}
    return pd.DataFrame(rows, columns=columns).astype(kinds)


def _has_rate(action: simulated.Action) -> bool:
    return action.is_split or bool(action.other_symbol)


@dataclass(frozen=True)
class Asked:
    """What a back-test is asked for: dates as text, a book, and which rules act."""

    first: str
    last: str
    book: str
    brake: bool = True
    stops: bool = True

    @property
    def name(self) -> str:
        """Of the folder that keeps the result."""
        off = ("" if self.brake else "-no-brake") + ("" if self.stops else "-no-stops")
        return f"{self.book}{off}-{self.first}-{self.last}"


#: of a notebook on a desk that has no result yet
FIRST_LOOK = Asked("2025-01-02", "2025-04-30", "zero")


def run(
    home: Home, settings: Settings, asked: Asked, tell: backtest.Tell
) -> tuple[dict[str, Any], Path]:
    """Run a back-test and keep it; returns its summary and its folder.

    Raises
    ------
    SettingsError
        There is no such book, or no session between the dates.
    """
    if asked.book not in SIGNALS:
        raise SettingsError(f"--book {asked.book!r} is none of {', '.join(SIGNALS)}")
    sessions = dates.sessions_between(asked.first, asked.last)
    if not len(sessions):
        raise SettingsError(f"there is no session from {asked.first} to {asked.last}")
    market = market_of(settings, sessions[-1])
    rules = backtest.without(settings, brake=not asked.brake, stops=not asked.stops)
    result = backtest.run(market, asked.book, rules, sessions[0], sessions[-1], tell=tell)
    others = backtest_summary.benchmarks(market, result)
    said = {"book": asked.book, **backtest_summary.summary(result)}
    folder = save(home, asked.name, result, others, said)
    exposed = backtest_summary.exposures(market, result)
    exposed.reset_index().to_parquet(folder / EXPOSED, index=False)
    return said, folder


def save(home: Home, name: str, result: Result, others: pd.DataFrame, said: dict[str, Any]) -> Path:
    """Keep a result under the desk's home; a result of the same name gives way."""
    folder = home.root / FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    for part in KEPT:
        frame: pd.DataFrame = getattr(result, part)
        frame.reset_index(drop=part != "daily").to_parquet(folder / f"{part}.parquet", index=False)
    others.rename_axis("session").reset_index().to_parquet(folder / "benchmarks.parquet")
    (folder / "settings.json").write_text(result.settings.model_dump_json(indent=2), "utf-8")
    (folder / SAID).write_text(json.dumps(said, indent=2, default=str) + "\n", "utf-8")
    return folder


def load(folder: Path) -> tuple[Result, pd.DataFrame, dict[str, Any]]:
    """A result that was kept, the returns of its benchmarks, and what was said of it."""
    parts = {part: pd.read_parquet(folder / f"{part}.parquet") for part in KEPT}
    parts["daily"] = parts["daily"].set_index("session")
    settings = Settings.model_validate_json((folder / "settings.json").read_text("utf-8"))
    said = json.loads((folder / SAID).read_text("utf-8"))
    others = pd.read_parquet(folder / "benchmarks.parquet").set_index("session")
    return Result(**parts, label=said["market"], settings=settings), others, said


def newest(home: Home) -> Path | None:
    """The folder of the result that was kept last; None before the first."""
    found = sorted((home.root / FOLDER).glob(f"*/{SAID}"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None


def exposures(folder: Path) -> pd.DataFrame:
    """Beta and sector weights of a result that was kept, by session."""
    return pd.read_parquet(folder / EXPOSED).set_index("session")


def safety(folder: Path, book: str) -> pd.DataFrame | None:
    """What brake and stops cost, where the same book and span was kept with both and without."""
    span = folder.name[-len("2025-01-02-2025-04-30") :]
    pair = [folder.with_name(f"{book}{off}-{span}") for off in ("", "-no-brake-no-stops")]
    if not all((path / SAID).is_file() for path in pair):
        return None
    ruled, free = (load(path)[0] for path in pair)
    return backtest_summary.price_of_safety(ruled, free)


@dataclass(frozen=True)
class Kept:
    """What a notebook shows of a back-test."""

    result: Result
    others: pd.DataFrame  # returns of the benchmarks
    said: dict[str, Any]  # its summary
    exposures: pd.DataFrame
    safety: pd.DataFrame | None


def open_newest() -> Kept:
    """The newest result of the desk; one without any runs a short back-test first."""
    home = config.home()
    folder = newest(home)
    if folder is None:
        settings = config.load(home)
        fast = settings.optimize.model_copy(update={"solver": "fast"})
        quick = settings.model_copy(update={"optimize": fast})
        _, folder = run(home, quick, FIRST_LOOK, lambda doing, share: None)
    report.use_style()
    result, others, said = load(folder)
    return Kept(result, others, said, exposures(folder), safety(folder, said["book"]))
