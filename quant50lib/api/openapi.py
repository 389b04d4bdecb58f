"""Print the OpenAPI document: `python -m quant50lib.api.openapi > openapi.json`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from quant50lib.api.main import create_app
from quant50lib.settings import Settings
from quant50lib.utils.config import Home


def document() -> dict[str, Any]:
    """The OpenAPI document; it depends on no desk."""
    with tempfile.TemporaryDirectory() as empty:
        return create_app(Home(Path(empty)), Settings(), "").openapi()


if __name__ == "__main__":
    print(json.dumps(document(), indent=1, sort_keys=True))
