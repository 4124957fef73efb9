"""The street of a view and who is on it.

Street frame: s along the street, away from the camera, t to its right, metres; the camera stands at s = 0. Traffic
keeps to the right: lanes with t > 0 lead away from the camera, lanes with t < 0 towards it.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from d2road.synthetic.roadside.road_users import CLASSES, sample_kind
from d2road.synthetic.roadside.views import FAR_M, HEIGHT, NEAR_M, WIDTH, View


@dataclass(frozen=True)
class Street:
    """Layout of a view's street, metres; `yaw_rad` turns it from the viewing direction to the right."""

    yaw_rad: float
    camera_t: float
    lane_width: float
    lanes: int  # in each direction
    median: float
    shoulder: float
    pavement: float  # width on each side, 0 for a verge alone
    crossing_s: float | None  # a side street crosses here
    crossing_half: float
    zebra_s: float | None
    verge_is_paved: bool

    @property
    def half_width(self) -> float:
        """From the middle to the kerb."""
        return self.median / 2 + self.lanes * self.lane_width + self.shoulder

    def to_world(self, s: npt.ArrayLike, t: npt.ArrayLike) -> np.ndarray:
        """(..., 2) world x, y of street coordinates."""
        c, n = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        across = np.asarray(t, dtype=np.float64) - self.camera_t
        along = np.asarray(s, dtype=np.float64)
        return np.stack([n * along + c * across, c * along - n * across], axis=-1)

    def heading(self, turn_rad: float) -> float:
        """World heading of something turned by `turn_rad` to the left of the street's direction."""
        return np.pi / 2 - self.yaw_rad + turn_rad

    def lane_center(self, lane: int) -> float:
        """t of lane 1, 2, ... (away) or -1, -2, ... (towards), counted from the middle."""
        return np.sign(lane) * (self.median / 2 + (abs(lane) - 0.5) * self.lane_width)


@dataclass
class Actor:
    """One road user. Dimensions as in the labels: height, width, length."""

    kind: str
    color_name: str
    hwl: np.ndarray
    position: np.ndarray  # (2,) world
    heading: float
    lane: int  # 0 off the lanes
    motion: str  # same, opposite, left, right: direction against the street
    state: str  # driving, turning, parked, queued, walking, crossing
    mesh_seed: int = 0
    footprint: np.ndarray = field(default_factory=lambda: np.zeros((4, 2)))

    def __post_init__(self) -> None:
        _, w, l = self.hwl  # noqa: E741
        forward = np.array([np.cos(self.heading), np.sin(self.heading)]) * l / 2
        left = np.array([-np.sin(self.heading), np.cos(self.heading)]) * w / 2
        self.footprint = self.position + np.array([forward + left, left - forward, -left - forward, forward - left])


def sample_street(rng: np.random.Generator) -> Street:
    """Draw a street and turn it so that it runs through the image."""
    lanes = int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    lane_width = rng.uniform(3.0, 3.75)
    median = float(rng.choice([0.0, 0.4, 2.5], p=[0.6, 0.2, 0.2]))
    shoulder = rng.uniform(0.3, 2.6)
    pavement = float(rng.choice([0.0, rng.uniform(1.8, 4.0)], p=[0.25, 0.75]))
    half = median / 2 + lanes * lane_width + shoulder
    spot = rng.choice(["right", "left", "gantry"], p=[0.45, 0.35, 0.2])
    offset = half + rng.uniform(0.5, 4.0)
    camera_t = {"right": offset, "left": -offset, "gantry": rng.uniform(-half, half)}[spot]
    aim_s, aim_t = rng.uniform(22, 45), rng.uniform(-0.6, 0.6) * half
    yaw = -np.arctan2(aim_t - camera_t, aim_s) + np.deg2rad(rng.normal(0, 4.0))
    crossing = rng.uniform(22, 60) if rng.random() < 0.45 else None
    crossing_half = rng.uniform(3.2, 7.0)
    zebra = None
    if crossing is not None and rng.random() < 0.7:
        zebra = crossing - crossing_half - rng.uniform(2.0, 4.0)
    elif rng.random() < 0.3:
        zebra = rng.uniform(15, 45)
    return Street(
        yaw_rad=float(yaw), camera_t=float(camera_t), lane_width=float(lane_width), lanes=lanes, median=median,
        shoulder=float(shoulder), pavement=pavement, crossing_s=crossing, crossing_half=float(crossing_half),
        zebra_s=zebra, verge_is_paved=bool(rng.random() < 0.3),
    )  # fmt: skip


def sample_actors(rng: np.random.Generator, street: Street, view: View) -> list[Actor]:
    """Fill the street: how many, then one after the other where there is room and the camera sees them."""
    crowd = rng.choice(["none", "few", "normal", "crowded"], p=[0.03, 0.17, 0.62, 0.18])
    low, high = {"none": (0, 0), "few": (1, 4), "normal": (4, 13), "crowded": (13, 26)}[crowd]
    target = int(rng.integers(low, high + 1))
    queued = crowd == "crowded" or rng.random() < 0.15
    actors: list[Actor] = []
    for _ in range(20 * target):
        if len(actors) >= target:
            break
        kind = sample_kind(rng)
        actor = _place(rng, kind, street, queued)
        if actor is not None and in_view(actor, view) and not any(_too_close(actor, other) for other in actors):
            actors.append(actor)
    return actors


