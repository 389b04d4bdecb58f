"""All that a desk will ever be told, each row with the session at which it was, and its reading.

`World` is the whole; `read` is what one session may see of it. The canary makes two worlds that are
one up to a session and differ after it (`poisoned`), and looks for anybody who can tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from quant50lib.services import adjust, universe
from quant50lib.services.panel import Panel
from quant50lib.utils import dates

BAR = ["symbol", "session"]
#: names that have no bar yet: a future may list them
UNBORN = ("ZZZA", "ZZZB")
#: of the noise: a price is multiplied by up to e^2, a volume by up to e^5, either way
JUMP, DAILY, TRADE = 2.0, 0.2, 5.0
GONE, HOLED, LEFT, REVISED = 0.2, 0.3, 0.4, 0.05
#: (new, old) shares of splits to come: their factors are powers of two, so that scaling is exact
SPLITS = ((2.0, 1.0), (4.0, 1.0), (1.0, 2.0), (1.0, 4.0))


@dataclass(frozen=True)
class World:
    """Bars, actions and membership; `known_at` is the session at whose close a row is known."""

    bars: pd.DataFrame  # symbol, session, open, high, low, close, volume, known_at
    actions: pd.DataFrame  # symbol, type, ex_date, new_rate, old_rate, cash, known_at
    membership: pd.DataFrame  # symbol, first, last; NaT: open
    sectors: pd.Series  # group by symbol: the names of the desk

    @property
    def sessions(self) -> pd.DatetimeIndex:
        return dates.sessions_between(self.bars["session"].min(), self.bars["session"].max())


def world(
    bars: pd.DataFrame, actions: pd.DataFrame, membership: pd.DataFrame, sectors: pd.Series
) -> World:
    """A world of what is in force now: every row known at its own session, two names unborn."""
    unborn = pd.Series("Unborn", index=pd.Index(UNBORN, dtype="str"))
    everyone = pd.concat([sectors, unborn.rename(sectors.name)])
    always = universe.intervals((name, None, None) for name in UNBORN)
    return World(
        bars.assign(known_at=bars["session"]),
        actions.assign(known_at=actions["ex_date"]),
        pd.concat([membership, always], ignore_index=True),
        everyone[~everyone.index.duplicated()],
    )


def read(world: World, run_date: pd.Timestamp, min_history_sessions: int) -> Panel:
    """What was known at the close of a session, adjusted as of it."""
    known = world.bars[(world.bars["known_at"] <= run_date) & (world.bars["session"] <= run_date)]
    newest = known.sort_values([*BAR, "known_at"], kind="stable").drop_duplicates(BAR, keep="last")
    told = world.actions["known_at"] <= run_date
    actions = world.actions[told & (world.actions["ex_date"] <= run_date)]
    panel = adjust.to_panel(newest, actions, run_date)
    return universe.admit(panel, world.membership, min_history_sessions)


def cut(world: World, session: pd.Timestamp) -> World:
    """The world as if it ended with a session: nothing later, nothing learnt later."""
    members = world.membership[~(world.membership["first"] > session)]
    left = members["last"].mask(members["last"] > session)
    return replace(
        world,
        bars=world.bars[(world.bars["session"] <= session) & (world.bars["known_at"] <= session)],
        actions=world.actions[
            (world.actions["ex_date"] <= session) & (world.actions["known_at"] <= session)
        ],
        membership=members.assign(last=left),
    )


def halted(world: World, session: pd.Timestamp, benchmark: str, rng: np.random.Generator) -> World:
    """The world with some names, the benchmark apart, silent for three sessions up to one.

    A gap that begins before the session and ends after it is where a fill backward shows.
    """
    names = pd.Index(world.bars["symbol"].unique()).drop(benchmark)
    silent = names[rng.random(len(names)) < 0.1]
    first = dates.shift(session, -2)
    hidden = world.bars["symbol"].isin(silent) & world.bars["session"].between(first, session)
    return replace(world, bars=world.bars[~hidden])


# ---- noise ---------------------------------------------------------------------------------------


def poisoned(
    world: World, session: pd.Timestamp, benchmark: str, sessions: int, rng: np.random.Generator
) -> World:
    """The world up to a session, and noise for some sessions after it.

    Prices jump and stagger, names vanish, pause and are listed, leave the universe and enter it, split
    and pay. The actions to come scale earlier prices by powers of two, which is exact in floating
    point: what is free of scale must stay the same to the last bit, and what is not has seen them.
    """
    past = cut(world, session)
    later = dates.sessions_between(dates.shift(session, 1), dates.shift(session, sessions))
    bars = pd.concat([past.bars, _noise(past.bars, later, benchmark, rng)], ignore_index=True)
    names = pd.Index(past.bars["symbol"].unique()).drop(benchmark)
    return replace(
        past,
        bars=bars,
        actions=pd.concat([past.actions, _actions(bars, names, later, rng)], ignore_index=True),
        membership=_membership(past.membership, later, benchmark, rng),
    )


def revised(world: World, session: pd.Timestamp, rng: np.random.Generator) -> World:
    """The world in which some bars up to a session are said anew after it, and a split is found."""
    later = dates.shift(session, 1)
    past = world.bars[world.bars["session"] <= session]
    again = past[(rng.random(len(past)) < REVISED) | (past["session"] == session)]
    prices = [*adjust.PRICES]
    again = again.assign(
        **{name: again[name] * np.exp(rng.normal(0, DAILY)) for name in prices}, known_at=later
    )
    found = _action(str(past["symbol"].iloc[0]), "forward_split", session, (2.0, 1.0), np.nan)
    actions = pd.concat([world.actions, pd.DataFrame([found | {"known_at": later}])])
    return replace(
        world,
        bars=pd.concat([world.bars, again], ignore_index=True),
        actions=actions.reset_index(drop=True),
    )


def _noise(
    past: pd.DataFrame, later: pd.DatetimeIndex, benchmark: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Bars of the sessions to come; the benchmark has all of them."""
    newest = past.sort_values("session").drop_duplicates("symbol", keep="last")
    names = [*newest["symbol"], *UNBORN]
    shape = len(later), len(names)
    level = np.array([*newest["close"], *rng.uniform(5, 500, len(UNBORN))])
    level = level * np.exp(rng.uniform(-JUMP, JUMP, shape[1]))
    close = level * np.exp(np.cumsum(rng.normal(0, DAILY, shape), axis=0))
    opening = close * np.exp(rng.normal(0, DAILY, shape))
    volume = np.array([*newest["volume"], *rng.uniform(1e5, 1e7, len(UNBORN))])
    there = rng.random(shape) > HOLED * (rng.random(shape[1]) < 0.5)
    there &= rng.random(shape[1]) > GONE
    there[:, rng.integers(shape[1] - len(UNBORN))] = False  # one at least is gone
    there[:, [names.index(benchmark), *range(shape[1] - len(UNBORN), shape[1])]] = True
    wide = {
        "open": opening,
        "high": np.maximum(opening, close) * 1.01,
        "low": np.minimum(opening, close) * 0.99,
        "close": close,
        "volume": np.round(volume * np.exp(rng.uniform(-TRADE, TRADE, shape))) + 1,
    }
    row, column = np.nonzero(there)
    made = {name: values[there] for name, values in wide.items()}
    days = {name: later[row] for name in ("session", "known_at")}
    return pd.DataFrame({"symbol": np.array(names)[column], **days, **made}).astype(
        {"symbol": past["symbol"].dtype, "session": "datetime64[us]", "known_at": "datetime64[us]"}
    )


