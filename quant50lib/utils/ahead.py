"""Work through an iterator in a thread of its own, while the caller deals with what has come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: how far the thread may be ahead
AHEAD = 8
PATIENCE_SECONDS = 0.1


def arriving(items: Iterator[Item], ahead: int = AHEAD) -> Iterator[list[Item]]:
    """All that has arrived since the last look, in order; waits where that is nothing.

    What the iterator raises is raised here, after everything that came before it. Where the caller
    stops early, the thread ends after the item that it is at.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(ahead)
    given_up = threading.Event()
    worker = threading.Thread(target=_fill, args=(items, waiting, given_up), daemon=True)
    worker.start()
    try:
        end = None
        while end is None:
            batch, end = _taken(waiting)
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


def _taken(waiting: queue.Queue[Item | _End]) -> tuple[list[Item], _End | None]:
    """At least one item and whatever else is there, and the end if it has come."""
    batch: list[Item] = []
    while True:
        try:
            item = waiting.get(block=not batch)
        except queue.Empty:
            return batch, None
        if isinstance(item, _End):
            return batch, item
        batch.append(item)
