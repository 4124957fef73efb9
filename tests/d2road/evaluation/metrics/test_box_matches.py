"""Matches of boxes against pycocotools, and confusion matrices that are counted by hand."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2road.evaluation.metrics.box_ap import RECALLS, BoxTruth, coco_precision
from d2road.evaluation.metrics.box_matches import confusion_matrix, match_boxes, pair_by_overlap
from d2road.evaluation.metrics.score_curves import interpolated_precision, threshold_counts


def crowded_scenes(seed: int, images: int = 12):
    """Images with some objects, crowds, and detections around them, of three classes."""
    rng = np.random.default_rng(seed)
    annotations, found = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 7)):
            box = [*rng.uniform(0, 60, 2), *rng.uniform(8, 40, 2)]
            category, crowd = int(rng.integers(1, 4)), int(rng.random() < 0.15)
            row = {"image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
            annotations.append({**row, "id": len(annotations) + 1})
            for _ in range(rng.integers(0, 4)):
                moved = [*(np.array(box) + rng.normal(0, 3, 4)).tolist()]
                moved[2:] = [max(1.0, side) for side in moved[2:]]
                kind = category if rng.random() < 0.8 else int(rng.integers(1, 4))
                found.append({"image_id": image, "category_id": kind, "bbox": moved, "score": float(rng.random())})
    return BoxTruth(list(range(1, images + 1)), [1, 2, 3], annotations), found


def pycocotools_precision(truth: BoxTruth, found) -> np.ndarray:
    """(R, K) at IoU 0.5, all areas, 100 detections."""
    content = {"images": [{"id": i} for i in truth.images], "categories": [{"id": i} for i in truth.categories]}
    labels = COCO()
    labels.dataset = {**content, "annotations": list(truth.annotations)}
    labels.createIndex()
    tool = COCOeval(labels, labels.loadRes([dict(row) for row in found]), "bbox")
    tool.evaluate()
    tool.accumulate()
    return tool.eval["precision"][0, :, :, 0, 2]


@pytest.mark.parametrize("seed", range(4))
def test_precision_of_the_matches_is_that_of_pycocotools(seed, capsys):
    truth, found = crowded_scenes(seed)
    matches = match_boxes(truth, found)
    expected = pycocotools_precision(truth, found)
    assert (matches.objects.sum() > 10) and matches.hit.any() and not matches.hit.all()
    for k in range(3):
        mine = matches.category == k
        counts = threshold_counts(matches.score[mine], matches.hit[mine])
        recall = counts.recall(matches.objects[:, k].sum())
        np.testing.assert_allclose(
            interpolated_precision(counts.precision(), recall, RECALLS), expected[:, k], atol=1e-12
        )
    np.testing.assert_allclose(coco_precision(truth, found).precision[0, :, :, 0], expected, atol=1e-12)


def label(image, category, box, crowd=0):
    return {"image_id": image, "category_id": category, "bbox": box, "area": 1.0, "iscrowd": crowd}


def detection(image, category, box, score=0.9):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def test_confusion_is_counted_by_hand():
    """Image 1: a car found as car; a car found as truck, although a car's box lies on it less well; a truck missed.
    Image 2: a detection of nothing; one within a crowd, which counts nowhere; one below the score."""
    truth = BoxTruth(
        [1, 2],
        [1, 2],
        [
            label(1, 1, [0, 0, 10, 10]),
            label(1, 1, [50, 0, 10, 10]),
            label(1, 2, [0, 50, 10, 10]),
            label(2, 1, [0, 0, 40, 40], crowd=1),
        ],
    )
    found = [
        detection(1, 1, [0, 0, 10, 10]),
        detection(1, 2, [50, 0, 10, 10]),
        detection(1, 1, [50, 0, 10, 7]),  # IoU 0.7: the truck takes the object, this is one too many
        detection(2, 2, [80, 80, 10, 10]),
        detection(2, 1, [5, 5, 10, 10]),
        detection(2, 1, [60, 60, 10, 10], score=0.1),
    ]
    counts = confusion_matrix(truth, found, min_score=0.3)
    #  labelled  car truck background        predicted
    assert counts.tolist() == [[1, 0, 1], [1, 0, 1], [0, 1, 0]]
    assert confusion_matrix(truth, [], 0.3).tolist() == [[0, 0, 0], [0, 0, 0], [2, 1, 0]]


def test_pairs_are_one_to_one_and_the_largest_overlap_first():
    rows, columns = pair_by_overlap(np.array([[0.9, 0.8], [0.95, 0.2], [0.5, 0.4]]), 0.5)
    assert sorted(zip(rows.tolist(), columns.tolist())) == [(0, 1), (1, 0)]


def test_no_detections_match_nothing():
    truth, _ = crowded_scenes(0)
    matches = match_boxes(truth, [])
    assert len(matches.score) == len(matches.hit) == 0 and matches.objects.sum() > 0