def _place(rng: np.random.Generator, kind: str, street: Street, queued: bool) -> Actor | None:
    if kind == "pedestrian":
        return _place_pedestrian(rng, street)
    side = 1 if rng.random() < 0.5 else -1
    s = rng.uniform(2.0, FAR_M + 5)
    forward = 0.0 if side > 0 else np.pi
    turn = forward + np.deg2rad(rng.normal(0, 1.5))
    if kind == "cyclist":
        t = side * (street.half_width - rng.uniform(0.4, 0.4 + max(0.5, street.shoulder)))
        if rng.random() < 0.15:  # against the traffic
            turn += np.pi
        return _actor(rng, kind, street, s, t, turn, side * street.lanes, "driving")
    draw = rng.random()
    if street.crossing_s is not None and draw < 0.3:
        return _place_at_crossing(rng, kind, street, street.crossing_s, side, turning=draw < 0.12)
    if draw > 0.9 and kind in ("car", "van", "truck"):
        t = side * (street.half_width + rng.uniform(0.9, 1.6))
        return _actor(rng, kind, street, s, t, turn, 0, "parked")
    lane = side * int(rng.integers(1, street.lanes + 1))
    t = street.lane_center(lane) + rng.normal(0, 0.25)
    if rng.random() < 0.08:  # changing lanes
        turn += np.deg2rad(rng.uniform(-8, 8))
    return _actor(rng, kind, street, s, t, turn, lane, "queued" if queued else "driving")


def _place_at_crossing(
    rng: np.random.Generator, kind: str, street: Street, crossing_s: float, side: int, turning: bool
) -> Actor:
    """On the side street, or turning in the junction."""
    if turning:
        s = crossing_s + rng.uniform(-1, 1) * street.crossing_half * 0.6
        t = rng.uniform(-0.8, 0.8) * street.half_width
        return _actor(rng, kind, street, s, t, rng.uniform(-np.pi, np.pi), 0, "turning")
    # Seen along the street, traffic to the left (positive turn) keeps to the far side.
    s = crossing_s + side * street.crossing_half * 0.5
    t = rng.uniform(-30, 30)
    return _actor(rng, kind, street, s, t, side * np.pi / 2 + np.deg2rad(rng.normal(0, 2)), 0, "driving")


def _place_pedestrian(rng: np.random.Generator, street: Street) -> Actor:
    side = 1 if rng.random() < 0.5 else -1
    s = rng.uniform(6.0, FAR_M)
    if rng.random() < 0.35:  # crossing, at the zebra where there is one
        s = street.zebra_s + rng.uniform(-1.3, 1.3) if street.zebra_s is not None else s
        t = rng.uniform(-1, 1) * street.half_width
        turn = side * np.pi / 2 + rng.normal(0, 0.15)
        return _actor(rng, "pedestrian", street, s, t, turn, 0, "crossing")
    t = side * (street.half_width + rng.uniform(0.5, max(1.6, street.pavement)))
    turn = (0 if rng.random() < 0.5 else np.pi) + rng.normal(0, 0.3)
    return _actor(rng, "pedestrian", street, s, t, turn, 0, "walking")


def _actor(
    rng: np.random.Generator, kind: str, street: Street, s: float, t: float, turn: float, lane: int, state: str
) -> Actor:  # fmt: skip
    wrapped = (turn + np.pi) % (2 * np.pi) - np.pi
    names = (("same", abs(wrapped) <= np.pi / 4), ("opposite", abs(wrapped) >= 3 * np.pi / 4), ("left", wrapped > 0))
    motion = next((name for name, holds in names if holds), "right")
    return Actor(
        kind=kind, color_name=CLASSES[kind].sample_color(rng), hwl=CLASSES[kind].sample_hwl(rng),
        position=street.to_world(s, t), heading=float(street.heading(turn)), lane=lane, motion=motion, state=state,
        mesh_seed=int(rng.integers(2**31)),
    )  # fmt: skip


def in_view(actor: Actor, view: View) -> bool:
    """Whether an actor stands in the stated range and some of its box is in the image."""
    floor = np.concatenate([actor.footprint, np.zeros((4, 1))], axis=1)
    corners = view.to_camera(np.concatenate([floor, floor + [0, 0, actor.hwl[0]]]))
    center = view.to_camera(np.append(actor.position, 0.0))
    if corners[:, 2].min() < 3.0 or not NEAR_M <= np.hypot(center[0], center[2]) <= FAR_M:
        return False
    pixels, _ = view.camera.project(corners)
    (x0, y0), (x1, y1) = pixels.min(axis=0), pixels.max(axis=0)
    inside = max(0.0, min(x1, WIDTH) - max(x0, 0)) * max(0.0, min(y1, HEIGHT) - max(y0, 0))
    return inside > 0.05 * (x1 - x0) * (y1 - y0)


def _too_close(one: Actor, other: Actor) -> bool:
    """Footprints overlap or leave less room than two road users of their kind leave each other."""
    small = "pedestrian" in (one.kind, other.kind) or "cyclist" in (one.kind, other.kind)
    ahead = 0.25 if small else 1.2 if one.state == "queued" else 3.5
    return footprints_overlap(_grown(one, ahead, 0.15), other.footprint)


def _grown(actor: Actor, ahead: float, aside: float) -> np.ndarray:
    a, b, c, d = actor.footprint
    forward, left = (a - b) / np.linalg.norm(a - b), (a - d) / np.linalg.norm(a - d)
    f, s = forward * ahead, left * aside
    return np.array([a + f + s, b - f + s, c - f - s, d + f - s])


def footprints_overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two rectangles (4, 2) overlap (separating axes)."""
    for polygon in (one, other):
        for edge in (polygon[1] - polygon[0], polygon[2] - polygon[1]):
            p, q = one @ edge, other @ edge
            if p.max() <= q.min() or q.max() <= p.min():
                return False
    return True
