"""COCO evaluation of boxes, against pycocotools called directly and Detectron2's own evaluator."""

import contextlib
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2road.data import register_by_name
from d2road.data.catalog import register_lazily
from d2road.data.datasets.coco import register_coco
from d2road.evaluation import BoxEvaluator, build_evaluator


def _noisy_predictions(records: list[dict], num_classes: int, seed: int = 0) -> list[dict]:
    """Per image an `Instances` of shifted true boxes, some with a wrong class, and some boxes of nothing."""
    rng = np.random.default_rng(seed)
    outputs = []
    for record in records:
        boxes, classes = [], []
        for annotation in record["annotations"]:
            x, y, a, b = annotation["bbox"]
            w, h = (a, b) if annotation["bbox_mode"] == 1 else (a - x, b - y)
            x, y = x + rng.normal(0, 0.1) * w, y + rng.normal(0, 0.1) * h
            boxes.append([x, y, x + w, y + h])
            wrong = rng.random() < 0.1
            classes.append(int(rng.integers(num_classes)) if wrong else annotation["category_id"])
        boxes.append([1, 1, 20, 20])
        classes.append(0)
        out = Instances((record["height"], record["width"]))
        out.pred_boxes = Boxes(torch.tensor(boxes))
        out.scores = torch.tensor(rng.random(len(boxes)))
        out.pred_classes = torch.tensor(classes)
        outputs.append({"instances": out})
    return outputs


def _evaluate(evaluator, records: list[dict], outputs: list[dict]) -> dict:
    evaluator.reset()
    evaluator.process(records, outputs)
    return evaluator.evaluate()


def _pycocotools_stats(truth_file: Path, result_file: Path) -> dict:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(truth_file))
        evaluation = COCOeval(truth, truth.loadRes(str(result_file)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    return {n: 100 * v if v >= 0 else math.nan for n, v in zip(names, evaluation.stats)}


def test_coco_json_as_detectron2_and_pycocotools_score_it(shared_dir, tmp_path):
    folder = shared_dir / "data/coco_subset"
    name = f"coco:{folder}/instances_val2017.json:{folder}/val2017"
    register_by_name(name)
    records = DatasetCatalog.get(name)
    outputs = _noisy_predictions(records, 80)
    ours = _evaluate(build_evaluator(get_cfg(), name, str(tmp_path / "a")), records, outputs)["bbox"]
    oracle = COCOEvaluator(name, tasks=("bbox",), output_dir=str(tmp_path / "b"), use_fast_impl=False)
    theirs = _evaluate(oracle, records, outputs)["bbox"]
    np.testing.assert_equal(ours, theirs)
    direct = _pycocotools_stats(folder / "instances_val2017.json", tmp_path / "a/coco_instances_results.json")
    np.testing.assert_allclose([ours[k] for k in direct], list(direct.values()), rtol=1e-12)
    assert 20 < ours["AP50"] < 95
    assert "AP-car" in ours


def test_kitti_by_the_same_protocol_with_crowds(shared_dir, tmp_path):
    name = f"kitti:{shared_dir}/data/kitti"
    register_by_name(name)
    records = DatasetCatalog.get(name)
    outputs = _noisy_predictions(records, 3)
    ours = _evaluate(build_evaluator(get_cfg(), name, str(tmp_path)), records, outputs)["bbox"]
    (truth,) = tmp_path.glob("coco_ground_truth_*.json")
    direct = _pycocotools_stats(truth, tmp_path / "coco_instances_results.json")
    np.testing.assert_allclose([ours[k] for k in direct], list(direct.values()), rtol=1e-12)
    assert set(ours) >= {"AP-Car", "AP-Pedestrian", "AP-Cyclist"}


def test_hits_on_regions_that_kitti_ignores_count_neither_way(shared_dir, tmp_path):
    name = f"kitti:{shared_dir}/data/kitti"
    register_by_name(name)
    records = DatasetCatalog.get(name)
    outputs = []
    for record in records:
        out = Instances((record["height"], record["width"]))
        out.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in record["annotations"]]).reshape(-1, 4))
        out.pred_classes = torch.tensor([a["category_id"] for a in record["annotations"]], dtype=torch.long)
        out.scores = torch.tensor([0.9 if a["iscrowd"] else 0.5 for a in record["annotations"]])
        outputs.append({"instances": out})
    assert sum(a["iscrowd"] for r in records for a in r["annotations"]) > 20
    results = _evaluate(build_evaluator(get_cfg(), name, str(tmp_path)), records, outputs)["bbox"]
    assert [results[f"AP-{c}"] for c in ("Car", "Pedestrian", "Cyclist")] == pytest.approx([100] * 3)


