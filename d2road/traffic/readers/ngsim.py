"""NGSIM: US-101, I-80 and others, 10 Hz, in feet as published.

US DOT, Next Generation Simulation. Local_Y is the front's position along the road, lanes count from the left. The text
files have no line of names and 18 columns separated by blanks, the CSV of the open-data portal more, in other orders.
Positions are noisy (Punzo et al. 2011; Coifman and Li 2017): speeds are taken from smoothed positions by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from d2road.traffic.readers.blocks import csv_blocks, parquet_blocks, read_header
from d2road.traffic.readers.source import READERS, Part, Source
from d2road.utils.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from d2road.traffic.readers.source import CommonOptions, SourceOptions

    class NgsimOptions(SourceOptions, total=False):
        """Options of all NGSIM readers."""

        units: str


FOOT = 0.3048
FRAMES_PER_S = 10.0
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
                "vehicle": pd.Series(number["vehicle"]).astype("Int64").astype(str),
                "cls": cls.to_numpy(),
                "t": number["frame"] / FRAMES_PER_S,
                "s": number["y"] * self.metre,
                "lane": np.nan_to_num(lane).astype(int),
                "direction": 1,
                "speed": number["vel"] * self.metre,
                "acceleration": number["acc"] * self.metre,
                "length": number["length"] * self.metre,
                "width": number["width"] * self.metre,
            }
        )


@READERS.register(name="ngsim")
class Ngsim(_Ngsim):
    """The published text files (.txt), or a CSV file with their columns.

    Args:
        location: of a CSV file with several, such as "i-80"; "" is for files of one.
    """

    def __init__(self, path: str | Path, *, location: str = "", **common: Unpack[NgsimOptions]):
        super().__init__(path, **common)
        self.location = location

    def parts(self) -> Iterator[Part]:
        """The file."""
        yield Part(self.path, self.recording or self.location or self.path.stem, self._blocks)

    def _blocks(self) -> Iterator[pd.DataFrame]:
        if self.path.suffix == ".txt":
            blocks = csv_blocks(self.path, NUMBERS, separator=r"\s+", header=TEXT_COLUMNS)
        else:
            has_location = "location" in [name.lower() for name in read_header(self.path)]
            if self.location and not has_location:
                raise ConfigError(f"{self.path} has no column Location to choose {self.location!r} by")
            blocks = csv_blocks(self.path, NUMBERS, ("Location",), ("Location",))
        for block in blocks:
            if "Location" in block:
                block = self._at_location(block)
            columns = {"vehicle": "Vehicle_ID", "frame": "Frame_ID", "y": "Local_Y", "lane": "Lane_ID"}
            columns |= {name.lower(): f"v_{name}" for name in ("Length", "Width", "Class", "Vel", "Acc")}
            yield self._rows(self.path.name, block["row"], {key: block[name] for key, name in columns.items()})

    def _at_location(self, block: pd.DataFrame) -> pd.DataFrame:
        places = [name for name in block["Location"].cat.categories if name]
        if not self.location and len(places) > 1:
            raise ConfigError(f"{self.path} has the locations {', '.join(places)}: choose one with location=")
        return block[(block["Location"] == self.location).to_numpy()] if self.location else block


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
