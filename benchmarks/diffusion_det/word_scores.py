"""What a trained arm of the words benchmark finds: one pass over the views, then any vocabulary out of what it scored.

Boxes do not depend on the words, and each word is scored by itself, so that a vocabulary is a choice of columns; the
best boxes and suppression follow for that choice, as the model would do with it.
"""

import contextlib
import io
import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from pycocotools.coco import COCO

from benchmarks.diffusion_det.word_pairs import DATA, TYPES, Pair
from d2road.engine import Predictor
from d2road.evaluation.metrics.ap_bootstrap import MatchTable, average_precision, match_tables
from d2road.synthetic.roadside.roadside_labels import CATEGORIES, CATEGORY_OF_TYPE
from diffusion_det.denoising import select_objects
from diffusion_det.export_checks import detect

SYNONYMS = {"truck": "lorry", "car": "sedan"}  # words of no training
# Chosen before anything was measured: things that are on no road, and vehicles that are never rendered.
ABSENT_THINGS = ("elephant", "sailing boat", "sofa", "pizza", "giraffe")
ABSENT_VEHICLES = ("train", "tractor", "motorcycle", "aeroplane", "tank")
KEPT_RECALL = 0.8
GROUPS = "groups"  # the arm of the detector that all others start from
Rows = list[dict[str, Any]]


@dataclass
class Views:
    """Scores (N, K) and boxes_xyxy (N, 4) of each image by its id, for K words, with the true objects of the views."""

    words: list[str]
    found: dict[int, tuple[np.ndarray, np.ndarray]]
    truth: COCO

    def rows(self, words: Sequence[str], classes: Sequence[int]) -> Rows:
        """COCO results where `words` are the vocabulary and stand for the category ids `classes`."""
        columns, rows = [self.words.index(word) for word in words], []
        for image_id, (scores, boxes) in self.found.items():
            logits = torch.logit(torch.from_numpy(scores[:, columns]).double())
            (kept,) = select_objects([(logits[None], torch.from_numpy(boxes).double()[None])])
            for (x1, y1, x2, y2), score, index in zip(
                kept.boxes_xyxy.tolist(), kept.scores.tolist(), kept.classes.tolist()
            ):
                box = [x1, y1, x2 - x1, y2 - y1]
                rows.append({"image_id": image_id, "category_id": classes[index], "bbox": box, "score": score})
        return rows

    def tables(self, rows: Rows, classes: Sequence[int]) -> list[MatchTable]:
        """Matches at IoU 0.5 of these categories."""
        with contextlib.redirect_stdout(io.StringIO()):
            return match_tables(self.truth, rows, 0.5, list(classes))

    def hits(self, rows: Rows, classes: Sequence[int]) -> int:
        """How many objects are found."""
        return sum(int(table.hit.sum()) for table in self.tables(rows, classes)) if rows else 0

    def highest(self, word: str) -> np.ndarray:
        """(I,) best score of a word in each image."""
        return np.array([scores[:, self.words.index(word)].max() for scores, _ in self.found.values()])


