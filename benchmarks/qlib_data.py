"""qlib's side of `data.py`: the same factors from the same bars, by an interpreter that has pyqlib.

``PYTHON benchmarks/qlib_data.py BARS.parquet`` writes qlib's own files of the bars and prints, as JSON,
the seconds of one call of ``D.features`` on one core, first without caches and then again with the
cache in memory, and the factor values at the last session, for comparison.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

RETURN = "($close/Ref($close,1)-1)"
FACTORS = {
    "ret_1": "$close/Ref($close,1)-1",
    "ret_5": "$close/Ref($close,5)-1",
    "ret_21": "$close/Ref($close,21)-1",
    "mom_12_1": "Ref($close,21)/Ref($close,252)-1",
    "mom_6_1": "Ref($close,21)/Ref($close,126)-1",
    "high_52w": "$close/Max($close,252)-1",
    "vol_21": f"Std({RETURN},21)*15.874507866387544",
    "vol_63": f"Std({RETURN},63)*15.874507866387544",
    "max_21": f"Max({RETURN},21)",
    "volume_trend_5_63": "Log(Mean($close*$volume,5)/Mean($close*$volume,63))",
    "overnight_21": "Sum(Log($open/Ref($close,1)),21)",
    "intraday_21": "Sum(Log($close/$open),21)",
    "log_dollar_volume_21": "Log(Mean($close*$volume,21))",
    "amihud_21": f"Mean(Abs({RETURN})/($close*$volume/1000000),21)",
}


def write(bars: pd.DataFrame, folder: Path) -> None:
    """The bars as qlib keeps them: one binary file of floats a field and name."""
    days = pd.DatetimeIndex(sorted(bars["session"].unique()))
    (folder / "calendars").mkdir(parents=True)
    (folder / "instruments").mkdir()
    (folder / "calendars" / "day.txt").write_text("\n".join(days.strftime("%Y-%m-%d")) + "\n")
    lines = []
    for symbol, rows in bars.groupby("symbol", sort=True):
        own = folder / "features" / symbol.lower()
        own.mkdir(parents=True)
        first = days.get_loc(rows["session"].iloc[0])
        for field in ("open", "high", "low", "close", "volume"):
            values = np.concatenate([[first], rows[field].to_numpy()]).astype("<f4")
            values.tofile(own / f"{field}.day.bin")
        lines.append(f"{symbol}\t{days[0]:%Y-%m-%d}\t{days[-1]:%Y-%m-%d}")
    (folder / "instruments" / "all.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Measure and print."""
    import qlib
    from qlib.data import D

    bars = pd.read_parquet(sys.argv[1]).sort_values(["symbol", "session"])
    with tempfile.TemporaryDirectory() as name:
        write(bars, Path(name) / "data")
        qlib.init(provider_uri=str(Path(name) / "data"), kernels=1, logging_level=40)
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            found = D.features(D.instruments("all"), list(FACTORS.values()), freq="day")
            seconds.append(time.perf_counter() - begun)
    found.columns = list(FACTORS)
    last = found.xs(found.index.get_level_values("datetime").max(), level="datetime")
    print(json.dumps({"seconds": seconds, "last": json.loads(last.to_json(orient="index"))}))


if __name__ == "__main__":
    main()
