"""Floating-car data of SUMO: XML, Parquet, and CSV as SUMO writes it from 1.24 on and its xml2csv does.

`pos` is metres of the front from the start of its lane, so a road of several edges needs to know where they begin. FCD
has no lengths and no sign of speed: lengths come from the type, signs from the change of s, or along an axis from the
heading. `pos` is that of the front, also of a vehicle that overtakes in the lane of oncoming traffic: its body is then
on the other side. Persons and containers are left out. What a file is comes from its content, not from its name; XML
and CSV may be packed with gzip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from d2road.traffic.readers.axis import Road
from d2road.traffic.readers.fcd_axis import FcdAxis
from d2road.traffic.readers.fcd_tables import FcdTable, lanes_of_edges
from d2road.traffic.readers.fcd_xml import TEXTS, FcdParser
from d2road.traffic.readers.junctions import JunctionOffsets
from d2road.traffic.readers.source import READERS, Part, Source
from d2road.traffic.readers.sumo_net import route_offsets
from d2road.traffic.readers.table_text import kind_of, open_plain
from d2road.traffic.vehicle_lengths import CAR_LENGTH, length_of_class
from d2road.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from d2road.traffic.readers.source import SourceOptions


BYTES_AT_ONCE = 1 << 20
ROWS_AT_ONCE = 1 << 16


@READERS.register(name="fcd")
class Fcd(Source):
    """A file of FCD; rows are in order of time, so files of any size are read as they go.

    Args:
        edges: "EDGE:METRES, EDGE:METRES:-1": where edges begin along the road, and the direction (1 if left out);
            others are not on the road. "" is for a road of a single edge.
        net, route: instead of edges: SUMO's network and "EDGE EDGE ..." in the direction of travel.
        axis: instead of edges: take s from x and y, by an axis as RoadAxis.of takes it.
        half_width: with axis; metres to either side of it, what is further off is on another road and left out.
        two_way: with axis; "heading" counts each vehicle to the direction that it faces, "right" and "left" by the side
            of the axis as axis.Road has it, so that wrong-way drivers are seen; "" is a one-way road.
        lane_edges: with axis, as axis.Road has them; without, the lane is SUMO's.
        lane: "index" takes the lane's number on its edge (0 is the right one), "id" its whole id.
        lengths: "TYPE:METRES, ..."; for other types, SUMO's default of the class that their name holds.
        body: "motion" has the body behind the front as the vehicle moves; "lane" as the lane leads, where a simulation
            moves vehicles backwards without turning them.
        partial: take a file that ends in the middle, as one that is still written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        edges: str = "",
        net: str = "",
        route: str = "",
        axis: str = "",
        half_width: float = 20.0,
        two_way: str = "heading",
        lane_edges: str = "",
        lane: str = "index",
        lengths: str = "",
        body: str = "motion",
        partial: bool = False,
        **common: Unpack[SourceOptions],
    ):
        super().__init__(path, **common)
        if sum(map(bool, (edges, net, axis))) > 1 or bool(net) != bool(route):
            raise ConfigError("say where edges are by one of: edges, net with route, axis")
        if lane not in ("index", "id"):
            raise ConfigError(f"lane is {lane!r}, expected 'index' or 'id'")
        if body not in ("motion", "lane"):
            raise ConfigError(f"body is {body!r}, expected 'motion' or 'lane'")
        self.edges = {edge: (at, 1) for edge, at in route_offsets(net, route.split()).items()} if net else {}
        self.edges |= _edges_of(edges)
        self.single = not (edges or net or axis)
        self.junctions = JunctionOffsets(self.edges) if edges else None
        self.axis = _axis_of(axis, lane_edges, half_width, two_way) if axis else None
        self.lane, self.body, self.partial = lane, body, partial
        self.lengths = {name: numbers[0] for name, numbers in _listed("lengths", lengths, (1,)).items()}

    @property
    def attributes(self) -> tuple[str, ...]:
        """What is read of a vehicle."""
        place = ("x", "y", "angle") if self.axis else ("pos",)
        return ("id", "type", "lane", "edge", "speed", *place, "acceleration")

    def parts(self) -> Iterator[Part]:
        """The file."""
        yield Part(self.path, self.recording or self.path.name.split(".")[0], self._blocks, ordered=True)

    def _blocks(self) -> Iterator[pd.DataFrame]:
        kind = kind_of(self.path)
        for block in self._xml() if kind == "xml" else self.table_file(kind == "parquet").blocks(self.problems):
            yield self.to_table(block)

    def table_file(self, parquet: bool = False, header: tuple[Sequence[str], str] | None = None) -> FcdTable:
        """The file as a table, of Parquet or else of CSV; `header`: names of its columns and its separator, if known.

        Raises:
            OSError, DataError: it is none of FCD.
        """
        numbers = [name for name in self.attributes if name not in TEXTS]
        names = [name for name in self.attributes if name in TEXTS]
        return FcdTable(self.path, parquet, numbers, names, self.axis is None, header)

    def _xml(self) -> Iterator[pd.DataFrame]:
        parser = FcdParser(self.attributes, str(self.path))
        problem = ""
        with open_plain(self.path) as file:
            try:
                while data := file.read1(BYTES_AT_ONCE):
                    parser.feed(data)
                    if len(parser) >= ROWS_AT_ONCE:
                        yield parser.take(self.problems)
            except EOFError as error:
                problem = f"{self.path} is packed, and ends in the middle: {error}"
        yield parser.take(self.problems)
        try:
            parser.close()
        except ValueError as error:
            problem = problem or str(error)
        if problem and not self.partial:
            raise DataError(f"{problem}; partial=1 takes what is complete")
        if problem:
            self.problems.add("cut off", self.path.name, [0], problem)

    def to_table(self, block: pd.DataFrame) -> pd.DataFrame:
        """Columns of the table, of FCD's; rows that are not on the road are counted and left out.

        Args:
            block: row, time and `attributes` of vehicles, as FcdParser.take and FcdTable.vehicles give them.
        """
        block, bare = lanes_of_edges(block)
        if bare.any():
            self.by_segment = True
            rows = block["row"].to_numpy()[bare]
            self.problems.add("unknown lane", self.path.name, rows, "an edge and no lane, as of a mesoscopic run")
        lane = block["lane"].astype("category")
        places = [self._place(str(name)) for name in lane.cat.categories]
        at = np.array([place[0] for place in places] + [np.nan])[lane.cat.codes]
        cls = block["type"].astype("category") if "type" in block else pd.Categorical(["vehicle"] * len(block))
        cls = pd.Series(cls, index=block.index)
        names = [str(name) for name in cls.cat.categories]
        given = np.array([*(self._given_length(name) for name in names), np.nan])[cls.cat.codes]
        length = np.array([*map(length_of_class, names), CAR_LENGTH])[cls.cat.codes]
        length = np.where(np.isnan(given), length, given)
        if "acceleration" in block and not block["acceleration"].notna().all():
            block = block.drop(columns="acceleration")
        if self.axis is not None:
            self.axis.check_units(block, str(self.path))
            columns, off = self.axis.columns(block, length)
        else:
            s = block["pos"].to_numpy() + at
            direction = np.array([place[1] for place in places] + [1])[lane.cat.codes]
            columns, off = {"s": s, "direction": direction, "unsigned_speed": block["speed"]}, np.isnan(at)
            if self.body == "motion":
                columns["turned_s"] = s + length
        if "acceleration" in block and len(block):
            columns = {"acceleration": block["acceleration"], **columns}
        frame = pd.DataFrame(
            {
                "row": block["row"],
                "vehicle": block["id"],
                "cls": cls,
                "t": block["time"],
                "lane": pd.Categorical.from_codes(*_merged(lane.cat.codes.to_numpy(), [p[2] for p in places])),
                "length": given,
                **columns,
            }
        )
        if self.axis is not None:
            return self.on_road(frame, off, self.path.name, block[["x", "y"]].to_numpy(dtype=float), self.axis.road)
        return self._on_edges(frame, off, block, lane)

    def _on_edges(self, frame: pd.DataFrame, off: np.ndarray, block: pd.DataFrame, lane: pd.Series) -> pd.DataFrame:
        """The rows on edges whose place is known; the others are counted."""
        if not off.any():
            return frame
        names = lane.to_numpy()[off]
        self.problems.rows += int(off.sum())
        self.problems.add(
            "unknown lane",
            self.path.name,
            frame["row"].to_numpy()[off],
            lambda i: f"lane {names[i]} is on no edge whose place is known",
        )
        edges = lane.map({name: str(name).rpartition("_")[0] for name in lane.cat.categories}).to_numpy()
        self.problems.leave_out("edges", edges[off])
        if self.junctions is not None:
            vehicle = block["id"].astype("category").cat.codes.to_numpy()
            t, pos, speed = (block[name].to_numpy(dtype=float) for name in ("time", "pos", "speed"))
            self.junctions.add(vehicle, t, edges, pos, speed)
            if self.junctions.found:
                self.problems.hints["junctions"] = (
                    "rows inside junctions are left out, which leaves a hole at each; these edges close them: "
                    + self.junctions.option()
                )
        return frame[~off]

    def _place(self, lane: str) -> tuple[float, int, str]:
        """Metres at the start of a lane, direction, and its name in the table."""
        edge, _, index = lane.rpartition("_")
        name = index if self.lane == "index" else lane
        if self.axis is not None:
            return 0.0, 1, name
        if self.single and not edge.startswith(":"):
            if self.edges and edge not in self.edges:
                raise DataError(
                    f"{self.path} has vehicles on the edges {next(iter(self.edges))} and {edge}: say where each "
                    'begins, by edges="EDGE:METRES, EDGE:METRES", by net= and route=, or by axis='
                )
            self.edges[edge] = (0.0, 1)
        return (*self.edges.get(edge, (np.nan, 1)), name)

    def _given_length(self, name: str) -> float:
        """Of a type; one that was changed over TraCI is called TYPE@VEHICLE."""
        return self.lengths.get(name, self.lengths.get(name.partition("@")[0], np.nan))


