"""Refusals as Alpaca words them: HTTP status, code, text and extra keys."""

from __future__ import annotations

from typing import Any

INVALID, UNPROCESSABLE, FORBIDDEN, MISSING = 40010001, 42210000, 40310000, 40410000


class Refusal(Exception):
    """A request is refused; `body` goes out as it is."""

    def __init__(self, status: int, code: int | None, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"message": message} | extra
        if code is not None:
            self.body = {"code": code} | self.body


def invalid(message: str) -> Refusal:
    return Refusal(422, INVALID, message)


def unprocessable(message: str) -> Refusal:
    return Refusal(422, UNPROCESSABLE, message)


def forbidden(message: str, **extra: Any) -> Refusal:
    return Refusal(403, FORBIDDEN, message, **extra)


def missing(message: str) -> Refusal:
    return Refusal(404, MISSING, message)


def bad_query(message: str) -> Refusal:
    """The data service answers with a message alone."""
    return Refusal(400, None, message)
