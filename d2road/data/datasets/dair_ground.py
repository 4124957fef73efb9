"""Ground planes of DAIR-V2X-I's cameras, which the data does not state."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from d2road.data.ground_plane import PlaneFit, fit_ground_height, fit_ground_plane
from d2road.structures.camera import Camera
from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)


class StandingObjects(Protocol):
    """What is needed of a frame."""

    @property
    def key(self) -> tuple[float, ...]:
        """Equal for frames of equal calibration."""

    @property
    def up(self) -> np.ndarray:
        """(3,) z axis of the virtual LiDAR, camera frame."""

    @property
    def K(self) -> np.ndarray:
        """(3, 3) intrinsic matrix."""

    @property
    def standing_points(self) -> np.ndarray:
        """(M, 3) bottom centres, camera frame, m."""


@dataclass(frozen=True)
class CameraGround:
    """The plane of the frames of one calibration, which are those of one camera."""

    number: int
    K: np.ndarray
    fit: PlaneFit

    def rotation(self) -> np.ndarray:
        """As `Camera.ground_rotation`."""
        return Camera(self.K, self.fit.plane).ground_rotation()


def ground_planes(
    scenes: Sequence[StandingObjects], training_scenes: Sequence[StandingObjects] = ()
) -> dict[tuple[float, ...], CameraGround]:
    """One plane for each calibration among `scenes`.

    A single frame may hold few objects, so frames of equal calibration share one plane. It is fitted to
    `training_scenes`, so that evaluation is not helped by its own labels, unless those do not show the camera or do
    not determine its plane; then to `scenes` as well. Where those do not either, the normal is the z axis of the
    virtual LiDAR and only the height is fitted. What was done is logged.

    Raises:
        ValueError: no object of a camera stands on the ground in any of its frames.
    """
    planes: dict[tuple[float, ...], CameraGround] = {}
    for number, key in enumerate(dict.fromkeys(scene.key for scene in scenes)):
        own = [scene for scene in scenes if scene.key == key]
        training = [scene for scene in training_scenes if scene.key == key]
        fit, how = _fit(own, training)
        tilt = np.degrees(np.arccos(np.clip(fit.plane[:3] @ own[0].up, -1, 1)))
        logger.info(
            "camera %d (%d frames, %s): %s; %.2f degrees off the LiDAR's z axis",
            number,
            len(own),
            how,
            fit.to_text(),
            tilt,
        )
        planes[key] = CameraGround(number, own[0].K, fit)
    return planes


def _fit(own: Sequence[StandingObjects], training: Sequence[StandingObjects]) -> tuple[PlaneFit, str]:
    sources = {"plane of its training frames": training, "plane of all its frames": [*training, *own]}
    for how, scenes in sources.items():
        points = _points(scenes)
        if not len(points):
            continue
        try:
            return fit_ground_plane(points), how
        except ValueError as error:
            reason = error
    if not len(points):
        raise DataError(
            f"no labelled object stands on the ground in the {len(own)} frames of a camera ({own[0].key[:6]} ...), nor "
            "in training frames of the same calibration: its ground plane is unknown. Add frames of it that have labels"
        )
    logger.warning("normal of the ground taken from the virtual LiDAR: %s", reason)
    return fit_ground_height(points, own[0].up), "height only"


def _points(scenes: Sequence[StandingObjects]) -> np.ndarray:
    return np.concatenate([scene.standing_points for scene in scenes]) if scenes else np.zeros((0, 3))
