"""NGSIM: US-101, I-80 and others, 10 Hz, in feet as published.

US DOT, Next Generation Simulation. Local_Y is the front's position along the road, lanes count from the left. The text
files have no line of names and 18 columns separated by blanks, the CSV of the open-data portal more, in other orders:
it holds all places, and all recording periods of each, and vehicles and frames are numbered anew in each period.
Positions are noisy (Punzo et al. 2011; Coifman and Li 2017): speeds are taken from smoothed positions by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from d2road.traffic.data_quality import QualityReport
from d2road.traffic.readers.blocks import Wanted, checked_ids, csv_blocks, guess_separator
from d2road.traffic.readers.parquet_blocks import parquet_blocks, parquet_table
from d2road.traffic.readers.source import READERS, Part, Source
from d2road.traffic.readers.table_text import BLANKS, TableText, kind_of, open_plain
from d2road.utils.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from d2road.traffic.readers.source import CommonOptions, SourceOptions

    class NgsimOptions(SourceOptions, total=False):
        """Options of all NGSIM readers."""

        units: str


FOOT = 0.3048
FRAMES_PER_S, FRAME_MS = 10.0, 100.0
# Clocks of recording periods are some minutes apart.
SAME_PERIOD_MS = 10_000.0
TEXT_COLUMNS = (
    *("Vehicle_ID", "Frame_ID", "Total_Frames", "Global_Time", "Local_X", "Local_Y", "Global_X", "Global_Y"),
    *("v_Length", "v_Width", "v_Class", "v_Vel", "v_Acc", "Lane_ID"),
    *("Preceding", "Following", "Space_Headway", "Time_Headway"),
)
NUMBERS = ("Vehicle_ID", "Frame_ID", "Local_Y", "v_Length", "v_Width", "v_Class", "v_Vel", "v_Acc", "Lane_ID")
CLASSES = {1: "motorcycle", 2: "car", 3: "truck"}
# Columns of leader-follower pairs; those of the leader begin with "preceding", its name is "preceding" itself.
PAIRS = (
    "vehicle_id",
    "frame_id",
    "local_y",
    "v_length",
    "v_width",
    "v_class",
    "v_vel",
    "v_acc",
    "lane_id",
    "preceding",
)
LEADER = ("preceding_local_y", *(f"preceding_{name}" for name in ("length", "width", "class", "vel", "acc")))


class _Ngsim(Source):
    """Options of all NGSIM readers.

    Args:
        units: "feet" as published, or "metres".
        smooth: seconds of the filter over positions; 0 keeps positions, speeds and accelerations as they are.
    """

    def __init__(self, path: str | Path, *, units: str = "feet", smooth: float = 1.0, **common: Unpack[CommonOptions]):
        super().__init__(path, smooth=smooth, **common)
        if units not in ("feet", "metres"):
            raise ConfigError(f"units is {units!r}, expected 'feet' or 'metres'")
        self.metre = FOOT if units == "feet" else 1.0

    def _rows(self, file: str, row: pd.Series, columns: dict[str, pd.Series]) -> pd.DataFrame:
        """Table columns of columns named vehicle, frame, y, length, width, class, vel, acc and lane."""
        number = {name: pd.to_numeric(columns[name], errors="coerce").to_numpy(dtype=float) for name in columns}
        lane = number["lane"]
        strange = ~(lane >= 1)
        self.problems.add(
            "unknown lane", file, row.to_numpy()[strange], lambda i: f"lane {lane[strange][i]:g}: lanes count from 1"
        )
        cls = pd.Series(number["class"]).map(CLASSES).fillna("vehicle")
        return pd.DataFrame(
            {
                "row": row.to_numpy(),
                "vehicle": _names(checked_ids(pd.Series(number["vehicle"]), file)),
                "cls": cls.to_numpy(),
                "t": number["frame"] / FRAMES_PER_S,
                "s": number["y"] * self.metre,
                "lane": np.where(np.isfinite(lane), lane, 0).astype(int),
                "direction": 1,
                "speed": number["vel"] * self.metre,
                "acceleration": number["acc"] * self.metre,
                "length": number["length"] * self.metre,
                "width": number["width"] * self.metre,
            }
        )


@READERS.register(name="ngsim")
class Ngsim(_Ngsim):
    """The published text files, or a table in CSV or Parquet with their columns; each recording period is a recording.

    Global_Time tells periods apart: without the frame's number it is constant within each. Of several, recordings are
    named by when each begins, in UTC.

    Args:
        location: of a table with several, such as "i-80"; "" is for files of one.
    """

    def __init__(self, path: str | Path, *, location: str = "", **common: Unpack[NgsimOptions]):
        super().__init__(path, **common)
        self.location = location

    def parts(self) -> Iterator[Part]:
        """One for each recording period."""
        kind = kind_of(self.path)
        if kind == "table" and _is_text_file(self.path):
            kind = "text"
        clocks = self._clocks(kind)
        name = self.recording or self.location or self.path.stem
        if len(clocks) < 2:
            yield Part(self.path, name, partial(self._blocks, kind))
            return
        for number, (start, clock) in enumerate(clocks):
            begin = datetime.fromtimestamp(start / 1000, timezone.utc)
            yield Part(self.path, f"{name}_{begin:%Y%m%dT%H%M%SZ}", partial(self._blocks, kind, clock, number == 0))

    def _read(self, kind: str, wanted: Wanted, problems: QualityReport | None = None) -> Iterator[pd.DataFrame]:
        if kind == "parquet":
            return parquet_table(self.path, wanted)
        if kind == "text":
            return csv_blocks(self.path, wanted, BLANKS, TEXT_COLUMNS, problems)
        return csv_blocks(self.path, wanted, guess_separator(self.path), problems=problems)

    def _clocks(self, kind: str) -> list[tuple[float, float]]:
        """Of each recording period in order: when it begins, and its Global_Time without the frames' (both ms).

        Raises:
            DataError, ConfigError: the place is not in the file, or has to be chosen.
        """
        places: set[str] = set()
        first: dict[float, float] = {}  # when the rows of a clock begin
        wanted = Wanted(("Frame_ID", "Global_Time"), ("Location",), ("Location", "Global_Time"))
        for block in self._read(kind, wanted):
            places |= {str(name) for name in block["Location"].dropna().unique()} if "Location" in block else set()
            if self.location and "Location" not in block:
                raise ConfigError(f"{self.path} has no column Location to choose {self.location!r} by")
            if "Global_Time" not in block:
                continue
            block = self._at_location(block)
            time, frame = block["Global_Time"].to_numpy(), block["Frame_ID"].to_numpy()
            clock, at = np.unique(time - FRAME_MS * frame, return_inverse=True)
            begins = np.full(len(clock), np.inf)
            np.minimum.at(begins, at, np.where(np.isfinite(time), time, np.inf))
            for value, begin in zip(clock.tolist(), begins.tolist()):
                if np.isfinite(value):
                    first[value] = min(begin, first.get(value, np.inf))
        if not self.location and len(places) > 1:
            raise ConfigError(f"{self.path} has the locations {', '.join(sorted(places))}: choose one with location=")
        if self.location and self.location not in places:
            raise ConfigError(f"{self.path} has no location {self.location!r}; it has {', '.join(sorted(places))}")
        periods: list[tuple[float, float]] = []
        for clock_ms in sorted(first):
            if periods and clock_ms - periods[-1][1] < SAME_PERIOD_MS:
                periods[-1] = (min(periods[-1][0], first[clock_ms]), periods[-1][1])
            else:
                periods.append((first[clock_ms], clock_ms))
        return sorted(periods)

    def _blocks(self, kind: str, clock: float | None = None, counted: bool = True) -> Iterator[pd.DataFrame]:
        wanted = Wanted((*NUMBERS, "Global_Time"), ("Location",), ("Location", "Global_Time"))
        for block in self._read(kind, wanted, self.problems if counted else None):
            block = self._at_location(block)
            if clock is not None:
                since = (block["Global_Time"] - FRAME_MS * block["Frame_ID"] - clock).to_numpy()
                unknown = block["row"].to_numpy()[~np.isfinite(since)] if counted else []
                self.problems.rows += len(unknown)
                text = "no Global_Time or Frame_ID that tells its recording period"
                self.problems.add("not a number", self.path.name, unknown, text, wrong=True)
                block = block[(since >= 0) & (since < SAME_PERIOD_MS)]
            columns = {"vehicle": "Vehicle_ID", "frame": "Frame_ID", "y": "Local_Y", "lane": "Lane_ID"}
            columns |= {name.lower(): f"v_{name}" for name in ("Length", "Width", "Class", "Vel", "Acc")}
            yield self._rows(self.path.name, block["row"], {key: block[name] for key, name in columns.items()})

    def _at_location(self, block: pd.DataFrame) -> pd.DataFrame:
        return block[(block["Location"] == self.location).to_numpy()] if self.location else block


def _is_text_file(path: Path) -> bool:
    """Whether a file's first line holds the values of the published text files, and no names."""
    with open_plain(path) as file:
        line = TableText(file, str(path), BLANKS).first_line()
    return len(line.split()) == len(TEXT_COLUMNS)


