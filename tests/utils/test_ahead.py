"""Work ahead in a thread: in order, whole, and ended with its caller."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from quant50lib.utils.ahead import arriving


def test_everything_comes_in_order_and_in_as_few_pieces_as_the_caller_takes():
    def quick():
        yield from range(5)

    batches = []
    for batch in arriving(quick()):
        batches.append(batch)
        time.sleep(0.05)
    assert list(itertools.chain(*batches)) == [0, 1, 2, 3, 4] and len(batches) < 5
    assert list(arriving(iter(()))) == []


def test_an_error_comes_after_all_that_came_before_it():
    def broken():
        yield from (1, 2, 3)
        raise ValueError("no more")

    got: list[int] = []
    with pytest.raises(ValueError, match="no more"):
        for batch in arriving(broken()):
            got += batch
    assert got == [1, 2, 3]


def test_a_caller_who_stops_ends_the_thread_and_is_never_far_behind():
    made: list[int] = []

    def endless():
        for n in itertools.count():
            made.append(n)
            yield n

    before = threading.active_count()
    batches = arriving(endless(), ahead=3)
    next(batches)
    time.sleep(0.05)
    assert len(made) <= 9, "the queue, what was taken, and one in hand"
    batches.close()
    assert threading.active_count() == before
