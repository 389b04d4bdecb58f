"""A market's whole past, and what of it was known at the close of a session.

Bars are raw, as traded. A panel is adjusted *as of* its session, with the corporate actions whose
ex-date had come by then, exactly as a run of that day adjusts it: quantities, entry prices and stops
would be wrong on prices that know later splits. Only a tail of the history is adjusted where no more
is asked for; adjusted prices of a session do not depend on what was loaded before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from quant50lib.contracts import TIME
from quant50lib.errors import SettingsError
from quant50lib.services import adjust, data, quality, universe
from quant50lib.services.adjust import Raw
from quant50lib.services.panel import Panel
from quant50lib.services.quality_past import Past
from quant50lib.settings import Settings
from quant50lib.utils import dates

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
    cash, by ex-date; `membership` symbol, first, last.
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
        symbols = names["symbol"].tolist()
        if not symbols:
            raise SettingsError("no name of the universe has a bar: name another universe")
        always = universe.intervals((symbol, pd.NaT, pd.NaT) for symbol in symbols)
        own = actions[actions["symbol"].isin(symbols)].astype({"ex_date": TIME})
        return cls(
            names.reset_index(drop=True),
            adjust.arrange(bars, bars["session"].max(), symbols),
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
        return self.names.set_index("symbol")["sector"]

    @cached_property
    def counted(self) -> np.ndarray:
        """How many bars each name has before each session, (n_sessions + 1, n_symbols)."""
        zero = np.zeros((1, len(self.raw.symbols)), dtype=int)
        return np.vstack([zero, np.cumsum(~np.isnan(self.raw.fields["close"]), axis=0)])

    @cached_property
    def members(self) -> np.ndarray:
        """Whether each name was a member at each session."""
        return universe.members(self.membership, self.raw.symbols, self.sessions).to_numpy()

    @cached_property
    def ended(self) -> dict[str, pd.Timestamp]:
        """From which day a name is no longer traded."""
        ending = self.actions[self.actions["type"].isin(ENDINGS)]
        return dict(zip(ending["symbol"], ending["ex_date"], strict=True))

    def past(self, settings: Settings) -> Past:
        """The verdicts of the quality gates on every session."""
        names = self.names.sort_values("symbol")
        no_bars = pd.DataFrame(columns=["symbol", "session"])
        groups = pd.factorize(names["sector"])[0]
        return Past(quality.Scan(no_bars, self.actions, self.raw, groups, settings.data))

    def actions_until(self, session: pd.Timestamp) -> pd.DataFrame:
        """Corporate actions with an ex-date up to a day."""
        return self.actions.iloc[: self._before(session)]

    def actions_between(self, after: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
        """Corporate actions with an ex-date after one day and up to another."""
        return self.actions.iloc[self._before(after) : self._before(until)]

    def _before(self, day: pd.Timestamp) -> int:
        return int(self.actions["ex_date"].searchsorted(day, "right"))


@dataclass(frozen=True)
class Window:
    """What was known at the close of a session: `row` of the market, no further back than `first`."""

    market: Market
    row: int
    first: int  # of the history that a run of that day would load
    settings: Settings

    @classmethod
    def at(cls, market: Market, row: int, settings: Settings) -> Window:
        """The window of a run: `data.history_years` up to the session."""
        history = settings.data.history_years * SESSIONS_PER_YEAR
        return cls(market, row, max(0, row + 1 - history), settings)

    @property
    def session(self) -> pd.Timestamp:
        return self.market.sessions[self.row]

    @property
    def benchmark(self) -> str:
        return self.settings.universe.benchmark

    def panel(self, sessions: int | None = None) -> Panel:
        """Total-return prices as of the session: the last `sessions` of the history, or all of it."""
        begin = self.first if sessions is None else max(self.first, self.row + 1 - sessions)
        raw, rows = self.market.raw, slice(begin, self.row + 1)
        part = Raw(
            raw.sessions[rows],
            raw.symbols,
            {name: values[rows] for name, values in raw.fields.items()},
            raw.present[rows],
        )
        eve = raw.sessions[begin] - universe.ONE_DAY
        panel = adjust.panel_of(part, self.market.actions_between(eve, self.session))
        return replace(panel, admitted=self._admitted(rows, panel))

    def _admitted(self, rows: slice, panel: Panel) -> pd.DataFrame:
        """As `universe.admit` counts in the whole of the history."""
        bars = self.market.counted[rows.start + 1 : rows.stop + 1] - self.market.counted[self.first]
        known = bars >= self.settings.data.min_history_sessions
        inside = self.market.members[rows] & known
        return pd.DataFrame(inside, index=panel.sessions, columns=panel.symbols)

    def universe(self, panel: Panel, found: pd.DataFrame) -> pd.DataFrame:
        """The names of the day, a `Universe` table; see `data.day_universe`."""
        rows = slice(self.first, self.row + 1)
        raw = self.market.raw
        closes = pd.DataFrame(raw.fields["close"][rows], raw.sessions[rows], raw.symbols)
        return data.day_universe(
            self.market.names,
            replace(panel, traded_close=closes),
            found,
            self.assets(),
            self.session,
            self.settings.data,
            self.settings.features,
        )

    def assets(self) -> pd.DataFrame:
        """What a broker would say of each name: listed by its first bar, ended by an action."""
        seen = self.market.counted[self.row + 1] > 0
        ended = self.market.ended
        gone = [
            ended.get(s, dates.as_date(dates.LAST)) <= self.session for s in self.market.raw.symbols
        ]
        active = seen & ~np.array(gone, dtype=bool)
        return pd.DataFrame(
            {
                "symbol": self.market.raw.symbols,
                "tradable": active,
                "fractionable": active,
                "status": np.where(active, "active", "inactive"),
            }
        )

    @cached_property
    def closes(self) -> pd.Series:
        """The last close known of each name, as traded."""
        rows = slice(self.first, self.row + 1)
        known = adjust.last_known(self.market.raw.fields["close"][rows])[-1]
        return pd.Series(known, self.market.raw.symbols)
