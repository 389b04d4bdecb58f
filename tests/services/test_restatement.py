"""Which past runs rested on a bar that was said anew, and what the name was to them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant50lib.services.restatement import PastRun, changes, decisions, used

D1, D2, D3 = pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04"]).as_unit("us")
H = pd.Timedelta(hours=1)


def at(session: pd.Timestamp) -> pd.Timestamp:
    return session + 22 * H


def revision(symbol, session, was_at, known_at, then, now, volume=100.0) -> dict:
    fields = {name: (then, now) for name in ("open", "high", "low", "close")}
    fields["volume"] = (100.0, volume)
    row = {f"was_{name}": pair[0] for name, pair in fields.items()}
    row |= {name: pair[1] for name, pair in fields.items()}
    return {
        "symbol": symbol,
        "session": session,
        "was_known_at": was_at,
        "known_at": known_at,
    } | row


def past(run_date: pd.Timestamp, first: pd.Timestamp = D1, **names: tuple) -> PastRun:
    frame = pd.DataFrame(
        [(symbol, *said) for symbol, said in names.items()],
        columns=["symbol", "held", "ordered", "weight"],
    )
    return PastRun(f"{run_date:%d}", run_date, at(run_date).tz_localize("UTC"), first, frame)


def test_a_run_is_concerned_where_it_knew_the_old_value_and_not_the_new_one():
    found = pd.DataFrame([revision("A", D1, at(D1), at(D2) + H, 10.0, 11.0)])
    runs = [past(day, A=(True, False, 0.04), B=(True, True, 0.1)) for day in (D1, D2, D3)]
    told = used(found, runs)
    assert told["run"].tolist() == ["02", "03"], "the third knew the new value"
    first = told.iloc[0]
    assert (first["then"], first["now"]) == (10.0, 11.0) and np.isclose(first["change"], 0.1)
    assert first["held"] and not first["ordered"] and first["weight"] == 0.04


def test_what_lies_outside_the_history_or_the_names_of_a_run_does_not_concern_it():
    found = pd.DataFrame(
        [
            revision("A", D1, at(D1), at(D3), 10.0, 11.0),
            revision("Z", D2, at(D2), at(D3), 10.0, 11.0),
        ]
    )
    assert used(found, [past(D2, first=D2, A=(False, False, 0.0))]).empty
    assert used(found, []).empty


def test_of_several_changes_the_first_then_and_the_last_now_count_and_the_worst_is_shown():
    found = pd.DataFrame(
        [
            revision("A", D1, at(D1), at(D2) + H, 10.0, 11.0),
            revision("A", D1, at(D2) + H, at(D3), 11.0, 9.0),
            revision("A", D2, at(D2), at(D3), 20.0, 20.2),
        ]
    )
    (row,) = used(found, [past(D2, A=(False, True, 0.0))]).itertuples()
    assert row.sessions == 2 and row.worst == D1
    assert (row.then, row.now) == (10.0, 9.0) and np.isclose(row.change, -0.1)


def test_the_changes_say_which_fields_differ():
    found = pd.DataFrame(
        [
            revision("A", D1, at(D1), at(D3), 10.0, 11.0),
            revision("B", D1, at(D1), at(D3), 10.0, 10.0, volume=120.0),
        ]
    )
    told = changes(found)
    assert told["what"].tolist() == ["open high low close", "volume"]
    assert np.allclose(told["change"], [0.1, 0.0])


def test_decisions_hold_every_name_of_either_side_the_largest_change_first():
    told = decisions(pd.Series({"A": 0.05, "B": 0.02}), pd.Series({"B": 0.03, "C": 0.04}))
    assert told["symbol"].tolist() == ["A", "C", "B"]
    assert np.allclose(told["change"], [-0.05, 0.04, 0.01])
