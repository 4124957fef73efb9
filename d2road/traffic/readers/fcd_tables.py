"""Floating-car data of SUMO in tables: its CSV and Parquet, and the CSV of its xml2csv.

SUMO itself names the columns after the first object that it writes, `vehicle_id` or `person_id`, and puts all objects
into them: persons and containers have an edge and no lane. Mesoscopic vehicles have no lane either. xml2csv gives each
kind of object columns of its own.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from d2road.traffic.data_quality import QualityReport
from d2road.traffic.readers.blocks import Wanted, csv_blocks, guess_separator, read_header, shown
from d2road.traffic.readers.parquet_blocks import parquet_columns, parquet_table
from d2road.utils.errors import DataError

OBJECTS = ("vehicle", "person", "container")
# SUMO's own types of what is no vehicle.
NO_VEHICLES = {"DEFAULT_PEDTYPE", "DEFAULT_CONTAINERTYPE"}
OTHER_IDS = ("person_id", "container_id")
OPTIONAL = ("acceleration", "type", "edge", *OTHER_IDS)
# Where a vehicle has an edge and no lane.
UNKNOWN_LANE = "unknown"


class FcdTable:
    """The vehicles of a table of FCD.

    Args:
        path: of the file.
        parquet: whether it is one of Parquet, else CSV.
        numbers, names: of a vehicle's attributes, those to read; its lane or edge may be among them.
        placed: whether lane or edge are needed, since nothing else says where a vehicle is.
        header: names of the columns of a CSV and its separator; None reads its first line.
    Raises:
        OSError, DataError: no such file; columns are missing.
    """

    def __init__(
        self,
        path: Path,
        parquet: bool,
        numbers: Sequence[str],
        names: Sequence[str],
        placed: bool,
        header: tuple[Sequence[str], str] | None = None,
    ):
        self.path, self.parquet = path, parquet
        if header is not None:
            have, self.separator = header
        else:
            self.separator = "" if parquet else guess_separator(path)
            have = parquet_columns(path) if parquet else read_header(path, self.separator)
        first = [kind for kind in OBJECTS if any(f"{kind}_" in name for name in have)]
        # Of xml2csv, all that there are; of SUMO, the first object's in the file.
        self.first = first[0] if first else ""
        strip = [f"timestep_{self.first}_", f"{self.first}_"] if first else []
        self.wanted = Wanted(
            ("time", *numbers),
            (*names, *OTHER_IDS) if len(first) > 1 else names,
            (*OPTIONAL, "lane"),
            (*strip, "timestep_"),
            clock=("time",),
            literal=True,
        )
        found = self.wanted.find(have, str(path)).values()
        if placed and not {"lane", "edge"} & set(found):
            raise DataError(f"{path} lacks the columns lane and edge, one of which is needed; it has {shown(have)}")
        self.has_lane_column, self.has_edges = "lane" in found, "edge" in found
        self.no_vehicles = set(NO_VEHICLES)
        self.has_lanes: bool | None = None

    def blocks(self, problems: QualityReport) -> Iterator[pd.DataFrame]:
        """Rows of vehicles with "row" and the attributes, lane and edge always among them."""
        blocks = (
            parquet_table(self.path, self.wanted)
            if self.parquet
            else csv_blocks(self.path, self.wanted, self.separator, problems=problems)
        )
        for block in blocks:
            yield self.vehicles(block, problems)

    def vehicles(self, block: pd.DataFrame, problems: QualityReport) -> pd.DataFrame:
        """The rows of a block that are vehicles; persons and containers are counted."""
        missing = [name for name in ("lane", "edge") if name not in block]
        block = block.assign(**dict.fromkeys(missing, pd.Categorical([None] * len(block))))
        others = np.zeros(len(block), dtype=bool)
        for name in OTHER_IDS:
            if name in block:
                others |= block[name].notna().to_numpy()
                block = block.drop(columns=name)
        block = self._without(block, others, problems)
        block = block[block["id"].notna().to_numpy()]  # not of timesteps without objects
        return self._without(block, self._no_vehicles(block), problems)

    def _without(self, block: pd.DataFrame, others: np.ndarray, problems: QualityReport) -> pd.DataFrame:
        if not others.any():
            return block
        problems.rows += int(others.sum())
        problems.add("persons and containers", self.path.name, block["row"].to_numpy()[others], "a person or container")
        return block[~others]

    def _no_vehicles(self, block: pd.DataFrame) -> np.ndarray:
        """(len,) bool: persons and containers."""
        bare = block["lane"].isna().to_numpy()
        if not bare.all():
            self.has_lanes = True
        elif self.has_lanes is None and len(block):
            self.has_lanes = self._has_lanes(block)
        if not self.has_lanes:
            return bare & block["type"].isin(self.no_vehicles).to_numpy() if "type" in block else ~bare
        return bare & block["edge"].notna().to_numpy() if self.has_edges else bare

    def _has_lanes(self, block: pd.DataFrame) -> bool:
        """Whether the vehicles of a file have lanes, where no object of a block has."""
        if self.first in OBJECTS[1:] and "type" not in block:
            return True
        if self.first == OBJECTS[0] and self.has_lane_column and self._first_object("lane") is None:
            return False  # it is a vehicle
        if self.first in OBJECTS[1:]:
            self.no_vehicles.add(str(self._first_object("type")))
        return any("lane" in rows and rows["lane"].notna().any() for rows in self._column("lane"))

    def _first_object(self, name: str) -> str | None:
        """Text that the first object of the file has; a block may be from its middle."""
        for rows in self._column(name):
            there = rows[rows["id"].notna().to_numpy()]
            if len(there):
                value = there[name].iloc[0] if name in there else None
                return None if pd.isna(value) else str(value)
        return None

    def _column(self, name: str) -> Iterator[pd.DataFrame]:
        wanted = Wanted((), ("id", name), (name,), self.wanted.strip, literal=True)
        return parquet_table(self.path, wanted) if self.parquet else csv_blocks(self.path, wanted, self.separator)


def lanes_of_edges(block: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Vehicles with an edge and no lane, as in mesoscopic runs, get the edge's lane "unknown"; and which they are."""
    if "edge" not in block:
        return block, np.zeros(len(block), dtype=bool)
    bare = block["lane"].isna().to_numpy() & block["edge"].notna().to_numpy()
    if not bare.any():
        return block, bare
    edges = block["edge"].astype(object).map(lambda edge: f"{edge}_{UNKNOWN_LANE}", na_action="ignore")
    lanes = block["lane"].astype(object).where(~bare, edges)
    return block.assign(lane=lanes.astype("category")), bare
