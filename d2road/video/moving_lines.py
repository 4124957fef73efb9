"""Lines of what moves before a fixed camera: straight pieces of the paths of its corners, and its straight edges.

A detector's boxes err by pixels that change with distance; corners are followed to fractions of one, and those of
vehicles that drive straight on run to the vanishing point of the road. Bumpers, roofs and windscreens lie across it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from d2road.video.optical_flow import follow_points

CHANGED = 12  # grey levels between frames where something moves
CORNERS, CORNER_QUALITY, CORNER_APART_PX = 150, 0.01, 6
WINDOW_PX, LEVELS = 15, 3
RETURNS_PX = 0.3  # followed forth and back, a corner must be where it was
LONGEST, FEWEST = 15, 5  # frames of a piece
BEGIN_EVERY, EDGES_EVERY = 5, 10  # frames
SHORTEST_EDGE_PX = 10.0
STANDS_PX, STRAIGHT_PX, SHORTEST_PX = 0.25, 1.5, 20.0  # a frame; off the chord; of the chord


@dataclass(frozen=True)
class MovingLines:
    """paths (S, 4), in the sense of motion, and edges (E, 4): x1 y1 x2 y2, px; the first pixel's centre is 0.5, 0.5."""

    paths: np.ndarray
    edges: np.ndarray


class LineCollector:
    """Corners followed from frame to frame by optical flow, and line segments of a few frames.

    Source: Shi, Tomasi, Good features to track, CVPR 1994; Grompone von Gioi et al., LSD: a line segment detector,
    IPOL 2012.
    """

    def __init__(self) -> None:
        self._segments = cv2.createLineSegmentDetector()
        self._edges: list[np.ndarray] = []
        self._grey: np.ndarray | None = None
        self._paths: list[list[np.ndarray]] = []
        self._pieces: list[np.ndarray] = []
        self._frames = 0

    def add(self, image_bgr: np.ndarray) -> None:
        """Take the next frame (H, W, 3), uint8, of the same size as the others."""
        grey, before = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), self._grey
        self._grey, self._frames = grey, self._frames + 1
        if before is None:
            return
        if self._paths:
            self._follow(before, grey)
        if self._frames % BEGIN_EVERY == 0:
            moves = cv2.dilate((cv2.absdiff(grey, before) > CHANGED).astype(np.uint8), np.ones((5, 5), np.uint8))
            corners = cv2.goodFeaturesToTrack(grey, CORNERS, CORNER_QUALITY, CORNER_APART_PX, mask=moves)
            self._paths += [] if corners is None else [[at] for at in corners.reshape(-1, 2)]
            if self._frames % EDGES_EVERY == 0:
                self._add_edges(grey, moves)

    def lines(self) -> MovingLines:
        """All so far."""
        pieces = [*self._pieces, *(np.array(path) for path in self._paths if len(path) >= FEWEST)]
        paths = [np.concatenate([piece[0], piece[-1]]) for piece in pieces if _is_straight(piece)]
        edges = np.concatenate([np.zeros((0, 4)), *self._edges]) + 0.5
        return MovingLines(np.array(paths, dtype=np.float64).reshape(-1, 4) + 0.5, edges)

    def _add_edges(self, grey: np.ndarray, moves: np.ndarray) -> None:
        found = self._segments.detect(grey)[0]
        if found is None:
            return
        edges = found.reshape(-1, 4).astype(np.float64)
        height, width = grey.shape
        column, row = ((edges[:, :2] + edges[:, 2:]) / 2).astype(int).clip(0, [width - 1, height - 1]).T
        long = np.linalg.norm(edges[:, 2:] - edges[:, :2], axis=1) > SHORTEST_EDGE_PX
        self._edges.append(edges[long & (moves[row, column] > 0)])

    def _follow(self, before: np.ndarray, grey: np.ndarray) -> None:
        ends, errors_px = follow_points(before, grey, np.array([path[-1] for path in self._paths]), WINDOW_PX, LEVELS)
        going = []
        for path, at, error_px in zip(self._paths, ends, errors_px):
            if error_px >= RETURNS_PX:
                self._pieces += [np.array(path)] if len(path) >= FEWEST else []
                continue
            path.append(at)
            if len(path) >= LONGEST:
                self._pieces.append(np.array(path))
            elif len(path) < FEWEST or np.linalg.norm(at - path[-FEWEST]) >= STANDS_PX * (FEWEST - 1):
                going.append(path)
        self._paths = going


def _is_straight(piece: np.ndarray) -> bool:
    """Whether points (N, 2) lie along a chord that is long enough to have a direction."""
    chord = piece[-1] - piece[0]
    length = float(np.linalg.norm(chord))
    if length < SHORTEST_PX:
        return False
    off = piece - piece[0]
    return bool(np.abs(off[:, 0] * chord[1] - off[:, 1] * chord[0]).max() < STRAIGHT_PX * length)
