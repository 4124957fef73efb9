"""How alike matched objects of Rope3D are: centre, heading, footprint area and ground corners. Pure functions on arrays.

Of a prediction and its ground truth, with location p (bottom centre, camera frame, m) and range r = sqrt(x^2 + z^2) of
the ground truth:

    ACS = 1 - min(1, |p' - p| / |p|)              centre
    AOS = (1 + cos(ry' - ry)) / 2                 heading
    AAS = 1 - min(1, |w' l' - w l| / (w l))       footprint area
    AGS = 1 - min(1, D / r)                       D: distance of the four bottom corners
    S   = (ACS + AOS + AAS + AGS) / 4

Mode "true" computes just that. Mode "compat" computes what the published tool prints, which differs:

    heading     halved twice, (3 + cos) / 4, after a turn by pi of predictions that are more than pi/2 off, so that right
                headings give 1 and wrong ones seldom less than 0.75. The difference is not wrapped before that turn: a
                right heading written as pi against -pi is turned away and gives 0.5. "true": no turn.
    pedestrian  their predicted heading is replaced by the ground truth's (they are not labelled with care).
                "true": it stays.
    corners     D is the mean over x, y, z of the root of the summed squares over the four corners (a shift by 1 m along an
                axis gives 2/3), and the least of it over cyclic changes of the axes x y z and over the turn by pi. "true":
                mean distance of the corners, least over the four starting corners, so that heading counts in AOS alone.
    level       the corners are turned by the ground's pitch alone. "true": by pitch and roll.
    far         objects beyond 120 m count in the overall scores but not in the number of matches. "true": in neither.

Source: Ye et al., Rope3D, CVPR 2022, and the behaviour of its published evaluation tool.
"""

from collections.abc import Sequence

import numpy as np

from d2ext.structures.camera import Camera

MODES = ("compat", "true")
SIMILARITIES = ("ACS", "AOS", "AAS", "AGS")


def check_mode(mode: str) -> None:
    """Raises ValueError for anything but "compat" and "true"."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected {' or '.join(MODES)}")


def mutual_best(truth_frame: np.ndarray, truth_xyxy: np.ndarray, frame: np.ndarray, xyxy: np.ndarray, min_iou: float):
    """Pairs that are each other's best by 2D IoU within their frame; of equals the first counts.

    Args:
        truth_frame, frame: (T,), (P,) frame numbers, in any order.
        truth_xyxy, xyxy: (T, 4), (P, 4) boxes, px.
        min_iou: pairs at or below it do not count.
    Returns:
        (M,) indices of the ground truth and (M,) of the predictions, in the order of the predictions.
    """
    by_frame = np.argsort(truth_frame, kind="stable")
    start = np.searchsorted(truth_frame[by_frame], frame, "left")
    count = np.searchsorted(truth_frame[by_frame], frame, "right") - start
    p = np.repeat(np.arange(len(frame)), count)
    within = np.arange(len(p)) - np.repeat(np.cumsum(count) - count, count)
    t = by_frame[start[p] + within]
    iou = _iou_xyxy(truth_xyxy[t], xyxy[p])
    near = iou > min_iou
    t, p, iou = t[near], p[near], iou[near]
    best = _first_best(p, iou, t, len(frame)) & _first_best(t, iou, p, len(truth_frame))
    return t[best], p[best]


def _first_best(owner: np.ndarray, iou: np.ndarray, partner: np.ndarray, num_owners: int) -> np.ndarray:
    """(K,) whether a pair is the best of its owner; of equal ones that with the first partner."""
    highest = np.full(num_owners, -np.inf)
    np.maximum.at(highest, owner, iou)
    top = iou == highest[owner]
    first = np.full(num_owners, np.iinfo(np.int64).max)
    np.minimum.at(first, owner[top], partner[top])
    return top & (partner == first[owner])


def _iou_xyxy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K,) IoU of aligned (K, 4) boxes; 0 where one of them has no area."""
    overlap = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(axis=1)
    area_a, area_b = (np.clip(x[:, 2:] - x[:, :2], 0, None).prod(axis=1) for x in (a, b))
    return np.divide(overlap, area_a + area_b - overlap, out=np.zeros(len(a)), where=overlap > 0)


def level_rotations(cameras: Sequence[Camera], mode: str) -> np.ndarray:
    """(F, 3, 3) rotations from each camera's ground frame to its camera frame: pitch alone in mode "compat"."""
    if not cameras:
        return np.zeros((0, 3, 3))
    if mode == "true":
        return np.stack([camera.ground_rotation() for camera in cameras])
    rotations = []
    for number, camera in enumerate(cameras):
        if camera.ground is None:
            raise ValueError(f"camera {number} has no ground plane, which the corners' distance needs")
        _, b, c, _ = camera.ground
        rotations.append([[1.0, 0.0, 0.0], [0.0, -b, c], [0.0, -c, -b]])
    return np.array(rotations)


def similarities(truth: np.ndarray, predicted: np.ndarray, rotations: np.ndarray, pedestrian: bool, mode: str) -> dict:
    """The four similarities of matched pairs.

    Args:
        truth, predicted: (M, 7) x, y, z (bottom centre, camera frame, m), h, w, l (m), ry (rad, about the ground's normal).
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
        "AGS": 1 - np.minimum(1, distance / (range_m(truth) + 1e-7)),
    }


def range_m(boxes: np.ndarray) -> np.ndarray:
    """(N,) sqrt(x^2 + z^2) of (N, 7) boxes."""
    return np.hypot(boxes[:, 0], boxes[:, 2])


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
