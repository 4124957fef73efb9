"""AP of boxes: pycocotools to the last bit on hard random data."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2road.evaluation.metrics.box_ap import BoxTruth, coco_precision

SIZES = (4, 8, 16, 32, 32, 64, 96, 96, 120)  # 32 and 96 are the limits of the ranges of area
AREAS = (1024.0, 9216.0, 1e10, 0.0)


def random_data(seed: int, images: int, categories: int, most: int) -> tuple[dict, list[dict]]:
    """Crowds, ties in score, equal boxes, areas on the limits, boxes beyond the image, empty images, absent classes."""
    rng = np.random.default_rng(seed)
    truth: dict = {"images": [{"id": 7 * i + 1} for i in range(images)], "annotations": []}
    truth["categories"] = [{"id": 3 * i, "name": str(i)} for i in range(categories + 1)]  # the last is in no image
    found = []
    for image in truth["images"][:: 1 if seed % 2 else 2]:
        mine = []
        for _ in range(rng.integers(0, 8)):
            w, h = rng.choice(SIZES, 2) + rng.choice([0, 0.5, 1e-9])
            x, y = rng.uniform(-5, 100, 2).round(rng.integers(0, 3))
            area = w * h if rng.random() < 0.7 else rng.choice(AREAS)
            row = {"id": len(truth["annotations"]) + 1, "image_id": image["id"], "iscrowd": int(rng.random() < 0.15)}
            row |= {
                "category_id": 3 * int(rng.integers(categories)),
                "area": float(area),
                "bbox": [float(v) for v in (x, y, w, h)],
            }
            truth["annotations"].append(row)
            mine.append(row)
        for _ in range(rng.integers(0, most)):
            box = [*rng.uniform(0, 100, 2), *rng.choice([0, 8, 32, 96], 2)]
            category = 3 * int(rng.integers(categories))
            if mine and rng.random() < 0.8:
                near = mine[rng.integers(len(mine))]
                box = np.array(near["bbox"]) + rng.choice([0, 1, 2, 4], 4) * rng.choice([0, 1])
                category = near["category_id"] if rng.random() < 0.8 else category
            score = rng.choice([0.1, 0.3, 0.3, 0.5, 0.9, rng.random()])
            row = {"image_id": image["id"], "category_id": category, "score": float(score)}
            found.append({**row, "bbox": [float(v) for v in box]})
    return truth, found


def pycocotools_evaluation(truth: dict, found: list[dict]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = copy.deepcopy(truth)
        data.createIndex()
        evaluation = COCOeval(data, data.loadRes(copy.deepcopy(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def box_truth(truth: dict) -> BoxTruth:
    return BoxTruth([i["id"] for i in truth["images"]], [c["id"] for c in truth["categories"]], truth["annotations"])


@pytest.mark.parametrize("seed", range(24))
def test_equals_pycocotools_to_the_last_bit(seed):
    truth, found = random_data(seed, (3, 12, 30)[seed % 3], (1, 2, 5)[seed % 3], (30, 30, 30, 260)[seed % 4])
    oracle, ours = pycocotools_evaluation(truth, found), coco_precision(box_truth(truth), found)
    assert np.array_equal(ours.precision, oracle.eval["precision"][..., 2])  # the largest difference is 0
    means = [ours.mean(), ours.mean(0.5), ours.mean(0.75), *(ours.mean(area=a) for a in ("small", "medium", "large"))]
    theirs = [100 * v if v >= 0 else np.nan for v in oracle.stats[:6]]
    assert np.array_equal(means, theirs, equal_nan=True)


def test_a_single_best_hit_is_one_bit_below_1_as_published():
    """Where the best detection hits and the second does not, or there is none."""
    truth, _ = random_data(0, 1, 1, 1)
    box = {"image_id": 1, "category_id": 0, "bbox": [10.0, 10, 20, 20]}
    for others, expected in ((0, 1 / (1 + np.spacing(1))), (1, 1.0)):
        objects = [{**box, "bbox": [10.0 + 40 * i, 10, 20, 20]} for i in range(1 + others)]
        truth["annotations"] = [{**o, "id": i + 1, "area": 400.0, "iscrowd": 0} for i, o in enumerate(objects)]
        found = [{**o, "score": 0.9} for o in objects]
        precision = coco_precision(box_truth(truth), found).precision[0, :, 0, 0]
        assert (precision == expected).all()
        assert np.array_equal(precision, pycocotools_evaluation(truth, found).eval["precision"][0, :, 0, 0, 2])


def test_an_object_counts_whatever_its_id():
    """pycocotools takes a match with the id 0 for none; there the oracle gets ids from 1."""
    truth, found = random_data(5, 8, 2, 20)
    expected = pycocotools_evaluation(truth, found).eval["precision"][..., 2]
    for annotation in truth["annotations"]:
        annotation["id"] -= 1
    assert np.array_equal(coco_precision(box_truth(truth), found).precision, expected)
    assert not np.array_equal(pycocotools_evaluation(truth, found).eval["precision"][..., 2], expected)


def test_without_detections_or_objects():
    truth, found = random_data(1, 8, 2, 20)
    none = coco_precision(box_truth(truth), [])
    some = coco_precision(box_truth(truth), found)
    assert ((none.precision == -1) == (some.precision == -1)).all() and none.precision.max() == 0
    empty = coco_precision(
        BoxTruth([1], [0], []), [{"image_id": 1, "category_id": 0, "bbox": [0, 0, 4, 4], "score": 0.5}]
    )
    assert np.isnan(empty.mean()) and np.isnan(coco_precision(BoxTruth([1], [0], []), []).mean())
