"""FT-AED: a month of lane sensors on the I-24 towards Nashville, with crash reports.

49 radar sensors along 17 miles, four lanes, every 30 s, on weekday mornings of October 2023. One CSV file with a row a
sensor and instant: `day, unix_time, milemarker, lane1_speed, lane1_volume, lane1_occ, ..., lane4_occ, human_label,
crash_record`. Mile markers fall in the direction of travel; lane 1 is the left one. Labels hold for the whole road:
they tell when somebody reported a crash, or saw something on the data, and not where.

Source of these facts: README and loading code of Coursey et al., FT-AED, NeurIPS 2024 (data sets and benchmarks),
arXiv 2406.15283. The data is CC BY-NC 4.0 and not part of this project.

Letters: T instants, M sensors, L lanes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.readers.table_text import TableText, open_plain, split_names
from d2road.utils.errors import DataError

STEP_S = 30.0
MILE_M = 1609.344
MPH = 0.44704
LANES = 4
LABELS = ("crash_record", "human_label")
# Minutes around a report, as the authors judge their models: at most so early counts as found, and until then.
EARLIEST_MIN, LATEST_MIN = 15.0, 15.0
# What comes after that is neither good traffic nor asked for.
AFTERMATH_MIN = 120.0


@dataclass(frozen=True)
class LaneSensors:
    """One day of sensors.

    times (T,) unix seconds, every 30 s, without holes: instants that the file lacks hold NaN; s (M,) m in the direction
    of travel, from the first sensor, rising; speed (T, M, L) m/s, occupancy and volume (T, M, L) as the file has them,
    NaN where unknown; crash, human (T,) bool, whether a crash was reported, a person marked the instant.
    """

    day: str
    times: np.ndarray
    s: np.ndarray
    speed: np.ndarray
    occupancy: np.ndarray
    volume: np.ndarray
    crash: np.ndarray
    human: np.ndarray

    def events(self, kinds: Sequence[str] = ("crash", "human")) -> pd.DataFrame:
        """Reports as events (`d2road.traffic.events.event_metrics`), marks closer together than 15 minutes as one.

        onset is EARLIEST_MIN before the report and end LATEST_MIN behind it, s since the day's first instant; `report`
        is that of the report itself, so that delay - (report - onset) is the delay to the report.
        """
        rows = []
        for kind in kinds:
            last = -np.inf
            for t in self.times[getattr(self, kind)] - self.times[0]:
                if t - last > LATEST_MIN * 60:
                    rows.append((self.day, kind, "", t - EARLIEST_MIN * 60, t + LATEST_MIN * 60, t))
                last = t
        return pd.DataFrame(rows, columns=["recording", "kind", "severity", "onset", "end", "report"])

    def good(self) -> np.ndarray:
        """Instants (T,) bool that no report of either kind is near, for training and thresholds."""
        good = np.ones(len(self.times), dtype=bool)
        for t in self.times[self.crash | self.human]:
            good &= (self.times < t - EARLIEST_MIN * 60) | (self.times > t + AFTERMATH_MIN * 60)
        return good


def read_ft_aed(path: str | Path, speed_unit: float = MPH) -> list[LaneSensors]:
    """The days of a file, in order.

    Args:
        path: nashville_freeway_anomaly.csv, or one of its form.
        speed_unit: m/s of the file's unit.
    Raises:
        FileNotFoundError: no such file.
        ValueError: columns are missing, no rows, or a sensor has two rows at one instant; names the first.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: get nashville_freeway_anomaly.csv from the authors of FT-AED")
    lanes = [f"lane{n}_{what}" for what in ("speed", "occ", "volume") for n in range(1, LANES + 1)]
    names = ["day", "unix_time", "milemarker", *lanes, *LABELS]
    with open_plain(path) as file:
        have = split_names(TableText(file, str(path), ",").first_line(), ",")
    missing = [name for name in names if name not in have]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(have)}")
    with open_plain(path) as file:
        text = TableText(file, str(path), ",")
        frame = pd.read_csv(text, usecols=names, dtype=dict.fromkeys(lanes, np.float32))
    if not len(frame):
        raise DataError(f"{path} has no rows")
    twice = frame.duplicated(["unix_time", "milemarker"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise DataError(
            f"{path}: sensor {row['milemarker']} has two rows at {row['unix_time']:.0f}, the second one in line "
            f"{frame[twice].index[0] + 2} ({int(twice.sum())} such rows)"
        )
    miles = np.sort(frame["milemarker"].unique())[::-1]
    return [_day(str(day), part, miles, lanes, speed_unit) for day, part in frame.groupby("day", sort=True)]


def _day(day: str, frame: pd.DataFrame, miles: np.ndarray, lanes: list[str], speed_unit: float) -> LaneSensors:
    instant = np.round((frame["unix_time"] - frame["unix_time"].min()) / STEP_S).astype(int).to_numpy()
    sensor = len(miles) - 1 - np.searchsorted(miles[::-1], frame["milemarker"].to_numpy())
    count = instant.max() + 1
    values = np.full((count, len(miles), len(lanes)), np.nan, dtype=np.float32)
    values[instant, sensor] = frame[lanes].to_numpy()
    speed, occupancy, volume = np.split(values, 3, axis=2)
    crash, human = (np.bincount(instant, frame[name].fillna(0) > 0, minlength=count) > 0 for name in LABELS)
    return LaneSensors(
        day,
        float(frame["unix_time"].min()) + STEP_S * np.arange(count),
        (miles[0] - miles) * MILE_M,
        speed * np.float32(speed_unit),
        occupancy,
        volume,
        crash,
        human,
    )
