"""Evaluation of a trained transport: boxes, steps, solvers and proposals on the same views, with what each costs."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.modeling import build_model
from detectron2.structures import Instances

from benchmarks.common.records import read_record, write_record
from benchmarks.diffusion_det.transport_costs import decoder_multiply_adds
from benchmarks.diffusion_det.transport_decoding import (
    REPORTS,
    FeatureCache,
    Found,
    Pass,
    batches_of_one_size,
    decode,
)
from benchmarks.diffusion_det.transport_statistics import ap_ceiling, ap_draws, match_at_overlaps, on_images
from benchmarks.diffusion_det.transport_variants import BENCH, NODE, QUERIES, solvers_of
from d2road.data.build import load_dataset_dicts
from d2road.data.mapper_registry import build_mapper
from d2road.engine import load_weights
from d2road.evaluation.coco_evaluator import BoxEvaluator
from d2road.evaluation.metrics.box_ap import BoxTruth
from d2road.evaluation.roadside_evaluator import write_matches
from d2road.utils.errors import DataError

BOXES = (5, 10, 20, 50, 100, 300)
STEPS = (1, 2, 4, 8)
FIXED = ("grid", "sobol")  # proposals that need no training
SOLVER_BOXES = (20, 100)  # of the comparison of solvers
COMPARED_STEPS = 4  # of other solvers, and of runs in which no box is drawn anew
MOST_BOXES = 1200  # of one step with as many boxes as several steps have in all
BATCH = 10


@dataclass(frozen=True)
class Views:
    """Images that all settings are tested on.

    Args:
        inputs: of the model; truth: their labels; category_of: data set's id of each class index.
    """

    inputs: Sequence[dict]
    truth: BoxTruth
    category_of: Mapping[int, int]

    @classmethod
    def load(cls, cfg: CfgNode, count: int, folder: Path) -> "Views":
        """`count` views of DATASETS.TEST, evenly spaced over the whole set.

        Raises:
            DataError: the set has fewer.
        """
        name = cfg.DATASETS.TEST[0]
        dicts = load_dataset_dicts([name], filter_empty=False, class_names=cfg.MODEL.CLASS_NAMES)
        if not 1 <= count <= len(dicts):
            raise DataError(f"{name} has {len(dicts)} images; choose 1 to as many, not {count}")
        mapper = build_mapper(cfg, False)
        inputs = [mapper(dicts[int(i)]) for i in np.arange(count) * len(dicts) // count]
        evaluator = BoxEvaluator(name, str(folder), distributed=False)
        truth = on_images(evaluator.truth(), [entry["image_id"] for entry in inputs])
        return cls(inputs, truth, evaluator.category_of)

    def rows(self, found: Sequence[Instances]) -> list[dict[str, Any]]:
        """COCO results of Instances of all views."""
        rows = [row for entry, own in zip(self.inputs, found) for row in instances_to_coco_json(own, entry["image_id"])]
        return [{**row, "category_id": self.category_of[row["category_id"]]} for row in rows]


def passes_of(
    solvers: Sequence[str], boxes: Sequence[int], steps: Sequence[int], proposals: Sequence[str] = ()
) -> list[Pass]:
    """Runs of the decoder on one model, those of few boxes first.

    Args:
        solvers: the model's own, which runs at all boxes, then those that are compared with it, at SOLVER_BOXES and
            COMPARED_STEPS.
        boxes, steps: every number of boxes meets every number of steps.
        proposals: fixed boxes that one step starts from.
    """
    steps = sorted(set(steps))
    multiples = {k * n for k, n in itertools.product(steps, boxes)} - set(boxes)
    chosen = []
    for count in sorted({*boxes, *(m for m in multiples if m <= MOST_BOXES)}):
        if count not in boxes:
            chosen.append(Pass("restart", 1, count, (1,)))
            continue
        chosen.append(Pass("restart", steps[-1], count, tuple(steps)))
        chosen += [Pass(solvers[0], k, count, (k,)) for k in steps if k > 1]
        if COMPARED_STEPS in steps:
            others = solvers[1:] if count in SOLVER_BOXES else ()
            chosen += [Pass(solver, COMPARED_STEPS, count, (COMPARED_STEPS,)) for solver in others]
            chosen.append(Pass(solvers[0], COMPARED_STEPS, count, (COMPARED_STEPS,), renewal=False))
        chosen += [Pass(solvers[0], 1, count, (1,), start) for start in proposals]
    return chosen


def passes_for(variant: str, boxes: Sequence[int] = BOXES, steps: Sequence[int] = STEPS) -> list[Pass]:
    """Runs of the decoder that a training is evaluated with: all for `diffusion` and `flow`, of the others few."""
    if variant in QUERIES:
        return [Pass("ddim", 1, QUERIES[variant], (1,), "queries")]
    if variant in ("diffusion", "flow"):
        return passes_of(solvers_of(variant), boxes, steps, FIXED)
    own = passes_of(solvers_of(variant), boxes, [k for k in steps if k in (1, 4)])
    return [one for one in own if one.solver != "restart" or one.boxes in boxes]


@dataclass
class Evaluation:
    """Passes over the views of one trained model, kept in its record and in files of matches as they come.

    Args:
        name: of the model, as in the records.
        make_config: from further KEY VALUE pairs.
        weights: checkpoint.
        record: of all rows, see `write_record`.
        capacity: batches whose features are kept; batch: images at once.
        at_once: run everything on a batch before the next one, where features of all do not fit into memory.
        bench: folder of the record.
    """

    name: str
    make_config: Callable[..., CfgNode]
    weights: Path | str
    views: Views
    record: dict[str, Any]
    capacity: int = 100
    batch: int = BATCH
    at_once: bool = False
    bench: str = BENCH
    _new: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)

    def run(self, passes: Sequence[Pass]) -> None:
        """Run what has no row yet; passes of one number of boxes share an entry of the record."""
        done = self.rows()
        left = [one for one in passes if any(one.row(report) not in done for report in one.reports)]
        models = {start: self._model(start) for start in dict.fromkeys(one.proposals for one in left)}
        cache = FeatureCache(self.capacity)
        for _, group in itertools.groupby(left, key=lambda one: self.at_once or one.boxes):
            chosen = list(group)
            boxes = ", ".join(map(str, dict.fromkeys(one.boxes for one in chosen)))
            print(f"{self.name}: {boxes} boxes, {len(chosen)} runs over {len(self.views.inputs)} views", flush=True)
            start = time.perf_counter()
            found = decode(models, batches_of_one_size(self.views.inputs, self.batch), chosen, cache)
            head = next(iter(models.values())).head
            for one in chosen:
                for report in one.reports:
                    row = one.row(report)
                    costs = {"multiply_adds": decoder_multiply_adds(head, one.boxes, report)}
                    self._keep(row, found[row], costs | {"boxes": one.boxes, "steps": report})
            self._write(time.perf_counter() - start, cache)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Metrics of each row that is recorded."""
        record = read_record(self.bench, self.name)
        return record["metrics"] if record else {}

    def _model(self, proposals: str) -> Any:
        more = [NODE + "PROPOSALS", proposals] if proposals != "noise" else []
        cfg = self.make_config(*more)
        model = build_model(cfg).eval()
        load_weights(cfg, model, str(self.weights))
        return model

    def _keep(self, row: str, found: Found, entry: dict[str, Any]) -> None:
        """Score a row; its figures go to the next record."""
        count = len(self.views.inputs)
        tables = {}
        for kind in REPORTS:
            if kind == "last" and entry["steps"] == 1:
                continue  # the same as the union
            matched = match_at_overlaps(self.views.truth, self.views.rows(found.instances[kind]))
            every = np.ones((1, len(self.views.truth.images)))
            entry[kind] = {name: float(draws[0]) for name, draws in ap_draws(matched, every).items()}
            tables |= {f"{kind} {name}": table for name, table in matched.items()}
        entry.setdefault("last", entry["union"])
        entry["decoder_ms"] = 1000 * found.seconds / count
        entry["low_scores"] = found.low_scores / (count * entry["boxes"])  # share of boxes that are drawn anew
        path = matches_path(self.name, row, self.bench)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_matches(path, tables, {})
        self._new[row] = entry

    def _write(self, seconds: float, cache: FeatureCache) -> None:
        before = read_record(self.bench, self.name) or {"seconds": 0.0}
        feature_ms = 1000 * cache.seconds / cache.images if cache.images else before.get("feature_ms")
        counts = {n for row in self._new.values() for n in (row["boxes"], row["boxes"] * row["steps"])}
        ceilings = {str(n): ap_ceiling(self.views.truth, n) for n in sorted(counts)}
        write_record(
            self.bench, self.name, metrics={**self.rows(), **self._new}, seconds=before["seconds"] + seconds,
            feature_ms=feature_ms, ceilings={**before.get("ceilings", {}), **ceilings},
            views=len(self.views.inputs), **self.record,
        )  # fmt: skip
        self._new = {}


def matches_path(name: str, row: str, bench: str = BENCH) -> Path:
    """Where the matches of a row are kept, which bootstrap intervals need."""
    return Path("output/bench") / bench / "matches" / name / f"{row}.npz"
