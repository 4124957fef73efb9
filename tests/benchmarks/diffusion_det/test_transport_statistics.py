"""Statistics of the benchmark of transports against COCO's own tools, hand-computed cases and plain counting."""

import itertools

import numpy as np
import pytest

from benchmarks.diffusion_det.transport_statistics import (
    ap_ceiling,
    ap_draws,
    crossed_interval,
    image_draws,
    match_at_overlaps,
    on_images,
)
from d2road.evaluation.metrics.ap_bootstrap import mean_ap
from d2road.evaluation.metrics.box_ap import BoxTruth, coco_precision


def make_truth(seed: int, images: int = 12, ties: bool = True) -> tuple[BoxTruth, list[dict]]:
    """Objects and crowds of two classes, and detections near them, some of equal scores."""
    rng = np.random.default_rng(seed)
    annotations, found = [], []
    for image in range(images):
        for _ in range(rng.integers(0, 6)):
            box, category = [*rng.uniform(0, 150, 2), *rng.uniform(10, 50, 2)], int(rng.choice([1, 5]))
            annotations.append(
                {"image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3],
                 "iscrowd": int(rng.random() < 0.1)}
            )  # fmt: skip
            for _ in range(rng.integers(0, 4)):
                near = list(np.array(box) + rng.normal(0, 3, 4))
                score = float(rng.integers(1, 20)) / 20 if ties else float(rng.random())
                found.append({"image_id": image, "category_id": category, "bbox": near, "score": score})
    return BoxTruth(list(range(images)), [1, 5], annotations), found


@pytest.mark.parametrize("seed", range(4))
def test_all_images_once_give_the_figures_of_coco(seed):
    truth, found = make_truth(seed)
    ours = ap_draws(match_at_overlaps(truth, found), np.ones((1, 12)))
    oracle = coco_precision(truth, found)
    assert ours["AP"][0] == pytest.approx(oracle.mean(), abs=1e-9)
    assert ours["AP50"][0] == pytest.approx(oracle.mean(0.5), abs=1e-9)
    assert ours["AP75"][0] == pytest.approx(oracle.mean(0.75), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_is_the_figure_of_copied_images(seed):
    truth, found = make_truth(seed, ties=False)
    weights = image_draws(12, draws=6, seed=seed)
    assert (weights.sum(axis=1) == 12).all() and weights.max() > 1
    draws = ap_draws(match_at_overlaps(truth, found), weights)["AP"]
    for weight, ours in zip(weights, draws):
        new = [(image, copy) for image in range(12) for copy in range(int(weight[image]))]
        number = {pair: i for i, pair in enumerate(new)}
        rows = lambda rows, new=new, number=number: [  # noqa: E731
            {**row, "image_id": number[pair]} for pair in new for row in rows if row["image_id"] == pair[0]
        ]
        copied = BoxTruth(list(range(len(new))), [1, 5], rows(truth.annotations))
        assert ours == pytest.approx(coco_precision(copied, rows(found)).mean(), abs=1e-6)


def test_draws_are_those_of_the_plain_bootstrap():
    truth, found = make_truth(3, images=30)
    tables = match_at_overlaps(truth, found)
    weights = image_draws(30, draws=20)
    at_half = [table for name, table in tables.items() if name.startswith("0.50")]
    np.testing.assert_allclose(ap_draws(tables, weights)["AP50"], [mean_ap(at_half, w) for w in weights], atol=1e-9)


def test_a_draw_without_objects_of_a_class_is_the_mean_of_the_others():
    truth, found = make_truth(1)
    alone = on_images(truth, [a["image_id"] for a in truth.annotations if not a["iscrowd"]][:1])
    weights = np.zeros((2, 12))
    weights[0, alone.images[0]] = 3
    draws = ap_draws(match_at_overlaps(truth, found), weights)["AP"]
    own = [row for row in found if row["image_id"] in alone.images]
    assert draws[0] == pytest.approx(coco_precision(alone, own).mean(), abs=1e-6)
    assert np.isnan(draws[1])


def test_no_detection_is_zero():
    truth, _ = make_truth(2)
    assert ap_draws(match_at_overlaps(truth, []), np.ones((1, 12)))["AP"][0] == 0.0


def test_one_seed_gives_the_percentiles_of_the_images():
    found = crossed_interval(np.arange(101.0)[None], [50.0])
    assert found == {"difference": 50.0, "low": pytest.approx(2.5), "high": pytest.approx(97.5), "seeds": 1}


def test_seeds_widen_the_interval():
    """Two seeds that differ by 10 and images that do not matter: draws are 0, 5, 10 in shares of 1/4, 1/2, 1/4."""
    draws = np.stack([np.zeros(4000), np.full(4000, 10.0)])
    found = crossed_interval(draws, [0.0, 10.0])
    assert (found["difference"], found["low"], found["high"], found["seeds"]) == (5.0, 0.0, 10.0, 2)
    alike = crossed_interval(np.full((3, 100), 2.0), [2.0] * 3)
    assert (alike["low"], alike["high"]) == (2.0, 2.0)


def test_images_and_seeds_are_drawn_apart():
    """The variance of the mean of crossed draws is that of the seeds' part and of the images' part, added."""
    rng = np.random.default_rng(0)
    images, seeds = rng.normal(0, 3, 20000), np.array([-4.0, 0.0, 4.0])
    found = crossed_interval(images[None] + seeds[:, None], seeds)
    times = rng.multinomial(3, np.full(3, 1 / 3), size=20000)
    expected = np.percentile(times @ seeds / 3 + images, [2.5, 97.5])
    np.testing.assert_allclose([found["low"], found["high"]], expected, atol=0.2)


def boxes(*of_images: str) -> BoxTruth:
    """Objects of class a (1) and b (2) by image, far apart; capitals are crowds."""
    annotations = [
        {"image_id": i, "category_id": 1 + "ab".index(c.lower()), "bbox": [40.0 * k, 0.0, 20.0, 20.0], "area": 400.0,
         "iscrowd": int(c.isupper())}
        for i, text in enumerate(of_images) for k, c in enumerate(text)
    ]  # fmt: skip
    return BoxTruth(list(range(len(of_images))), [1, 2], annotations)


def test_ceiling_by_hand():
    truth = boxes("aaab", "")
    assert ap_ceiling(truth, 1) == pytest.approx((0 + 100) / 2)  # the one box goes to the rarer class
    assert ap_ceiling(truth, 2) == pytest.approx((100 * 34 / 101 + 100) / 2)  # recalls 0, 0.01, ... 0.33 are reached
    assert ap_ceiling(truth, 3) == pytest.approx((100 * 67 / 101 + 100) / 2)
    assert [ap_ceiling(truth, n) for n in (4, 100)] == pytest.approx([100, 100])


def test_crowds_ask_for_no_box():
    assert ap_ceiling(boxes("aAAAb"), 2) == pytest.approx(100)


def test_no_choice_of_boxes_passes_the_ceiling():
    truth = boxes("aab", "abb", "aaab", "b")
    own = [[a for a in truth.annotations if a["image_id"] == image] for image in truth.images]
    for most in (1, 2, 3):
        choices = itertools.product(*(itertools.combinations(rows, min(most, len(rows))) for rows in own))
        best = max(
            coco_precision(truth, [{**a, "score": 1.0} for rows in choice for a in rows]).mean() for choice in choices
        )
        assert ap_ceiling(truth, most) == pytest.approx(best)
