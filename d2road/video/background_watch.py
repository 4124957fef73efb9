"""Watch over the background of a video: a camera that has turned, and one that only shakes.

A frame every EVERY_S is registered with the reference, and the median of the last RECENT turns is what the camera is
turned by: a vibration, whose frames are off in all directions, has a median near 0 and a large spread, which is taken
from the differences of successive frames, so that a step adds nothing to it. Before there are so many frames, those
that came are compared with the first of them, which tells the spread alone. A median that is above LIMIT_DEG by three
standard errors is told, once in a day. Where light has changed so much that few corners of
the reference are found again, what is seen becomes another reference, with the turn that it was found at.
"""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from d2road.structures.roadside_camera import RoadsideCamera
from d2road.video.background_registration import RegisteredBackground, median_background

EVERY_S = 2.0
REFERENCE_FRAMES = 15
RECENT = 9
SHAKEN = 30  # differences of successive frames that tell the spread, and the last RECENT of them
FEWEST_EARLY = 5  # frames that tell a spread before there are turns from the reference: 8 s
MOST_EARLY = REFERENCE_FRAMES + 2 * RECENT
LIMIT_DEG = 0.07
SIGMAS = 3.0
RENEW_SHARE = 0.6  # of the corners that a reference had at first; below, another one takes its place
NORMAL = 1.4826 / np.sqrt(2)  # deviation of normal values over the median of their absolute differences
MEDIAN_ERROR = 1.2533  # of a median of normal values, in standard errors of their mean
QUIET_S = 86400.0
SHAKES_DEG, FAR_M = 0.1, 60.0  # a spread of single frames that is told, and where its effect is told of


@dataclass(frozen=True)
class BackgroundReport:
    """A background that has moved: t (s), turn_deg (3,) and sd_deg (3,) of yaw, pitch, roll."""

    t: float
    since: float
    turn_deg: tuple[float, ...]
    sd_deg: tuple[float, ...]


class BackgroundWatch:
    """Watches the frames of a camera.

    Args:
        camera: of the frames. reference: (H, W, 3) or (H, W) image of when it stood right; None takes the median of the
            first REFERENCE_FRAMES frames.
        limit_deg: turns of less are not told.
    Raises:
        DataError: a reference of another size.
    """

    def __init__(self, camera: RoadsideCamera, reference: np.ndarray | None = None, limit_deg: float = LIMIT_DEG):
        self.camera, self.limit_deg = camera, limit_deg
        self.reference = None if reference is None else RegisteredBackground(reference, camera)
        self.first_image: np.ndarray | None = None  # (H, W), where it was made of the first frames
        self.reports: list[BackgroundReport] = []
        self.registered = self.lost = 0
        self.highest_deg = self.shaken_deg = 0.0
        self._first_share: float | None = None
        self._held: list[np.ndarray] = []
        self._is_early = True  # until the spread is known by turns from the reference
        self._first: list[np.ndarray] = []  # all frames until then
        self._early = (0, 0.0)  # how many of these were compared, and their spread
        self._recent: deque[tuple[float, np.ndarray, np.ndarray]] = deque(maxlen=RECENT)
        self._differences: deque[np.ndarray] = deque(maxlen=SHAKEN)
        self._next_t = -np.inf

    def add(self, image_bgr: np.ndarray, t: float) -> BackgroundReport | None:
        """Take a frame in; most are passed over. Returns a report where the camera has turned."""
        if t < self._next_t:
            return None
        self._next_t = t + EVERY_S - 1e-3
        grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY) if image_bgr.ndim == 3 else image_bgr
        if self._is_early:
            self._keep_first(grey)
        if self.reference is None:
            self._held.append(grey)
            if len(self._held) >= REFERENCE_FRAMES:
                self.first_image = median_background(self._held)
                self.reference, self._held = RegisteredBackground(self.first_image, self.camera), []
            return None
        found = self.reference.register(grey)
        if found is None:
            self.lost += 1
            return None
        self.registered += 1
        if self._recent:
            self._differences.append(np.abs(found.turn_deg - self._recent[-1][1]))
        self._recent.append((t, found.turn_deg, grey))
        self._renew(found.share)
        return self._test()

    def turn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Median of the last turns (3,), its standard error (3,) and the spread of single frames (3,), degrees."""
        if len(self._recent) < RECENT:
            return None
        turns = np.stack([one[1] for one in self._recent])
        median = np.median(turns, axis=0)
        differences = np.stack(list(self._differences))
        spread = NORMAL * np.maximum(np.median(differences, axis=0), np.median(differences[1 - RECENT :], axis=0))
        return median, MEDIAN_ERROR * spread / np.sqrt(RECENT), spread

    def notes(self) -> list[str]:
        """What the user should know of a camera that shakes, in words; nothing of one that stands still."""
        shaken_deg = self._early_spread() if self._is_early else self.shaken_deg
        if shaken_deg < SHAKES_DEG:
            return []
        height = self.camera.height_m
        scatter = np.deg2rad(shaken_deg) * (FAR_M**2 + height**2) / height
        return [
            f"the camera shakes: single frames are turned by {shaken_deg:.2f} degrees (standard deviation), so "
            f"that places {FAR_M:.0f} m away scatter by {scatter:.1f} m; fasten it, or stabilise the video"
        ]

    def _keep_first(self, grey: np.ndarray) -> None:
        """Keep a frame while few have come."""
        known = len(self._recent) >= RECENT
        if not known and len(self._first) >= MOST_EARLY:  # of a camera that shakes hard none may be found again
            self.shaken_deg = max(self.shaken_deg, self._early_spread())
            known = True
        if known:
            self._is_early = False
            self._first.clear()
        else:
            self._first.append(grey)

    def _early_spread(self) -> float:
        """Spread of single frames, degrees, by turns from the first frame; 0 of fewer than FEWEST_EARLY."""
        count = len(self._first)
        if count >= FEWEST_EARLY and self._early[0] != count:
            reference = RegisteredBackground(self._first[0], self.camera)
            found = [reference.register(image) for image in self._first]
            turns = np.stack([one.turn_deg for one in found if one is not None] or [np.zeros(3)])
            steps = np.abs(np.diff(turns, axis=0))
            spread = NORMAL * float(np.median(steps, axis=0).max()) if len(turns) >= FEWEST_EARLY else 0.0
            self._early = count, spread
        return self._early[1]

    def _renew(self, share: float) -> None:
        """Take another reference where the light has changed; it keeps the turn at which it was found."""
        self._first_share = share if self._first_share is None else self._first_share
        known = self.turn()
        if known is None or share >= RENEW_SHARE * self._first_share:
            return
        image = median_background([one[2] for one in self._recent])
        between = RegisteredBackground(image, self.camera)
        assert self.reference is not None, "it was compared with"
        offset = self.reference.register(image)
        if offset is not None and len(between.corners):
            self.reference = RegisteredBackground(image, self.camera, offset.turn_deg)
            self._first_share = None

    def _test(self) -> BackgroundReport | None:
        known = self.turn()
        if known is None:
            return None
        median, error, spread = known
        sure = np.abs(median) - SIGMAS * error.max()  # who shakes about one axis may look calm about another by chance
        self.highest_deg = max(self.highest_deg, float(np.abs(median).max()))
        self.shaken_deg = max(self.shaken_deg, float(spread.max()))
        now, since = self._recent[-1][0], self._recent[0][0]
        if sure.max() <= self.limit_deg or (self.reports and now - self.reports[-1].t < QUIET_S):
            return None
        self.reports.append(BackgroundReport(now, since, tuple(median.tolist()), tuple(error.tolist())))
        return self.reports[-1]
