"""Conditions on two vehicles of an instant: relations as the camera sees them, and overtaking.

Relations hold where they hold for sure by the borders of `mono3dvg/language`; the ground frame is that of the camera.
"""

from collections.abc import Callable

import numpy as np

from d2road.traffic.search.track_scene import TrackScene

BEHIND_M, ASIDE_M, ASIDE_SHARE = 2.5, 3.5, 0.5  # farther along the line of sight; beside it, and of that way
NEXT_TO_M = 2.5  # gap between two vehicles
NEARER_M, NEARER_SHARE = 1.5, 0.05  # in distance from the camera
CLEAR_M = 2.0  # between the middles of two vehicles, for one to be ahead
LONGEST_S = 5.0  # of an overtaking, from clearly behind to clearly ahead
USUAL_M = (4.5, 1.8)  # length and width where a track knows none


def relation_truth(scene: TrackScene, relation: tuple[str, tuple[str, ...]]) -> np.ndarray:
    """(N,) 1 where a row stands in the relation to some other vehicle of the classes at the same instant."""
    name, classes = relation
    is_anchor = scene.is_class(classes)
    truth = np.zeros(len(scene))
    for rows in scene.instants:
        anchors = rows[is_anchor[rows]]
        if len(anchors) and len(rows) > 1:
            holds = _RELATIONS[name](scene, rows, anchors) & (scene.track[rows][:, None] != scene.track[anchors])
            truth[rows] = holds.any(axis=1)
    return truth


def related_rows(scene: TrackScene, relation: tuple[str, tuple[str, ...]], row: int) -> np.ndarray:
    """Rows of the other vehicles that a row stands in the relation to, at its instant."""
    name, classes = relation
    here = np.flatnonzero(scene.t == scene.t[row])
    anchors = here[scene.is_class(classes)[here] & (scene.track[here] != scene.track[row])]
    return anchors[_RELATIONS[name](scene, np.array([row]), anchors)[0]] if len(anchors) else anchors


def _on_the_ray(scene: TrackScene, rows: np.ndarray, anchors: np.ndarray, sign: float) -> np.ndarray:
    """(R, A) whether rows lie on the line of sight through anchors: behind (1) or in front of (-1) them."""
    place = np.stack([scene.x, scene.y], axis=-1)
    ray = place[anchors] / np.maximum(scene.distance[anchors], 1e-9)[:, None]
    offset = place[rows][:, None] - place[anchors]
    along = sign * (offset * ray).sum(axis=-1)
    aside = np.abs(offset[..., 0] * ray[:, 1] - offset[..., 1] * ray[:, 0])
    return (along >= BEHIND_M) & (aside <= np.minimum(ASIDE_SHARE * along, ASIDE_M))


def _beside(scene: TrackScene, rows: np.ndarray, anchors: np.ndarray, side: str) -> np.ndarray:
    """(R, A) whether the middle of a row's box is beside that of an anchor in the image."""
    middle = scene.boxes[:, [0, 2]].mean(axis=1)
    if side == "left":
        return middle[rows][:, None] < scene.boxes[anchors, 0]
    return middle[rows][:, None] > scene.boxes[anchors, 2]


def _next_to(scene: TrackScene, rows: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """(R, A) whether the gap is small, of boxes that point as the anchor does."""
    heading = np.nan_to_num(scene.heading[anchors])
    dx, dy = (values[rows][:, None] - values[anchors] for values in (scene.x, scene.y))
    along = np.abs(dx * np.cos(heading) + dy * np.sin(heading))
    aside = np.abs(dy * np.cos(heading) - dx * np.sin(heading))
    length, width = (
        np.where(np.isfinite(values), values, usual) for values, usual in zip((scene.length, scene.width), USUAL_M)
    )
    free_along = np.maximum(along - (length[rows][:, None] + length[anchors]) / 2, 0)
    free_aside = np.maximum(aside - (width[rows][:, None] + width[anchors]) / 2, 0)
    return np.hypot(free_along, free_aside) <= NEXT_TO_M


def _nearer(scene: TrackScene, rows: np.ndarray, anchors: np.ndarray, sign: float) -> np.ndarray:
    far = scene.distance
    return sign * (far[anchors] - far[rows][:, None]) >= np.maximum(NEARER_M, NEARER_SHARE * far[anchors])


_RELATIONS: dict[str, Callable[[TrackScene, np.ndarray, np.ndarray], np.ndarray]] = {
    "left_of": lambda scene, rows, anchors: _beside(scene, rows, anchors, "left"),
    "right_of": lambda scene, rows, anchors: _beside(scene, rows, anchors, "right"),
    "behind": lambda scene, rows, anchors: _on_the_ray(scene, rows, anchors, 1.0),
    "in_front_of": lambda scene, rows, anchors: _on_the_ray(scene, rows, anchors, -1.0),
    "next_to": _next_to,
    "closer_than": lambda scene, rows, anchors: _nearer(scene, rows, anchors, 1.0),
    "farther_than": lambda scene, rows, anchors: _nearer(scene, rows, anchors, -1.0),
}


def overtaking_times(scene: TrackScene) -> list[tuple[int, float]]:
    """(track, s): who passes another vehicle that drives in another lane of the same direction, and when.

    Clearly behind and then clearly ahead within LONGEST_S, both moving; the instant is the middle of that time.
    """
    moves = (scene.motion == "moving") & (scene.lane >= 0)
    clear: dict[tuple[int, int], tuple[float, float]] = {}  # (who, whom): when it was last clearly behind or ahead
    found = []
    for rows in scene.instants:
        rows = rows[moves[rows]]
        ahead = scene.along[rows][:, None] - scene.along[rows]
        fits = (scene.lane[rows][:, None] != scene.lane[rows]) & (
            scene.direction[rows][:, None] == scene.direction[rows]
        )
        for i, j in zip(*np.nonzero(fits & (np.abs(ahead) > CLEAR_M))):
            pair, t = (int(scene.track[rows[i]]), int(scene.track[rows[j]])), float(scene.t[rows[i]])
            sign, since = clear.get(pair, (0.0, t))
            if ahead[i, j] > 0 and sign < 0 and t - since <= LONGEST_S:
                found.append((pair[0], (t + since) / 2))
            clear[pair] = (float(np.sign(ahead[i, j])), t)
    return found
