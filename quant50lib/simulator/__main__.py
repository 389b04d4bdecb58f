"""`python -m quant50lib.simulator`: the twin alone."""

from __future__ import annotations

import sys

from quant50lib.simulator.server import main

if __name__ == "__main__":
    sys.exit(main())
