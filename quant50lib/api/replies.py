"""What the API says: one envelope around everything, and models made from the contracts."""

from __future__ import annotations

import datetime as dt
from typing import Any, Generic, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, Field, create_model

from quant50lib.contracts import Equity, Kpi, Limit, Order, Schedule, Table

T = TypeVar("T")

#: `starting`: accepted, and the pipeline has not yet made the run's folder
State = Literal["starting", "running", "failed", "half", "sealed"]

#: how the name of a column's dtype begins, and what it is in JSON
_TYPES = {"datetime": dt.date, "float": float, "int": int, "bool": bool, "str": str}


class Reply(BaseModel, Generic[T]):
    """The envelope of every JSON reply."""

    status: Literal["ok", "error"] = "ok"
    timestamp: dt.datetime = Field(description="when the reply was made, UTC")
    summary: str = Field(description="the reply in one sentence")
    data: T


class Problem(BaseModel):
    """What went wrong, as data."""

    error: str = Field(description="a class of quant50lib.errors, or of HTTP")
    exit_code: int | None = Field(None, description="what the command line would have exited with")
    detail: list[str] = Field(default_factory=list)


class Health(BaseModel):
    """Whether the service is up, and of which desk."""

    version: str
    broker: Literal["sim", "paper"]
    busy: bool = Field(description="a run is at work")
    token_to_read: bool = Field(description="reading needs the token too")


class RunRequest(BaseModel):
    """Which session to run."""

    model_config = {"extra": "forbid"}

    date: str | None = Field(
        None,
        description="session, YYYY-MM-DD; absent: the last closed one by the broker's clock",
        examples=["2026-11-20"],
        max_length=10,
    )


class Started(BaseModel):
    """A run that was accepted."""

    run_id: str = Field(examples=["2026-11-20-daily-7f3a"])
    run_date: dt.date
    state: State
    url: str = Field(description="where to ask how it goes on")


class StageView(BaseModel):
    """A stage of a run."""

    name: str
    state: str
    seconds: float | None = None


class RunView(BaseModel):
    """A run at a glance."""

    run_id: str
    run_date: dt.date
    schedule: Schedule
    state: State
    started: str | None = Field(None, description="instant, ISO 8601")
    simulated: str = Field("", description="what is simulated; empty: nothing is")
    shadow: str = Field("", description="why the run sent no order; empty where it did")
    stages: list[StageView] = Field(default_factory=list)
    report: str | None = Field(None, description="where its report is, if it has one")


def _field(column: Any) -> tuple[Any, Any]:
    name = str(column.dtype)
    kind: Any = next(kind for start, kind in _TYPES.items() if name.startswith(start))
    if column.nullable:
        return kind | None, Field(None, description=column.description)
    return kind, Field(description=column.description)


def row_model(table: type[Table]) -> type[BaseModel]:
    """A pydantic model of one row of a contract's table, descriptions included."""
    fields = {name: _field(column) for name, column in table.to_schema().columns.items()}
    made: type[BaseModel] = create_model(  # type: ignore[call-overload]
        f"{table.__name__}Row", __doc__=f"A row of the table {table.__name__}.", **fields
    )
    return made


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as plain values: missing is None, a session is a date."""
    plain = frame.copy()
    for name in plain.select_dtypes("datetime"):
        plain[name] = plain[name].dt.date
    plain = plain.astype(object)
    return plain.where(frame.notna(), None).to_dict("records")


OrderRow: Any = row_model(Order)
EquityRow: Any = row_model(Equity)
KpiRow: Any = row_model(Kpi)
LimitRow: Any = row_model(Limit)


class RunDetail(RunView):
    """A run with its figures."""

    message: str = Field("", description="the job's last words, where it failed")
    equity: list[EquityRow] = Field(
        default_factory=list, description="oldest first, up to the last 252 sessions"
    )
    kpis: list[KpiRow] = Field(default_factory=list)
    limits: list[LimitRow] = Field(default_factory=list)


class OrderList(BaseModel):
    """Orders of one run."""

    run_id: str
    run_date: dt.date
    simulated: str = ""
    total: int = Field(description="orders of the run; `orders` may hold fewer")
    orders: list[OrderRow]
