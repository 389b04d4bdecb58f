"""Work through an iterator in a thread of its own, while the caller deals with what has come."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: how far the thread may be ahead
AHEAD = 32
PATIENCE_SECONDS = 0.1


def arriving(
    items: Iterator[Item], gather_seconds: float = 0.0, ahead: int = AHEAD
) -> Iterator[list[Item]]:
    """All that has arrived since the last look, in order; waits where that is nothing.

    From the first item of a batch on it waits `gather_seconds` for more, but no longer than the
    queue has room. What the iterator raises is raised here, after everything that came before it. Where the caller
    stops early, the thread ends after the item that it is at.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(ahead)
    given_up = threading.Event()
    worker = threading.Thread(target=_fill, args=(items, waiting, given_up), daemon=True)
    worker.start()
    try:
        end = None
        while end is None:
            batch, end = _taken(waiting, gather_seconds, ahead)
            if batch:
                yield batch
        if end.error is not None:
            raise end.error
    finally:
        given_up.set()
        worker.join()


class _End:
    """There is no more, because of an error or because all is done."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def _fill(
    items: Iterator[Item], waiting: queue.Queue[Item | _End], given_up: threading.Event
) -> None:
    """Put every item, and an end, into the queue, unless the other side has given up."""
    end = _End()
    try:
        for item in items:
            if not _put(item, waiting, given_up):
                return
    except BaseException as error:  # raised again by the caller's thread
        end = _End(error)
    _put(end, waiting, given_up)


def _put(item: Item | _End, waiting: queue.Queue[Item | _End], given_up: threading.Event) -> bool:
    while not given_up.is_set():
        try:
            waiting.put(item, timeout=PATIENCE_SECONDS)
            return True
        except queue.Full:
            continue
    return False


def _taken(
    waiting: queue.Queue[Item | _End], gather_seconds: float, most: int
) -> tuple[list[Item], _End | None]:
    """At least one item and whatever else is there or comes soon, and the end if it has come."""
    batch: list[Item] = []
    deadline = math.inf
    while len(batch) < most:
        left = max(deadline - time.monotonic(), 0.0)
        try:
            item = waiting.get(timeout=None if deadline == math.inf else left)
        except queue.Empty:
            break
        if isinstance(item, _End):
            return batch, item
        batch.append(item)
        deadline = min(deadline, time.monotonic() + gather_seconds)
    return batch, None
