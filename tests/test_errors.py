"""The tree of errors is what its docstring draws, and each has the exit code it promises."""

import re

import pytest

from quant50lib import errors
from quant50lib.jobs.entry import guarded


def drawn() -> dict[str, int]:
    """Class names of the drawing with the exit code that applies, an inner one inheriting."""
    found, last = {}, 1
    for line in errors.__doc__.splitlines():
        if not re.match(r"^[├└│ ]", line):
            continue
        name = re.search(r"[A-Z]\w+", line)
        code = re.search(r"exit (\d)", line)
        last = int(code.group(1)) if code else last
        if name:
            found[name.group()] = last
    return found


def test_every_drawn_error_exists_with_its_exit_code():
    for name, code in drawn().items():
        cls = errors.by_name(name)
        assert cls is not None, name
        if name != "StageFailed":
            assert cls.exit_code == code, name


def test_every_error_is_drawn():
    ours = {
        c for c in errors._tree(errors.Quant50Error).values() if c.__module__ == errors.__name__
    }
    assert {c.__name__ for c in ours} - {"Quant50Error"} == set(drawn())


def test_a_bug_is_not_one_of_ours():
    assert errors.by_name("ZeroDivisionError") is None


def test_an_expected_error_becomes_a_sentence_and_its_exit_code():
    said = []

    def work():
        raise errors.ReconciliationError("cash differs by 1.00")

    with pytest.raises(SystemExit) as stopped:
        guarded(work, said.append)
    assert stopped.value.code == 7 and said == ["ReconciliationError: cash differs by 1.00"]


def test_a_bug_is_left_alone():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


def test_a_stage_failure_keeps_the_exit_code_of_its_cause():
    failed = errors.StageFailed("x", stage="optimize", notebook="05", exit_code=4)
    with pytest.raises(SystemExit) as stopped:
        guarded(lambda: (_ for _ in ()).throw(failed), lambda text: None)
    assert stopped.value.code == 4
