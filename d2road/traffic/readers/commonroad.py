"""CommonRoad: scenarios of motion planning, XML of the versions 2018b and 2020a.

Althoff, Koschi and Manzinger, CommonRoad: Composable Benchmarks for Motion Planning on Roads, IV 2017. Obstacles that
move have an initial state and the states that follow; times are whole steps of `timeStepSize` seconds, positions metres
of the shape's origin, its middle unless it says otherwise. A value is exact, or an interval, of which the middle is
taken. Scenarios have no road axis: name one.
"""

from __future__ import annotations

import math
import xml.parsers.expat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.readers.axis import ACROSS
from d2road.traffic.readers.axis_source import AxisSource
from d2road.traffic.readers.source import READERS, Part
from d2road.traffic.readers.table_text import kind_of, open_plain
from d2road.utils.errors import DataError

BYTES_AT_ONCE = 1 << 20
VERSIONS = ("2018b", "2020a")
# Elements of obstacles: those of 2020a move by their name, those of 2018b by their role.
OBSTACLES = ("dynamicObstacle", "obstacle")


@READERS.register(name="commonroad")
class CommonRoad(AxisSource):
    """A scenario's obstacles that move; those whose role is to stand are not among them.

    Options are those of `AxisSource`, in the scenario's metres. Without lane edges the lane is 1.
    """

    def parts(self) -> Iterator[Part]:
        """The file."""
        yield Part(self.path, self.recording or self.path.name.split(".")[0], self._blocks)

    def _blocks(self) -> Iterator[pd.DataFrame]:
        if kind_of(self.path) != "xml":
            raise DataError(
                f"{self.path} is no XML: expected a scenario of CommonRoad; commonroad-io writes others as XML"
            )
        frames = [self._rows(obstacle, step) for obstacle, step in _obstacles(self.path)]
        if frames:
            yield self._placed(pd.concat(frames, ignore_index=True))

    def _rows(self, obstacle: _Node, step: float) -> pd.DataFrame:
        """States of an obstacle: t (s), x, y of its middle, heading (rad), velocity, acceleration, size."""
        name = obstacle.attributes.get("id", "")
        shape = _shape(obstacle, self.path)
        states = [obstacle.child("initialState"), *obstacle.child("trajectory").children]
        columns = {
            key: [_value(state, key) for state in states] for key in ("time", "orientation", "velocity", "acceleration")
        }
        points = np.array([_position(state) for state in states])
        heading = np.array(columns["orientation"])
        # The shape's middle need not be where the position is.
        turned = np.nan_to_num(heading)
        ahead = np.column_stack([np.cos(turned), np.sin(turned)])
        points = points + shape.ahead * ahead + shape.left * (ahead[:, ::-1] * (-1, 1))
        return pd.DataFrame(
            {
                "row": [state.line for state in states],
                "vehicle": name,
                "cls": obstacle.child("type").text.strip().lower() or "unknown",
                "t": np.array(columns["time"]) * step,
                "x": points[:, 0],
                "y": points[:, 1],
                "heading": heading,
                "velocity": columns["velocity"],
                "acceleration": columns["acceleration"],
                "length": shape.length,
                "width": shape.width,
            }
        )

    def _placed(self, rows: pd.DataFrame) -> pd.DataFrame:
        taken = self.taken(rows["cls"])
        self.problems.rows += int((~taken).sum())
        rows = rows[taken]
        place = self.road.place(rows[["x", "y"]].to_numpy())
        frame = rows[["row", "vehicle", "cls", "t", "length", "width"]].assign(
            s=place.s + rows["length"] / 2, lane=place.lane, direction=place.direction
        )
        along = (np.column_stack([np.cos(rows["heading"]), np.sin(rows["heading"])]) * place.along).sum(1)
        # What some states lack comes from positions for all: a state has it or not by its kind.
        for name, column in (("speed", "velocity"), ("acceleration", "acceleration")):
            values = rows[column].to_numpy() * along
            if np.isfinite(values).all():
                frame[name] = values
        points = rows[["x", "y"]].to_numpy()
        off = (place.off | (np.abs(along) < ACROSS)) & np.isfinite(points).all(1)
        return self.on_road(frame, off, self.path.name, points, self.road)


