"""Files whose boxes are of another convention than their format's are refused, and no right file is."""

import json

import numpy as np
import pytest

from d2road.data.box_conventions import convention_defect
from d2road.data.datasets.coco import load_coco
from d2road.data.datasets.kitti import load_kitti
from d2road.utils.errors import DataError
from mono3dvg.data.grounding_datasets import load_grounding
from tests.factories.grounding_files import annotation, box, grounding_content
from tests.factories.kitti_folder import kitti_folder  # noqa: F401  a fixture


def boxes_in(
    width: int, height: int, num: int = 40, largest: float = 0.4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 4) left, top, width, height in whole pixels, and (N, 2) sizes of the images."""
    rng = np.random.default_rng(seed)
    size = np.array([width, height])
    sides = (rng.uniform(0.02, largest, (num, 2)) * size).round() + 1
    return np.concatenate([(rng.random((num, 2)) * (size - sides)).round(), sides], 1), np.tile(size, (num, 1))


WRITTEN = {
    "corners": lambda b, size: np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1),
    "centres": lambda b, size: np.concatenate([b[:, :2] + b[:, 2:] / 2, b[:, 2:]], 1),
    "fractions": lambda b, size: b / np.tile(size, 2),
    "fractions of corners": lambda b, size: np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1) / np.tile(size, 2),
    "pixels of an image of twice the size": lambda b, size: 2 * b,
}
SAID = ("as corners", "centre in front", "below 1 pixel", "below 1 pixel", "another resolution")


@pytest.mark.parametrize(("kind", "said"), zip(WRITTEN, SAID))
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1920, 1080)])
def test_boxes_of_another_convention(kind, said, size):
    for seed in range(5):
        boxes, sizes = boxes_in(*size, num=60, seed=seed)
        assert said in convention_defect(WRITTEN[kind](boxes, sizes), sizes, "xywh")


def test_width_and_height_in_a_format_of_corners():
    boxes, sizes = boxes_in(640, 480)
    assert "as [x, y, width, height] they lie within" in convention_defect(boxes, sizes, "xyxy")
    assert "below 1 pixel" in convention_defect(WRITTEN["fractions of corners"](boxes, sizes), sizes, "xyxy")
    assert convention_defect(WRITTEN["corners"](boxes, sizes), sizes, "xyxy") == ""


def right_files() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    boxes, sizes = boxes_in(640, 480, 200)
    rounding = boxes + np.random.default_rng(1).uniform(-1.9, 1.9, (200, 4)) * [1, 1, 0, 0]
    cut = boxes.copy()  # objects labelled beyond the border of their image, a fifth of them
    cut[:40, :2] = np.array([640, 480]) - cut[:40, 2:] * 0.6
    whole = np.tile([3.0, 2, 636, 477], (50, 1))  # an object an image, which fills it
    tiny = np.concatenate([boxes[:, :2], np.full((200, 2), 2.0)], 1)
    one = np.array([[0.0, 0, 640, 480]])
    icons = boxes_in(16, 16, 30)  # images of few pixels
    return {
        "usual": (boxes, sizes), "rounded": (rounding, sizes), "beyond the border": (cut, sizes),
        "whole images": (whole, sizes[:50]), "tiny objects": (tiny, sizes), "one box": (one, sizes[:1]), "icons": icons,
        "none": (boxes[:0], sizes[:0]),
    }  # fmt: skip


@pytest.mark.parametrize("kind", right_files())
def test_no_right_file_is_refused(kind):
    boxes, sizes = right_files()[kind]
    assert convention_defect(boxes, sizes, "xywh") == ""
    assert convention_defect(WRITTEN["corners"](boxes, sizes), sizes, "xyxy") == ""


def test_real_boxes_pass_and_their_corners_do_not(shared_dir, tmp_path):
    file, images = (str(shared_dir / "data/coco_subset" / p) for p in ("instances_val2017.json", "val2017"))
    assert sum(len(r["annotations"]) for r in load_coco(file, images)) > 300
    with open(file) as text:
        content = json.load(text)
    for row in content["annotations"]:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x, y, x + w, y + h]
    (tmp_path / "corners.json").write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"corners\.json: \d+ of 307 boxes reach beyond .* expected \[x, y, width, height\]"
    ):
        load_coco(str(tmp_path / "corners.json"), images)


def test_label_files_in_fractions(kitti_folder):  # noqa: F811
    for path in (kitti_folder / "label_2").glob("*.txt"):
        rows = [line.split() for line in path.read_text().splitlines() if line]
        for row in rows:
            row[4:8] = [f"{float(v) / side:.6f}" for v, side in zip(row[4:8], (320, 200, 320, 200))]
        path.write_text("".join(" ".join(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"label_2: 9 of 9 boxes are below 1 pixel.* expected \[x1, y1, x2, y2\]"):
        load_kitti(str(kitti_folder))


def test_grounding_boxes_in_fractions(tmp_path):
    shares = [[0.1 * i, 0.2, 0.1 * i + 0.08, 0.4] for i in range(5)]
    raw = grounding_content([annotation(i, box(0, 20), bbox=share) for i, share in enumerate(shares)], [])
    path = tmp_path / "g.json"
    path.write_text(json.dumps(raw))
    (tmp_path / "0.png").touch()
    with pytest.raises(DataError, match=r"g\.json: 5 of 5 boxes are below 1 pixel"):
        load_grounding(str(path), str(tmp_path))
