"""Reading query strings as Alpaca's data service does: strict, with a message and status 400."""

from __future__ import annotations

import re
from collections.abc import Mapping

from quant50lib.simulator.refusals import bad_query
from quant50lib.simulator.timetable import parse_bound

SYMBOL = re.compile(r"^[A-Za-z0-9]{1,8}([./][A-Za-z0-9]{1,4})?$")

LONGEST_NUMBER = 12  # digits

Query = Mapping[str, str]


def check_names(query: Query, known: frozenset[str]) -> None:
    """Refuse parameters that nobody knows."""
    unknown = sorted(set(query) - known)
    if unknown:
        raise bad_query(f"unexpected query parameter(s): {', '.join(unknown)}")


def read_symbols(query: Query) -> list[str]:
    """Distinct symbols in alphabetical order."""
    found = sorted(set(filter(None, query.get("symbols", "").split(","))))
    wrong = next((symbol for symbol in found if not SYMBOL.match(symbol)), None)
    if wrong is not None:
        raise bad_query(f"invalid symbol: {wrong}")
    if not found:
        raise bad_query("symbols is required")
    return found


def read_choice(query: Query, name: str, allowed: frozenset[str], usual: str) -> str:
    """One of the allowed words."""
    value = query.get(name) or usual
    if value not in allowed:
        raise bad_query(f"invalid {name}: {value}")
    return value


def read_limit(query: Query, usual: int, most: int) -> int:
    """How many rows a page may have."""
    value = query.get("limit") or str(usual)
    if not value.isdecimal() or len(value) > LONGEST_NUMBER or int(value) < 1:
        raise bad_query(f"invalid limit: {value}")
    if int(value) > most:
        raise bad_query(f"invalid limit: larger than the allowed maximum of {most}")
    return int(value)


def read_bound(query: Query, name: str, usual: int) -> int:
    """`start` or `end` as an instant; a date means its first or its last moment in New York."""
    value = query.get(name)
    if not value:
        return usual
    try:
        return parse_bound(value, last=name == "end")
    except (ValueError, OverflowError) as error:
        raise bad_query(f"invalid {name}: {value}") from error
