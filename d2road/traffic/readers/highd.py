"""highD: motorways from above, 25 Hz. NN_tracks.csv, NN_tracksMeta.csv, NN_recordingMeta.csv.

Krajewski et al., The highD Dataset, ITSC 2018. x, y are the upper left corner of the bounding box in metres, `width`
its extent along the road (the vehicle's length), `height` across it. drivingDirection 1 is towards -x, 2 towards +x.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from d2road.traffic.readers.blocks import Wanted, checked_ids, csv_blocks, guess_separator, number_in, read_rows
from d2road.traffic.readers.source import READERS, Part, Source
from d2road.utils.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from d2road.traffic.readers.source import SourceOptions


NUMBERS = ("frame", "id", "x", "width", "height", "xVelocity", "xAcceleration", "laneId")


def recordings_in(path: Path, ending: str = "_tracks.csv") -> list[Path]:
    """The files of tracks at a path: itself, or those in a folder, sorted.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: a file of another name.
    """
    if path.is_dir():
        found = sorted(path.glob(f"*{ending}"))
        if not found:
            raise FileNotFoundError(f"folder {path} holds no file *{ending}")
        return found
    if not path.name.endswith(ending):
        raise DataError(f"{path} is expected to be called NN{ending}, with its meta files beside it")
    return [path]


def frame_rate_in(row: dict[str, str], file: Path) -> float:
    """Frames a second of a recording's meta data.

    Raises:
        DataError: it is not positive.
    """
    rate = number_in(row, "frameRate", file)
    if rate <= 0:
        raise DataError(f"{file}: frameRate is {rate:g}, expected more than 0 frames a second")
    return rate


@READERS.register(name="highd")
class HighD(Source):
    """A highD recording (NN_tracks.csv) or a folder of them.

    Direction 1 is towards +x, -1 towards -x; s = x of the front there, and road_length - x.

    Args:
        road_length: metres; where x = 0 is, seen from the other direction.
    """

    def __init__(self, path: str | Path, *, road_length: float = 420.0, **common: Unpack[SourceOptions]):
        super().__init__(path, **common)
        self.road_length = road_length

    def parts(self) -> Iterator[Part]:
        """One for each recording."""
        for tracks in recordings_in(self.path):
            name = tracks.name.removesuffix("_tracks.csv")
            yield Part(tracks, self.recording or name, partial(self._blocks, tracks, name))

    def _blocks(self, tracks: Path, name: str) -> Iterator[pd.DataFrame]:
        file = tracks.with_name(f"{name}_recordingMeta.csv")
        meta = read_rows(file, ("frameRate", "upperLaneMarkings", "lowerLaneMarkings"))
        rate = frame_rate_in(meta[0], file)
        known = _lanes(meta[0]["upperLaneMarkings"], meta[0]["lowerLaneMarkings"])
        file = tracks.with_name(f"{name}_tracksMeta.csv")
        vehicles = read_rows(file, ("id", "class", "drivingDirection"))
        forward = {number_in(v, "id", file): number_in(v, "drivingDirection", file) == 2 for v in vehicles}
        classes = {number_in(v, "id", file): v["class"].strip().lower() for v in vehicles}
        for block in csv_blocks(tracks, Wanted(NUMBERS), guess_separator(tracks), problems=self.problems):
            ids = checked_ids(block["id"], str(tracks))
            onward = ids.map(forward)
            bad = onward.isna().to_numpy()
            self.problems.add(
                "not a number",
                tracks.name,
                block["row"].to_numpy()[bad],
                "the vehicle is not in tracksMeta",
                wrong=True,
            )
            block, ids = block[~bad], ids[~bad]
            self.problems.rows += int(bad.sum())
            onward = onward[~bad].to_numpy(dtype=bool)
            sign = np.where(onward, 1, -1)
            lane = block["laneId"].to_numpy()
            strange = ~np.isin(lane, known)
            self.problems.add(
                "unknown lane",
                tracks.name,
                block["row"].to_numpy()[strange],
                partial(_lane_text, lane[strange], known),
            )
            yield pd.DataFrame(
                {
                    "row": block["row"],
                    "vehicle": ids.astype(int),
                    "cls": ids.map(classes),
                    "t": block["frame"] / rate,
                    "s": np.where(onward, block["x"] + block["width"], self.road_length - block["x"]),
                    "lane": np.where(np.isfinite(lane), lane, 0).astype(int),
                    "direction": sign,
                    "speed": sign * block["xVelocity"],
                    "acceleration": sign * block["xAcceleration"],
                    "length": block["width"],
                    "width": block["height"],
                }
            )


def _lane_text(lanes: np.ndarray, known: list[int], i: int) -> str:
    return f"lane {lanes[i]:g} is not among {', '.join(map(str, known))}"


def _lanes(upper: str, lower: str) -> list[int]:
    """The laneIds between markings; ids count what is above, between and below the carriageways too."""
    above, below = (len([m for m in marks.split(";") if m.strip()]) for marks in (upper, lower))
    return [*range(2, above + 1), *range(above + 2, above + below + 1)]
