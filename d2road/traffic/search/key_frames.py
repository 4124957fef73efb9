"""Key frames: at which instants a candidate is best seen."""

from collections.abc import Sequence

import numpy as np

from d2road.traffic.search.track_scene import TrackScene

STEP_S = 1.0  # key frames are those nearest to whole steps, so that candidates share them
AREA_PX = 80.0**2  # from which on a larger box shows no more


def key_rows(scene: TrackScene, rows: Sequence[int] | np.ndarray, count: int) -> list[int]:
    """Rows of a candidate at the instants at which it is best seen, at most `count`, in order of time.

    Best is large, inside the image, and not behind the box of a nearer vehicle.
    """
    rows = np.asarray(rows)
    seen = rows[scene.seen[rows]]
    rows = seen if len(seen) else rows
    steps = np.round(scene.t[rows] / STEP_S)
    off = np.abs(scene.t[rows] - steps * STEP_S)
    nearest = [rows[steps == step][np.argmin(off[steps == step])] for step in np.unique(steps)]
    best = sorted(nearest, key=lambda row: -_how_well_seen(scene, int(row)))[:count]
    return sorted(int(row) for row in best)


def _how_well_seen(scene: TrackScene, row: int) -> float:
    size = [scene.camera.width, scene.camera.height]
    x1, y1, x2, y2 = scene.boxes[row]
    shown = np.clip(scene.boxes[row], 0, size * 2)
    whole = max((x2 - x1) * (y2 - y1), 1e-9)
    area = (shown[2] - shown[0]) * (shown[3] - shown[1])
    touches = bool((shown[:2] <= 1).any() or (shown[2:] >= np.array(size) - 1).any())
    others = np.flatnonzero((scene.t == scene.t[row]) & (scene.distance < scene.distance[row]))
    return float(min(area, AREA_PX) * (area / whole) * (1 - _covered(shown, scene.boxes[others])) * (1 - 0.5 * touches))


def _covered(box: np.ndarray, others: np.ndarray) -> float:
    """Greatest share of a box that one of the others covers."""
    if not len(others):
        return 0.0
    sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
    own = max(float(np.prod(box[2:] - box[:2])), 1e-9)
    return float((np.clip(sides, 0, None).prod(axis=1) / own).max())