def _axis_of(axis: str, lane_edges: str, half_width: float, two_way: str) -> FcdAxis:
    by_heading = two_way == "heading"
    if two_way not in ("heading", "right", "left", ""):
        raise ConfigError(f"two_way is {two_way!r}, expected 'heading', 'right', 'left' or '' for a one-way road")
    road = Road.of(axis, lane_edges, half_width, "" if by_heading else two_way)
    if road.in_degrees:
        road = replace(road, half_width=half_width / road.unit_m)
    return FcdAxis(road, by_heading)


def _merged(codes: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Codes and distinct names of a category whose names may be equal."""
    distinct = sorted(set(names))
    return np.append([distinct.index(name) for name in names], -1).astype(int)[codes], distinct


def _edges_of(text: str) -> dict[str, tuple[float, int]]:
    edges = {}
    for name, numbers in _listed("edges", text, (1, 2)).items():
        direction = int(numbers[1]) if len(numbers) == 2 else 1
        if direction not in (1, -1):
            raise ConfigError(f"edges: direction of {name} is {direction}, expected 1 or -1")
        edges[name] = (numbers[0], direction)
    return edges


def _listed(option: str, text: str, counts: tuple[int, ...]) -> dict[str, list[float]]:
    """ "NAME:NUMBER, NAME:NUMBER" as a dictionary; names may hold colons themselves."""
    found = {}
    for part in text.split(",") if text.strip() else ():
        pieces = part.strip().split(":")
        numbers: list[float] = []
        while len(numbers) < max(counts) and len(pieces) > 1:
            try:
                numbers.insert(0, float(pieces[-1]))
            except ValueError:
                break
            pieces.pop()
        if len(numbers) not in counts:
            raise ConfigError(f"{option} is {text!r}, expected NAME:NUMBER, NAME:NUMBER")
        found[":".join(pieces)] = numbers
    return found
