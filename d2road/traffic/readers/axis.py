"""A road's axis: from points on the ground, or in an image, to metres along the road."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2road.utils.errors import ConfigError, DataError
from d2road.utils.input_files import read_json

SHORTEST_M = 1.0  # of a road; what is shorter is in other units
# Cosine between heading and axis; less is across the road: on another one, or not on this one yet.
ACROSS = 0.5
PLACED_AT_ONCE = 1 << 14  # points, against all segments of an axis


@dataclass(frozen=True)
class RoadAxis:
    """A polyline in the nominal direction of travel.

    Args:
        points: (P, 2), P >= 2, metres or whatever positions are in.
        stations: (P,) metres along the road at each point, rising.
    """

    points: np.ndarray
    stations: np.ndarray

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 2 or len(self.points) < 2:
            raise DataError(f"a road axis has two or more points (x, y), got an array of shape {self.points.shape}")
        if self.stations.shape != (len(self.points),) or not (np.diff(self.stations) > 0).all():
            raise DataError("the metres at the points of a road axis must rise, and no two points be the same")

    @classmethod
    def of(cls, text: str) -> "RoadAxis":
        """An axis from an option.

        Args:
            text: "x y, x y, ..." or "x y s, x y s, ...", or a JSON file with {"points": [[x, y], ...]} and, where
                positions are not in metres, "stations": [s, ...].
        Raises:
            FileNotFoundError, ValueError: not such a text or file.
        """
        if not text:
            raise ConfigError(
                'an axis of the road is needed: axis="x y, x y" or a JSON file with {"points": [[x, y], ...]}, in the '
                "direction of travel"
            )
        if Path(text).suffix == ".json":
            content = read_json(text, 'file of an axis, {"points": [[x, y], ...]},')
            points, stations = np.array(content["points"], dtype=float), content.get("stations")
        else:
            try:
                rows = np.array([part.split() for part in text.split(",")], dtype=float)
            except ValueError as error:
                raise ConfigError(f"axis is {text!r}, expected 'x y, x y' in numbers, or a .json file") from error
            points, stations = rows[:, :2], rows[:, 2] if rows.shape[1] == 3 else None
        if stations is None:
            stations = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
            if 0 < stations[-1] < SHORTEST_M:
                raise ConfigError(
                    f"axis is {text!r}: it is {stations[-1]:.3g} m long, expected metres. Degrees of longitude and "
                    'latitude need the metres at each point besides: "lon lat s, lon lat s"'
                )
        return cls(points, np.asarray(stations, dtype=float))

    @property
    def length(self) -> float:
        """Metres from the first to the last point."""
        return float(self.stations[-1] - self.stations[0])

    def place(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The nearest point of the axis.

        Args:
            xy: (N, 2) in the units of the points.
        Returns:
            s (N,) in metres, NaN for what lies before the first or after the last point; lateral distance (N,) in the
            units of the points, positive to the left; unit vector along the axis there, (N, 2).
        """
        if len(xy) > PLACED_AT_ONCE:
            parts = [self.place(xy[i : i + PLACED_AT_ONCE]) for i in range(0, len(xy), PLACED_AT_ONCE)]
            s, lateral, along = (np.concatenate(values) for values in zip(*parts))
            return s, lateral, along
        start, span = self.points[:-1], np.diff(self.points, axis=0)
        size = np.linalg.norm(span, axis=1)
        away = xy[:, None] - start  # (N, P-1, 2)
        share = (away * span).sum(-1) / size**2
        beyond = ((share[:, 0] < 0), (share[:, -1] > 1))
        held = np.clip(share, 0, 1)
        distance = np.linalg.norm(away - held[..., None] * span, axis=-1)
        best = distance.argmin(1)
        rows = np.arange(len(xy))
        held, along = held[rows, best], span[best] / size[best, None]
        s = self.stations[best] + held * np.diff(self.stations)[best]
        s[(beyond[0] & (best == 0)) | (beyond[1] & (best == len(span) - 1))] = np.nan
        side = along[:, 0] * away[rows, best, 1] - along[:, 1] * away[rows, best, 0]
        return s, np.copysign(distance[rows, best], side), along


