"""The task list and the decisions are well formed and consistent."""

from __future__ import annotations

import datetime as dt
import json
import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / ".taskmaster"
STATUSES = {"pending", "in-progress", "done"}


def problems_of_tasks(tasks: list[dict[str, Any]]) -> list[str]:
    """What is wrong with a list of tasks, one sentence each."""
    found = []
    keys = {"id", "title", "status", "dependencies", "description"}
    for task in tasks:
        if set(task) != keys:
            found.append(f"task {task.get('id')}: keys {sorted(set(task) ^ keys)}")
            return found
    by_id = {task["id"]: task for task in tasks}
    if len(by_id) < len(tasks):
        found.append("an id is repeated")
    if len({task["title"] for task in tasks}) < len(tasks):
        found.append("a title is repeated")
    for task in tasks:
        name = f"task {task['id']}"
        unknown = set(task["dependencies"]) - set(by_id)
        found += [f"{name}: depends on {i}, which does not exist" for i in sorted(unknown)]
        if task["status"] not in STATUSES:
            found.append(f"{name}: status {task['status']!r}")
        if len(task["description"]) < 40 or not task["title"]:
            found.append(f"{name}: says too little")
        open_ones = [
            i for i in task["dependencies"] if by_id.get(i, {}).get("status", "done") != "done"
        ]
        if task["status"] == "done" and open_ones:
            found.append(f"{name}: done, but {open_ones} are not")
    try:
        TopologicalSorter({t["id"]: t["dependencies"] for t in tasks}).prepare()
    except ValueError as error:
        found.append(f"a cycle: {error.args[1]}")
    return found


def problems_of_decisions(decisions: list[dict[str, Any]]) -> list[str]:
    """What is wrong with a list of decisions."""
    found = []
    keys = {"id", "date", "title", "decision", "reasons", "alternatives"}
    for decision in decisions:
        name = decision.get("id", "?")
        if set(decision) != keys:
            found.append(f"{name}: keys {sorted(set(decision) ^ keys)}")
            continue
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            found.append(f"{name}: the id is no slug")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", decision["date"]):
            found.append(f"{name}: the date is not ISO")
        elif dt.date.fromisoformat(decision["date"]) < dt.date(2026, 1, 1):
            found.append(f"{name}: the date is before the project")
        if not all(map(str.strip, [decision["title"], decision["decision"], *decision["reasons"]])):
            found.append(f"{name}: an empty text")
        if not decision["reasons"] or not decision["alternatives"]:
            found.append(f"{name}: no reason, or no alternative")
        for other in decision["alternatives"]:
            if set(other) != {"option", "rejected_because"} or not all(other.values()):
                found.append(f"{name}: an alternative is incomplete")
    if len({d.get("id") for d in decisions}) < len(decisions):
        found.append("an id is repeated")
    return found


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name).read_text("utf-8"))
    assert found["version"] == 1
    return found


def test_tasks_are_consistent() -> None:
    tasks = read("tasks.json")["tasks"]
    assert len(tasks) >= 15
    assert problems_of_tasks(tasks) == []


def test_decisions_are_complete() -> None:
    decisions = read("memory.json")["decisions"]
    assert len(decisions) >= 5
    assert problems_of_decisions(decisions) == []


def task(**changed: Any) -> dict[str, Any]:
    good = {"id": 1, "title": "t", "status": "done", "dependencies": [], "description": "d" * 50}
    return {**good, **changed}


@pytest.mark.parametrize(
    "tasks, wrong",
    [
        ([task(), task(title="u")], "repeated"),
        ([task(dependencies=[9])], "does not exist"),
        ([task(dependencies=[2]), task(id=2, title="u", dependencies=[1])], "cycle"),
        ([task(status="nearly")], "status"),
        ([task(dependencies=[2]), task(id=2, title="u", status="pending")], "are not"),
        ([task(description="short")], "too little"),
        ([task(owner="me")], "keys"),
    ],
)
def test_a_broken_list_is_noticed(tasks: list[dict[str, Any]], wrong: str) -> None:
    assert any(wrong in problem for problem in problems_of_tasks(tasks))


def decision(**changed: Any) -> dict[str, Any]:
    good = {
        "id": "a-b",
        "date": "2026-11-22",
        "title": "t",
        "decision": "d",
        "reasons": ["r"],
        "alternatives": [{"option": "o", "rejected_because": "w"}],
    }
    return {**good, **changed}


@pytest.mark.parametrize(
    "changed, wrong",
    [
        ({"id": "A b"}, "slug"),
        ({"date": "22.11.2026"}, "ISO"),
        ({"date": "2019-01-01"}, "before"),
        ({"reasons": []}, "no reason"),
        ({"decision": " "}, "empty"),
        ({"alternatives": [{"option": "o", "rejected_because": ""}]}, "incomplete"),
        ({"status": "x"}, "keys"),
    ],
)
def test_a_broken_decision_is_noticed(changed: dict[str, Any], wrong: str) -> None:
    assert problems_of_decisions([decision()]) == []
    assert any(wrong in problem for problem in problems_of_decisions([decision(**changed)]))
