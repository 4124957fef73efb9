"""Tracks of a camera in the format of MOTChallenge, and the road in its image.

Lines of frame, id, left, top, width, height, confidence, ... without a line of names, frames from 1. The point where a
box meets the ground, the middle of its lower side, is taken for the vehicle's middle.
"""

from __future__ import annotations

import configparser
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from d2road.traffic.readers.axis import Road, read_homography, to_ground
from d2road.traffic.readers.blocks import Wanted, checked_ids, csv_blocks, first_line_of
from d2road.traffic.readers.source import READERS, Part, Source
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_text

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from d2road.traffic.readers.source import CommonOptions


USUAL_LENGTH = 4.5  # m, of a car in a camera's view
GROUND_HALF_WIDTH = 20.0  # m
COLUMNS = ("frame", "id", "left", "top", "width", "height", "confidence", "class", "visibility", "z")


@READERS.register(name="mot")
class Mot(Source):
    """A file of tracks (gt.txt, results). Speeds come from smoothed positions.

    Args:
        axis: of the road, as RoadAxis.of takes it: in metres on the ground with a homography; without one in pixels of
            the image, with the metres at each point.
        homography: JSON file of the 3x3 matrix from pixels to metres on the ground.
        frame_rate: frames a second; 0 reads it from seqinfo.ini above the file.
        lane_edges, two_way: as axis.Road has them, in the units of the axis.
        half_width: of the road without lane_edges, to either side of the axis; 0 is 20 m on the ground, with a
            homography, and without limit in pixels.
        length: metres of a vehicle; 0 assumes 4.5.
        smooth: seconds.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        axis: str = "",
        homography: str = "",
        frame_rate: float = 0.0,
        lane_edges: str = "",
        half_width: float = 0.0,
        two_way: str = "",
        length: float = 0.0,
        smooth: float = 1.0,
        **common: Unpack[CommonOptions],
    ):
        super().__init__(path, smooth=smooth, **common)
        self.road = Road.of(axis, lane_edges, half_width or (GROUND_HALF_WIDTH if homography else np.inf), two_way)
        self.homography = read_homography(homography) if homography else None
        self.frame_rate = frame_rate or self._frame_rate()
        self.length, self.assumed = length or USUAL_LENGTH, not length

    def _frame_rate(self) -> float:
        for folder in list(self.path.resolve().parents)[:2]:
            file, parser = folder / "seqinfo.ini", configparser.ConfigParser()
            if not file.is_file():
                continue
            try:
                parser.read_string(read_text(file))
                rate = parser.getfloat("Sequence", "frameRate")
            except (configparser.Error, ValueError) as error:
                raise DataError(f"{file} does not tell frameRate in [Sequence]: {error}; give frame_rate=") from error
            if not 0 < rate < math.inf:
                raise DataError(f"{file}: frameRate is {rate:g}, expected more than 0; give frame_rate=")
            return rate
        raise DataError(f"no seqinfo.ini above {self.path} tells the frame rate: give frame_rate=")

    def parts(self) -> Iterator[Part]:
        """The file."""
        yield Part(self.path, self.recording or self.path.stem, self._blocks)

    def _blocks(self) -> Iterator[pd.DataFrame]:
        count = first_line_of(self.path, ",").count(",") + 1
        if count < 6:
            raise DataError(f"{self.path} has {count} columns, expected frame, id, left, top, width, height, ...")
        numbers = COLUMNS[:7] if count > 6 else COLUMNS[:6]
        header = [*COLUMNS, *(f"column_{i}" for i in range(len(COLUMNS), count))][:count]
        for block in csv_blocks(self.path, Wanted(numbers), header=header, problems=self.problems):
            if count > 6:  # ground truth marks boxes that do not count by 0
                ignored = block["confidence"].to_numpy() == 0
                self.problems.rows += int(ignored.sum())
                block = block[~ignored]
            yield self._placed(block)

    def _placed(self, block: pd.DataFrame) -> pd.DataFrame:
        if self.assumed:
            told = "assumed length" in self.problems.counts
            rows = [] if told else block["row"].to_numpy()[:1]
            self.problems.add(
                "assumed length", self.path.name, rows, f"{USUAL_LENGTH:g} m; length= says better", count=len(block)
            )
        points = np.column_stack([block["left"] + block["width"] / 2, block["top"] + block["height"]])
        if self.homography is not None:
            points = to_ground(points, self.homography)
        place = self.road.place(points)
        frame = pd.DataFrame(
            {
                "row": block["row"],
                "vehicle": checked_ids(block["id"], str(self.path)),
                "t": (block["frame"] - 1) / self.frame_rate,
                "s": place.s + self.length / 2,
                "lane": place.lane,
                "direction": place.direction,
                "length": self.length,
            }
        )
        off = place.off & np.isfinite(points).all(1)
        return self.on_road(frame, off, self.path.name, points, self.road)
