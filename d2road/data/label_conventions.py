"""Whether the 3D labels and cameras of a data set follow the conventions of its format, found when it is read."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from d2road.data.box3d_conventions import alpha_problem, angle_problem, side_problem, unit_problem, wide_vehicles
from d2road.data.input_checks import one_entry
from d2road.data.label_fit import LabelSample, better_convention
from d2road.structures.camera import Camera
from d2road.structures.principal_point import SizeProblem, camera_size_problem
from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)

SAMPLED, SAMPLED_OF_FRAME = 400, 10  # objects whose projection is looked at
MIN_FIT = 0.5  # cameras whose labels fit their images are right, whatever their principal point
QUARTER_TURN = (
    "; DAIR-V2X's converter to KITTI's form writes height length width and a heading a quarter turn off: read its "
    "original files as dair:ROOT, or exchange width and length and subtract pi / 2 from rotation_y"
)


class LabelConventions:
    """Collects the frames of one data set and decides.

    Args:
        source: file or folder, for messages.
    """

    def __init__(self, source: str):
        self.source = source
        self.types: list[str] = []
        self.dimensions: list[Any] = []
        self.angles: list[tuple[float, float]] = []
        self.location: list[Any] = []
        self.sample: list[tuple] = []
        self.of_odd_camera: list[bool] = []
        self.room = {False: SAMPLED, True: SAMPLED}  # for objects of usual and of odd cameras
        self.odd_cameras: list[tuple[str, SizeProblem]] = []

    def add(self, record: Mapping[str, Any], camera: Camera, ry_frame: str = "camera") -> None:
        """Take a dataset dict with its camera; `ry_frame` as for `catalog.register_objects`."""
        size = (record["width"], record["height"])
        problem = camera_size_problem(camera, *size)
        if problem is not None:
            self.odd_cameras.append((str(record.get("calib_file") or record["file_name"]), problem))
        rows = [*record.get("annotations", ()), *record.get("ignored_annotations", ())]
        rows = [row for row in rows if row.get("has_3d")]
        for row in rows:
            self.types.append(str(row.get("type", "")))
            self.dimensions.append(row["dimensions_hwl"])
            self.angles.append((row["rotation_y"], row["alpha"]))
            self.location.append(row["location"])
        odd = problem is not None
        upright = camera.ground_rotation() if ry_frame == "ground" else np.eye(3)
        for row in rows[: min(SAMPLED_OF_FRAME, self.room[odd])]:
            turn, axes = (0.0, row["box_rotation"]) if "box_rotation" in row else (row["rotation_y"], upright)
            self.sample.append((row["location"], row["dimensions_hwl"], turn, axes, camera.P, size, row["bbox"]))
            self.of_odd_camera.append(odd)
            self.room[odd] -= 1

    def finish(self) -> None:
        """Decide.

        Raises:
            DataError: units, angles, order of dimensions, heading, or camera are of another convention; says which one
                would fit. Warns of cameras that may be.
        """
        if self.types:
            types, dimensions = np.array(self.types), np.array(self.dimensions, dtype=np.float64)
            angles = np.array(self.angles, dtype=np.float64)
            degrees = angle_problem(angles[:, 0], "rotation_y") or angle_problem(angles[:, 1], "alpha")
            self._refuse(degrees)
            contradiction = alpha_problem(angles[:, 1], angles[:, 0], np.array(self.location, dtype=np.float64))
            if contradiction and not degrees:
                logger.warning("%s: %s", self.source, contradiction)
            wide, total = wide_vehicles(types, dimensions)
            other = better_convention(self._arrays(self.sample), 2 * wide > total)
            sides = side_problem(types, dimensions)
            self._refuse(other or unit_problem(types, dimensions) or (sides and sides + QUARTER_TURN))
        self._check_cameras()

    def _check_cameras(self) -> None:
        """Cameras away from the middle of their images: right if labels say so, wrong or doubtful otherwise."""
        if not self.odd_cameras:
            return
        theirs = [row for row, odd in zip(self.sample, self.of_odd_camera) if odd]
        if theirs and np.median(self._arrays(theirs).fit()) >= MIN_FIT:
            return
        certain = [(name, problem) for name, problem in self.odd_cameras if problem.certain]
        name, problem = (certain or self.odd_cameras)[0]
        text = f"{len(certain or self.odd_cameras)} cameras are not those of their images, e.g. {name}: {problem.text}"
        if certain:
            self._refuse(text)
        else:
            logger.warning("%s: %s", self.source, text.replace("are not", "may not be"))

    def _refuse(self, text: str) -> None:
        if text:
            with one_entry():
                raise DataError(f"{self.source}: {text}")

    @staticmethod
    def _arrays(rows: list[tuple]) -> LabelSample:
        shapes = ((-1, 3), (-1, 3), (-1,), (-1, 3, 3), (-1, 3, 4), (-1, 2), (-1, 4))
        columns = zip(*rows) if rows else [()] * len(shapes)
        return LabelSample(*(np.array(c, dtype=np.float64).reshape(s) for c, s in zip(columns, shapes)))
