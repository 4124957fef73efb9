"""Exact answers to questions about a rendered clip: what its simulation and labels say of every vehicle and frame.

Nothing here is of d2road.traffic.search: lanes and positions along the road are SUMO's, relations those of
mono3dvg/language, colours those that the film was drawn with. A vehicle is there from the first frame in which it
counts (a tenth of it visible, in the image, at most 80 m away) to the last one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.traffic.clip_truth import Clip
from d2road.synthetic.roadside.road_users import CLASSES
from d2road.synthetic.traffic_video.clip_plan import SPLITS
from mono3dvg.language.labelled_scene import LabelledScene
from mono3dvg.language.predicates import evaluate_relation

LANES = 3  # of the road of the clips; SUMO's lane 1 is the right one here
EVENT_FRAMES, SETTLED_FRAMES, TREND_FRAMES = 15, 10, 10
LONGEST_FRAMES = 50  # of an overtaking
BRIDGE_S, LEAST_S = 1.0, 0.5
Kind = tuple[str, Any]  # of search_wordings.json, and its number


@dataclass(frozen=True)
class Interval:
    """From when to when (s) a vehicle answers a question."""

    vehicle: int
    t0: float
    t1: float


def film_colors(clip: Clip, seed: int) -> dict[int, str]:
    """The colour of each vehicle of a clip of a data set of a seed."""
    split, _, number = clip.name.partition("_")
    film = int(np.random.default_rng([seed, SPLITS.index(split), int(number), 2]).integers(2**31))
    first = clip.truth.drop_duplicates("id")
    return {
        int(i): CLASSES[cls].sample_color(np.random.default_rng([film, 1, int(i)]))
        for i, cls in zip(first["id"], first["cls"])
    }


class ClipTruth:
    """Truth of conditions on a clip.

    Args:
        colors: of its vehicles.
    """

    def __init__(self, clip: Clip, colors: Mapping[int, str]):
        self.clip = clip
        counted = clip.truth[clip.truth["counted"]].groupby("id")["frame"].agg(["min", "max"])
        rows = clip.truth.merge(counted, left_on="id", right_index=True)
        rows = rows[(rows["frame"] >= rows["min"]) & (rows["frame"] <= rows["max"])]
        rows = rows.sort_values(["id", "frame"], ignore_index=True)
        rows["color"] = rows["id"].map(colors)
        self.rows = rows
        self._known: dict[Kind, np.ndarray] = {}
        self.usual = float(rows.loc[rows["speed_mps"] >= 0.5, "speed_mps"].median())

    def holds(self, kind: Kind) -> np.ndarray:
        """(N,) bool for each row."""
        if kind not in self._known:
            self._known[kind] = self._found(*kind)
        return self._known[kind]

    def _found(self, name: str, value: Any) -> np.ndarray:
        rows = self.rows
        if name in _TRUTHS:
            return np.asarray(_TRUTHS[name](rows, value))
        if name in ("slow", "fast"):
            speed = rows["speed_mps"].to_numpy()
            return (speed < 0.6 * self.usual) & (speed >= 0.5) if name == "slow" else speed > 1.2 * self.usual
        if name in ("braking", "accelerating"):
            return self._trend >= 1.0 if name == "accelerating" else self._trend <= -1.0
        if name in ("change", "change_left", "change_right"):
            return self._around(self._changes(name))
        if name == "overtaking":
            return self._around(self._overtakings)
        return self._related(name, value)

    def intervals(self, kinds: list[Kind]) -> list[Interval]:
        """Where all of the kinds hold for as long as `lasting_over` and `lasting_under` want."""
        truth = np.ones(len(self.rows), bool)
        for kind in kinds:
            if not kind[0].startswith("lasting"):
                truth &= self.holds(kind)
        limits = dict(kinds)
        low, high = max(limits.get("lasting_over", 0.0), LEAST_S), limits.get("lasting_under", np.inf)
        found = []
        vehicle, t = self.rows["id"].to_numpy()[truth], self.rows["t"].to_numpy()[truth]
        if not len(t):
            return []
        cuts = np.flatnonzero((np.diff(vehicle) != 0) | (np.diff(t) > BRIDGE_S)) + 1
        for part in np.split(np.arange(len(t)), cuts):
            first, last = float(t[part[0]]), float(t[part[-1]])
            if low <= last - first <= high:
                found.append(Interval(int(vehicle[part[0]]), first, last))
        return found

    @cached_property
    def _trend(self) -> np.ndarray:
        """m/s^2 from a second before to a second after, as far as the vehicle is there."""
        found = []
        for _, rows in self.rows.groupby("id", sort=True):
            speed, t = rows["speed_mps"].to_numpy(), rows["t"].to_numpy()
            k = np.arange(len(rows))
            late, early = np.minimum(k + TREND_FRAMES, len(k) - 1), np.maximum(k - TREND_FRAMES, 0)
            found.append((speed[late] - speed[early]) / np.maximum(t[late] - t[early], 1.0))
        return np.concatenate(found)

    def _around(self, events: list[tuple[int, int]]) -> np.ndarray:
        truth = np.zeros(len(self.rows), bool)
        for vehicle, frame in events:
            near = (self.rows["frame"] - frame).abs() <= EVENT_FRAMES
            truth |= ((self.rows["id"] == vehicle) & near).to_numpy()
        return truth

    def _changes(self, name: str) -> list[tuple[int, int]]:
        found = []
        for vehicle, rows in self.rows.groupby("id", sort=True):
            lane, frame = rows["lane"].to_numpy(), rows["frame"].to_numpy()
            for k in np.flatnonzero(np.diff(lane)) + 1:
                stays = len(lane) > k + SETTLED_FRAMES and (lane[k : k + SETTLED_FRAMES + 1] == lane[k]).all()
                side = "change_left" if lane[k] > lane[k - 1] else "change_right"
                if stays and name in ("change", side):
                    found.append((int(str(vehicle)), int(frame[k])))
        return found

    @cached_property
    def _overtakings(self) -> list[tuple[int, int]]:
        """(vehicle, frame) at which its middle passes that of another, from 2 m behind to 2 m ahead within 5 s."""
        place = self.rows.assign(middle=self.rows["s"] - self.rows["length"] / 2)
        wide = place.pivot(index="frame", columns="id", values="middle")
        lanes = place.pivot(index="frame", columns="id", values="lane").to_numpy()
        values, ids, frames = wide.to_numpy(), wide.columns.to_numpy(), wide.index.to_numpy()
        found = []
        for i in range(len(ids)):
            for j in range(len(ids)):
                ahead = values[:, i] - values[:, j]
                clear = np.flatnonzero((np.abs(ahead) > 2.0) & (lanes[:, i] != lanes[:, j]))
                for a, b in pairwise(clear):
                    if ahead[a] < 0 < ahead[b] and frames[b] - frames[a] <= LONGEST_FRAMES:
                        found.append((int(ids[i]), int(frames[a] + frames[b]) // 2))
        return found

    def _related(self, name: str, classes: tuple[str, ...]) -> np.ndarray:
        """Whether a row is surely in a relation to another vehicle of the classes, as mono3dvg/language defines it."""
        truth = np.zeros(len(self.rows), bool)
        is_anchor = self.rows["cls"].isin(classes).to_numpy()
        for rows in self.rows.groupby("frame", sort=True).indices.values():
            scene = None
            for k in np.flatnonzero(is_anchor[rows]):
                scene = scene or _scene(self.rows.iloc[rows], self.clip.camera.width)
                truth[rows] |= evaluate_relation(name, scene, int(k)) == 1
        return truth


def _scene(rows: pd.DataFrame, width: int) -> LabelledScene:
    heading = rows["heading_rad"].to_numpy()
    nothing = (None,) * len(rows)
    return LabelledScene(
        ids=tuple(rows["id"]), kinds=tuple(rows["cls"]), ignore=np.zeros(len(rows), bool),
        u=(rows["x1"] + rows["x2"]).to_numpy() / 2 / width, u_left=rows["x1"].to_numpy() / width,
        u_right=rows["x2"].to_numpy() / width, position=rows[["X", "Y"]].to_numpy(),
        heading=np.stack([np.cos(heading), np.sin(heading)], axis=1),
        hwl=rows[["height", "width", "length"]].to_numpy(),
        hidden=nothing, colors=nothing, lanes=nothing, states=nothing,
    )  # fmt: skip


def _toward(rows: pd.DataFrame) -> np.ndarray:
    """Cosine of the heading against the line of sight: 1 away."""
    ray = rows[["X", "Y"]].to_numpy() / np.maximum(rows["range"].to_numpy(), 1e-9)[:, None]
    heading = rows["heading_rad"].to_numpy()
    return np.cos(heading) * ray[:, 0] + np.sin(heading) * ray[:, 1]


def _middle(rows: pd.DataFrame) -> np.ndarray:
    return ((rows["x1"] + rows["x2"]) / 2 / 960).to_numpy()


_DIAGONAL = np.cos(np.pi / 4)
_TRUTHS: dict[str, Callable[[pd.DataFrame, Any], Any]] = {
    "class": lambda rows, names: rows["cls"].isin(names),
    "color": lambda rows, color: rows["color"] == color,
    "large": lambda rows, _: rows["length"] >= 7,
    "small": lambda rows, _: rows["length"] <= 6,
    "lane_right": lambda rows, _: rows["lane"] == 1,
    "lane_middle": lambda rows, _: rows["lane"] == 2,
    "lane_left": lambda rows, _: rows["lane"] == LANES,
    "lane_2_from_middle": lambda rows, _: rows["lane"] == LANES - 1,
    "standing": lambda rows, _: rows["speed_mps"] < 0.5,
    "moving": lambda rows, _: rows["speed_mps"] >= 0.5,
    "speed_over": lambda rows, kmh: rows["speed_mps"] > kmh / 3.6,
    "speed_under": lambda rows, kmh: rows["speed_mps"] < kmh / 3.6,
    "toward": lambda rows, _: _toward(rows) <= -_DIAGONAL,
    "away": lambda rows, _: _toward(rows) >= _DIAGONAL,
    "image_left": lambda rows, _: _middle(rows) <= 0.39,
    "image_right": lambda rows, _: _middle(rows) >= 0.61,
    "image_middle": lambda rows, _: np.abs(_middle(rows) - 0.5) <= 0.12,
    "near": lambda rows, _: rows["range"] <= 24,
    "far": lambda rows, _: rows["range"] >= 46,
    "distance_under": lambda rows, d: rows["range"] < d,
    "distance_over": lambda rows, d: rows["range"] > d,
    "after": lambda rows, t: rows["t"] >= t,
    "before": lambda rows, t: rows["t"] <= t,
}
