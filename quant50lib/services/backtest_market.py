"""A market's whole past, and what of it was known at the close of a session.

Bars are raw, as traded. A panel is adjusted *as of* its session, with the corporate actions whose
ex-date had come by then, exactly as a run of that day adjusts it: quantities, entry prices and stops
would be wrong on prices that know later splits. Only a tail of the history is adjusted where no more
is asked for; adjusted prices of a session do not depend on what was loaded before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from quant50lib.contracts import TIME
from quant50lib.errors import SettingsError
from quant50lib.services import adjust, quality, universe
from quant50lib.services.adjust import Raw
from quant50lib.services.adjust_rolling import Rolling
from quant50lib.services.eligibility import LIQUIDITY_SESSIONS, Facts, median_known, reasons
from quant50lib.services.panel import Panel
from quant50lib.services.quality_past import Past
from quant50lib.settings import Settings
from quant50lib.utils.frames import TEXT

SESSIONS_PER_YEAR = 252
#: actions after which a name is no longer traded
ENDINGS = (
    "cash_merger",
    "stock_merger",
    "stock_and_cash_merger",
    "worthless_removal",
    "redemption",
)


@dataclass(frozen=True)
class Market:
    """Raw bars, corporate actions and names; `label` says what of it is simulated.

    `names` has symbol, name, sector, kind; `actions` symbol, type, ex_date, new_rate, old_rate,
    cash, other_symbol, by ex-date; `membership` symbol, first, last.
    """

    names: pd.DataFrame
    raw: Raw
    actions: pd.DataFrame
    membership: pd.DataFrame
    label: str = ""

    @classmethod
    def of(
        cls,
        bars: pd.DataFrame,
        actions: pd.DataFrame,
        names: pd.DataFrame,
        label: str = "",
        membership: pd.DataFrame | None = None,
    ) -> Market:
        """A market of long bars: symbol, session, open, high, low, close, volume.

        Names without a bar are left out. Without `membership` every name was always a member.
        """
        names = names[names["symbol"].isin(bars["symbol"].unique())].sort_values("symbol")
        symbols = sorted(names["symbol"])
        if not symbols:
            raise SettingsError("no name of the universe has a bar: name another universe")
        always = universe.intervals((symbol, pd.NaT, pd.NaT) for symbol in symbols)
        own = actions[actions["symbol"].isin(symbols)].astype({"ex_date": TIME})
        raw = adjust.arrange(bars, bars["session"].max(), symbols)
        return cls(
            names.reset_index(drop=True),
            raw._replace(symbols=pd.Index(raw.symbols, dtype=TEXT)),
            own.sort_values(["ex_date", "symbol"], kind="stable", ignore_index=True),
            always if membership is None else membership,
            label,
        )

    @property
    def sessions(self) -> pd.DatetimeIndex:
        return self.raw.sessions

    def row(self, session: pd.Timestamp) -> int:
        """The row of a session.

        Raises
        ------
        SettingsError
            The market does not hold it.
        """
        at = int(self.sessions.get_indexer([session])[0])
        if at < 0:
            first, last = self.sessions[0].date(), self.sessions[-1].date()
            raise SettingsError(f"the market holds {first} to {last}, not {session.date()}")
        return at

    @cached_property
    def sectors(self) -> pd.Series:
        """The sector of each name, in the order of the symbols."""
        found = self.names.set_index("symbol")["sector"].reindex(self.raw.symbols)
        return pd.Series(found.to_numpy(dtype=object), self.raw.symbols, dtype=object)

    @cached_property
    def counted(self) -> np.ndarray:
        """How many bars each name has before each session, (n_sessions + 1, n_symbols)."""
        zero = np.zeros((1, len(self.raw.symbols)), dtype=np.int32)
        bars = np.cumsum(~np.isnan(self.raw.fields["close"]), axis=0, dtype=np.int32)
        return np.vstack([zero, bars])

    @cached_property
    def members(self) -> np.ndarray:
        """Whether each name was a member at each session."""
        return universe.members(self.membership, self.raw.symbols, self.sessions).to_numpy()

    @cached_property
    def ended(self) -> np.ndarray:
        """From which day each name is no longer traded, (n_symbols,) datetime64[us]; NaT: never."""
        ending = self.actions[self.actions["type"].isin(ENDINGS)]
        found = np.full(len(self.raw.symbols), np.datetime64("NaT", "us"))
        found[self.raw.symbols.get_indexer(pd.Index(ending["symbol"]))] = ending["ex_date"]
        return found

    @cached_property
    def last_bar(self) -> np.ndarray:
        """The row of the newest close up to each session, (n_sessions, n_symbols); -1: none yet."""
        known = ~np.isnan(self.raw.fields["close"])
        at = np.where(known, np.arange(len(known), dtype=np.int32)[:, None], np.int32(-1))
        return np.maximum.accumulate(at, axis=0)

    def past(self, settings: Settings) -> Past:
        """The verdicts of the quality gates on every session."""
        names = self.names.sort_values("symbol")
        no_bars = pd.DataFrame(columns=["symbol", "session"])
        groups = pd.factorize(names["sector"])[0]
        return Past(quality.Scan(no_bars, self.actions, self.raw, groups, settings.data))

    def actions_between(self, after: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
        """Corporate actions with an ex-date after one day and up to another."""
        return self.actions.iloc[self._before(after) : self._before(until)]

    def by_symbol(self, values: np.ndarray) -> dict[str, float]:
        """Values (n_symbols,) by symbol."""
        return dict(zip(self._symbols, values.tolist(), strict=True))

    def places(self, symbols: Iterable[str]) -> np.ndarray:
        """The column of each symbol."""
        return np.array([self._place[symbol] for symbol in symbols], dtype=int)

    @cached_property
    def _symbols(self) -> list[str]:
        return self.raw.symbols.tolist()

    @cached_property
    def _place(self) -> dict[str, int]:
        return {symbol: n for n, symbol in enumerate(self._symbols)}

    def happening(self, after: pd.Timestamp, until: pd.Timestamp) -> list[Any]:
        """`actions_between` as rows with symbol, type, ex_date, new_rate, old_rate and cash."""
        return self._rows[self._before(after) : self._before(until)]

    @cached_property
    def _rows(self) -> list[Any]:
        return list(self.actions.itertuples(index=False))

    def _before(self, day: pd.Timestamp) -> int:
        return int(self._ex_dates.searchsorted(day.to_datetime64(), "right"))

    @cached_property
    def _ex_dates(self) -> np.ndarray:
        return self.actions["ex_date"].to_numpy()


class Names(NamedTuple):
    """The names of a day, arrays over the market's symbols: what of a Universe table decides."""

    close: np.ndarray  # of the session, as traded; NaN where there is none
    tradable: np.ndarray  # bool
    fractionable: np.ndarray  # bool
    reason: np.ndarray  # why a name may not be bought; empty where it may


