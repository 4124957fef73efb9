"""Cameras and 3D labels under Detectron2's image transforms.

A flip mirrors the world: camera and labels both change, exactly. Resizing and cropping change the camera alone.
"""

from collections.abc import Iterable

import numpy as np
from detectron2.data.transforms import ColorTransform, ResizeTransform
from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
)

from d2road.structures import Camera
from d2road.utils.errors import DataError

# They change colours only, or nothing.
WITHOUT_GEOMETRY = (BlendTransform, ColorTransform, NoOpTransform)


def transform_camera(camera: Camera, transforms: Transform) -> tuple[Camera, bool]:
    """The camera that sees the transformed image, and whether the world is mirrored in it.

    Raises:
        ValueError: a transform of which it is not known what it does to a camera.
    """
    flipped = False
    for step in _steps(transforms):
        if isinstance(step, HFlipTransform):
            camera, flipped = camera.flipped(step.width), not flipped
        elif isinstance(step, ResizeTransform):
            camera = camera.resized(step.new_w / step.w, step.new_h / step.h)
        elif isinstance(step, CropTransform):
            camera = camera.cropped(step.x0, step.y0)
        elif isinstance(step, PadTransform):
            camera = camera.cropped(-step.x0, -step.y0)
        elif not isinstance(step, WITHOUT_GEOMETRY):
            raise DataError(
                f"{type(step).__name__} is not supported with 3D labels: known are horizontal flip, resize, crop, "
                "padding and colour changes; take the augmentation out of the mapper or switch pose off"
            )
    return camera, flipped


def mirror_rows(rows: np.ndarray) -> np.ndarray:
    """Label rows (N, 7) x, y, z, h, w, l, ry of a mirrored world: x -> -x, ry -> pi - ry."""
    mirrored = np.array(rows, dtype=np.float64).reshape(-1, 7)
    mirrored[:, 0] = -mirrored[:, 0]
    mirrored[:, 6] = np.pi - mirrored[:, 6]
    return mirrored


def _steps(transforms: Transform) -> Iterable[Transform]:
    if isinstance(transforms, TransformList):
        for step in transforms.transforms:
            yield from _steps(step)
    else:
        yield transforms
