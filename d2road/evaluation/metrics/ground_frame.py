"""Change of frame from the camera to the ground, whose y axis is the downward normal of the plane.

Roadside labels state headings about that normal but locations in the tilted camera frame. Read as camera-upright boxes,
as published tables do, they stand askew by the camera's pitch; after this step both refer to one upright frame.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.structures.camera import Camera
from d2road.utils.errors import DataError


def ground_rotations(cameras: Sequence[Camera]) -> np.ndarray:
    """(F, 3, 3) `Camera.ground_rotation()` of each camera.

    Raises:
        ValueError: a camera without ground plane.
    """
    for number, camera in enumerate(cameras):
        if camera.ground is None:
            raise DataError(f"the camera of frame {number} has no ground plane; give its a b c d (a denorm file)")
    return np.stack([camera.ground_rotation() for camera in cameras]) if len(cameras) else np.zeros((0, 3, 3))


def to_ground_frame(objects: ObjectTable, rotations: np.ndarray) -> ObjectTable:
    """Objects with locations in the ground frame (same origin: the camera); headings, about its y axis, stay.

    Args:
        objects: locations in the camera frame, `ry` about the ground's normal. Those without 3D box stay as they are.
        rotations: (F, 3, 3) from `ground_rotations`, by frame.
    """
    boxes = objects.boxes3d.copy()
    solid = objects.has_3d
    boxes[solid, :3] = np.einsum("ni,nij->nj", boxes[solid, :3], rotations[objects.frame[solid]])
    return replace(objects, boxes3d=boxes)
