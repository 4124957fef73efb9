"""Examples of 3D detection: images whose boxes are the farthest from the labels in depth, and the nearest to them."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from d2road.data.camera_files import read_camera
from d2road.evaluation.box_plots import MIN_SCORE
from d2road.evaluation.metrics.kitti_objects import ObjectTable
from d2road.evaluation.metrics.kitti_overlaps import box_pairs
from d2road.evaluation.metrics.roadside_protocol import class_flags, matched_errors
from d2road.evaluation.plot_data import BEST, SHOWN, WORST, Boxes, Example
from d2road.structures.camera import Camera
from d2road.structures.upright_boxes import box_corners

FEWEST = 2  # boxes found of an image that may be a best one


def pose_examples(
    records: Sequence[Mapping[str, Any]],
    truth: ObjectTable,
    predictions: ObjectTable,
    class_names: Sequence[str],
    classes: Sequence[str],
    on_ground: bool,
) -> list[Example]:
    """Images by the error in depth of their boxes, which are those of scores from 0.3 on and 2D IoU above 0.5.

    Args:
        records: dataset dicts in the order of frames, each with a camera.
        truth, predictions: boxes3d in the camera frame.
        class_names, classes: of the data, as written and as types.
        on_ground: `ry` turns about the normal of the ground.
    """
    predictions = predictions[predictions.scores >= MIN_SCORE]
    pairs = box_pairs(truth, predictions)
    frames, errors = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for name in classes:
        columns = matched_errors(truth, predictions, pairs, *class_flags(truth, predictions, name))
        frames.append(columns["frame"])
        errors.append(np.abs(columns["depth"] * truth.boxes3d[columns["truth"], 2]))
    frame, error_m = np.concatenate(frames), np.concatenate(errors)
    worst_m = {int(f): float(error_m[frame == f].max()) for f in np.unique(frame)}
    full = {f: (-int((frame == f).sum()), e) for f, e in worst_m.items() if (frame == f).sum() >= FEWEST}
    worst = sorted(worst_m, key=lambda f: (-worst_m[f], f))[:SHOWN]
    # Of the better half the fullest, so that it is no image with little in it.
    better = sorted(full, key=lambda f: worst_m[f])[: max(SHOWN, len(full) // 4)]
    best = sorted((f for f in better if f not in worst), key=lambda f: full[f])[:SHOWN]
    examples = []
    for group, chosen in ((WORST, worst), (BEST, best)):
        for f in chosen:
            count = int((frame == f).sum())
            caption = f"depth at most {worst_m[f]:.2f} m off, in {count} boxes that were found"
            camera = read_camera(records[f])
            labelled, found = (
                _boxes(objects[(objects.frame == f) & objects.has_3d], classes, camera, on_ground)
                for objects in (truth, predictions)
            )
            path = os.path.abspath(records[f]["file_name"])
            ground = None if camera.ground is None else camera.ground.tolist()
            examples.append(
                Example(path, group, caption, list(class_names), labelled, found, camera.P.tolist(), ground)
            )
    return examples


def _boxes(objects: ObjectTable, classes: Sequence[str], camera: Camera, on_ground: bool) -> Boxes:
    """Those of the classes; crowds and regions are left out."""
    objects = objects[np.isin(objects.type, list(classes))]
    frame = camera.ground_rotation() if on_ground else None
    rows = objects.boxes3d
    corners = box_corners(rows[:, :3], rows[:, 3:6], rows[:, 6], frame).tolist() if len(rows) else []
    ids = [list(classes).index(kind) for kind in objects.type.tolist()]
    return Boxes(ids, objects.boxes_xyxy.tolist(), objects.scores.tolist(), corners)
