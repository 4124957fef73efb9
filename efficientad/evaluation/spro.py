"""sPRO, the saturated per-region overlap of MVTec LOCO: what counts as having found a defect.

Source: Bergmann et al., Beyond Dents and Scratches, IJCV 2022. Areas are those of the official program, except that a
saturation that rounds to no pixel at all counts as one pixel.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from efficientad.evaluation.weighted_scores import BINS, WeightedScores, summarize

MAX_FPRS = (0.01, 0.05, 0.1, 0.3, 1.0)
CONFIG_FILE = "defects_config.json"
_KEYS = ("defect_name", "pixel_value", "saturation_threshold", "relative_saturation")


@dataclass(frozen=True)
class DefectType:
    """One entry of defects_config.json: a threshold in pixels, or relative to the area of the defect."""

    name: str
    saturation_threshold: float
    relative: bool

    def saturation_area(self, area: int) -> float:
        """Pixels that have to be found of a defect of `area` pixels; what is found beyond does not count."""
        if self.relative:
            return max(1, int(self.saturation_threshold * area))  # the official program rounds down
        return min(self.saturation_threshold, area)


def read_defects_config(path: str | os.PathLike) -> dict[int, DefectType]:
    """Types of defects by the value of their pixels.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a list; the message says which entry.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: sPRO needs the saturation thresholds of the data")
    entries = read_json(path, "list of defects")
    if not isinstance(entries, list):
        raise DataError(f"{path} holds a {type(entries).__name__}, expected a list of types of defects")
    types: dict[int, DefectType] = {}
    for number, entry in enumerate(entries):
        value, defect_type = _entry(entry, f"{path}, entry {number}")
        if value in types:
            raise DataError(f"{path}, entry {number}: pixel value {value} belongs to '{types[value].name}' already")
        types[value] = defect_type
    return types


def _entry(entry: Mapping, where: str) -> tuple[int, DefectType]:
    missing = [key for key in _KEYS if not isinstance(entry, Mapping) or key not in entry]
    if missing:
        raise DataError(f"{where} lacks {', '.join(missing)}")
    value, threshold, relative = entry["pixel_value"], entry["saturation_threshold"], bool(entry["relative_saturation"])
    if not isinstance(value, int) or not 0 < value < 2**16:
        raise DataError(f"{where}: pixel_value is {value!r}, expected a positive integer")
    if not isinstance(threshold, (int, float)) or not 0 < threshold < math.inf or (relative and threshold > 1):
        expected = "above 0 and at most 1, a share of the area" if relative else "a positive number of pixels"
        raise DataError(f"{where}: saturation_threshold is {threshold!r}, expected {expected}")
    return value, DefectType(str(entry["defect_name"]), float(threshold), relative)


@dataclass(frozen=True)
class Defect:
    """A defect of one image: mask (H, W) bool, and the pixels of it that have to be found."""

    mask: np.ndarray
    saturation: float


def make_defect(mask: np.ndarray, types: Mapping[int, DefectType], name: str) -> Defect:
    """The defect that one mask file of the LOCO layout shows.

    Args:
        mask: (H, W) integers; 0 is outside, and one other value says which type it is.
        name: of the file, for messages.
    Raises:
        ValueError: no pixel, several values, or a value that defects_config.json lacks.
    """
    values = np.unique(mask[mask != 0]).tolist()
    if len(values) != 1:
        found = f"several values, {values[:8]}," if values else "no pixel of a defect"
        raise DataError(f"mask {name} has {found} but must show one defect")
    if values[0] not in types:
        raise DataError(
            f"mask {name} has the value {values[0]}, which {CONFIG_FILE} lacks; it has {', '.join(map(str, types))}"
        )
    inside = mask != 0
    return Defect(inside, types[values[0]].saturation_area(int(inside.sum())))


def defect_scores(anomaly_map: np.ndarray, defects: Sequence[Defect], bins: int | None = BINS) -> list[WeightedScores]:
    """WeightedScores whose weight above a threshold is the sum of min(found pixels / saturation, 1) over the defects.

    Only a defect's highest pixels weigh, as many as saturate it: with them found it counts as found, whatever the rest.
    """
    weighted = []
    for defect in defects:
        scores = np.sort(anomaly_map[defect.mask])[::-1]
        whole = int(defect.saturation)
        weighted.append(summarize(scores[:whole], 1 / defect.saturation, bins))
        rest = 1 - whole / defect.saturation  # thresholds in pixels need not be integers
        if rest > 0:
            weighted.append(WeightedScores(scores[whole : whole + 1], np.array([rest])))
    return weighted