@pytest.fixture
def two_boxes(tmp_path):
    """A COCO JSON as hand-made ones are: no area, no iscrowd, annotation ids from 0; two classes, two images."""
    (tmp_path / "images").mkdir()
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 100} for i in (1, 2)],
        "categories": [{"id": 5, "name": "cat"}, {"id": 8, "name": "dog"}],
        "annotations": [
            {"id": 0, "image_id": 1, "category_id": 5, "bbox": [10, 10, 40, 40]},
            {"id": 1, "image_id": 2, "category_id": 8, "bbox": [20, 20, 50, 50]},
        ],
    }

    def make(**changes) -> tuple[str, list[dict]]:
        path = tmp_path / f"truth{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps({k: v for k, v in {**content, **changes}.items() if v is not None}))
        name = f"coco:{path}:{tmp_path / 'images'}"
        register_by_name(name)
        return name, DatasetCatalog.get(name)

    return make


def _boxes(*rows: tuple[list[float], int]) -> dict:
    out = Instances((100, 100))
    out.pred_boxes = Boxes(torch.tensor([r[0] for r in rows]).reshape(-1, 4))
    out.scores = torch.linspace(0.9, 0.5, len(rows))
    out.pred_classes = torch.tensor([r[1] for r in rows], dtype=torch.long)
    return {"instances": out}


PERFECT = [_boxes(([10.0, 10, 50, 50], 0)), _boxes(([20.0, 20, 70, 70], 1))]


@pytest.mark.parametrize("ids", [(0, 1), ("a", "b"), (1, 2)])
def test_perfect_predictions_score_100_whatever_the_annotation_ids(two_boxes, tmp_path, ids):
    name, records = two_boxes()
    path = Path(MetadataCatalog.get(name).json_file)
    content = json.loads(path.read_text())
    for annotation, i in zip(content["annotations"], ids):
        annotation["id"] = i
    path.write_text(json.dumps(content))
    results = _evaluate(BoxEvaluator(name, str(tmp_path / "out")), records, PERFECT)["bbox"]
    assert results["AP"] == results["AP-cat"] == results["AP-dog"] == pytest.approx(100)
    written = json.loads((tmp_path / "out/coco_instances_results.json").read_text())
    assert [(r["image_id"], r["category_id"], r["bbox"]) for r in written] == [
        (1, 5, [10, 10, 40, 40]), (2, 8, [20, 20, 50, 50]),
    ]  # fmt: skip


def test_no_predictions_are_zero_where_there_are_objects(two_boxes, tmp_path):
    name, records = two_boxes()
    results = _evaluate(BoxEvaluator(name, str(tmp_path / "out")), records, [_boxes(), _boxes()])["bbox"]
    assert [results[k] for k in ("AP", "AP50", "AP75", "APm", "AP-cat", "AP-dog")] == [0.0] * 6
    assert math.isnan(results["APs"])
    assert math.isnan(results["APl"])
    # The same metrics are undefined with predictions.
    wrong = [_boxes(([80.0, 80, 90, 90], 0)), _boxes()]
    np.testing.assert_equal(_evaluate(BoxEvaluator(name, str(tmp_path / "out")), records, wrong)["bbox"], results)


@pytest.mark.parametrize("outputs", [[_boxes(), _boxes()], PERFECT])
def test_no_objects_leave_metrics_undefined(two_boxes, tmp_path, outputs):
    name, records = two_boxes(annotations=[])
    results = _evaluate(BoxEvaluator(name, str(tmp_path / "out")), records, outputs)["bbox"]
    assert all(math.isnan(v) for v in results.values())


