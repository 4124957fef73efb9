"""inD, rounD and exiD: crossings, roundabouts, motorway ramps from above, 25 Hz.

NN_tracks.csv, NN_tracksMeta.csv, NN_recordingMeta.csv. Bock et al. 2020 (inD), Krajewski et al. 2020 (rounD), Moers et
al. 2022 (exiD). xCenter, yCenter are metres, `width` and `length` the vehicle's own. They have no road axis: name one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.readers.axis import ACROSS
from d2road.traffic.readers.axis_source import AxisSource
from d2road.traffic.readers.blocks import Wanted, checked_ids, csv_blocks, guess_separator, number_in, read_rows
from d2road.traffic.readers.highd import frame_rate_in, recordings_in
from d2road.traffic.readers.source import READERS, Part
from d2road.utils.errors import DataError

NUMBERS = ("trackId", "frame", "xCenter", "yCenter", "width", "length", "xVelocity", "yVelocity")
ACCELERATIONS = ("xAcceleration", "yAcceleration")
OPTIONAL = ("heading", "laneletId", "recordingId", *ACCELERATIONS)
WANTED = Wanted((*NUMBERS, *ACCELERATIONS, "heading", "recordingId"), ("laneletId",), OPTIONAL)


@READERS.register(name="ind")
@READERS.register(name="round")
@READERS.register(name="exid")
class LevelX(AxisSource):
    """A recording (NN_tracks.csv) or a folder of them.

    Options are those of `AxisSource`. Without lane edges the lane is laneletId where there is one (exiD), else 1.
    """

    def parts(self) -> Iterator[Part]:
        """One for each recording."""
        for tracks in recordings_in(self.path):
            name = tracks.name.removesuffix("_tracks.csv")
            yield Part(tracks, self.recording or name, partial(self._blocks, tracks, name))

    def _blocks(self, tracks: Path, name: str) -> Iterator[pd.DataFrame]:
        file = tracks.with_name(f"{name}_recordingMeta.csv")
        rate = frame_rate_in(read_rows(file, ("frameRate",))[0], file)
        file = tracks.with_name(f"{name}_tracksMeta.csv")
        vehicles = read_rows(file, ("trackId", "class"))
        classes = {number_in(v, "trackId", file): v["class"].strip().lower() for v in vehicles}
        recordings: set[float] = set()
        for block in csv_blocks(tracks, WANTED, guess_separator(tracks), problems=self.problems):
            if "recordingId" in block:
                recordings |= set(block.pop("recordingId").dropna().unique())
                if len(recordings) > 1:
                    raise DataError(
                        f"{tracks} holds the recordings {', '.join(f'{r:g}' for r in sorted(recordings))}, each with a "
                        "vehicle 0: expected a file for each"
                    )
            cls = checked_ids(block["trackId"], str(tracks)).map(classes).fillna("unknown")
            taken = self.taken(cls)
            self.problems.rows += int((~taken).sum())
            self.problems.leave_out("classes", cls[~taken])
            yield self._placed(block[taken.to_numpy()], cls[taken], rate, tracks.name)

    def _placed(self, block: pd.DataFrame, cls: pd.Series, rate: float, file: str) -> pd.DataFrame:
        place = self.road.place(block[["xCenter", "yCenter"]].to_numpy())
        frame = pd.DataFrame(
            {
                "row": block["row"],
                "vehicle": block["trackId"],
                "cls": cls,
                "t": block["frame"] / rate,
                "s": place.s + block["length"] / 2,
                "lane": place.lane,
                "direction": place.direction,
                "speed": (block[["xVelocity", "yVelocity"]].to_numpy() * place.along).sum(1),
                "length": block["length"],
                "width": block["width"],
            }
        )
        if "laneletId" in block and not len(self.road.lane_edges):
            # At a change of lanelets exiD lists several.
            frame["lane"] = _first_of_lists(block["laneletId"])
        if ACCELERATIONS[0] in block and ACCELERATIONS[1] in block:
            frame["acceleration"] = (block[list(ACCELERATIONS)].to_numpy() * place.along).sum(1)
        points = block[["xCenter", "yCenter"]].to_numpy()
        if "heading" in block:
            # Counter-clockwise from +x. Who faces across the axis is on another road, or not on this one yet.
            heading = np.radians(block["heading"].to_numpy())
            cosine = np.cos(heading) * place.along[:, 0] + np.sin(heading) * place.along[:, 1]
            place = replace(place, off=place.off | (np.abs(cosine) < ACROSS))
        return self.on_road(frame, place.off & np.isfinite(points).all(1), file, points, self.road)


def _first_of_lists(column: pd.Series) -> pd.Series:
    """The first of names joined by semicolons; compares the few categories, not the rows."""
    return column.map({name: str(name).split(";")[0] for name in column.cat.categories}).fillna("unknown")
