"""Every way a run may stop, sorted by who must act.

Quant50Error
├── SettingsError        operator: correct the settings or the command          exit 2
│   └── BrowserMissing     no PDF: no browser that prints; the HTML is kept
├── ContractError        data: a table does not fit its schema                  exit 3
│   ├── DataQualityError   a gate stopped the day; names symbols and sessions
│   └── LeakFound          a value depends on what came after it; names the first cell
├── OptimizationError    research: no portfolio came out                        exit 4
├── RiskHalt             nobody: a rule said stop, and was right                exit 5
├── BrokerError          operator: look at the account                          exit 6
│   ├── Unreachable        no answer: nothing is known to have happened
│   ├── OrderRefused       the broker said no, and why
│   └── OutcomeUnknown     a call went out and its answer never came: ask before acting
├── ReconciliationError  operator: our books and theirs differ                  exit 7
├── ArchiveError         auditor: a run is missing or was altered               exit 8
└── StageFailed          wraps the above with stage and notebook                exit of its cause

The base class is caught in two places only: the command line and the API's handler. A kernel
reports an exception by its name, so names are unique and `by_name` finds the class again.
"""

from __future__ import annotations

from typing import Literal

#: what a refusal of an order is about
RefusalKind = Literal[
    "insufficient_buying_power",
    "insufficient_qty",
    "wash",
    "untradable",
    "not_fractionable",
    "account_blocked",
    "validation",
    "other",
]


class Quant50Error(Exception):
    """Base of all expected failures; its text says what to do next."""

    exit_code = 1


class SettingsError(Quant50Error):
    """The settings, the environment or the command line ask for something that cannot be."""

    exit_code = 2


class BrowserMissing(SettingsError):
    """No browser on this machine prints the report; its HTML is kept."""


class ContractError(Quant50Error):
    """A table does not fit its schema, or a file is not what it should be."""

    exit_code = 3


class DataQualityError(ContractError):
    """A quality gate stopped the day."""


class LeakFound(ContractError):
    """A value at or before a session depends on what came after it."""


class OptimizationError(Quant50Error):
    """No portfolio satisfies the programme, or no solver found one."""

    exit_code = 4


class RiskHalt(Quant50Error):
    """A risk rule forbids going on."""

    exit_code = 5


class BrokerError(Quant50Error):
    """The broker or the market-data service misbehaves or refuses."""

    exit_code = 6


class Unreachable(BrokerError):
    """No connection or no usable answer to a read; nothing was changed."""


class OrderRefused(BrokerError):
    """The broker refused an order and said why; `kind` sorts the reason, for a program to read.

    The first three kinds may pass once other orders are filled or cancelled; a name that is taken
    is never a refusal, since then the order exists (`OutcomeUnknown`).
    """

    def __init__(self, message: str = "", kind: RefusalKind = "other") -> None:
        super().__init__(message)
        self.kind = kind


class OutcomeUnknown(BrokerError):
    """An order was sent and no answer came back: it may or may not exist."""


class ReconciliationError(Quant50Error):
    """Our books and the broker's differ and the difference is not explained."""

    exit_code = 7


class ArchiveError(Quant50Error):
    """A run is missing, unsealed, or not what was sealed."""

    exit_code = 8


class StageFailed(Quant50Error):
    """A stage of a run failed; keeps the stage, the notebook and the exit code of the cause."""

    def __init__(self, message: str, *, stage: str, notebook: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.stage = stage
        self.notebook = notebook
        self.exit_code = exit_code


def _tree(cls: type[Quant50Error]) -> dict[str, type[Quant50Error]]:
    found = {cls.__name__: cls}
    for child in cls.__subclasses__():
        found |= _tree(child)
    return found


def by_name(name: str) -> type[Quant50Error] | None:
    """The class of that name in the tree, or None for a bug (any other exception)."""
    return _tree(Quant50Error).get(name)