def look(predict: Predictor, words: Sequence[str], file: Path) -> Views:
    """Detect in all images of a COCO file."""
    content = json.loads(file.read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
    found = {}
    for image in content["images"]:
        entry = predict.prepare(DATA / image["file_name"])
        outputs = detect(predict.model, entry, nms=False)
        found[image["id"]] = (outputs["scores"][0], outputs["boxes"][0])
    return Views(list(words), found, truth)


def measure_arm(
    cfg: CfgNode, weights: Path | str, arm: str, pairs: Sequence[Pair], files: Mapping[str, Path]
) -> dict[str, Any]:
    """AP50 of each pair, and of text arms also of other words and what they find of things that are not there.

    Args:
        files: COCO files of "validation", where the threshold is chosen, and of "test".
    """
    predict = Predictor(cfg, weights)
    names = [pair.name for pair in pairs]
    if arm in ("types", GROUPS):
        test = look(predict, TYPES if arm == "types" else CATEGORIES, files["test"])
        word_of = {kind: kind if arm == "types" else CATEGORY_OF_TYPE[kind] for kind in TYPES}
        # A type says nothing of colours: each detection stands for all of its type.
        return {"ap50": {pair.name: _ap50(test, [word_of[pair.kind]], pair, pairs) for pair in pairs}}
    said = {pair.name: f"{pair.colour} {SYNONYMS[pair.kind]}" for pair in pairs if pair.kind in SYNONYMS}
    words = [*names, *said.values(), *ABSENT_THINGS, *ABSENT_VEHICLES]
    predict.set_classes(words)
    validation, test = (look(predict, words, files[split]) for split in ("validation", "test"))
    seen = [pair.name for pair in pairs if arm != f"fold{pair.fold}"]
    threshold = threshold_keeping(KEPT_RECALL, validation, seen, [names.index(name) + 1 for name in seen])
    near = nearest_words([name for name in names if name not in seen], seen, predict)
    return {
        "ap50": _class_ap50(test, names, names),
        "ap50_other_words": _class_ap50(test, [said.get(name, name) for name in names], names),
        "nearest_seen": near,
        "ap50_nearest_seen": {
            pair.name: _ap50(test, seen, pair, pairs, near[pair.name]) for pair in pairs if pair.name in near
        },
        "threshold": threshold,
        "no_detection_things": {word: float((test.highest(word) < threshold).mean()) for word in ABSENT_THINGS},
        "no_detection_vehicles": {word: float((test.highest(word) < threshold).mean()) for word in ABSENT_VEHICLES},
        "recall_at_threshold": recall_at(threshold, test, seen, [names.index(name) + 1 for name in seen]),
    }


def _class_ap50(views: Views, words: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """AP50 of each class, found by its word in a vocabulary of all words."""
    classes = range(1, len(names) + 1)
    tables = views.tables(views.rows(words, classes), classes)
    return {name: average_precision(table) for name, table in zip(names, tables, strict=True)}


def _ap50(views: Views, words: Sequence[str], pair: Pair, pairs: Sequence[Pair], word: str = "") -> float:
    """AP50 of a pair where what `word` of a vocabulary finds, or its only one, is taken for it."""
    place = list(pairs).index(pair)
    rows = views.rows(words, range(1, len(words) + 1))
    of_word = [row for row in rows if row["category_id"] == 1 + (list(words).index(word) if word else 0)]
    renamed = [{**row, "category_id": place + 1} for row in of_word]
    return average_precision(views.tables(renamed, [place + 1])[0])


def nearest_words(unseen: Sequence[str], seen: Sequence[str], predict: Predictor) -> dict[str, str]:
    """The seen name whose text embedding is nearest to that of each unseen one."""
    if not unseen:
        return {}
    vectors = predict.model.vocabulary.embed([*unseen, *seen])
    near = (vectors[: len(unseen)] @ vectors[len(unseen) :].T).argmax(1)
    return {name: seen[int(index)] for name, index in zip(unseen, near)}


def threshold_keeping(share: float, views: Views, words: Sequence[str], classes: Sequence[int]) -> float:
    """The highest score at which these classes keep a share of the objects that they find at any score.

    Lower detections never change what higher ones are matched with, so that the number of hits falls with the score.
    """
    rows = views.rows(words, classes)
    scores = sorted({row["score"] for row in rows})
    wanted = share * views.hits(rows, classes)
    # The first place from which on too few are kept; the score before it is the highest that keeps enough.
    place = bisect_left(scores, True, key=lambda score: views.hits(_from(rows, score), classes) < wanted)
    return scores[max(place - 1, 0)]


def recall_at(threshold: float, views: Views, words: Sequence[str], classes: Sequence[int]) -> float:
    """Share of all objects of these classes that are found at a score of `threshold` or more."""
    objects = len(views.truth.getAnnIds(catIds=list(classes), iscrowd=False))
    return views.hits(_from(views.rows(words, classes), threshold), classes) / max(objects, 1)


def _from(rows: Rows, score: float) -> Rows:
    return [row for row in rows if row["score"] >= score]
