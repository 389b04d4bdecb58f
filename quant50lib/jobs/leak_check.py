"""Run the leak canary on the desk's store or, where there is none, on the demo market.

The store is read from a copy; nothing of the desk is written. Sixty names and the sessions that the
longest feature needs are enough: a leak does not hide in the other names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from quant50lib.adapters import snapshots, universe
from quant50lib.adapters.store import Store
from quant50lib.errors import SettingsError
from quant50lib.services import features, leak, leak_world
from quant50lib.services import universe as names_service
from quant50lib.services.leak import Leak
from quant50lib.services.leak_planted import PLANTED
from quant50lib.services.leak_world import World
from quant50lib.settings import Settings
from quant50lib.simulator.demo import DemoMarket
from quant50lib.simulator.market import Action, Listing
from quant50lib.utils import dates
from quant50lib.utils.config import Home

NAMES = 60
#: sessions of rows to learn from before the first cut: notebook 04 compares trials in twelve blocks
LEARNT_SESSIONS = 130
SPLITS = ("forward_split", "reverse_split", "stock_dividend")
Tell = Callable[[str], None]


def check(
    known: World, settings: Settings, n_sessions: int = 3, tell: Tell = lambda words: None
) -> tuple[Leak, ...]:
    """Every leak of the library's pipeline, the world being cut at some sessions."""
    cuts = leak.cuts_of(known.sessions, n_sessions)
    tell(f"{_size(known)}, cut at {', '.join(str(cut.date()) for cut in cuts)}")
    pipeline = leak.library(settings, known.sectors)
    return leak.check(known, pipeline, cuts, settings.universe.benchmark)


def self_test(settings: Settings, today: pd.Timestamp) -> dict[str, tuple[Leak, ...]]:
    """What the canary sees in each planted leak, and `clean` without one, on the demo market."""
    known = demo_world(settings, dates.last_closed(today), 1)
    clean = leak.remembering(leak.library(settings, known.sectors))
    sides = leak.sides(known, leak.cuts_of(known.sessions, 1), settings.universe.benchmark, 1)
    pipelines = {name: planted.plant(clean, settings) for name, planted in PLANTED.items()}
    return {
        name: leak.compare(sides, pipeline)
        for name, pipeline in ({"clean": clean} | pipelines).items()
    }


def world_of(
    home: Home,
    settings: Settings,
    date: str | None,
    today: pd.Timestamp,
    n_sessions: int,
    tell: Tell,
) -> World:
    """The world of the desk's store or, where there is none, of the demo market.

    Parameters
    ----------
    date
        Newest session that is cut; None: of the store, or of the demo market the last closed one.
    today
        An instant, UTC.
    n_sessions
        So many sessions are to be cut.
    """
    if home.store.is_file():
        tell("the desk's store, copied")
        return _of_store(home, settings, date, n_sessions)
    tell("no store yet: the demo market")
    return demo_world(
        settings, dates.last_closed(today) if date is None else dates.as_session(date), n_sessions
    )


def lasting(settings: Settings, n_sessions: int) -> int:
    """Sessions of history that a check of n cuts needs."""
    needed = max(features.sessions_needed(settings.features), settings.data.min_history_sessions)
    ahead = 1 + settings.label.horizon_sessions + leak.STRIDE * (n_sessions - 1)
    return needed + ahead + LEARNT_SESSIONS


def demo_world(settings: Settings, last: pd.Timestamp, n_sessions: int) -> World:
    """Sixty names of the demo market up to a session."""
    chosen = _sample(universe.load(settings.universe.file, settings.universe.benchmark), settings)
    first = dates.shift(last, 1 - lasting(settings, n_sessions))
    twin = settings.simulator
    market = DemoMarket(
        twin.seed,
        str(first.date()),
        [Listing(*row) for row in chosen.itertuples(index=False, name=None)],
        twin.planted_ic,
    )
    market.extend(last.date())
    bars = pd.concat([_bars(market, symbol) for symbol in chosen["symbol"]], ignore_index=True)
    actions = pd.DataFrame([_action(a) for a in market.actions()])
    always = names_service.intervals((symbol, None, None) for symbol in chosen["symbol"])
    sectors = chosen.set_index("symbol")["sector"]
    until = actions["ex_date"] <= last
    return leak_world.world(bars[bars["session"] <= last], actions[until], always, sectors)


def _sample(names: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    step = max(1, len(names) // NAMES)
    wanted = names["symbol"].isin([*names["symbol"][::step], settings.universe.benchmark])
    return names.loc[wanted, ["symbol", "name", "sector", "kind"]]


def _bars(market: DemoMarket, symbol: str) -> pd.DataFrame:
    series = market.series(symbol)
    if series is None:
        return pd.DataFrame()
    held = asdict(series)
    session = held["day"].astype("datetime64[us]")
    values = {name: held[name].astype(float) for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame({"symbol": symbol, "session": session, **values}).astype({"symbol": "str"})


def _action(action: Action) -> dict[str, object]:
    split = action.kind in SPLITS
    return {
        "symbol": action.symbol,
        "type": action.kind,
        "ex_date": pd.Timestamp(action.ex_date).as_unit("us"),
        "new_rate": float(action.new) if split else float("nan"),
        "old_rate": float(action.old) if split else float("nan"),
        "cash": float(action.cash),
    }


def _of_store(home: Home, settings: Settings, date: str | None, n_sessions: int) -> World:
    with tempfile.TemporaryDirectory(prefix="leak-") as folder:
        original = Store(home.store, settings.data.store_wait_seconds)
        path = Path(folder) / "market.duckdb"
        snapshots.copy(original.path, path, original.opened(read_only=True))
        return _world(Store(path), settings, date, n_sessions)


def _world(store: Store, settings: Settings, date: str | None, n_sessions: int) -> World:
    newest = store.newest_sessions()
    if newest.empty:
        raise SettingsError("the store is empty: `quant50 ingest` fills it")
    last = newest.max() if date is None else dates.as_session(date)
    names = _sample(universe.of_session(settings.universe, store, last, None), settings)
    renamed = universe.changes_of_name(store, last, None)
    symbols = [*names["symbol"], *names_service.earlier_tickers(names["symbol"], renamed)]
    sessions = lasting(settings, n_sessions)
    bars = names_service.unified(
        store.bars_asof(last, None, sessions, symbols), renamed, ["session"]
    )
    actions = names_service.unified_actions(store.actions_asof(last), renamed)
    actions = actions[actions["symbol"].isin(names["symbol"])].drop(columns=["id", "other_symbol"])
    members = universe.membership(settings.universe, names, renamed)
    sectors = names.set_index("symbol")["sector"]
    known = leak_world.world(bars, actions, members, sectors)
    if len(known.sessions) < sessions:
        raise SettingsError(
            f"the store holds {len(known.sessions)} sessions up to {last.date()}, and the check "
            f"needs {sessions}: fetch more (quant50 ingest --from), or cut fewer (--sessions 1)"
        )
    return known


def _size(known: World) -> str:
    return f"{known.bars['symbol'].nunique()} names, {len(known.sessions)} sessions"
