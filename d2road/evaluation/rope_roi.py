"""Rope3D's regions of interest: which 2D boxes count.

Masks are images, one for each camera, named after its focal length: DIR/2173.379859_camera3_mask.jpg serves frames
whose calibration file says `P2: 2173.379859 ...`. A box counts if its centre is white in the mask and lies 200 px or
more below the top of the image. The published protocol leaves out predictions and ground truth alike.
Source: the published evaluation tool of Rope3D.
"""

import os
from pathlib import Path

import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.image_io import read_image
from d2road.utils.input_files import text_lines

MIN_V_PX = 200
MASK_SUFFIXES = (".jpg", ".jpeg", ".png")


class RoiMasks:
    """The masks of a folder, read when they are first needed.

    Raises:
        FileNotFoundError: the folder does not exist or holds no image.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        self.paths = sorted(path for path in files if path.suffix.lower() in MASK_SUFFIXES)
        if not self.paths:
            raise FileNotFoundError(f"no masks (FX_*.jpg) in {self.folder}; --roi needs one for each focal length")
        self._masks: dict[str, np.ndarray] = {}

    def of_calib(self, calib_file: str | os.PathLike) -> np.ndarray:
        """(H, W) bool, the mask of a calibration file, by the text of its focal length.

        Raises:
            ValueError: the file has no line P2.
            FileNotFoundError: no mask is named after its focal length.
        """
        for line in text_lines(calib_file, "calibration"):
            if line.startswith("P2:") and line[3:].split():
                return self._of_focal_length(line[3:].split()[0], calib_file)
        raise DataError(f"{calib_file} has no line 'P2: ' with 12 numbers, whose first names the mask")

    def _of_focal_length(self, fx: str, calib_file: str | os.PathLike) -> np.ndarray:
        if fx not in self._masks:
            named = [path for path in self.paths if path.name.startswith(fx)]
            if not named:
                raise FileNotFoundError(f"no mask {self.folder / fx}*.jpg for {calib_file}, whose P2 begins with {fx}")
            self._masks[fx] = _read_mask(named[0])
        return self._masks[fx]


def _read_mask(path: Path) -> np.ndarray:
    return (read_image(path) == 255).all(axis=2)


def inside_roi(boxes_xyxy: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N,) whether the centres of (N, 4) boxes (px) are in the region (H, W) and low enough."""
    centers = np.trunc((boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2).astype(np.int64)
    height, width = mask.shape
    u, v = centers.T
    inside = (u >= 0) & (u < width) & (v >= MIN_V_PX) & (v < height)
    inside[inside] = mask[v[inside], u[inside]]
    return inside
