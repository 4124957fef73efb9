"""Floating-car data of SUMO: XML, or CSV as SUMO writes it from 1.24 on and its xml2csv does; .gz of both.

`pos` is metres of the front from the start of its lane, so a road of several edges needs to know where they begin. FCD
has no lengths and no sign of speed: lengths come from the type, signs from the change of s. Persons are left out.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from d2road.traffic.readers.axis import RoadAxis
from d2road.traffic.readers.blocks import csv_blocks, guess_separator
from d2road.traffic.readers.fcd_xml import TEXTS, FcdParser
from d2road.traffic.readers.source import CAR_LENGTH, READERS, Part, Source, length_of_class
from d2road.traffic.readers.sumo_net import route_offsets
from d2road.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from d2road.traffic.readers.source import SourceOptions


BYTES_AT_ONCE = 1 << 20
ROWS_AT_ONCE = 1 << 16
# Of CSV: columns that a file need not have, and how SUMO's xml2csv begins their names.
CSV_OPTIONAL = ("acceleration", "type")
CSV_PREFIXES = ("timestep_", "vehicle_")


@READERS.register(name="fcd")
class Fcd(Source):
    """A file of FCD; rows are in order of time, so files of any size are read as they go.

    Args:
        edges: "EDGE:METRES, EDGE:METRES:-1": where edges begin along the road, and the direction (1 if left out);
            others are not on the road. "" is for a road of a single edge.
        net, route: instead of edges: SUMO's network and "EDGE EDGE ..." in the direction of travel.
        axis: instead of edges: take s from x and y, by an axis as RoadAxis.of takes it.
        lane: "index" takes the lane's number on its edge (0 is the right one), "id" its whole id.
        lengths: "TYPE:METRES, ..."; for other types, SUMO's or the usual length of what their name holds.
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
        lane: str = "index",
        lengths: str = "",
        partial: bool = False,
        **common: Unpack[SourceOptions],
    ):
        super().__init__(path, **common)
        if sum(map(bool, (edges, net, axis))) > 1 or bool(net) != bool(route):
            raise ConfigError("say where edges are by one of: edges, net with route, axis")
        if lane not in ("index", "id"):
            raise ConfigError(f"lane is {lane!r}, expected 'index' or 'id'")
        self.edges = {edge: (at, 1) for edge, at in route_offsets(net, route.split()).items()} if net else {}
        self.edges |= _edges_of(edges)
        self.single = not (edges or net or axis)
        self.axis = RoadAxis.of(axis) if axis else None
        self.lane, self.partial = lane, partial
        self.lengths = {name: numbers[0] for name, numbers in _listed("lengths", lengths, (1,)).items()}

    @property
    def attributes(self) -> tuple[str, ...]:
        """What is read of a vehicle."""
        return ("id", "type", "lane", "speed", *(("x", "y") if self.axis else ("pos",)), "acceleration")

    def parts(self) -> Iterator[Part]:
        """The file."""
        yield Part(self.path, self.recording or self.path.name.split(".")[0], self._blocks, ordered=True)

    def _blocks(self) -> Iterator[pd.DataFrame]:
        if ".csv" in self.path.suffixes:
            numbers = [name for name in ("time", *self.attributes) if name not in TEXTS]
            blocks = csv_blocks(
                self.path,
                numbers,
                [name for name in self.attributes if name in TEXTS],
                CSV_OPTIONAL,
                guess_separator(self.path),
                strip=CSV_PREFIXES,
            )
            # Timesteps without vehicles, and persons, are rows without an id.
            blocks = (block[block["id"].notna().to_numpy()] for block in blocks)
        else:
            blocks = self._xml()
        for block in blocks:
            yield self.to_table(block)

    def _xml(self) -> Iterator[pd.DataFrame]:
        parser = FcdParser(self.attributes, str(self.path))
        with gzip.open(self.path) if self.path.suffix == ".gz" else open(self.path, "rb") as file:
            while data := file.read(BYTES_AT_ONCE):
                parser.feed(data)
                if len(parser) >= ROWS_AT_ONCE:
                    yield parser.take()
        yield parser.take()
        try:
            parser.close()
        except ValueError as error:
            if not self.partial:
                raise DataError(f"{error}; partial=1 takes what is complete") from error
            self.problems.add("cut off", self.path.name, [0], str(error))

    def to_table(self, block: pd.DataFrame) -> pd.DataFrame:
        """Columns of the table, of FCD's; rows that are not on the road are counted and left out.

        Args:
            block: row, time and `attributes`, as FcdParser.take gives them.
        """
        lane = block["lane"].astype("category")
        places = [self._place(str(name)) for name in lane.cat.categories]
        at = np.array([place[0] for place in places] + [np.nan])[lane.cat.codes]
        if self.axis is not None:
            s, direction = self.axis.place(block[["x", "y"]].to_numpy())[0], 1
        else:
            s = block["pos"].to_numpy() + at
            direction = np.array([place[1] for place in places] + [1])[lane.cat.codes]
        cls = block["type"].astype("category") if "type" in block else pd.Categorical(["vehicle"] * len(block))
        cls = pd.Series(cls, index=block.index)
        lengths = [self._length(str(name)) for name in cls.cat.categories]
        frame = pd.DataFrame(
            {
                "row": block["row"],
                "vehicle": block["id"],
                "cls": cls,
                "t": block["time"],
                "s": s,
                "lane": pd.Categorical.from_codes(*_merged(lane.cat.codes.to_numpy(), [p[2] for p in places])),
                "direction": direction,
                "unsigned_speed": block["speed"],
                "length": np.array([*lengths, CAR_LENGTH])[cls.cat.codes],
            }
        )
        if "acceleration" in block and block["acceleration"].notna().all() and len(block):
            frame["acceleration"] = block["acceleration"]
        if self.axis is not None:
            return self.on_road(frame, np.isnan(s), self.path.name)
        off = np.isnan(at)
        if off.any():
            names = lane.to_numpy()[off]
            self.problems.rows += int(off.sum())
            self.problems.add(
                "unknown lane",
                self.path.name,
                frame["row"].to_numpy()[off],
                lambda i: f"lane {names[i]} is on no edge whose place is known",
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

    def _length(self, name: str) -> float:
        # SUMO's own type of passenger cars.
        return self.lengths.get(name, 5.0 if name == "DEFAULT_VEHTYPE" else length_of_class(name))


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