def read_homography(path: str) -> np.ndarray:
    """(3, 3) matrix from pixels to the ground, of a JSON file of three rows.

    Raises:
        FileNotFoundError, ValueError: not such a file.
    """
    matrix = np.array(read_json(path, "file of a homography, three rows of three numbers,"), dtype=float)
    if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 1e-12:
        raise DataError(f"{path}: a homography is an invertible 3x3 matrix, got shape {matrix.shape}")
    return matrix


def to_ground(points: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) to points on the ground (N, 2), by a 3x3 homography."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return mapped[:, :2] / mapped[:, 2:]


@dataclass(frozen=True)
class Places:
    """Where points are on a road; arrays of length N."""

    s: np.ndarray  # metres along the road in the direction of the point's carriageway
    lane: np.ndarray  # int, from 1; 1 everywhere on a road without lane edges
    direction: np.ndarray  # 1 or -1
    along: np.ndarray  # (N, 2) unit vector of the direction
    off: np.ndarray  # bool: beside the road, before its start or after its end; s and lane mean nothing


@dataclass(frozen=True)
class Road:
    """An axis with lanes.

    Args:
        axis: in the direction of travel, or of one carriageway.
        lane_edges: (L,) distances left of the axis where lanes begin and end, rising; lanes are numbered from 1.
        half_width: of a road without lane edges, to either side.
        two_way: "right" or "left", the side on which traffic drives: what is on the other side of the axis goes against
            it as it should, in direction -1. "" is a one-way road.
    """

    axis: RoadAxis
    lane_edges: np.ndarray
    half_width: float
    two_way: str

    @classmethod
    def of(cls, axis: str, lane_edges: str, half_width: float, two_way: str) -> "Road":
        """A road from the options of a reader.

        Raises:
            FileNotFoundError, ValueError: they make no sense.
        """
        try:
            edges = np.array([float(edge) for edge in lane_edges.split(",")] if lane_edges else [])
        except ValueError as error:
            raise ConfigError(f"lane_edges is {lane_edges!r}, expected numbers such as '-7, -3.5, 0'") from error
        if len(edges) == 1 or (np.diff(edges) <= 0).any():
            raise ConfigError(f"lane_edges is {lane_edges!r}, expected two or more rising numbers")
        if two_way not in ("", "right", "left"):
            raise ConfigError(f"two_way is {two_way!r}, expected 'right', 'left' or '' for a one-way road")
        return cls(RoadAxis.of(axis), edges, half_width, two_way)

    @property
    def in_degrees(self) -> bool:
        """Whether the axis is in degrees of longitude and latitude, with metres at its points."""
        return bool(np.abs(self.axis.points).max() <= 180 and self.unit_m > 1000)

    @property
    def unit_m(self) -> float:
        """Metres of a unit of the axis, over all of it."""
        return self.axis.length / float(np.linalg.norm(np.diff(self.axis.points, axis=0), axis=1).sum())

    def describe(self) -> str:
        """Where the road is, for messages."""
        (x0, y0), (x1, y1) = self.axis.points[0], self.axis.points[-1]
        width = f"{self.half_width:.4g} to either side" if not len(self.lane_edges) else "the lanes of lane_edges"
        return f"The axis leads from ({x0:.10g}, {y0:.10g}) to ({x1:.10g}, {y1:.10g}), with {width}."

    def place(self, xy: np.ndarray) -> Places:
        """Where points (N, 2), in the units of the axis, are on the road."""
        s, lateral, along = self.axis.place(xy)
        direction = np.ones(len(s), dtype=int)
        if self.two_way:
            direction[(lateral > 0) == (self.two_way == "right")] = -1
            s = np.where(direction > 0, s, self.axis.stations[0] + self.axis.stations[-1] - s)
        if len(self.lane_edges):
            lane = np.searchsorted(self.lane_edges, lateral, side="right")
            off = (lane == 0) | (lane == len(self.lane_edges))
        else:
            lane, off = np.ones(len(s), dtype=int), np.abs(lateral) > self.half_width
        return Places(s, lane, direction, direction[:, None] * along, off | np.isnan(s))