def _names(ids: pd.Series) -> pd.Series:
    """Names of vehicles of their numbers; None where there is none."""
    codes, numbers = pd.factorize(ids)
    names = [repr(number) if number % 1 else f"{number:.0f}" for number in numbers]
    return pd.Series(np.array([*names, None], dtype=object)[codes])


@READERS.register(name="ngsim_pairs")
class NgsimPairs(_Ngsim):
    """Leader-follower pairs of NGSIM in a Parquet file: both vehicles of each, once, however many pairs they are in.

    Most vehicles of the recording are in no pair, so the road looks emptier than it was. Metres, not feet, by default.
    """

    def __init__(self, path: str | Path, *, units: str = "metres", **common: Unpack[SourceOptions]):
        super().__init__(path, units=units, **common)

    def parts(self) -> Iterator[Part]:
        """The file."""
        yield Part(self.path, self.recording or self.path.stem, self._blocks)

    def _blocks(self) -> Iterator[pd.DataFrame]:
        frames = []
        for block in parquet_blocks(self.path, (*PAIRS, *LEADER)):
            follower = {"vehicle": "vehicle_id", "frame": "frame_id", "y": "local_y", "lane": "lane_id"}
            leader = {"vehicle": "preceding", "frame": "frame_id", "y": "preceding_local_y", "lane": "lane_id"}
            for name in ("length", "width", "class", "vel", "acc"):
                follower[name], leader[name] = f"v_{name}", f"preceding_{name}"
            for columns in (follower, leader):
                frames.append(self._rows(self.path.name, block["row"], {k: block[n] for k, n in columns.items()}))
        if frames:
            # A vehicle is the leader of one pair and the follower of the next: no duplicate in the file's sense.
            yield pd.concat(frames).drop_duplicates(["vehicle", "t"]).sort_values(["vehicle", "t"])
