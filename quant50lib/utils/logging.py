"""One line of JSON per event in the run's log, and a readable line on the terminal."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from pathlib import Path
from typing import Any

from quant50lib.settings import Secrets

LOGGER = "quant50lib"
_FACTS = "facts"


class JsonLines(logging.Formatter):
    """A log record as one JSON object: at, level, source, message, and the facts given with it."""

    def __init__(self, hidden: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._hidden = [h for h in hidden if h]

    def format(self, record: logging.LogRecord) -> str:
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "source": record.name.removeprefix(LOGGER + "."),
            "message": record.getMessage(),
            **getattr(record, _FACTS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return self.redact(json.dumps(line, default=str))

    def redact(self, text: str) -> str:
        """The text with every secret replaced."""
        for secret in self._hidden:
            text = re.sub(re.escape(secret), "[secret]", text)
        return text


def log(name: str) -> logging.Logger:
    """The logger of a module of ours; `name` is its `__name__`."""
    return logging.getLogger(name)


def facts(**values: Any) -> dict[str, Any]:
    """Keyword facts for a log call: ``log.info("fetched", extra=facts(rows=10))``."""
    return {_FACTS: values}


def to_file(path: Path, secrets: Secrets) -> logging.Handler:
    """Append every event of the package to a JSON-lines file; returns the handler to remove."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    hidden = (secrets.key_id, secrets.secret_key, secrets.api_token)
    handler.setFormatter(JsonLines(tuple(s.get_secret_value() for s in hidden)))
    root = logging.getLogger(LOGGER)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    return handler


def detach(handler: logging.Handler) -> None:
    """Stop and close a handler made by `to_file`."""
    logging.getLogger(LOGGER).removeHandler(handler)
    handler.close()
