"""A small file in FT-AED's published form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from d2road.traffic.readers.ft_aed import LANES

MILES = [53.3, 54.0, 55.0]  # 53.3 is nearest to Nashville: downstream
START = 1_696_000_000


def write(path: Path, days: Sequence[int] = (2, 3), steps: int = 40, **changes: dict[tuple, Any]) -> pd.DataFrame:
    """All at 60 mph and a volume of 5; `changes` set columns by (day, step, mile)."""
    rows = []
    for day in days:
        for step in range(steps):
            for mile in MILES:
                row: dict[str, Any] = {"day": day, "unix_time": START + day * 86400 + 30 * step, "milemarker": mile}
                for lane in range(1, LANES + 1):
                    row |= {f"lane{lane}_speed": 60.0, f"lane{lane}_volume": 5.0, f"lane{lane}_occ": 8.0}
                rows.append({**row, "human_label": 0, "crash_record": 0})
    frame = pd.DataFrame(rows)
    for name, places in changes.items():
        for (day, step, mile), value in places.items():
            at = (frame["day"] == day) & (frame["unix_time"] == START + day * 86400 + 30 * step)
            frame.loc[at & ((frame["milemarker"] == mile) | (mile is None)), name] = value
    frame.to_csv(path, index=False)
    return frame