def test_data_without_labels_is_predicted_and_told_and_no_error(two_boxes, tmp_path, caplog):
    name, records = two_boxes(annotations=None)
    assert _evaluate(BoxEvaluator(name, str(tmp_path / "out")), records, PERFECT) == {}
    assert re.search(r"has no annotations.*2 predictions are in .*coco_instances_results\.json", caplog.text)
    assert len(json.loads((tmp_path / "out/coco_instances_results.json").read_text())) == 2


def test_changed_data_is_converted_anew(tmp_path):
    """Detectron2 would reuse the conversion of the evaluation before."""
    box = {"bbox": [10, 10, 50, 50], "bbox_mode": 0, "category_id": 0}
    data = [{"image_id": "x", "file_name": "x.jpg", "width": 100, "height": 100, "annotations": [box]}]
    register_lazily("changing/data:set", lambda: data, thing_classes=["a"], evaluator_type="coco")
    right = [_boxes(([10.0, 10, 50, 50], 0))]
    for expected in (100, 0):
        evaluator = build_evaluator(get_cfg(), "changing/data:set", str(tmp_path))
        assert _evaluate(evaluator, data, right)["bbox"]["AP"] == pytest.approx(expected)
        box["bbox"] = [60, 60, 90, 90]


def test_unknown_evaluators_are_named(tmp_path):
    MetadataCatalog.get("strange").evaluator_type = "cocoo"
    with pytest.raises(ValueError, match="evaluator 'cocoo' does not exist; did you mean 'coco'"):
        build_evaluator(get_cfg(), "strange", str(tmp_path))
    with pytest.raises(ValueError, match="'plain' has no evaluator_type"):
        build_evaluator(get_cfg(), "plain", str(tmp_path))


def test_missing_truth_says_how_to_get_it(tmp_path):
    register_coco("gone", str(tmp_path / "a.json"), str(tmp_path), "make it", thing_classes=["a"])
    with pytest.raises(FileNotFoundError, match=r"a\.json does not exist\. To get it: make it"):
        build_evaluator(get_cfg(), "gone", str(tmp_path))


def test_ids_may_be_numbers_and_texts_in_one_file(two_boxes, tmp_path):
    images = [{"id": i, "file_name": "a.jpg", "width": 100, "height": 100} for i in ("x", 2, "y")]
    box = {"category_id": 5, "bbox": [10, 10, 40, 40]}
    annotations = [{"id": "a", "image_id": "x", **box}, {"id": 1, "image_id": 2, **box, "category_id": 8}]
    name, records = two_boxes(images=images, annotations=annotations)
    assert [r["image_id"] for r in records] == [2, "x", "y"]
    outputs = [_boxes(([10.0, 10, 50, 50], 1)), _boxes(([10.0, 10, 50, 50], 0)), _boxes()]
    results = _evaluate(BoxEvaluator(name, str(tmp_path / "out")), records, outputs)["bbox"]
    assert results["AP"] == results["AP-cat"] == results["AP-dog"] == pytest.approx(100)
    written = json.loads((tmp_path / "out/coco_instances_results.json").read_text())
    assert [r["image_id"] for r in written] == [2, "x"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_with_a_byte_order_mark_are_scored(two_boxes, tmp_path, encoding):
    name, records = two_boxes()
    path = Path(MetadataCatalog.get(name).json_file)
    path.write_text(path.read_text(), encoding=encoding)
    assert _evaluate(BoxEvaluator(name, str(tmp_path / "out")), records, PERFECT)["bbox"]["AP"] == pytest.approx(100)


def test_predictions_that_are_not_finite_are_an_error(two_boxes, tmp_path):
    name, records = two_boxes()
    with pytest.raises(ValueError, match=r"1 of 2 predictions on .* not finite"):
        _evaluate(BoxEvaluator(name, str(tmp_path)), records, [_boxes(([math.nan, 1, 2, 3], 0)), PERFECT[1]])