@dataclass
class _Node:
    """An element of the file: what is in it, and its line."""

    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[_Node] = field(default_factory=list)

    def child(self, tag: str) -> _Node:
        """The first element of a name inside; an empty one where there is none."""
        return next((child for child in self.children if child.tag == tag), _Node("", {}, self.line))

    def number(self) -> float:
        """Its text as a number, NaN if it is none."""
        try:
            return float(self.text)
        except ValueError:
            return math.nan


@dataclass(frozen=True)
class _Shape:
    """Extents along and across the heading (m), and where their middle is, ahead and left of the position."""

    length: float
    width: float
    ahead: float = 0.0
    left: float = 0.0


def _obstacles(path: Path) -> Iterator[tuple[_Node, float]]:
    """The obstacles of a scenario that move, each with the seconds of a step.

    Raises:
        DataError: no XML, no scenario, or one of another version; names the file.
    """
    parser = _Parser(path)
    expat = xml.parsers.expat.ParserCreate()
    expat.buffer_text = True
    expat.StartElementHandler = lambda tag, attributes: parser.start(tag, attributes, expat.CurrentLineNumber)
    expat.EndElementHandler = parser.end
    expat.CharacterDataHandler = parser.data
    with open_plain(path) as file:
        try:
            while data := file.read1(BYTES_AT_ONCE):
                expat.Parse(data, False)
                yield from parser.take()
            expat.Parse(b"", True)
        except xml.parsers.expat.ExpatError as error:
            raise DataError(f"{path} is no complete XML: {error}") from error
    yield from parser.take()


class _Parser:
    """Builds the obstacles of a file, and nothing else of it."""

    def __init__(self, path: Path):
        self.path, self.step = path, math.nan
        self._open: list[_Node] = []
        self._done: list[_Node] = []

    def start(self, tag: str, attributes: dict[str, str], line: int) -> None:
        if math.isnan(self.step):
            self._begin(tag, attributes)
        elif self._open or tag in OBSTACLES:
            node = _Node(tag, attributes, line)
            if self._open:
                self._open[-1].children.append(node)
            self._open.append(node)

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        version = attributes.get("commonRoadVersion", "")
        if tag != "commonRoad" or version not in VERSIONS:
            found = f"of version {version!r}" if tag == "commonRoad" else f"an XML file of <{tag}>"
            raise DataError(f"{self.path} is {found}: expected <commonRoad> of version {' or '.join(VERSIONS)}")
        text = attributes.get("timeStepSize", "")
        self.step = _Node("", {}, 0, text).number()
        if not 0 < self.step < math.inf:
            raise DataError(f"{self.path}: timeStepSize is {text!r}, expected the seconds of a step")

    def end(self, _tag: str) -> None:
        if self._open:
            node = self._open.pop()
            if not self._open:
                self._done.append(node)

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text

    def take(self) -> Iterator[tuple[_Node, float]]:
        done, self._done = self._done, []
        for node in done:
            if node.tag == "dynamicObstacle" or node.child("role").text.strip() == "dynamic":
                yield node, self.step


def _value(state: _Node, key: str) -> float:
    """An exact number of a state, or the middle of an interval; NaN where there is none."""
    node = state.child(key)
    exact = node.child("exact").number()
    if math.isfinite(exact):
        return exact
    return (node.child("intervalStart").number() + node.child("intervalEnd").number()) / 2


def _point(node: _Node) -> tuple[float, float]:
    return node.child("x").number(), node.child("y").number()


