"""LVIS: read as Detectron2 reads it, and scored as the package lvis scores it."""

import copy
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.lvis import load_lvis_json
from detectron2.structures import Boxes, Instances

from d2road.data import register_by_name
from d2road.evaluation import build_evaluator, write_results
from d2road.evaluation.metrics.box_ap import BoxPrecision, BoxTruth, lvis_precision


@pytest.fixture
def golden(golden_dir) -> dict:
    return {
        f: json.loads((golden_dir / "lvis_eval" / f"{f}.json").read_text()) for f in ("truth", "detections", "expected")
    }


@pytest.fixture
def save(golden, tmp_path):
    """Register (changed) annotations; gives the name of the data set."""

    def register(truth: dict) -> str:
        path = tmp_path / f"lvis{len(list(tmp_path.glob('*.json')))}.json"
        path.write_text(json.dumps(truth))
        name = f"lvis:{path}:{tmp_path}"
        register_by_name(name)
        return name

    return register


def outputs_of(golden: dict, records: list[dict]) -> list[dict]:
    """The detections as a model gives them."""
    index = {c["id"]: i for i, c in enumerate(golden["truth"]["categories"])}
    outputs = []
    for record in records:
        mine = [d for d in golden["detections"] if d["image_id"] == record["image_id"]]
        out = Instances((record["height"], record["width"]))
        boxes = torch.tensor([d["bbox"] for d in mine], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        out.pred_boxes = Boxes(boxes)
        out.pred_boxes.tensor = boxes  # in 64 bits, as the recorded detections
        out.scores = torch.tensor([d["score"] for d in mine], dtype=torch.float64)
        out.pred_classes = torch.tensor([index[d["category_id"]] for d in mine], dtype=torch.long)
        outputs.append({"instances": out})
    return outputs


def lvis_truth(truth: dict) -> BoxTruth:
    lists = ({i["id"]: i[key] for i in truth["images"]} for key in ("neg_category_ids", "not_exhaustive_category_ids"))
    ids = [i["id"] for i in truth["images"]], [c["id"] for c in truth["categories"]]
    return BoxTruth(*ids, truth["annotations"], *lists)


def figures(precision: BoxPrecision) -> dict[str, float]:
    areas = {f"AP{area[0]}": precision.mean(area=area) for area in ("small", "medium", "large")}
    groups = {"APr": precision.mean(categories=[0, 1, 5]), "APf": precision.mean(categories=[2, 3, 4])}
    return {"AP": precision.mean(), "AP50": precision.mean(0.5), "AP75": precision.mean(0.75), **areas, **groups}


def test_figures_are_those_of_lvis_to_the_last_bit(golden):
    precision = lvis_precision(lvis_truth(golden["truth"]), golden["detections"])
    each = [precision.mean(categories=[k]) for k in range(6)]
    assert each[:5] == [100 * v for v in golden["expected"]["categories"][:5]]
    assert math.isnan(each[5]) and golden["expected"]["categories"][5] == -1
    expected = golden["expected"]["results"]
    assert expected.pop("APc") == -1
    assert figures(precision) == {key: 100 * value for key, value in expected.items()}


def test_lvis_data_is_scored_and_what_is_absent_is_null(golden, save, tmp_path):
    name = save(golden["truth"])
    records = DatasetCatalog.get(name)
    evaluator = build_evaluator(get_cfg(), name, str(tmp_path / "out"))
    evaluator.process(records, outputs_of(golden, records))
    results = evaluator.evaluate()
    written = json.loads((tmp_path / "out/lvis_instances_results.json").read_text())
    assert len(written) == len(golden["detections"])
    # Boxes went through corners, which rounds them.
    assert np.allclose([d["bbox"] for d in written], [d["bbox"] for d in golden["detections"]], atol=1e-9)
    expected = figures(lvis_precision(lvis_truth(golden["truth"]), written))
    assert math.isnan(results["bbox"]["APc"])
    assert {key: value for key, value in results["bbox"].items() if key != "APc"} == expected
    write_results(tmp_path / "results.json", results)
    assert json.loads((tmp_path / "results.json").read_text())["bbox"]["APc"] is None


@pytest.mark.parametrize(
    ("part", "key", "message"),
    [
        ("categories", "frequency", "frequency None, expected one of r, c, f"),
        ("images", "neg_category_ids", "no list neg_"),
    ],
)
def test_what_lvis_needs_is_asked_for_before_the_inference(golden, save, tmp_path, part, key, message):
    truth = copy.deepcopy(golden["truth"])
    del truth[part][0][key]
    with pytest.raises(ValueError, match=message):
        build_evaluator(get_cfg(), save(truth), str(tmp_path / "out"))


def test_read_as_detectron2_reads_it(golden, save, tmp_path, monkeypatch):
    """Its reader needs the package lvis, which has no build for this NumPy: here an index of the file stands for it."""

    class Index:
        def __init__(self, path):
            with open(path) as file:
                data = json.load(file)
            self.imgs = {i["id"]: i for i in data["images"]}
            self.img_ann_map = {i: [a for a in data["annotations"] if a["image_id"] == i] for i in self.imgs}

        def load_imgs(self, ids):
            return [self.imgs[i] for i in ids]

    monkeypatch.setitem(sys.modules, "lvis", SimpleNamespace(LVIS=Index))
    name = save(golden["truth"])
    ours = DatasetCatalog.get(name)
    theirs = load_lvis_json(MetadataCatalog.get(name).json_file, f"{tmp_path}/")
    index = MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id
    for record in theirs:
        for annotation in record["annotations"]:  # without metadata it takes ids for indices from 1
            annotation.update(category_id=index[annotation["category_id"] + 1], iscrowd=0)
    assert ours == theirs
    assert MetadataCatalog.get(name).thing_classes == [f"c{i}" for i in range(6)]
    assert MetadataCatalog.get(name).class_image_count[0] == {"id": 2, "image_count": 5}


def test_detectron2s_names_of_lvis_need_no_other_package():
    assert "lvis" not in sys.modules
    for name in ("lvis_v1_train", "lvis_v1_val", "lvis_v0.5_val"):
        with pytest.raises(FileNotFoundError, match=rf"{name}\.json does not exist"):
            DatasetCatalog.get(name)
    assert len(MetadataCatalog.get("lvis_v1_val").thing_classes) == 1203
