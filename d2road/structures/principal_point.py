"""Whether a camera can be that of an image of a given size, by where its principal point lies in it."""

import logging
import math
from dataclasses import dataclass

from d2road.structures.camera import Camera
from d2road.utils.errors import DataError

logger = logging.getLogger(__name__)
_warned: set[str] = set()

# Twice the principal point over the image's size: 1 for a point in the middle. KITTI, nuScenes, Rope3D and DAIR lie
# within 0.9 and 1.1; a crop moves one side or both, another resolution moves both by one factor.
BAND = (0.5, 1.5)
ALIKE = 1.12  # factors of the two sides of a resized image agree to this
CERTAIN_SCALE = (0.72, 1.4)  # beyond, a crop that looks like another resolution is most unlikely
LIKELY_SCALE = (0.8, 1.25)


@dataclass(frozen=True)
class SizeProblem:
    """Why a camera does not seem to be that of an image: `certain` if no usual crop explains it; `text` for users."""

    certain: bool
    text: str


def camera_size_problem(camera: Camera, width: int, height: int) -> SizeProblem | None:
    """What is wrong with a camera for an image of `width` x `height` pixels; None for a sane one.

    Certain are cameras of another resolution (both sides off by one factor) and of the image turned by 90 degrees. A
    principal point beyond the middle half of the image may be a crop's, which a camera must have been moved for.
    """
    cx, cy = float(camera.K[0, 2]), float(camera.K[1, 2])
    a, b = 2 * cx / width, 2 * cy / height
    found = f"the camera's principal point ({cx:.1f}, {cy:.1f}) px lies at {a / 2:.2f} of the width and {b / 2:.2f} of "
    found += f"the height of an image of {width}x{height}"
    if a > 0 and b > 0 and max(a / b, b / a) <= ALIKE:
        scale = math.sqrt(a * b)
        if not LIKELY_SCALE[0] <= scale <= LIKELY_SCALE[1]:
            text = (
                f"{found}, expected near the middle: it is the calibration of an image of about {2 * cx:.0f}x"
                f"{2 * cy:.0f}. Scale the first two rows of the projection by {1 / scale:.3g} (width here / width "
                "calibrated), or use images of the calibrated size"
            )
            return SizeProblem(not CERTAIN_SCALE[0] <= scale <= CERTAIN_SCALE[1], text)
    turned = (2 * cx / height, 2 * cy / width)
    if max(width, height) > 1.25 * min(width, height) and all(1 / ALIKE <= t <= ALIKE for t in turned):
        return SizeProblem(True, f"{found}: it is the calibration of the image turned by 90 degrees, {height}x{width}")
    if not (BAND[0] <= a <= BAND[1] and BAND[0] <= b <= BAND[1]):
        text = f"{found}, expected near the middle: right only for a crop, whose camera is moved with it (cx - left, "
        return SizeProblem(False, text + "cy - top); otherwise it is of another image")
    return None


def check_camera_size(camera: Camera, width: int, height: int, source: str) -> None:
    """Refuse a camera that is certainly not that of an image of this size; warn, once, of one that may not be.

    Args:
        source: what to call the camera in messages, e.g. its file.
    Raises:
        DataError: the camera of another resolution, or of the image turned by 90 degrees.
    """
    problem = camera_size_problem(camera, width, height)
    if problem is None:
        return
    if problem.certain:
        raise DataError(f"{source}: {problem.text}")
    _warn_once(problem.text, source)


def _warn_once(text: str, source: str) -> None:
    if text not in _warned:  # frames of a video share their camera
        _warned.add(text)
        logger.warning("%s: %s", source, text)
