"""Evaluation protocol of 3D visual grounding: data and answers in, all measures out.

Used by the evaluator and d2road eval-grounding.

    {"acc": {"rotated": {"overall": {"0.25": ..., "0.5": ..., "miou": ...}, "unique": ..., "multiple": ..., "near": ...,
                         "medium": ..., "far": ..., "easy": ..., "moderate": ..., "hard": ...}, "mono3dvg": {...}},
     "mean_f1": {"0.25": {"overall": ..., "zt_w_d": ..., "zt_wo_d": ..., "st_w_d": ..., "st_wo_d": ..., "mt": ...},
                 "0.5": {...}},
     "micro": {"0.25": {"precision": ..., "recall": ..., "f1": ...}, "0.5": ..., "0.7": ...},
     "n_acc": ..., "t_acc": ..., "recall_by_distance": {"0-15": {"0.25": ..., "0.5": ..., "targets": n}, ...},
     "presence_auroc": ..., "exact": {"0.25": ..., "0.5": ...}, "by_category": {...}, "by_tag": {...}, "by_kind": {...},
     "by_style": {...}, "score_threshold": T, "counts": {...}}

Percentages, NaN (null in the file) where there is nothing to measure. acc is of single-target sentences and takes the
best box whatever its score; presence_auroc is of the best scores, at no threshold; all else takes the boxes from the
threshold on and true (rotated) overlaps. by_kind is mean F1 and exact of the sentences with no, one and several
targets; by_style the same of each style of writing (tags "style:NAME"), with n_acc and t_acc.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2road.utils.errors import DataError
from mono3dvg.evaluation import grounding_metrics as metrics
from mono3dvg.evaluation.overlaps import IOUS, overlap_tables
from mono3dvg.evaluation.prediction_files import NO_ANSWER, Answer
from mono3dvg.evaluation.subsets import SUBSETS, distance_m, subsets_by_file, subsets_by_rule
from mono3dvg.language.predicates import PEOPLE, VEHICLES
from mono3dvg.schema import Expression, GroundingData

GROUPS = ("zt_w_d", "zt_wo_d", "st_w_d", "st_wo_d", "mt")
KINDS = ("zero", "single", "multi")
STYLE = "style:"  # tags that begin so name the style in which a sentence is written
DISTANCE_EDGES_M = (0.0, 15.0, 35.0, 60.0)


@dataclass(frozen=True)
class Scored:
    """What was answered from the threshold on, by sentence: pairs, counts, and what F1 needs."""

    expressions: Sequence[Expression]
    matched: Sequence[np.ndarray]
    num_boxes: Sequence[int]

    def only(self, chosen: Sequence[bool]) -> "Scored":
        kept = [i for i, is_chosen in enumerate(chosen) if is_chosen]
        return Scored(
            [self.expressions[i] for i in kept],
            [self.matched[i] for i in kept],
            [self.num_boxes[i] for i in kept],
        )

    def mean_f1(self) -> dict[str, float]:
        return {f"{t:g}": metrics.mean_f1(self.matched, self.num_boxes, t) for t in metrics.ACC_OVERLAPS}

    def exact(self) -> dict[str, float]:
        return {f"{t:g}": metrics.exact_share(self.matched, self.num_boxes, t) for t in metrics.ACC_OVERLAPS}

    def empty_accuracy(self) -> tuple[float, float]:
        return metrics.empty_accuracy([len(m) for m in self.matched], self.num_boxes)


def evaluate_grounding(
    data: GroundingData,
    answers: Mapping[Any, Answer],
    score_threshold: float,
    subset_ids: Mapping[str, set] | None = None,
) -> dict:
    """All measures; see above.

    Args:
        answers: by expression id; a sentence without one is taken as answered by nothing.
        score_threshold: boxes with at least this score are the answer.
        subset_ids: of `subsets.read_subsets`; None divides by rule.
    Raises:
        DataError: no sentences, or a file of subsets that fits none of them.
    """
    expressions = list(data.expressions.values())
    if not expressions:
        raise DataError("the grounding data has no expressions: there is nothing to evaluate")
    given = [answers.get(e.id, NO_ANSWER) for e in expressions]
    tables = answer_tables(data, expressions, given, "rotated")
    kept = [answer.scores >= score_threshold for answer in given]
    matched = [metrics.matched_overlaps(table[k]) for table, k in zip(tables, kept)]
    scored = Scored(expressions, matched, [int(k.sum()) for k in kept])
    distances = [np.array([distance_m(data.objects[i]) for i in e.target_ids]) for e in expressions]
    n_acc, t_acc = scored.empty_accuracy()
    return {
        "acc": _accuracies(data, expressions, given, tables, subset_ids),
        "mean_f1": _f1_by_group(scored),
        "micro": {f"{t:g}": metrics.micro(matched, scored.num_boxes, t) for t in metrics.MICRO_OVERLAPS},
        "n_acc": n_acc,
        "t_acc": t_acc,
        "recall_by_distance": metrics.recall_by_distance(matched, distances, DISTANCE_EDGES_M),
        "presence_auroc": metrics.presence_auroc(
            [len(e.target_ids) for e in expressions], [a.scores.max() if len(a.scores) else -np.inf for a in given]
        ),
        "exact": scored.exact(),
        "by_category": _by_category(data, scored),
        "by_tag": _by_tag(scored),
        "by_kind": _by_kind(scored),
        "by_style": _by_style(scored),
        "score_threshold": score_threshold,
        "counts": _counts(scored, answers),
    }


def choose_score_threshold(
    data: GroundingData, answers: Mapping[Any, Answer], overlap: float = 0.25, t_acc: float = 0.0
) -> tuple[float, float]:
    """The score threshold for this (validation) data, and the mean F1 in percent with it.

    Args:
        t_acc: percent; the highest threshold of at least this T-acc is taken. 0 takes that of the best mean F1, see
            `metrics.best_threshold`.
    Raises:
        DataError: so many of the sentences that mean something have no box at all.
    """
    expressions = list(data.expressions.values())
    given = [answers.get(e.id, NO_ANSWER) for e in expressions]
    if not t_acc:
        tables = answer_tables(data, expressions, given, "rotated")
        return metrics.best_threshold(tables, [answer.scores for answer in given], overlap)
    best = [max(answer.scores, default=-np.inf) for e, answer in zip(expressions, given) if e.target_ids]
    threshold = metrics.threshold_of_t_acc(best, t_acc)
    return threshold, evaluate_grounding(data, answers, threshold)["mean_f1"][f"{overlap:g}"]["overall"]


def answer_tables(
    data: GroundingData, expressions: Sequence[Expression], given: Sequence[Answer], mode: str
) -> list[np.ndarray]:
    """(K, G) overlaps of the boxes of each answer with what its sentence means, see `overlaps.overlap_tables`."""
    frames = {image_id: data.frame_of(image_id) for image_id in dict.fromkeys(e.image_id for e in expressions)}
    targets = [data.target_rows(e) for e in expressions]
    return overlap_tables([a.boxes for a in given], targets, [frames[e.image_id] for e in expressions], mode)


def _accuracies(
    data: GroundingData,
    expressions: Sequence[Expression],
    given: Sequence[Answer],
    tables: Sequence[np.ndarray],
    subset_ids: Mapping[str, set] | None,
) -> dict[str, dict]:
    """acc of single-target sentences, by IoU and subset."""
    single = [i for i, e in enumerate(expressions) if e.kind == "single"]
    chosen = [expressions[i] for i in single]
    names = subsets_by_rule(data, chosen) if subset_ids is None else subsets_by_file(subset_ids, chosen)
    some = [given[i] for i in single]
    by_iou = {}
    for mode in IOUS:
        overlaps = [tables[i] for i in single] if mode == "rotated" else answer_tables(data, chosen, some, mode)
        best = [metrics.top1(table, answer.scores) for table, answer in zip(overlaps, some)]
        by_iou[mode] = {
            name: metrics.accuracy([value for value, e in zip(best, chosen) if name in names[e.id]]) for name in SUBSETS
        }
    return by_iou


def _f1_by_group(scored: Scored) -> dict[str, dict[str, float]]:
    parts = {"overall": scored, **{g: scored.only([e.group == g for e in scored.expressions]) for g in GROUPS}}
    values = {name: part.mean_f1() for name, part in parts.items()}
    return {f"{t:g}": {name: value[f"{t:g}"] for name, value in values.items()} for t in metrics.ACC_OVERLAPS}


def _by_category(data: GroundingData, scored: Scored) -> dict[str, dict[str, float]]:
    """Mean F1 of sentences with targets, by the class of all of their targets, and of all vehicles and all people."""
    groups = {name: {name} for name in data.categories.values()}
    groups |= {"vehicles": set(VEHICLES), "people": set(PEOPLE)}
    classes = [{data.categories[data.objects[i].category_id] for i in e.target_ids} for e in scored.expressions]
    found = {}
    for name, members in groups.items():
        part = scored.only([bool(c) and c <= members for c in classes])
        if part.expressions:
            found[name] = {**part.mean_f1(), "expressions": len(part.expressions)}
    return found


def _by_tag(scored: Scored) -> dict[str, dict[str, float]]:
    found = {}
    for tag in sorted({tag for e in scored.expressions for tag in e.tags}):
        part = scored.only([tag in e.tags for e in scored.expressions])
        found[tag] = {**part.mean_f1(), "expressions": len(part.expressions)}
    return found


def _by_kind(scored: Scored) -> dict[str, dict[str, Any]]:
    """Mean F1 and exact share of the sentences with no, one and several targets; left out where there are none."""
    parts = {kind: scored.only([e.kind == kind for e in scored.expressions]) for kind in KINDS}
    return {
        kind: {**part.mean_f1(), "exact": part.exact(), "expressions": len(part.expressions)}
        for kind, part in parts.items()
        if part.expressions
    }


def _by_style(scored: Scored) -> dict[str, dict[str, Any]]:
    """The measures of each style of writing; {} where no tag names one."""
    found = {}
    for tag in sorted({tag for e in scored.expressions for tag in e.tags if tag.startswith(STYLE)}):
        part = scored.only([tag in e.tags for e in scored.expressions])
        n_acc, t_acc = part.empty_accuracy()
        found[tag.removeprefix(STYLE)] = {
            **part.mean_f1(),
            "exact": part.exact(),
            "n_acc": n_acc,
            "t_acc": t_acc,
            "by_kind": _by_kind(part),
            "expressions": len(part.expressions),
        }
    return found


def _counts(scored: Scored, answers: Mapping[Any, Answer]) -> dict[str, int]:
    kinds = [e.kind for e in scored.expressions]
    groups = [e.group for e in scored.expressions]
    return {
        "expressions": len(kinds),
        **{kind: kinds.count(kind) for kind in ("zero", "single", "multi")},
        "zero_without_distractors_flag": groups.count(None),
        "missing": sum(e.id not in answers for e in scored.expressions),
        "boxes": sum(scored.num_boxes),
        "targets": sum(len(m) for m in scored.matched),
    }
