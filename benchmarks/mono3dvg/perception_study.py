"""What eyes cost a grounder that can read: how well it tells what means nothing, as its detections replace the labels.

python -m benchmarks.mono3dvg.perception_study --name main_seed1 --config-file FILE --weights FILE

On toy_grounding_val. The same model and sentences are asked about candidates that are, step by step, less as labelled
and more as detected; records go to benchmarks/results/mono3dvg_perception/.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record
from benchmarks.mono3dvg.grounding_study import STUDY_DATA, T_ACC, record_study
from benchmarks.mono3dvg.grounding_tables import cell
from benchmarks.mono3dvg.words_alone import with_attributes
from d2road.utils.progress import track
from mono3dvg.data.model_inputs import objects_of
from mono3dvg.detection.candidates import Candidates
from mono3dvg.detection.labelled_candidates import match_objects
from mono3dvg.detection.objects import Objects
from mono3dvg.evaluation.grounding_metrics import presence_auroc, threshold_of_t_acc
from mono3dvg.grounder import Mono3DVG
from mono3dvg.grounding_features import Detections, ImageFeatures
from mono3dvg.inference import answer_scores, expressions_in_chunks

BENCH = "mono3dvg_perception"

SETS = {
    "labels": "labelled objects and their attributes",
    "head": "labelled objects, attributes as the head finds them",
    "found": "only the objects that are detected, as labelled",
    "found_boxes": "these, attributes as detected",
    "true_classes": "as detected, without false alarms, but of the labelled classes",
    "true_rows": "as detected, without false alarms, but with the labelled 3D boxes",
    "true_places": "as detected, without false alarms, but where the labels say",
    "true_headings": "as detected, without false alarms, but with the labelled headings",
    "true_fronts": "as detected, without false alarms, but turned by half where the labelled heading is nearer then",
    "true_attributes": "as detected, without false alarms, but with the labelled attributes",
    "matched": "as detected, without false alarms",
    "peaks": "as detected",
    "peaks_true_fronts": "as detected, those that are no false alarms turned so",
}


def candidate_sets(model: Mono3DVG, image: ImageFeatures, objects: Objects) -> dict[str, Candidates]:
    """The candidates of SETS for one image; a detection is the object that its 2D box overlaps by half."""
    peaks = image.peaks
    assert peaks is not None, "encode_image fills them in"
    labels = model.labelled_candidates([objects], image.batch)
    place = match_objects(peaks, [objects], 0.5)[0]
    kept = torch.where(place >= 0)[0]
    found, matched = _some(labels, place[kept]), _some(peaks, kept)
    yaw_rad = peaks.rows[..., 6].clone()
    yaw_rad[:, kept] = _faced(yaw_rad[:, kept], labels.rows[:, place[kept], 6])
    return {
        "labels": labels,
        "head": model.labelled_candidates([objects], image.batch, image.raw),
        "found": found,
        "found_boxes": replace(found, attributes=matched.attributes),
        "true_classes": replace(matched, class_probs=found.class_probs, classes=found.classes),
        "true_rows": replace(matched, rows=found.rows, std=found.std),
        "true_places": replace(matched, rows=torch.cat([found.rows[..., :3], matched.rows[..., 3:]], dim=-1)),
        "true_headings": replace(matched, rows=_turned(matched.rows, found.rows[..., 6])),
        "true_fronts": replace(matched, rows=_turned(matched.rows, _faced(matched.rows[..., 6], found.rows[..., 6]))),
        "true_attributes": replace(matched, attributes=found.attributes),
        "matched": matched,
        "peaks": peaks,
        "peaks_true_fronts": replace(peaks, rows=_turned(peaks.rows, yaw_rad)),
    }


def _turned(rows: torch.Tensor, yaw_rad: torch.Tensor) -> torch.Tensor:
    """Boxes (..., 7) with other headings (...,)."""
    return torch.cat([rows[..., :6], yaw_rad[..., None]], dim=-1)


def _faced(yaw_rad: torch.Tensor, labelled_rad: torch.Tensor) -> torch.Tensor:
    """Headings, half a turn further where that is nearer to the label."""
    return torch.where(torch.cos(yaw_rad - labelled_rad) < 0, yaw_rad + torch.pi, yaw_rad)


def _some(candidates: Candidates, places: torch.Tensor) -> Candidates:
    """Those at `places` of the one image, or none, as padding that is not valid."""
    if not len(places):
        empty = candidates.map(lambda value: value[:, :1])
        return replace(empty, valid=torch.zeros_like(empty.valid))
    return candidates.map(lambda value: value[:, places])


@torch.no_grad()
def measure(model: Mono3DVG, records: Sequence[dict], mapper: Any) -> dict[str, dict[str, float]]:
    """Of each of SETS: presence_auroc, and N-acc in percent where T-acc is T_ACC."""
    targets: list[int] = []
    best: dict[str, list[float]] = {name: [] for name in SETS}
    for record in track(records, label="perception"):
        x = with_attributes(mapper(record), record)
        image = model.encode_image([x])
        sets = candidate_sets(model, image, objects_of(x).to(model.device))
        features = {name: model.relation_features(one, image.batch) for name, one in sets.items()}
        counts = {e["id"]: len(e["targets"]) for e in record["expressions"]}
        for asked in expressions_in_chunks([x], image.batch.sizes, model.inference.sentences_per_chunk):
            text = model.encode_text([e.text for e in asked], [e.place for e in asked])
            image_of = torch.zeros(len(asked), dtype=torch.long, device=model.device)
            fused = model.fuse(image, text, image_of)
            targets += [counts[e.expression_id] for e in asked]
            for name, one in sets.items():
                each = one[image_of]
                scored = model.score_candidates(fused, Detections(each, features[name]))
                scores = answer_scores(each, *scored, 0.0).masked_fill(~each.valid, -1.0)
                best[name] += scores.amax(1).tolist()
    return {name: _presence(np.array(targets), np.array(values)) for name, values in best.items()}


def _presence(targets: np.ndarray, best: np.ndarray) -> dict[str, float]:
    threshold = threshold_of_t_acc(best[targets > 0].tolist(), T_ACC) if (targets > 0).any() else np.nan
    silent = best[targets == 0] < threshold
    n_acc = 100 * float(silent.mean()) if len(silent) else float("nan")
    return {"presence_auroc": presence_auroc(targets.tolist(), best.tolist()), "n_acc": n_acc}


def table_rows() -> Iterator[list[str]]:
    """A row for each record and set of candidates."""
    for path in sorted((RESULTS / BENCH).glob("*.json")):
        record = read_record(BENCH, path.stem)
        assert record is not None
        for name, values in record["metrics"].items():
            yield [path.stem, SETS[name], cell(values["presence_auroc"]), cell(values["n_acc"])]


def write_table() -> Path:
    """Write benchmarks/results/mono3dvg_perception/table.md from all records and return its path."""
    note = f"{STUDY_DATA}: AUROC of the best score, and N-acc at the threshold at which T-acc is {T_ACC} %."
    section = table("What eyes cost", note, ["model", "candidates", "presence AUROC", "N-acc"], table_rows())
    return write_page(RESULTS / BENCH / "table.md", [["# Presence, by how candidates are seen"], section])


def main() -> None:
    """Run what the arguments ask for."""
    print(f"record: {record_study(BENCH, 'perception_study', __doc__, measure)}\ntable: {write_table()}")


if __name__ == "__main__":
    main()
