"""The contract of plots: what an evaluator leaves behind, so that figures can be drawn without the model or the data.

An evaluator that has something to show calls, in the main process at the end of `evaluate`,

    write_plot_data(output_dir, "boxes", lambda: PlotData({"precision_recall": Lines(...)}, [Example(...), ...]))

which writes output_dir/plots/boxes.json:

    {"version": 1, "name": "boxes",
     "figures": {"precision_recall": {"kind": "lines", ...}, ...},     see d2road.visualization.figure_data
     "examples": [{"image": "/data/a.png", "group": "worst", ...}]}    see `Example`

`d2road.engine.plots` draws the figures beside it as boxes_precision_recall.png, and `d2road report` reads the file. A
plot never fails an evaluation: what goes wrong is logged. TEST.PLOTS False leaves all of it out.
"""

import base64
import logging
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from d2road.evaluation.results import plain
from d2road.utils.console import LONG
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.output_files import make_folder, write_json
from d2road.visualization.figure_data import Figure, figure_as_json, figure_of_json

logger = logging.getLogger(__name__)

VERSION = 1
FOLDER = "plots"
WORST, BEST = "worst", "best"
SHOWN = 6  # examples of each group
HEAT_SIDE = 128  # of a map that is kept for a drawing


@dataclass(frozen=True)
class Boxes:
    """Objects of an image, labelled or predicted.

    Args:
        classes: indices into the example's class names.
        boxes_xyxy: (N, 4) pixels.
        scores: (N,), or None for labels.
        corners: (N, 8, 3) camera frame, m; None without 3D boxes.
    """

    classes: Sequence[int]
    boxes_xyxy: Sequence[Sequence[float]]
    scores: Sequence[float] | None = None
    corners: Sequence[Any] | None = None


@dataclass(frozen=True)
class Heat:
    """A map over an image, small and in 256 steps.

    Args:
        shape: rows and columns.
        low, high: values of the first and the last step.
        steps: bytes, packed by zlib, in base64.
    """

    shape: tuple[int, int]
    low: float
    high: float
    steps: str

    @classmethod
    def of(cls, values: np.ndarray) -> "Heat":
        """Of a map (H, W), the highest value of each block where it has to be made smaller."""
        block = max(1, -(-max(values.shape) // HEAT_SIDE))
        high, wide = (-(-side // block) for side in values.shape)
        padded = np.pad(values, ((0, high * block - values.shape[0]), (0, wide * block - values.shape[1])), mode="edge")
        small = padded.reshape(high, block, wide, block).max(axis=(1, 3))
        low, top = float(small.min()), float(small.max())
        steps = np.round(255 * (small - low) / max(top - low, 1e-30)).astype(np.uint8)
        return cls(small.shape, low, top, base64.b64encode(zlib.compress(steps.tobytes(), 6)).decode())

    def values(self) -> np.ndarray:
        """(rows, columns) float32.

        Raises:
            DataError: damaged.
        """
        try:
            steps = np.frombuffer(zlib.decompress(base64.b64decode(self.steps)), dtype=np.uint8)
            return (self.low + (self.high - self.low) / 255 * steps.reshape(self.shape)).astype(np.float32)
        except (ValueError, zlib.error) as error:
            raise DataError(f"the map of an example is damaged: {error}") from error


@dataclass(frozen=True)
class Example:
    """An image with what is labelled and what was found in it, to be drawn.

    Args:
        image: path of the file.
        group: WORST or BEST.
        caption: what it shows, in a line.
        class_names: of the class indices.
        truth, found: labelled and predicted objects.
        P, ground: (3, 4) projection and (4,) ground plane of the camera, for 3D boxes.
        sentence: that was answered.
        heat: an anomaly map.
        heat_range: values of the ends of its colours, equal for all examples.
        heat_threshold: of its values.
        mask_files: of the labelled region.
    """

    image: str
    group: str
    caption: str
    class_names: Sequence[str] = ()
    truth: Boxes | None = None
    found: Boxes | None = None
    P: Sequence[Sequence[float]] | None = None
    ground: Sequence[float] | None = None
    sentence: str = ""
    heat: Heat | None = None
    heat_range: Sequence[float] | None = None
    heat_threshold: float | None = None
    mask_files: Sequence[str] = ()


@dataclass(frozen=True)
class PlotData:
    """Figures by name, in the order in which they are shown, and examples."""

    figures: Mapping[str, Figure] = field(default_factory=dict)
    examples: Sequence[Example] = ()


def write_plot_data(output_dir: str | os.PathLike, name: str, make: Callable[[], PlotData]) -> Path | None:
    """Write output_dir/plots/NAME.json; whatever goes wrong is logged and costs no evaluation.

    Args:
        name: of the evaluator's part, letters, digits and _.
        make: gives the data; not called elsewhere, so that its errors are caught too.
    Returns:
        the file, None where it could not be written.
    """
    start = time.perf_counter()
    path = Path(output_dir) / FOLDER / f"{name}.json"
    try:
        path.unlink(missing_ok=True)  # of an earlier evaluation, whose results are gone too
        data = make()
        make_folder(path.parent)
        write_json(path, as_json(name, data), indent=None)
    except Exception as error:  # a plot is no reason to lose an evaluation
        logger.warning("The data of the plots %s could not be written (%s); results are whole", path, error)
        logger.debug("Traceback of the plots", exc_info=True)
        return None
    text = "Data of %d figures in %s, made in %.1f s"
    logger.info(text, len(data.figures), path, time.perf_counter() - start, extra=LONG)
    return path


def as_json(name: str, data: PlotData) -> dict[str, Any]:
    """The content of a file of plot data."""
    figures = {key: figure_as_json(figure) for key, figure in data.figures.items()}
    examples = [_short(asdict(example)) for example in data.examples]
    return {"version": VERSION, "name": name, "figures": figures, "examples": plain(examples, "examples")}


def read_plot_data(path: str | os.PathLike) -> PlotData:
    """What `write_plot_data` wrote.

    Raises:
        FileNotFoundError, DataError: it is not there, or something else.
    """
    raw = read_json(path, "plot data", "Evaluate again with `d2road eval`")
    if not isinstance(raw, Mapping) or not isinstance(raw.get("figures"), Mapping):
        raise DataError(
            f"{path} holds no plot data: expected an object with figures; evaluate again with `d2road eval`"
        )
    if raw.get("version") != VERSION:
        raise DataError(f"{path} is of version {raw.get('version')!r}, expected {VERSION}: evaluate again")
    try:
        figures = {str(name): figure_of_json(figure) for name, figure in raw["figures"].items()}
        examples = [_example(row) for row in raw.get("examples") or ()]
    except (DataError, TypeError, KeyError) as error:
        raise DataError(f"{path}: {error}") from error
    return PlotData(figures, examples)


def plot_files(folder: str | os.PathLike) -> list[Path]:
    """Files of plot data of an evaluation, or of those of several data sets below the folder, sorted."""
    root = Path(folder)
    return sorted([*root.glob(f"{FOLDER}/*.json"), *root.glob(f"*/{FOLDER}/*.json")])


def _example(row: Mapping[str, Any]) -> Example:
    values = dict(row)
    for key, kind in (("truth", Boxes), ("found", Boxes), ("heat", Heat)):
        if values.get(key) is not None:
            values[key] = kind(**values[key])
    return Example(**values)


def _short(value: Any) -> Any:
    """Numbers in four decimals: a tenth of a millimetre, a hundredth of a pixel."""
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _short(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_short(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value
