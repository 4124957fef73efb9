"""Examples of 3D detection: which images, and that their boxes are where labels and predictions are."""

import numpy as np
import pytest

from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.pose_examples import pose_examples
from d2road.structures.upright_boxes import box_corners

P = [[300.0, 0, 160, 0], [0, 300, 60, 0], [0, 0, 1, 0]]


def table(rows: list[tuple[int, float]], score: float) -> ObjectTable:
    """Cars (frame, depth in m), two a frame at most, side by side in the image."""
    boxes = [[[0, 0, 50, 50], [100, 0, 150, 50]][i % 2] for i in range(len(rows))]
    solid = [[0, 1.5, z, 1.5, 1.6, 4.0, 0.3] for _, z in rows]
    n = len(rows)
    return ObjectTable(
        [f for f, _ in rows], np.full(n, "car"), np.zeros(n), np.zeros(n), np.zeros(n), boxes, solid, np.full(n, score)
    )


@pytest.mark.parametrize("on_ground", [False, True])
def test_the_farthest_in_depth_is_the_worst_and_a_full_image_the_best(on_ground):
    plane = [0.0, -0.9, -0.1, 5.0]
    records = [{"file_name": f"/data/{i}.png", "camera": {"P": P, "ground": plane}} for i in range(9)]
    truth = table([(f, z) for f in range(9) for z in (20, 30)], 0)
    error_m = [0.1, 0.2, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    found = table([(f, z + e) for f, e in enumerate(error_m) for z in (20, 30)], 0.9)
    examples = pose_examples(records, truth, found, ["Car"], ["car"], on_ground)
    by_group = {group: [e.image for e in examples if e.group == group] for group in ("worst", "best")}
    assert by_group["worst"] == [f"/data/{i}.png" for i in (8, 7, 6, 5, 4, 3)]
    assert by_group["best"] == [f"/data/{i}.png" for i in (0, 1, 2)]
    worst = examples[0]
    assert worst.caption == "depth at most 9.00 m off, in 2 boxes that were found"
    assert worst.class_names == ["Car"] and worst.found.scores == [0.9, 0.9]
    # The box of the label, by its corners: in the camera frame, upright on the ground where `ry` turns about it.
    near = np.array(worst.truth.corners)[0]
    assert np.mean(near[:4], axis=0) == pytest.approx([0, 1.5, 20])
    up = np.mean(near[4:], axis=0) - np.mean(near[:4], axis=0)
    normal = np.array(plane[:3]) / np.linalg.norm(plane[:3]) if on_ground else np.array([0, -1.0, 0])
    assert up == pytest.approx(1.5 * normal)
    if not on_ground:
        np.testing.assert_allclose(near, box_corners([0, 1.5, 20], [1.5, 1.6, 4.0], 0.3)[0])


def test_low_scores_and_images_without_matches_are_no_examples():
    records = [{"file_name": "a.png", "camera": {"P": P, "ground": None}}]
    truth = table([(0, 20)], 0)
    assert not pose_examples(records, truth, table([(0, 25)], 0.1), ["Car"], ["car"], False)
    assert not pose_examples(records, truth, table([], 0.9), ["Car"], ["car"], False)