@dataclass(frozen=True)
class Window:
    """What was known at the close of a session: `row` of the market, no further back than `first`."""

    market: Market
    row: int
    first: int  # of the history that a run of that day would load
    settings: Settings
    rolling: Rolling | None = None  # of the market, by whoever goes from session to session

    @classmethod
    def at(
        cls, market: Market, row: int, settings: Settings, rolling: Rolling | None = None
    ) -> Window:
        """The window of a run: `data.history_years` up to the session."""
        history = settings.data.history_years * SESSIONS_PER_YEAR
        return cls(market, row, max(0, row + 1 - history), settings, rolling)

    @property
    def session(self) -> pd.Timestamp:
        return self.market.sessions[self.row]

    @property
    def benchmark(self) -> str:
        return self.settings.universe.benchmark

    def panel(self, sessions: int | None = None) -> Panel:
        """Total-return prices as of the session: the last `sessions` of the history, or all of it."""
        begin = self.first if sessions is None else max(self.first, self.row + 1 - sessions)
        panel = self._adjusted(begin)
        return replace(panel, admitted=self._admitted(begin, panel))

    def _adjusted(self, begin: int) -> Panel:
        if self.rolling is not None:
            return self.rolling.panel(begin, self.row)
        raw, rows = self.market.raw, slice(begin, self.row + 1)
        fields = {name: values[rows] for name, values in raw.fields.items()}
        part = Raw(raw.sessions[rows], raw.symbols, fields, raw.present[rows])
        eve = raw.sessions[begin] - universe.ONE_DAY
        return adjust.panel_of(part, self.market.actions_between(eve, self.session))

    def _admitted(self, begin: int, panel: Panel) -> pd.DataFrame:
        """As `universe.admit` counts in the whole of the history."""
        enough = self.market.counted[self.first] + self.settings.data.min_history_sessions
        inside = self.market.counted[begin + 1 : self.row + 2] >= enough
        inside &= self.market.members[begin : self.row + 1]
        return pd.DataFrame(inside, index=panel.sessions, columns=panel.symbols, copy=False)

    def names(self, gates: np.ndarray) -> Names:
        """The names of the day by the rules of `data.day_universe`.

        Parameters
        ----------
        gates : array of str, (n_symbols,)
            Of `quality_past.Past.gates`.
        """
        market, own = self.market, self.settings.data
        since = max(self.first, self.row + 1 - own.quarantine_sessions)
        active = self._active()
        bars = market.counted[self.row + 1] - market.counted[self.first]
        recent = market.counted[self.row + 1] > market.counted[since]
        facts = Facts(
            listed=recent & active,
            tradable=active,
            bars=bars,
            admitted=market.members[self.row] & (bars >= own.min_history_sessions),
            price=self.closes,
            dollars=median_known(self._dollars()),
        )
        why = reasons(facts, gates, own, self.settings.features)
        close = market.raw.fields["close"][self.row]
        return Names(np.where(close > 0, close, np.nan), why == "", active, why)

    def _active(self) -> np.ndarray:
        """Which names a broker would list: from the first bar until an action ends it."""
        gone = self.market.ended <= self.session.to_datetime64()
        return (self.market.counted[self.row + 1] > 0) & ~gone

    def _dollars(self) -> np.ndarray:
        fields = self.market.raw.fields
        rows = slice(max(self.first, self.row + 1 - LIQUIDITY_SESSIONS), self.row + 1)
        return fields["close"][rows] * fields["volume"][rows]

    @cached_property
    def closes(self) -> np.ndarray:
        """The last close known of each name, as traded, (n_symbols,)."""
        at = self.market.last_bar[self.row]
        known = self.market.raw.fields["close"][at, np.arange(len(at))]
        return np.where(at >= self.first, known, np.nan)
