"""Rope3D's similarities of matched objects: centre, heading, footprint area and ground corners. Pure functions.

Of a prediction (marked ') and its ground truth, with p the bottom centre in the camera frame and r = sqrt(x^2 + z^2) of
the ground truth:

    ACS = 1 - min(1, |p' - p| / |p|)              centre
    AOS = (1 + cos(ry' - ry)) / 2                 heading
    AAS = 1 - min(1, |w' l' - w l| / (w l))       footprint area
    AGS = 1 - min(1, D / r)                       D: distance of the four bottom corners

Mode "true" computes just that. Mode "compat" computes what the published tool prints, which differs:

    heading      halved twice, (3 + cos) / 4, after predictions more than pi/2 off are turned by pi: wrong headings
                 seldom get less than 0.75. The difference is not wrapped before that turn, so that a right heading
                 written as pi against -pi is turned away and gets 0.5.
                 true: no turn, halved once, wrapped by nature.
    pedestrians  get the ground truth's heading, since their labels hold none.
                 true: they keep theirs.
    corners      D is the mean over x, y, z of the root of the squares summed over the corners (1 m along an axis gives
                 2/3), and the least over cyclic changes of the axes and over the turn by pi.
                 true: mean distance of the corners, least over the corner to start from (heading counts in AOS alone).
    level        corners are turned by the ground's pitch alone.
                 true: by pitch and roll.
    far objects  beyond 120 m count in the overall scores but not in the number of matches (see rope_score.py).
                 true: in neither.

Source: Ye et al., Rope3D, CVPR 2022, and the behaviour of its published evaluation tool.
"""

from collections.abc import Sequence

import numpy as np

from d2road.evaluation.metrics.ground_frame import ground_rotations
from d2road.evaluation.metrics.kitti_ap import Pairs
from d2road.structures.camera import Camera

MODES = ("compat", "true")
SIMILARITIES = ("ACS", "AOS", "AAS", "AGS")


def check_mode(mode: str) -> None:
    """Raises ValueError for anything but "compat" and "true"."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected {' or '.join(MODES)}")


def mutual_best(pairs: Pairs, min_iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of ground truth and prediction that are each other's best; of equals the first counts.

    Args:
        pairs: by 2D IoU, of one class.
        min_iou: pairs at or below it do not count.
    Returns:
        (M,) indices of the ground truth and (M,) of the predictions.
    """
    near = pairs.overlap > min_iou
    t, p, iou = pairs.truth[near], pairs.prediction[near], pairs.overlap[near]
    best = _first_best(p, iou, t) & _first_best(t, iou, p)
    return t[best], p[best]


def _first_best(owner: np.ndarray, iou: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """(K,) whether a pair is the best of its owner; of equal ones that with the first partner."""
    order = np.lexsort((partner, -iou, owner))
    best = np.zeros(len(owner), dtype=bool)
    best[order] = np.diff(owner[order], prepend=-1) != 0
    return best


def level_rotations(cameras: Sequence[Camera], mode: str) -> np.ndarray:
    """(F, 3, 3) rotations from each camera's ground frame to its camera frame: pitch alone in mode "compat".

    Raises:
        ValueError: unknown mode, or a camera without ground plane.
    """
    check_mode(mode)
    rotations = ground_rotations(cameras)
    if mode == "compat":
        normals = -rotations[:, :, 1]
        rotations[:, :, 0] = (1, 0, 0)
        rotations[:, :, 1] = -normals * (0, 1, 1)
        rotations[:, :, 2] = normals[:, [0, 2, 1]] * (0, 1, -1)
    return rotations


def similarities(truth: np.ndarray, predicted: np.ndarray, rotations: np.ndarray, pedestrian: bool, mode: str) -> dict:
    """The four similarities of matched pairs.

    Args:
        truth, predicted: (M, 7) x, y, z (bottom centre, camera frame, m), h, w, l (m), ry (rad, ground frame).
        rotations: (M, 3, 3) from `level_rotations`.
        pedestrian: whether these are pedestrians.
        mode: "compat" or "true".
    Returns:
        ACS, AOS, AAS, AGS, each (M,) in [0, 1].
    """
    check_mode(mode)
    compat = mode == "compat"
    ry, ry_truth = predicted[:, 6], truth[:, 6]
    if compat and pedestrian:
        ry = ry_truth
    turned = ry
    if compat:
        turn = np.where(ry >= 0, np.pi, -np.pi)
        turned = np.where(np.abs(ry - ry_truth) > np.pi / 2, ry + turn, ry)
        heading = (3 + np.cos(turned - ry_truth)) / 4
    else:
        heading = (1 + np.cos(ry - ry_truth)) / 2
    corners_truth = bottom_corners(truth, ry_truth, rotations)
    if compat:
        options = [bottom_corners(predicted, angle, rotations) for angle in (ry, turned)]
        distance = np.min([_mixed_axes_distance(corners, corners_truth) for corners in options], axis=0)
    else:
        distance = _corner_distance(bottom_corners(predicted, ry, rotations), corners_truth)
    area, area_truth = (box[:, 4] * box[:, 5] for box in (predicted, truth))
    shift = np.linalg.norm(predicted[:, :3] - truth[:, :3], axis=1)
    return {
        "ACS": 1 - np.minimum(1, shift / np.linalg.norm(truth[:, :3], axis=1)),
        "AOS": heading,
        "AAS": 1 - np.minimum(1, np.abs(area - area_truth) / area_truth),
        "AGS": 1 - np.minimum(1, distance / (np.hypot(truth[:, 0], truth[:, 2]) + 1e-7)),
    }


def bottom_corners(boxes: np.ndarray, ry: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """(M, 4, 3) bottom corners in the camera frame of (M, 7) boxes that head to `ry` in frames (M, 3, 3)."""
    along = boxes[:, 5, None] / 2 * np.array([1, -1, -1, 1])
    across = boxes[:, 4, None] / 2 * np.array([1, 1, -1, -1])
    cos, sin = np.cos(ry)[:, None], np.sin(ry)[:, None]
    level = np.stack([cos * along + sin * across, np.zeros_like(along), -sin * along + cos * across], axis=-1)
    return level @ rotations.transpose(0, 2, 1) + boxes[:, None, :3]


def _mixed_axes_distance(corners: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(M,) the published tool's distance of (M, 4, 3) corners: norms over corners, least over changes of the axes."""
    changes = [np.roll(corners, shift, axis=2) - truth for shift in range(3)]
    return np.min([np.linalg.norm(change, axis=1).mean(axis=1) for change in changes], axis=0)


def _corner_distance(corners: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(M,) mean distance of (M, 4, 3) corners, least over the corner that the first is compared with."""
    shifts = [np.roll(corners, shift, axis=1) - truth for shift in range(4)]
    return np.min([np.linalg.norm(shift, axis=2).mean(axis=1) for shift in shifts], axis=0)
