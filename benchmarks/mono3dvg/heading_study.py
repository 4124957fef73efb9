"""Headings that are off by half a turn: how many, and whether the features of one cell hold the front of an object.

python -m benchmarks.mono3dvg.heading_study --name mono3dvg_toy --weights zoo:mono3dvg_toy \\
    --config-file configs/mono3dvg/toy_grounding/demo.yaml

On toy_grounding_val, whose cameras and scenes no training saw. A heading is reversed if it is off by more than a
quarter turn; 50 % are who knows nothing of the front. Then regressions from features at labelled objects to the cosine
and sine of the heading against the ray, fitted on training views: what they cannot tell, those features lack. Records
go to benchmarks/results/mono3dvg_heading/.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.layers import ROIAlign
from sklearn.kernel_ridge import KernelRidge

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record
from benchmarks.mono3dvg.grounding_study import STUDY_DATA, record_study
from d2road.structures.camera_batch import upright_frame
from d2road.structures.depth_cues import view_boxes
from d2road.structures.headings import decode_heading
from d2road.utils.progress import track
from mono3dvg.data.model_inputs import objects_of
from mono3dvg.detection.dense_head import gather_cells
from mono3dvg.detection.labelled_candidates import home_cells, match_objects
from mono3dvg.grounder import Mono3DVG
from mono3dvg.grounder_state import SEPARATOR

BENCH = "mono3dvg_heading"
TRAIN_DATA, TRAIN_VIEWS = "toy_grounding_train", 500
VEHICLES = ("bus", "car", "truck", "van")
RANGES_M = (0, 20, 40, 60, 90)
POOLED = 7  # cells of a pooled box, each side
FEATURES = {
    "cell": "map of the head, at the object's cell",
    "tower": "the head's tower, at that cell",
    "pooled": f"map of the head, pooled over the object's box ({POOLED} x {POOLED})",
}
KERNELS = ("linear", "rbf")
PENALTIES = (0.003, 0.03, 0.3, 3.0, 30.0)
NUMBERS = ("alpha", "at_cell", "detected", "names", "range_m")  # of an object, beside its features
CHOSEN_SHARE = 0.25  # of the training objects, the last ones, which choose the penalty


@dataclass(frozen=True)
class Headings:
    """P labelled objects.

    features: (P, C) each. alpha: heading against the ray, rad; at_cell: what the head says at the object's cell, less
    that; detected: heading of its detection less that of the label, NaN where there is none; (P,) each. names: classes.
    range_m: distance to the camera.
    """

    features: dict[str, np.ndarray]
    alpha: np.ndarray
    at_cell: np.ndarray
    detected: np.ndarray
    names: np.ndarray
    range_m: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Headings"]) -> "Headings":
        """One after the other."""
        features = {name: np.concatenate([part.features[name] for part in parts]) for name in FEATURES}
        return cls(features, *(np.concatenate([getattr(part, name) for part in parts]) for name in NUMBERS))

    def part(self, keep: np.ndarray) -> "Headings":
        """Those at which a boolean array (P,) is set."""
        features = {name: values[keep] for name, values in self.features.items()}
        return Headings(features, *(getattr(self, name)[keep] for name in NUMBERS))


@torch.no_grad()
def read_headings(model: Mono3DVG, records: Sequence[dict], mapper: Any) -> Headings:
    """The labelled objects of views that have a 3D box in front of the camera."""
    return Headings.joined([_of_view(model, mapper(record)) for record in track(records, label="headings")])


def _of_view(model: Mono3DVG, x: dict) -> Headings:
    image, objects = model.encode_image([x]), objects_of(x).to(model.device)
    stride, ry_frame = model.inputs.stride, model.inputs.ry_frame
    place = torch.zeros(len(objects), dtype=torch.long, device=model.device)
    scene, map_ = image.batch.scene[place], image.maps[0]
    views = view_boxes(objects.rows, scene.cameras, upright_frame(scene, ry_frame))
    cells = home_cells(objects, views.middle, views.in_front, (map_.shape[2], map_.shape[3]), stride)
    raw = image.raw.at(place, cells)
    pool = ROIAlign(POOLED, 1 / stride, 0, aligned=True)
    features = {
        "cell": gather_cells(map_, place, cells),
        "tower": gather_cells(model.dense_head.box_tower(map_), place, cells),
        "pooled": pool(map_, torch.cat([place[:, None].float(), objects.boxes_xyxy], dim=1)).flatten(1),
    }
    assert image.peaks is not None, "encode_image fills them in"
    matched = match_objects(image.peaks, [objects])[0]
    found = torch.where(matched >= 0)[0]
    detected = torch.full((len(objects),), torch.nan, device=model.device)
    detected[matched[found]] = image.peaks.rows[0, found, 6] - objects.rows[matched[found], 6]
    names = np.array(model.state.text("classes").split(SEPARATOR))
    values = (views.alpha, decode_heading(raw.bins, raw.residuals) - views.alpha, detected)
    every = Headings(
        {name: one.float().cpu().numpy() for name, one in features.items()},
        *(one.cpu().numpy() for one in values),
        names[objects.classes.cpu().numpy()],
        objects.rows[:, :3].norm(dim=1).cpu().numpy(),
    )
    return every.part((objects.has_3d & ~objects.ignore & views.in_front).cpu().numpy())


def describe(errors: np.ndarray) -> dict[str, float]:
    """Of heading errors (P,), rad, NaN left out: how many, reversed ones in percent, median error of the axis, deg."""
    errors = errors[~np.isnan(errors)]
    if not len(errors):
        return {"count": 0, "reversed": float("nan"), "axis_deg": float("nan")}
    axis = np.abs((errors + np.pi / 2) % np.pi - np.pi / 2)
    return {
        "count": len(errors),
        "reversed": 100 * float((np.cos(errors) < 0).mean()),
        "axis_deg": float(np.rad2deg(np.median(axis))),
    }


def fit_headings(train: Headings, test: Headings, name: str, kernel: str) -> np.ndarray:
    """Errors (P,), rad, of a ridge regression from features; the penalty is that of the least error held out."""
    mean, std = train.features[name].mean(0), train.features[name].std(0) + 1e-6
    seen, new = ((one.features[name] - mean) / std / np.sqrt(len(mean)) for one in (train, test))
    wanted = np.column_stack([np.cos(train.alpha), np.sin(train.alpha)])
    count = round((1 - CHOSEN_SHARE) * len(seen))

    def fitted(penalty: float, until: int) -> KernelRidge:
        return KernelRidge(alpha=penalty, kernel=kernel, gamma=0.5).fit(seen[:until], wanted[:until])

    def error(penalty: float) -> float:
        return float(np.square(fitted(penalty, count).predict(seen[count:]) - wanted[count:]).mean())

    cosine, sine = fitted(min(PENALTIES, key=error), len(seen)).predict(new).T
    return np.arctan2(sine, cosine) - test.alpha


def measure(model: Mono3DVG, records: Sequence[dict], mapper: Any) -> dict[str, dict[str, Any]]:
    """Detections by class, and vehicles by range and view; the head at labelled cells; regressions of vehicles."""
    train = read_headings(model, DatasetCatalog.get(TRAIN_DATA)[:TRAIN_VIEWS], mapper)
    return judge(train, read_headings(model, records, mapper))


def judge(train: Headings, test: Headings) -> dict[str, dict[str, Any]]:
    """As `measure`, of what has been read."""
    seen, cars = (one.part(np.isin(one.names, VEHICLES)) for one in (train, test))
    along = np.abs(np.sin(cars.alpha)) > np.sqrt(0.5)
    ranges = [(f"{low} to {high} m", low, high) for low, high in pairwise(RANGES_M)]
    metrics: dict[str, dict[str, Any]] = {
        "detected": {
            "vehicles": describe(cars.detected),
            **{str(name): describe(test.detected[test.names == name]) for name in np.unique(test.names)},
            **{
                name: describe(cars.detected[(cars.range_m >= low) & (cars.range_m < high)])
                for name, low, high in ranges
            },
            "along the ray": describe(cars.detected[along]),
            "across the ray": describe(cars.detected[~along]),
        },
        "head at labelled cells": {"training": describe(seen.at_cell), "validation": describe(cars.at_cell)},
    }
    for name in FEATURES:
        metrics[name] = {kernel: describe(fit_headings(seen, cars, name, kernel)) for kernel in KERNELS}
    return metrics


def table_rows() -> Iterator[list[str]]:
    """A row for each figure of each record."""
    for path in sorted((RESULTS / BENCH).glob("*.json")):
        record = read_record(BENCH, path.stem)
        assert record is not None
        for part, rows in record["metrics"].items():
            for name, values in rows.items():
                yield [path.stem, FEATURES.get(part, part), name, *_cells(values)]


def _cells(values: Mapping[str, float]) -> list[str]:
    return [str(values["count"]), f"{values['reversed']:.1f}", f"{values['axis_deg']:.1f}"]


def write_table() -> Path:
    """Write benchmarks/results/mono3dvg_heading/table.md from all records and return its path."""
    note = (
        f"{STUDY_DATA}; regressions (ridge, linear or with a Gaussian kernel) are fitted on the vehicles of "
        f"{TRAIN_VIEWS} views of {TRAIN_DATA}."
    )
    head = ["model", "of", "", "objects", "reversed (%)", "median error of the axis (degrees)"]
    return write_page(
        RESULTS / BENCH / "table.md", [["# Headings off by half a turn"], table("Headings", note, head, table_rows())]
    )


def main() -> None:
    """Run what the arguments ask for."""
    print(f"record: {record_study(BENCH, 'heading_study', __doc__, measure)}\ntable: {write_table()}")


if __name__ == "__main__":
    main()