def _actions(
    bars: pd.DataFrame, names: pd.Index, later: pd.DatetimeIndex, rng: np.random.Generator
) -> pd.DataFrame:
    """Splits, and dividends of half the price, of some names after the first session to come."""
    closes = bars.pivot(index="session", columns="symbol", values="close").ffill()
    found = []
    for name in names[rng.random(len(names)) < 0.6]:
        day = later[rng.integers(1, len(later))]
        if rng.random() < 0.5:
            split = SPLITS[rng.integers(len(SPLITS))]
            kind = "forward_split" if split[0] > split[1] else "reverse_split"
            found.append(_action(name, kind, day, split, np.nan))
            continue
        before = closes.index[closes.index < day][-1]
        half = closes.at[before, name] / 2
        found.append(_action(name, "cash_dividend", day, (np.nan, np.nan), half))
    return pd.DataFrame(found)


def _action(
    symbol: str, kind: str, day: pd.Timestamp, split: tuple[float, float], cash: float
) -> dict[str, object]:
    return {
        "symbol": symbol,
        "type": kind,
        "ex_date": day,
        "new_rate": split[0],
        "old_rate": split[1],
        "cash": cash,
        "known_at": day,
    }


def _membership(
    past: pd.DataFrame, later: pd.DatetimeIndex, benchmark: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Some members leave after the session, and who had left comes back."""
    leaves = past["last"].isna() & (past["symbol"] != benchmark)
    leaves &= rng.random(len(past)) < LEFT
    ended = past["last"].mask(leaves, later[rng.integers(len(later))])
    gone = past.loc[past["last"].notna(), "symbol"].unique()
    back = universe.intervals((name, later[0], None) for name in gone if rng.random() < LEFT)
    return pd.concat([past.assign(last=ended), back], ignore_index=True)
