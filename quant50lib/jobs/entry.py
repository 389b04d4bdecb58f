"""The one place where a command meets its errors: expected ones become a sentence and an exit code."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

from quant50lib.errors import Quant50Error

Result = TypeVar("Result")

INTERRUPTED = 130


def guarded(work: Callable[[], Result], say: Callable[[str], None] | None = None) -> Result:
    """Do the work; an expected failure prints its sentence and exits with its code.

    Any other exception is a bug and is left to Python's own traceback and exit code 1.
    """
    tell = say or (lambda text: print(text, file=sys.stderr))
    try:
        with terminable():
            return work()
    except Quant50Error as error:
        tell(f"{type(error).__name__}: {error}")
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt as error:
        tell("interrupted: what is finished is kept; the same command goes on from there")
        raise SystemExit(INTERRUPTED) from error


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does: kernels stopped, evidence kept."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread: whoever owns it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