def _position(state: _Node) -> tuple[float, float]:
    """Where a state is: its point, or the middle of the region that it is somewhere in; NaN of lanelets alone."""
    middles = [middle for part in state.child("position").children if (middle := _middle(part)) is not None]
    x, y = np.mean(middles or [(math.nan, math.nan)], axis=0)
    return float(x), float(y)


def _middle(region: _Node) -> tuple[float, float] | None:
    if region.tag == "point":
        return _point(region)
    if region.tag in ("rectangle", "circle"):
        return _point(region.child("center")) if region.child("center").tag else (0.0, 0.0)
    return _centroid(_corners(region)) if region.tag == "polygon" else None


def _centroid(corners: np.ndarray) -> tuple[float, float]:
    """Of a polygon's area (N, 2); of one without area, its corners' mean."""
    origin = corners.mean(0)
    here = corners - origin
    following = np.roll(here, -1, axis=0)
    areas = here[:, 0] * following[:, 1] - here[:, 1] * following[:, 0]
    if areas.sum():
        origin = origin + ((here + following) * areas[:, None]).sum(0) / (3 * areas.sum())
    return float(origin[0]), float(origin[1])


def _corners(polygon: _Node) -> np.ndarray:
    """(N, 2), N >= 1; NaN of a polygon without points."""
    points = [_point(child) for child in polygon.children if child.tag == "point"]
    return np.array(points or [(math.nan, math.nan)])


def _shape(obstacle: _Node, path: Path) -> _Shape:
    """Size of an obstacle; of several shapes that of all.

    Raises:
        DataError: it has none that is known.
    """
    parts = [points for child in obstacle.child("shape").children if (points := _outline(child)) is not None]
    name, line = obstacle.attributes.get("id", ""), obstacle.line
    if not parts or not np.isfinite(np.concatenate(parts)).all():
        raise DataError(f"{path}, line {line}: obstacle {name} has no shape: expected a rectangle, circle or polygon")
    points = np.concatenate(parts)
    (back, right), (front, left) = points.min(0), points.max(0)
    return _Shape(front - back, left - right, (front + back) / 2, (left + right) / 2)


def _outline(shape: _Node) -> np.ndarray | None:
    """Points that span a shape's extents along and across the heading, (N, 2); None of no shape."""
    if shape.tag == "polygon":
        return _corners(shape)
    center = np.array(_point(shape.child("center"))) if shape.child("center").tag else np.zeros(2)
    if shape.tag == "circle":
        radius = shape.child("radius").number()
        return center + np.array([(-radius, -radius), (radius, radius)])
    if shape.tag == "semiTrailerTruckShape":
        return _semi_trailer_truck(shape)
    if shape.tag not in ("rectangle", "truckShape"):
        return None
    size = shape if shape.tag == "rectangle" else shape.child("truckDims")
    half = np.array([size.child("length").number(), size.child("width").number()]) / 2
    if shape.child("originXShift").tag:
        center = center - (shape.child("originXShift").number(), 0.0)
    turn = shape.child("orientation").number() if shape.child("orientation").tag else 0.0
    corners = half * np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
    ahead, left = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    return center + corners[:, :1] * ahead + corners[:, 1:] * left


def _semi_trailer_truck(shape: _Node) -> np.ndarray:
    """A truck and its trailer in a straight line: the trailer begins before the hitch, which is on the truck."""
    truck = _outline(shape.child("truckShape"))
    if truck is None:
        return np.full((1, 2), math.nan)
    dims, trailer = shape.child("truckShape").child("truckDims"), shape.child("trailerDims")
    hitch = dims.child("distFromRearToRearAxle").number() + dims.child("distFromRearAxleToHitch").number()
    front = truck[:, 0].min() + hitch + trailer.child("distFromFrontToHitch").number()
    half = trailer.child("width").number() / 2
    back = front - trailer.child("length").number()
    return np.concatenate([truck, [(front, half), (back, -half)]])
