"""What a stage notebook holds in its hands: `stage = open_stage("optimize", run_date, run_dir)`.

Under the runner both parameters are given. Opened by hand they are empty: the stage then works in a
scratch run of its own (see `pipeline.scratch`), on the newest session or the one asked for, and can
send no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from quant50lib import contracts
from quant50lib.adapters import trials, universe
from quant50lib.adapters.broker import Broker
from quant50lib.adapters.broker import connect as connect_broker
from quant50lib.adapters.journal import Ledger
from quant50lib.adapters.market import IngestSummary, ingest
from quant50lib.adapters.market import service as market_service
from quant50lib.adapters.registry import Registry
from quant50lib.adapters.store import Store
from quant50lib.adapters.trials import Trials
from quant50lib.contracts import Equity, Stage, Table, Universe
from quant50lib.errors import ContractError, SettingsError
from quant50lib.pipeline import archive, carry, challenge, desk, scraps, scratch, shadow
from quant50lib.pipeline.archive import OPEN
from quant50lib.pipeline.memory import remembered
from quant50lib.pipeline.reconcile import page_name
from quant50lib.pipeline.surprises import surprises
from quant50lib.services import alarm, book, data, execute, leak, model, report
from quant50lib.services import universe as membership
from quant50lib.services.book import Memory
from quant50lib.services.features import Described
from quant50lib.services.model import LoadedModel, Trained, TrainingSet
from quant50lib.services.panel import Panel
from quant50lib.services.report_html import Html
from quant50lib.settings import Settings
from quant50lib.utils import config, dates, own_features
from quant50lib.utils.config import Home
from quant50lib.utils.logging import facts, log, to_file

LOG = log(__name__)

LIQUIDITY_SESSIONS = 21


def open_stage(name: str, run_date: str = "", run_dir: str = "") -> StageContext:
    """Open a stage of a run.

    Parameters
    ----------
    name : str
        Of a stage in `contracts.STAGES`.
    run_date : str
        The session, YYYY-MM-DD; empty: the newest one the desk knows.
    run_dir : str
        Folder of the run, relative to the desk's home; empty: a scratch run.
    """
    home = config.home()
    stage = contracts.stage_named(name)
    if not run_dir:
        run_dir = scratch.prepare(home, stage, run_date)
    context = StageContext(home, stage, home.root / run_dir)
    if run_date and dates.as_session(run_date) != context.run_date:
        raise SettingsError(f"run {run_dir} is of {context.run_date.date()}, not of {run_date}")
    report.use_style()
    return context


class StageContext:
    """One stage of one run: its tables, its settings, and what it may ask of the world."""

    def __init__(self, home: Home, stage: Stage, folder: Path) -> None:
        self.home = home
        self.stage = stage
        self.folder = folder
        self._facts = archive.read_json(folder / OPEN)
        self.settings = Settings.model_validate_json((folder / "settings.json").read_text("utf-8"))
        to_file(folder / "log.jsonl", config.secrets())
        if self.settings.features.file:
            self._note_query("features.file", own_features.digest(self.settings.features.file))

    # -- what the run is ---------------------------------------------------------------------

    @property
    def run_date(self) -> pd.Timestamp:
        """The session whose close is the last thing known."""
        return dates.as_session(self._facts["run_date"])

    @property
    def run_id(self) -> str:
        return str(self._facts["id"])

    @property
    def known_at(self) -> pd.Timestamp:
        """The broker's time when the run began: nothing learnt later is read."""
        return pd.Timestamp(self._facts["known_at"])

    @property
    def shadow(self) -> str:
        """Why this run sends no order; empty where it does."""
        return str(self._facts["shadow"])

    @property
    def scratch(self) -> bool:
        """Whether this run was made for a notebook opened by hand."""
        return self.run_id.endswith("-scratch")

    @property
    def simulated(self) -> str:
        """What is simulated, as it must stand on every page."""
        return str(self._facts["simulated"])

    # -- tables ------------------------------------------------------------------------------

    def read(self, table: type[Table]) -> pd.DataFrame:
        """A table that this stage declares to read."""
        if table not in self.stage.reads:
            raise ContractError(
                f"stage {self.stage.name} does not declare to read {table.__name__}"
            )
        return archive.read_table(self.folder, table)

    def write(self, table: type[Table], frame: pd.DataFrame) -> pd.DataFrame:
        """Check and store a table that this stage declares to write; returns it."""
        if table not in self.stage.writes:
            raise ContractError(f"stage {self.stage.name} does not declare {table.__name__}")
        checked = archive.write_table(self.folder, table, frame)
        LOG.info("wrote %s", table.__name__, extra=facts(rows=len(checked)))
        return checked

    def record(self, name: str, **metrics: Any) -> Html:
        """Glue headline values into the notebook as a scrap, and show them."""
        return scraps.record(name, metrics)

    def scraps(self) -> dict[str, dict[str, Any]]:
        """The headline values that the stages before this one recorded."""
        return scraps.read_all(self.folder, self.stage.number)

    # -- market data as it was known ------------------------------------------------------------

    @cached_property
    def store(self) -> Store:
        path = self.home.root / self._facts["store"]
        return Store(path, self.settings.data.store_wait_seconds)

    @cached_property
    def renamed(self) -> pd.DataFrame:
        """Changes of name that the market has told of up to the session: old, new, day."""
        return universe.changes_of_name(self.store, self.run_date, self.known_at)

    @cached_property
    def universe(self) -> pd.DataFrame:
        """The desk's names under the tickers of the session: symbol, name, sector, kind."""
        return universe.of_session(self.settings.universe, self.store, self.run_date, self.known_at)

    @cached_property
    def membership(self) -> pd.DataFrame:
        """When each name was a member of the universe: symbol, first, last."""
        return universe.membership(self.settings.universe, self.universe, self.renamed)

    @cached_property
    def bars(self) -> pd.DataFrame:
        """Raw bars of the history, as known when the run began; a name's under its present ticker."""
        sessions = self.settings.data.history_years * 252
        present = sorted(self.universe["symbol"])
        names = present + membership.earlier_tickers(present, self.renamed)
        frame = self.store.bars_asof(self.run_date, self.known_at, sessions, names)
        self._note_query("bars", self.store.digest(frame))
        return membership.unified(frame, self.renamed, ["session"])

    @cached_property
    def actions(self) -> pd.DataFrame:
        """Corporate actions with an ex-date up to the session, under present tickers."""
        found = self.store.actions_asof(self.run_date, self.known_at)
        return membership.unified_actions(found, self.renamed)

    @cached_property
    def announced(self) -> pd.DataFrame:
        """Corporate actions with an ex-date up to the next session, in which today's orders fill."""
        return self.store.actions_asof(dates.shift(self.run_date, 1), self.known_at)

    @cached_property
    def assets(self) -> pd.DataFrame:
        """What the broker says of each name."""
        return self.store.assets_asof(self.known_at)

    @cached_property
    def panel(self) -> Panel:
        """Total-return prices, sessions x symbols, adjusted as of the session."""
        panel = data.to_panel(self.bars, self.actions, self.run_date)
        known = self.settings.data.min_history_sessions
        return membership.admit(panel, self.membership, known)

    @cached_property
    def vendor_check(self) -> pd.DataFrame:
        """How our adjusted closes of a few names compare with the vendor's.

        One row a span, see `services.vendor.vendor_differences`; `differs` marks what a human
        should look at.
        """
        return self.store.checks_asof(self.run_date, self.known_at)

    @property
    def sectors(self) -> pd.Series:
        """Group of each symbol under the sector cap."""
        return self.universe.set_index("symbol")["sector"]

    @property
    def benchmark(self) -> str:
        return self.settings.universe.benchmark

    @property
    def benchmark_returns(self) -> pd.Series:
        """Daily total returns of the benchmark, by session."""
        return self.panel.close[self.benchmark].pct_change(fill_method=None).dropna()

    def _note_query(self, name: str, digest: str) -> None:
        """Keep the digest of what was read from the store with the run."""
        noted = archive.read_json(self.folder / OPEN)
        noted.setdefault("queries", {})[f"{self.stage.name}.{name}"] = digest
        archive.write_json(self.folder / OPEN, noted)

    def describe(self, sectors: pd.Series) -> tuple[Described, str]:
        """Features of the session, raw and comparable across the names in `sectors` (symbol →
        group), and how they were computed.

        Equal to the last session of `services.features.describe(stage.panel, …)`, but only one
        session is computed where the run before has left its state; see `pipeline.carry`.
        """
        day, how = carry.of_day(self.home, self.panel, sectors, self.settings, self.run_date)
        LOG.info("features %s", how)
        if day.state is not None and not self.scratch:
            carry.keep(self.folder, day.state)
        return day.described, how

    # -- models --------------------------------------------------------------------------------

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.home.models)

    @cached_property
    def model(self) -> LoadedModel | None:
        """The newest accepted model known at the session; see `services.model.usable`."""
        found = self.registry.load_latest(self.run_date)
        return model.usable(found, self.run_date, self.settings.model)

    @cached_property
    def trials(self) -> int:
        """How many configurations were tried under this home so far, this one included."""
        configuration, _ = trials.configuration(challenge.sections(self.settings))
        return Trials(self.home.models).count(configuration)

    def train(self, rows: TrainingSet) -> Trained:
        """Train as the settings say, and write the trial down, a scratch run's too."""
        trained = model.train(rows, self.settings.model, self.settings.label, self.trials)
        trial = trials.describe(
            trained,
            challenge.sections(self.settings),
            run_id=self.run_id,
            run_date=self.run_date,
            at=self.known_at,
            data_digest=self.store.digest(self.bars),
        )
        Trials(self.home.models).record(trial)
        return trained

    @property
    def model_card(self) -> dict[str, Any] | None:
        """What the registry says of the model in use at the session."""
        card = self.registry.champion_card(self.run_date)
        return dict(card) if card else None

    def offer(
        self, trained: Trained, rows: TrainingSet, leaks: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Put a challenger before the gate; returns its metrics, its id and the verdict.

        The rows it has learnt from are held against those of earlier panels (`services.leak`).
        Accepted, it becomes `latest_model.pkl`; see `pipeline.challenge`. A scratch run judges without
        keeping anything but the trial.
        """
        names = self.read(Universe).set_index("symbol")["sector"]
        found = leak.check_training(rows, self.panel, names, self.settings)
        known = self.registry, self.run_date, self.settings
        said = challenge.verdict(trained, rows, *known, (*leaks, *found))
        told = {**trained.metrics, "accepted": said.accepted, "reason": said.reason}
        if self.scratch:
            return {**told, "model_id": "scratch, not kept"}
        model_id = challenge.keep(
            self.registry,
            trained,
            said,
            self.run_date,
            run_id=self.run_id,
            data_digest=self.store.digest(self.bars),
            settings=self.settings.model.model_dump(),
        )
        return {**told, "model_id": model_id}

    # -- the desk ------------------------------------------------------------------------------

    @cached_property
    def endpoints(self) -> dict[str, str]:
        """Where the broker and the market data answer; a scratch run has a twin of its own."""
        if self.scratch and self.settings.broker == "sim":
            url = scratch.own_twin(self.settings, self.run_date, self.folder).url
            return {"trading": url, "data": url}
        return dict(self._facts["endpoints"])

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger, self.settings.data.store_wait_seconds)

    @property
    def memory(self) -> Memory:
        """What the risk rules remember of the sessions before this one."""
        if self.scratch or not self.home.ledger.is_file():
            return book.NO_MEMORY
        return remembered(self.ledger, self.run_date, self.surprises["surprise"])

    @cached_property
    def surprises(self) -> pd.DataFrame:
        """Forecast and return of the account's sessions; see `pipeline.surprises`.

        Empty for a run that does not look at the account.
        """
        equity = self.read(Equity)
        known = equity[:0] if self.shadow or self.scratch else equity
        return surprises(self.home, known, self.run_date)

    @property
    def alarm(self) -> alarm.Standing:
        """Whether the volatility forecast has held in this year."""
        known = self.surprises.loc[self.surprises.index.year == self.run_date.year, "surprise"]
        return alarm.standing(known, self.settings.risk.alarm_error)

    def ingest(self) -> IngestSummary:
        """Fetch what is missing up to the session; a second call fetches nothing."""
        market = market_service(self.settings, config.secrets(), self.endpoints)
        self.store.claim_source(self._facts["source"])
        names = universe.load(self.settings.universe.file, self.benchmark)["symbol"].tolist()
        tell = lambda doing, share: LOG.info(
            doing, extra=facts(share=round(share, 3))
        )  # noqa: E731
        return ingest(
            market, self.store, names, self.run_date, self.known_at, self.settings.data, tell
        )

    def settle(self) -> desk.Settlement:
        """Bring our books up to the session and hold them against the broker's.

        A training has no books; a shadow run may not touch the account and starts from cash.
        """
        if self._facts["schedule"] == "weekly":
            return shadow.no_books()
        if self.shadow:
            return shadow.from_cash(self.run_date, float(self.settings.simulator.cash))
        closes = self.panel.traded_close.ffill()
        return desk.settle(
            self._broker,
            self.ledger,
            self.announced,
            self.run_date,
            closes,
            self.settings.execute,
            page=self.home.reports / page_name(self.run_date),
        )

    @property
    def brakes(self) -> dict[str, Any]:
        """What keeps orders back: why the kill switch is on, and the frozen names.

        Empty for a run that does not look at the account.
        """
        if self.shadow:
            return {}
        frozen = sorted(self.ledger.frozen().items())
        told = [f"{symbol}: {reason}" for symbol, reason in frozen]
        return {"kill_switch": self.ledger.halted() or None, "frozen": told}

    def plan(
        self,
        target: pd.DataFrame,
        holding: pd.DataFrame,
        universe: pd.DataFrame,
        equity: pd.DataFrame,
        state: pd.DataFrame,
    ) -> pd.DataFrame:
        """The orders that turn holdings into targets; see `services.execute.plan_orders`."""
        recent = self.panel.volume.iloc[-LIQUIDITY_SESSIONS:]
        account = equity.iloc[-1]
        cash = execute.decimal(account["cash"])
        waiting: set[str] = set()
        told: dict[str, Any] = {}
        if not self.shadow:
            waiting, told = self.ledger.open_symbols(), self._obstacles()
            cash -= execute.reserved(self.ledger.open_orders(), self.settings.execute)
        return execute.plan_orders(
            target,
            holding,
            universe,
            execute.decimal(account["equity"]),
            cash,
            recent.median(),
            self.settings.execute,
            self.run_date,
            waiting,
            bool(state["halted"].iloc[0]),
            self.shadow,
            coming=execute.coming_actions(
                self.announced, self.run_date, dates.shift(self.run_date, 1)
            ),
            **told,
        )

    def _obstacles(self) -> dict[str, Any]:
        """What else speaks against an order now, from the ledger and from the broker."""
        held = self._broker.positions().items()
        return {
            "frozen": self.ledger.frozen(),
            "halted": self.ledger.halted(),
            "available": {symbol: position.available for symbol, position in held},
        }

    def submit(
        self, orders: pd.DataFrame, state: pd.DataFrame, events: pd.DataFrame
    ) -> pd.DataFrame:
        """Journal the plan and what the risk rules remember, then send the orders.

        A shadow run only says what it would have sent.
        """
        if self.shadow:
            return orders
        self.ledger.save_risk(state, events)
        tell = lambda what, n, of: LOG.info(what, extra=facts(n=n, of=of))  # noqa: E731
        return desk.submit(
            self._broker, self.ledger, orders, self.run_date, self.settings.execute, tell
        )

    @cached_property
    def _broker(self) -> Broker:
        return connect_broker(self.settings, config.secrets(), self.endpoints["trading"])
