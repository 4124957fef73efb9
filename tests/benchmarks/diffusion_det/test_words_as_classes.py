"""The words benchmark: pairs and folds, what a training sees of them, and scores of any vocabulary from one pass."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from benchmarks.diffusion_det.word_pairs import FOLDS, TYPES, Pair, frequent_pairs, write_coco
from benchmarks.diffusion_det.word_scores import Views, recall_at, threshold_keeping
from benchmarks.diffusion_det.word_tables import pair_row
from d2road.synthetic.roadside.road_users import COLORS


def seen_object(colour, kind, box=(10.0, 10.0, 60.0, 40.0), visible=1.0):
    return {"color": colour, "type": kind, "box_xyxy": list(box), "visible": visible, "truncated": 0.0}


def view(image_id, *objects):
    return {"image_id": image_id, "file_name": f"{image_id}.jpg", "objects": list(objects)}


def test_each_pair_is_unseen_once_and_what_it_is_made_of_is_seen():
    pairs = [Pair(colour, kind) for colour in COLORS for kind in TYPES]
    for fold in range(1, FOLDS + 1):
        unseen = [pair for pair in pairs if pair.fold == fold]
        for pair in unseen:
            seen = [other for other in pairs if other.fold != fold]
            assert any(other.colour == pair.colour for other in seen) and any(other.kind == pair.kind for other in seen)
    assert {pair.fold for pair in pairs} == {0, 1, 2, 3}
    assert all(pair.fold == 0 for pair in pairs if pair.colour in ("black", "brown"))


def test_classes_are_pairs_with_enough_objects():
    common = [seen_object("red", "bus") for _ in range(40)]
    rare = [seen_object("white", "car") for _ in range(39)]
    hidden = [seen_object("white", "car", visible=0.1), seen_object("white", "car", box=(0.0, 0.0, 30.0, 12.0))]
    assert frequent_pairs([view(0, *common, *rare, *hidden)]) == [Pair("red", "bus")]


def test_unseen_pairs_are_crowds_in_training_and_left_out_in_testing(tmp_path):
    views = [view(7, seen_object("red", "bus"), seen_object("white", "car"), seen_object("white", "pedestrian"))]
    for unnamed, expected in (("red bus", [(1, 0), (1, 1)]), ("", [(1, 0)])):
        file = write_coco(tmp_path / "a.json", views, ["red bus"], lambda pair: pair.name, unnamed)
        content = json.loads(file.read_text())
        assert [(a["category_id"], a["iscrowd"]) for a in content["annotations"]] == expected
        assert content["images"][0]["id"] == 7 and content["annotations"][0]["bbox"] == [10, 10, 50, 30]


@pytest.fixture
def views(tmp_path):
    """Four images with a car each, which word 0 finds at scores 0.9, 0.6, 0.3 and, elsewhere, 0.8."""
    records = [view(i, seen_object("red", "car")) for i in range(4)]
    file = write_coco(tmp_path / "b.json", records, ["red car", "red bus"], lambda pair: pair.name)
    right, wrong = [10.0, 10, 60, 40], [300.0, 200, 400, 300]
    found = {
        i: (np.array([[score, 0.05]], np.float32), np.array([box], np.float32))
        for i, (score, box) in enumerate([(0.9, right), (0.6, right), (0.3, right), (0.8, wrong)])
    }
    return Views(["red car", "red bus"], found, COCO(str(file)))


def test_the_threshold_keeps_a_share_of_what_is_found(views):
    """Three of four cars are found; two thirds of them from 0.6 on."""
    assert threshold_keeping(0.66, views, ["red car"], [1]) == pytest.approx(0.6)
    assert threshold_keeping(1.0, views, ["red car"], [1]) == pytest.approx(0.3)
    assert recall_at(0.6, views, ["red car"], [1]) == 0.5
    assert views.highest("red bus").tolist() == pytest.approx([0.05] * 4)


def test_words_stand_for_classes(views):
    rows = views.rows(["red bus", "red car"], [1, 2])
    assert {(row["category_id"], round(row["score"], 2)) for row in rows if row["image_id"] == 0} <= {
        (1, 0.05),
        (2, 0.9),
    }
    assert next(row for row in rows if row["category_id"] == 2)["bbox"] == [10, 10, 50, 30]


def test_a_fold_is_told_beside_the_others():
    metrics = {"ap50": {"a": 10.0, "b": 30.0, "c": 20.0}, "nearest_seen": {"c": "a"}, "ap50_nearest_seen": {"c": 5.0}}
    row = pair_row("fold1", metrics, [{"ap50": {"a": 0.0, "b": 0.0, "c": 40.0}}, None, None])
    assert row == ["fold1", "1", "20.0", "20.0", "20.0", "40.0", "", "", "5.0"]
