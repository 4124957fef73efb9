"""Classes are what their names say: data in another order than the model's is matched by name, or refused."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from d2road.checkpoint import export_inference_weights
from d2road.checkpoint.stored_classes import stored_class_names
from d2road.config import make_cfg, setup_cfg
from d2road.data import build_test_loader, build_train_loader, register_by_name
from d2road.data.build import load_dataset_dicts
from d2road.data.labels3d import mean_dimensions
from d2road.engine import Predictor, Trainer, evaluate
from d2road.engine.annotators import class_lists
from d2road.evaluation import build_evaluator
from d2road.structures import Boxes3D
from d2road.utils.errors import CheckpointError, ConfigError, DataError
from tests.factories.grounding_files import annotation, box, expression, grounding_content
from tests.factories.kitti_folder import kitti_folder  # noqa: F401  a fixture
from tests.factories.tiny_system import make_data, tiny_cfg

TRAINED = ("rectangle", "circle")  # what the tiny detector finds is a rectangle: its class 0
SHORT = ("SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (), "TEST.EVAL_PERIOD", 0, "SOLVER.WARMUP_ITERS", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny") / "data", 6, 4)


def in_order(data: Path, folder: Path, *names: str, part: str = "val", of: str = "rectangle") -> str:
    """The rectangles of the tiny data as COCO JSON with classes in an order; gives the name of the data set."""
    content = json.loads((data / part / "annotations.json").read_text())
    ids = {name: 5 + 3 * i for i, name in enumerate(names)}
    content["categories"] = [{"id": i, "name": name} for name, i in ids.items()]
    for a in content["annotations"]:
        a["category_id"] = ids[of]
    path = folder / f"{part}_{'_'.join(names)}.json"
    path.write_text(json.dumps(content))
    name = f"coco:{path}:{data / part}"
    register_by_name(name)
    return name


def cfg_of(data: Path, output: Path, train: tuple, test: tuple, *pairs):
    return tiny_cfg(data, output, "DATASETS.TRAIN", train, "DATASETS.TEST", test, *SHORT, *pairs)


@pytest.fixture
def trained(data, tmp_path):
    """The folder of a short training, its config and its results."""
    train, test = in_order(data, tmp_path, *TRAINED, part="train"), in_order(data, tmp_path, *TRAINED)
    cfg = cfg_of(data, tmp_path / "run", (train,), (test,))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    return tmp_path / "run", cfg, trainer.train()["bbox"]


def test_checkpoints_carry_class_names(trained, tmp_path):
    folder, _, _ = trained
    export_inference_weights(folder / "model_final.pth", tmp_path / "exported.pth")
    for path in (folder / "model_final.pth", folder / "model_best.pth", tmp_path / "exported.pth"):
        assert torch.load(path, weights_only=True)["class_names"] == list(TRAINED)
        assert stored_class_names(path) == list(TRAINED)


def test_evaluation_matches_classes_by_name_whatever_their_order_and_number(data, trained, tmp_path):
    folder, cfg, expected = trained
    assert expected["AP"] > 0
    pairs = ("MODEL.WEIGHTS", folder / "model_final.pth")
    for names in (TRAINED[::-1], ("rectangle",)):
        other = in_order(data, tmp_path, *names)
        found = evaluate(cfg_of(data, tmp_path / "eval", cfg.DATASETS.TRAIN, (other,), *pairs))["bbox"]
        assert found["AP"] == expected["AP"]
        # The data that the model was trained on need not be here.
        found = evaluate(cfg_of(data, tmp_path / "eval", (), (other,), *pairs))["bbox"]
        assert found["AP"] == expected["AP"]
    # COCO results have the category ids of the data set.
    results = json.loads((tmp_path / "eval/inference/coco_instances_results.json").read_text())
    assert {r["category_id"] for r in results} == {5}


def test_a_class_that_the_model_does_not_know_is_refused_with_both_lists(data, trained, tmp_path):
    folder, cfg, _ = trained
    other = in_order(data, tmp_path, "square", "rectangle")
    weights = ("MODEL.WEIGHTS", folder / "model_final.pth")
    both = r"\[square, rectangle\].*\[rectangle, circle\]: \[square\] is not"
    with pytest.raises(DataError, match=both):
        evaluate(cfg_of(data, tmp_path / "eval", (), (other,), *weights))
    for train, test in (
        ((other,), cfg.DATASETS.TEST),
        (cfg.DATASETS.TRAIN, (other,)),
        ((*cfg.DATASETS.TRAIN, other), ()),
    ):
        with pytest.raises(
            (ConfigError, DataError), match=r"\[square, rectangle\].*\[rectangle, circle\]|\[rectangle, cir"
        ):
            Trainer(cfg_of(data, tmp_path / "run2", train, test))


def test_train_and_test_of_one_run_are_matched_by_name(data, trained, tmp_path):
    _, cfg, expected = trained
    other = in_order(data, tmp_path, *TRAINED[::-1])
    trainer = Trainer(cfg_of(data, tmp_path / "run2", cfg.DATASETS.TRAIN, (other,)))
    trainer.resume_or_load(resume=False)
    assert trainer.train()["bbox"]["AP"] == expected["AP"]


def test_several_training_sets_are_matched_by_name(data, tmp_path):
    names = in_order(data, tmp_path, *TRAINED, part="train"), in_order(data, tmp_path, *TRAINED[::-1], part="val")
    dicts = load_dataset_dicts(names, False)
    assert {a["category_id"] for d in dicts for a in d["annotations"]} == {0} and len(dicts) == 10
    loader = build_train_loader(cfg_of(data, tmp_path, names, (), "MODEL.CLASS_NAMES", TRAINED[::-1]))
    assert {int(c) for _, batch in zip(range(3), loader) for d in batch for c in d["instances"].gt_classes} == {1}


def test_resuming_matches_data_in_another_order_by_name(data, trained, tmp_path):
    """Through `setup_cfg`, as the command does it: the names are those of the checkpoint."""
    folder, _, _ = trained
    swapped = tuple(in_order(data, tmp_path, *TRAINED[::-1], part=part) for part in ("train", "val"))
    opts = [*("MODEL.META_ARCHITECTURE", "TinyDetector", "OUTPUT_DIR", str(folder), "MODEL.DEVICE", "cpu")]
    opts += ["DATALOADER.NUM_WORKERS", "0"]
    opts += ["DATASETS.TRAIN", f"('{swapped[0]}',)", "DATASETS.TEST", f"('{swapped[1]}',)"]
    resumed = setup_cfg(Namespace(config_file="", opts=opts, resume=True))
    assert resumed.MODEL.CLASS_NAMES == TRAINED
    assert TRAINED[::-1] == setup_cfg(Namespace(config_file="", opts=opts)).MODEL.CLASS_NAMES  # a new training
    loader = build_test_loader(resumed, swapped[1], mapper=lambda record: record)
    assert {a["category_id"] for batch in loader for d in batch for a in d["annotations"]} == {0}
    # Without it the order of the data is that of the model, and the checkpoint's another one.
    trainer = Trainer(cfg_of(data, folder, swapped[:1], swapped[1:], "SOLVER.MAX_ITER", 3))
    with pytest.raises(CheckpointError, match=r"classes \[rectangle, circle\], MODEL.CLASS_NAMES are \[circle, rectan"):
        trainer.resume_or_load(resume=True)


def test_weights_without_class_names_work_as_before_and_say_what_is_taken(data, trained, tmp_path, caplog):
    folder, cfg, expected = trained
    loaded = torch.load(folder / "model_final.pth", weights_only=True)
    del loaded["class_names"]
    torch.save(loaded, tmp_path / "old.pth")
    pairs = ("MODEL.WEIGHTS", tmp_path / "old.pth")
    assert stored_class_names(tmp_path / "old.pth") == []
    found = evaluate(cfg_of(data, tmp_path / "eval", (), cfg.DATASETS.TEST, *pairs))["bbox"]
    assert found["AP"] == expected["AP"] and caplog.text.count("tells no class names") == 1
    assert "[rectangle, circle]" in caplog.text


def test_predictions_have_the_class_names_of_the_weights_when_the_data_is_away(data, trained, tmp_path):
    folder, _, _ = trained
    shutil.copy(folder / "model_final.pth", tmp_path / "model.pth")
    away = (f"coco:{tmp_path}/gone.json:{tmp_path}",)
    register_by_name(away[0])
    predict = Predictor(cfg_of(data, tmp_path / "x", (), away), tmp_path / "model.pth")
    assert predict.metadata.thing_classes == list(TRAINED)
    assert class_lists(predict.cfg) == (list(TRAINED), {})
    # With data in another order classes are those of the weights, category ids those of the data set.
    other = in_order(data, tmp_path, *TRAINED[::-1])
    predict = Predictor(cfg_of(data, tmp_path / "x", (), (other,)), tmp_path / "model.pth")
    assert predict.metadata.thing_classes == list(TRAINED)
    assert class_lists(predict.cfg) == (list(TRAINED), {0: 8, 1: 5})
    assert DatasetCatalog.get(other) and MetadataCatalog.get(other).thing_classes == list(TRAINED[::-1])


def test_the_classes_of_shipped_weights_are_known():
    names = ["car", "big_vehicle", "cyclist", "pedestrian"]
    assert stored_class_names("zoo:diffusion_det_toy") == names
    cfg = make_cfg("diffusion_det/toy_roadside/demo.yaml", ["MODEL.DEVICE", "cpu"])
    assert Predictor(cfg).metadata.thing_classes == names


def test_3d_data_with_a_class_list_in_another_order(kitti_folder, tmp_path):  # noqa: F811
    (kitti_folder / "classes.txt").write_text("Car\nPedestrian\n")
    name, model_classes = f"kitti:{kitti_folder}", ("Pedestrian", "Car")
    register_by_name(name)
    records = DatasetCatalog.get(name)
    cfg = make_cfg("", ["MODEL.CLASS_NAMES", model_classes, "DATALOADER.NUM_WORKERS", "0"])
    outputs = []
    for record in records:
        rows = record["annotations"]
        found = Instances((record["height"], record["width"]))
        found.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in rows]).reshape(-1, 4))
        found.pred_boxes3d = Boxes3D.from_kitti(
            torch.tensor([[*a["location"], *a["dimensions_hwl"], a["rotation_y"]] for a in rows]).reshape(-1, 7)
        )
        found.pred_classes = torch.tensor([1 - a["category_id"] for a in rows], dtype=torch.long)
        found.scores = torch.full((len(rows),), 0.9)
        outputs.append({"instances": found})
    evaluator = build_evaluator(cfg, name, str(tmp_path / "out"))
    evaluator.reset()
    evaluator.process(records, outputs)
    results = evaluator.evaluate()
    assert results["bbox"]["AP-Car"] == results["bbox"]["AP-Pedestrian"] == pytest.approx(100)
    assert [line.split()[0] for line in (tmp_path / "out/kitti/000000.txt").read_text().splitlines()] == [
        a["type"] for a in records[0]["annotations"]
    ]
    assert outputs[0]["instances"].pred_classes.tolist() == [1, 1, 0]  # the model's own output stays as it is
    loader = build_test_loader(cfg, name, mapper=lambda record: record)
    assert [a["category_id"] for a in next(iter(loader))[0]["annotations"]] == [1, 1, 0]
    assert mean_dimensions([name], "KEY", model_classes) == mean_dimensions([name], "KEY")[::-1]


def test_grounding_data_with_categories_in_another_order(tmp_path):
    raw = grounding_content([annotation(1, box(0, 20), category=2)], [expression(1, [1])])
    path = tmp_path / "g.json"
    (tmp_path / "0.png").touch()
    path.write_text(json.dumps(raw))
    name = f"grounding:{path}:{tmp_path}"
    register_by_name(name)
    (record,) = load_dataset_dicts([name], False, class_names=("pedestrian", "truck", "car"))
    assert record["annotations"][0]["category_id"] == 0 and record["expressions"][0]["category_ids"] == [0]
