"""Bootstrap of AP: equal to pycocotools without resampling, and to duplicated data with weights."""

import copy

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2road.evaluation.metrics.ap_bootstrap import match_tables, mean_ap, paired_bootstrap


def make_data(seed, images=12, noise=4.0):
    rng = np.random.default_rng(seed)
    gt = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 5, "name": "b"}]}
    results = []
    for i in range(images):
        gt["images"].append({"id": 100 + i, "width": 200, "height": 200})
        for _ in range(rng.integers(0, 6)):
            box = [*rng.uniform(0, 150, 2), *rng.uniform(10, 50, 2)]
            category = int(rng.choice([1, 5]))
            gt["annotations"].append(
                {"id": len(gt["annotations"]) + 1, "image_id": 100 + i, "category_id": category, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": int(rng.random() < 0.1)}
            )  # fmt: skip
            for _ in range(rng.integers(0, 3)):
                results.append(
                    {"image_id": 100 + i, "category_id": category, "bbox": list(box + rng.normal(0, noise, 4)),
                     "score": float(rng.random())}
                )  # fmt: skip
    return gt, results


def load(gt):
    coco = COCO()
    coco.dataset = copy.deepcopy(gt)
    coco.createIndex()
    return coco


def ap50(gt, results):
    coco = load(gt)
    evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return 100 * evaluation.stats[1]


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools(seed):
    gt, results = make_data(seed)
    assert mean_ap(match_tables(load(gt), results, 0.5)) == pytest.approx(ap50(gt, results), abs=1e-9)


def test_an_object_counts_whatever_its_id():
    gt, results = make_data(1)
    from_zero = copy.deepcopy(gt)
    for a in from_zero["annotations"]:
        a["id"] -= 1
    assert mean_ap(match_tables(load(from_zero), results, 0.5)) == mean_ap(match_tables(load(gt), results, 0.5))


def test_weights_are_copies():
    gt, results = make_data(5)
    weight = np.array([0, 2, 1, 1, 3, 0, 1, 1, 0, 2, 1, 1])
    copied = {**gt, "images": [], "annotations": []}
    copied_results = []
    for i, times in enumerate(weight):
        for k in range(times):
            new = 1000 * (i + 1) + k
            copied["images"].append({**gt["images"][i], "id": new})
            for a in gt["annotations"]:
                if a["image_id"] == 100 + i:
                    copied["annotations"].append({**a, "image_id": new, "id": len(copied["annotations"]) + 1})
            copied_results += [{**r, "image_id": new} for r in results if r["image_id"] == 100 + i]
    ours = mean_ap(match_tables(load(gt), results, 0.5), weight.astype(float))
    assert ours == pytest.approx(ap50(copied, copied_results), abs=1e-6)


def test_interval_sees_a_difference_and_none():
    gt, good = make_data(7, images=60, noise=1.0)
    rng = np.random.default_rng(0)
    worse = [{**r, "bbox": list(np.array(r["bbox"]) + rng.normal(0, 8, 4))} for r in good]
    a, b = match_tables(load(gt), worse, 0.5), match_tables(load(gt), good, 0.5)
    found = paired_bootstrap(a, b, samples=200)
    assert 0 < found["low"] < found["difference"] < found["high"]
    none = paired_bootstrap(a, a, samples=50)
    assert none == {"difference": 0.0, "low": 0.0, "high": 0.0}
    with pytest.raises(ValueError, match="same images"):
        paired_bootstrap(a, match_tables(load(make_data(8)[0]), make_data(8)[1], 0.5))
