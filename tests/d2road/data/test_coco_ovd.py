"""COCO for open-vocabulary detection: the split, what each part shows, and AP50 of base and novel classes."""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from detectron2.structures import Boxes, Instances

from d2road.data.dataset_formats import register_by_name
from d2road.data.datasets.coco_ovd import BASE, NOVEL
from d2road.evaluation.ovd_evaluator import OpenVocabularyEvaluator
from d2road.utils.errors import ConfigError, DataError

THINGS = [c["name"] for c in COCO_CATEGORIES if c["isthing"]]


@pytest.fixture
def make(tmp_path):
    """A COCO file with an object of each given class in an image of its own, as a data set of a part."""

    def write(names, part="val", categories=THINGS):
        images = [{"id": i, "file_name": f"{i}.jpg", "width": 50, "height": 40} for i in range(len(names))]
        content = {
            "images": images,
            "categories": [{"id": 3 * i + 1, "name": name} for i, name in enumerate(categories)],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 3 * categories.index(name) + 1, "bbox": [5, 5, 20, 20]}
                for i, name in enumerate(names)
            ],
        }
        file = tmp_path / f"{part}_{len(names)}.json"
        file.write_text(json.dumps(content))
        name = f"coco_ovd:{file}:{tmp_path}:{part}"
        register_by_name(name)
        return name

    return write


def test_the_split_is_of_cocos_own_classes():
    assert len(BASE) == len(set(BASE)) == 48 and len(NOVEL) == len(set(NOVEL)) == 17
    assert not set(BASE) & set(NOVEL) and set(BASE) | set(NOVEL) <= set(THINGS)


def test_training_shows_base_classes_alone(make):
    records = DatasetCatalog.get(make(["dog", "car", "traffic light", "person"], "train"))
    assert [r["image_id"] for r in records] == [1, 3]
    assert [a["category_id"] for r in records for a in r["annotations"]] == [BASE.index("car"), BASE.index("person")]


def test_validation_shows_both(make):
    name = make(["dog", "car", "traffic light"])
    records = DatasetCatalog.get(name)
    classes = MetadataCatalog.get(name).thing_classes
    assert [classes[a["category_id"]] for r in records for a in r["annotations"]] == ["dog", "car"]


def test_ap_of_base_and_novel_classes(make, tmp_path):
    """The car is found, of two novel classes one: 100, 50 and two thirds."""
    name = make(["car", "dog", "cat"])
    evaluator = OpenVocabularyEvaluator(name, str(tmp_path / "out"), distributed=False)
    classes = MetadataCatalog.get(name).thing_classes
    for image_id, found in ((0, "car"), (1, "dog"), (2, "dog")):
        instances = Instances((40, 50))
        instances.pred_boxes = Boxes(torch.tensor([[5.0, 5, 25, 25]]))
        instances.scores = torch.tensor([0.9 - 0.1 * image_id])
        instances.pred_classes = torch.tensor([classes.index(found)])
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    results = evaluator.evaluate()["bbox"]
    assert results["AP50-base"] == pytest.approx(100) and results["AP50-novel"] == pytest.approx(50)
    assert results["AP50-all"] == pytest.approx(200 / 3)


def test_a_file_of_other_classes_is_refused(make):
    with pytest.raises(DataError, match=r"is not COCO's: 63 of the 65 classes"):
        DatasetCatalog.get(make(["car"], categories=["car", "dog"]))


def test_parts_are_named(tmp_path):
    with pytest.raises(ConfigError, match="expected one of train, val"):
        register_by_name(f"coco_ovd:{tmp_path}/a.json:{tmp_path}:test")


def test_on_real_labels(shared_dir):
    """Counted from the file by name."""
    folder = shared_dir / "data/coco_subset"
    for split, allowed in (("train", set(BASE)), ("val", set(BASE) | set(NOVEL))):
        file = folder / f"instances_{split}2017.json"
        content = json.loads(file.read_text())
        names = {c["id"]: c["name"] for c in content["categories"]}
        expected = sorted(names[a["category_id"]] for a in content["annotations"] if names[a["category_id"]] in allowed)
        name = f"coco_ovd:{file}:{folder / f'{split}2017'}:{split}"
        register_by_name(name)
        records, classes = DatasetCatalog.get(name), MetadataCatalog.get(name).thing_classes
        assert sorted(classes[a["category_id"]] for r in records for a in r["annotations"]) == expected
        assert all(r["annotations"] for r in records)
