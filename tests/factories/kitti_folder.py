"""A small data set in 3D with exact labels, that tests then break."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners, project_boxes

SIZE = (320, 200)  # width, height
CAMERA = Camera(np.array([[300.0, 0, 160], [0, 300, 60], [0, 0, 1]]))
PLANE_M = 1.6  # below the camera


def label_row(kind, x, z, ry=0.3, hwl=(1.5, 1.7, 4.0), shift=(0, 0), y=PLANE_M):
    """A line of a label file whose 2D box is that of the projected 3D box, moved by `shift` pixels."""
    corners = box_corners([[x, y, z]], [hwl], [ry])
    box = project_boxes(CAMERA, corners, SIZE)[0][0] + [*shift, *shift]
    numbers = [0, 0, ry, *box, *hwl, x, y, z, ry]
    return f"{kind} " + " ".join(f"{v:.4f}" for v in numbers)


@pytest.fixture
def kitti_folder(tmp_path) -> Path:
    """KITTI's layout with ground planes: two cars and a pedestrian in three frames, a fourth is empty."""
    root = tmp_path / "data"
    for folder in ("image_2", "label_2", "calib", "denorm"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        frame = f"{number:06d}"
        cv2.imwrite(str(root / "image_2" / f"{frame}.png"), np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
        P = " ".join(str(v) for v in CAMERA.P.reshape(-1))
        (root / "calib" / f"{frame}.txt").write_text(f"P2: {P}\n")
        (root / "denorm" / f"{frame}.txt").write_text(f"0 -1 0 {PLANE_M}\n")
        rows = [
            label_row("Car", -2, 12 + number),
            label_row("Car", 3, 20 + number, ry=1.4),
            label_row("Pedestrian", 1, 9 + number, hwl=(1.7, 0.6, 0.8)),
        ]
        (root / "label_2" / f"{frame}.txt").write_text("\n".join(rows if number < 3 else []) + "\n")
    return root


@pytest.fixture
def rewrite(kitti_folder):
    """Replace the label file of a frame by rows."""

    def write(frame: int, *rows: str) -> None:
        (kitti_folder / "label_2" / f"{frame:06d}.txt").write_text("\n".join(rows) + "\n")

    return write


@pytest.fixture
def row():
    """`label_row`, to make other rows."""
    return label_row
