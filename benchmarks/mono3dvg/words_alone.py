"""What the language stages of grounding have learned: sentences on labelled boxes with the labels' attributes, no maps.

python -m benchmarks.mono3dvg.words_alone --name labels_seed1 --config-file FILE --weights FILE

On toy_grounding_val, so that stages can be compared and chosen. Of the image only the colours in the boxes are used, as
in these stages. Records go to benchmarks/results/mono3dvg_words/.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record
from benchmarks.mono3dvg.grounding_study import STUDY_DATA, accuracy_on_objects, record_study
from benchmarks.mono3dvg.grounding_tables import cell
from d2road.utils.progress import track
from mono3dvg.data.mapper import places_in_scene
from mono3dvg.data.model_inputs import objects_of
from mono3dvg.evaluation.grounding_metrics import presence_auroc
from mono3dvg.grounder import Mono3DVG
from mono3dvg.inference import answer_scores, expressions_in_chunks
from mono3dvg.language import attributes_of

BENCH = "mono3dvg_words"
HELD_OUT = "wording:held_out"


@torch.no_grad()
def score_labels(model: Mono3DVG, x: dict) -> dict[Any, Tensor]:
    """Of each expression of a mapped image (M,) scores of its labelled objects, NaN for those that are no candidates.

    Args:
        x: with `gt_attributes` among its instances.
    """
    batch, objects = model.preprocess([x]), objects_of(x).to(model.device)
    given = model.labelled_candidates([objects], batch)
    features, found = model.relation_features(given, batch), {}
    for asked in expressions_in_chunks([x], batch.sizes, model.inference.sentences_per_chunk):
        text = model.encode_text([e.text for e in asked], [e.place for e in asked])
        image_of = torch.zeros(len(asked), dtype=torch.long, device=model.device)
        no_map = text.features.new_zeros(len(asked), given.cells.shape[1], text.features.shape[-1])
        assert model.relation is not None, "what the language stages train"
        scored = model.relation(features, image_of, no_map, text)
        candidates = given[image_of]
        scores = answer_scores(candidates, scored.answers[-1], scored.presence, 0.0)
        for row, expression in zip(scores.masked_fill(~candidates.valid, torch.nan), asked):
            found[expression.expression_id] = row[: len(objects)]
    return found


def with_attributes(x: dict, record: dict) -> dict:
    """The mapped image with the attributes of its labels, as training has them."""
    scene = record["scene"]
    if scene is not None:
        order = places_in_scene(record["annotations"], scene)
        x["instances"].gt_attributes = torch.from_numpy(attributes_of(scene)[order])
    return x


def measure(model: Mono3DVG, records: Sequence[dict], mapper: Any) -> dict[str, dict[str, float]]:
    """`accuracy_on_objects` and presence_auroc of all sentences, of those in seen and in held-out paraphrases."""
    rows: dict[str, list[tuple[str, Tensor, Sequence[int]]]] = {"all": [], "seen": [], "held_out": []}
    for record in track(records, label="words alone"):
        scores = score_labels(model, with_attributes(mapper(record), record))
        for e in record["expressions"]:
            row = (e["group"] or "other", scores[e["id"]], e["targets"])
            rows["all"].append(row)
            rows["held_out" if HELD_OUT in e["tags"] else "seen"].append(row)
    return {name: {**accuracy_on_objects(part), "presence_auroc": _presence(part)} for name, part in rows.items()}


def _presence(rows: Sequence[tuple[str, Tensor, Sequence[int]]]) -> float:
    best = [float(scores.nan_to_num(-1.0).max()) if len(scores) else -1.0 for _, scores, _ in rows]
    return presence_auroc([len(targets) for *_, targets in rows], best)


def table_rows() -> Iterator[list[str]]:
    """A row for each record."""
    for path in sorted((RESULTS / BENCH).glob("*.json")):
        record = read_record(BENCH, path.stem)
        assert record is not None
        parts = [record["metrics"][name] for name in ("all", "seen", "held_out")]
        shares = [part[key] for key in ("accuracy", "presence_auroc") for part in parts]
        yield [path.stem, *map(cell, [*shares, parts[0].get("accuracy_zt_w_d"), parts[0].get("accuracy_mt")])]


def write_table() -> Path:
    """Write benchmarks/results/mono3dvg_words/table.md from all records and return its path."""
    head = ["stage", *(f"{key}: {part}" for key in ("exact", "presence AUROC") for part in ("all", "seen", "held out"))]
    note = (
        f"{STUDY_DATA}: labelled boxes with the labels' attributes as candidates, no maps. Exact: of so many percent "
        "of the sentences exactly those meant have 0.5 and more; seen and held out: by paraphrase."
    )
    section = table("Words alone", note, [*head, "zero targets, distractors", "several"], table_rows())
    return write_page(RESULTS / BENCH / "table.md", [["# Language stages of grounding"], section])


def main() -> None:
    """Run what the arguments ask for."""
    print(f"record: {record_study(BENCH, 'words_alone', __doc__, measure)}\ntable: {write_table()}")


if __name__ == "__main__":
    main()
