"""From rendered toy views to dataset dicts, sentences on KITTI's files, and the evaluator in Detectron2's hands."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from d2road.cli.make_data import main as make_data
from d2road.config import make_cfg
from d2road.data import register_by_name
from d2road.data.camera_files import read_camera
from d2road.evaluation import build_evaluator
from d2road.synthetic.roadside import make_toy_roadside
from mono3dvg.config import check, finalize
from mono3dvg.data.grounding_datasets import load_grounding
from mono3dvg.data.labelled_sources import grounding_of
from mono3dvg.data.toy_grounding import make_toy_grounding
from mono3dvg.language import build_labelled_scene, interpret, to_form
from mono3dvg.schema import read_grounding, write_grounding
from tests.factories.grounding_files import annotation, box, expression, grounding_content


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    make_toy_roadside(folder / "toy_roadside", seed=3, train=2, val=3, workers=0)
    made = make_toy_grounding(folder / "toy_grounding", folder / "toy_roadside", seed=1, per_image=4)
    return folder, made


def test_toy_data(toy):
    folder, _ = toy
    splits = {s: read_grounding(folder / "toy_grounding" / f"grounding_{s}.json") for s in ("train", "val", "test")}
    assert [len(data.images) for data in splits.values()] == [2, 1, 2]
    names = {i.file_name for s in ("val", "test") for i in splits[s].images.values()}
    assert names == {f"validation/image_2/00000{i}.jpg" for i in range(3)}
    assert len({tuple(data.categories.values()) for data in splits.values()}) == 1
    for data in splits.values():
        assert data.ry_frame == "ground" and len(data.expressions) == sum(
            e.kind != "" for e in data.expressions.values()
        )
        for e in data.expressions.values():
            assert interpret(to_form(e.form), build_labelled_scene(data, e.image_id)).certain
    colors = [o.attributes["color"] for o in splits["train"].objects.values()]
    lines = (folder / "toy_roadside" / "attributes_train.jsonl").read_text().splitlines()
    assert colors == [thing["color"] for line in lines for thing in json.loads(line)["objects"]]
    assert all("wording:seen" in e.tags for e in splits["train"].expressions.values())


def test_toy_data_is_not_overwritten(toy):
    folder, _ = toy
    with pytest.raises(ValueError, match="per_image 4 there, 5 asked for"):
        make_toy_grounding(folder / "toy_grounding", folder / "toy_roadside", seed=1, per_image=5)
    with pytest.raises(FileNotFoundError, match="is no toy roadside data"):
        make_toy_grounding(folder / "other", folder / "nowhere")


def test_dataset_dicts(toy):
    folder, _ = toy
    name = f"grounding:{folder}/toy_grounding/grounding_train.json:{folder}/toy_roadside"
    register_by_name(name)
    register_by_name(name)
    records = DatasetCatalog.get(name)
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == "grounding" and metadata.ry_frame == "ground"
    assert set(metadata.thing_classes) <= {"car", "van", "truck", "bus", "cyclist", "pedestrian"}
    data = read_grounding(folder / "toy_grounding" / "grounding_train.json")
    assert sum(len(r["expressions"]) for r in records) == len(data.expressions)
    record = max(records, key=lambda r: len(r["annotations"]))
    camera = read_camera(record)
    assert camera.ground is not None and (record["width"], record["height"]) == (960, 540)
    for e in record["expressions"]:
        assert [record["annotations"][i]["id"] for i in e["targets"]] == e["target_ids"]
        assert e["form"] and e["language"] == "en" and e["choices"]
    thing = record["annotations"][0]
    assert {
        "bbox",
        "category_id",
        "iscrowd",
        "location",
        "dimensions_hwl",
        "rotation_y",
        "has_3d",
        "attributes",
    } <= set(thing)
    assert metadata.thing_classes[thing["category_id"]] == thing["type"]


def test_headings_are_those_of_the_data_where_weights_name_the_classes(toy):
    folder, _ = toy
    name = f"grounding:{folder}/toy_grounding/grounding_test.json:{folder}/toy_roadside"
    register_by_name(name)
    cfg = make_cfg()
    cfg.DATASETS.TRAIN, cfg.MODEL.CLASS_NAMES = (name,), ("bus", "car", "cyclist", "pedestrian", "truck", "van")
    finalize(cfg)
    assert cfg.MODEL.MONO3DVG.RY_FRAME == "ground"


def _small(folder) -> str:
    for i in (0, 1):
        Image.new("RGB", (960, 540)).save(folder / f"{i}.png")
    things = [annotation(1, box(0, 20)), annotation(2, box(6, 20)), annotation(3, box(0, 30), 1)]
    sentences = [expression("a", [1]), expression("b", [1, 2]), expression("c", [3], 1), expression("d", [], 1)]
    write_grounding(folder / "data.json", grounding_content(things, sentences, (0, 1)))
    return f"grounding:{folder}/data.json:{folder}"


def test_missing_images_and_files(tmp_path):
    _small(tmp_path)
    (tmp_path / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images of .*data.json do not exist: .*1.png"):
        load_grounding(str(tmp_path / "data.json"), str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"grounding file .*none.json does not exist\. To get it: ask"):
        load_grounding(str(tmp_path / "none.json"), str(tmp_path), hint="ask")


def _outputs(records: list[dict], score: float, shift: float = 0.0) -> list[dict]:
    """The targets, moved to the side, and a box of half the score elsewhere."""
    outputs = []
    for record in records:
        groundings = []
        for e in record["expressions"]:
            rows = [
                [*a["location"], *a["dimensions_hwl"], a["rotation_y"]]
                for a in (record["annotations"][i] for i in e["targets"])
            ]
            boxes = torch.tensor([*rows, box(-20, 50)], dtype=torch.float64)
            boxes[:-1, 0] += shift
            scores = torch.full((len(boxes),), score)
            scores[-1] = score / 2
            groundings.append({"expression_id": e["id"], "boxes": boxes, "scores": scores})
        outputs.append({"groundings": groundings})
    return outputs


def test_evaluator(tmp_path):
    name = _small(tmp_path)
    register_by_name(name)
    records = DatasetCatalog.get(name)
    cfg = make_cfg(opts=["OUTPUT_DIR", str(tmp_path / "out")])
    cfg.TEST.GROUNDING.SCORE_THRESHOLD = 0.5
    (tmp_path / "out").mkdir()
    evaluator = build_evaluator(cfg, name, str(tmp_path / "out" / "inference"))
    evaluator.process(records, _outputs(records, 0.8))
    results = evaluator.evaluate()["grounding"]
    assert results["mean_f1@0.5"] == results["micro_f1@0.7"] == results["acc@0.5"] == results["n_acc"] == 100
    assert results["score_threshold"] == 0.5
    # The validation data fixes the threshold, between 0.3 and 0.6, for what is evaluated after it.
    cfg.TEST.GROUNDING.THRESHOLD_DATA = name
    chooser = build_evaluator(cfg, name, str(tmp_path / "out" / "val"))
    chooser.process(records, _outputs(records, 0.6))
    fixed = chooser.evaluate()["grounding"]["score_threshold"]
    assert 0.3 < fixed < 0.6001  # scores are float32
    cfg.TEST.GROUNDING.THRESHOLD_DATA = ""
    evaluator = build_evaluator(cfg, name, str(tmp_path / "out" / "test"))
    evaluator.process(records, _outputs(records, 0.3))
    results = evaluator.evaluate()["grounding"]
    assert results["score_threshold"] == fixed and results["t_acc"] == 0 and results["acc@0.5"] == 100
    with pytest.raises(ValueError, match="expression 'a' is answered twice"):
        evaluator.process(records, _outputs(records, 0.3))
    evaluator.reset()
    wrong = _outputs(records, 0.3)
    wrong[0]["groundings"][0]["boxes"][0, 0] = float("nan")
    with pytest.raises(ValueError, match="expected as many of both, all finite"):
        evaluator.process(records, wrong)


def test_the_tool_scores_what_the_evaluator_wrote(tmp_path, repo_dir):
    name = _small(tmp_path)
    register_by_name(name)
    records = DatasetCatalog.get(name)
    evaluator = build_evaluator(make_cfg(opts=["OUTPUT_DIR", str(tmp_path)]), name, str(tmp_path / "inference"))
    evaluator.process(records[:1], _outputs(records[:1], 0.8, shift=0.9))
    evaluator.evaluate()
    command = [sys.executable, "-W", "ignore", "-m", "d2road.cli.eval_grounding", "--gt", str(tmp_path / "data.json")]
    command += ["--pred", str(tmp_path / "inference" / "predictions.json"), "--json", str(tmp_path / "tool.json")]
    done = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True, check=True)
    assert "2 of 4 expressions have no prediction" in done.stderr
    written = json.loads((tmp_path / "inference" / "grounding.json").read_text())
    assert json.loads((tmp_path / "tool.json").read_text()) == written


def test_sentences_on_kitti(tmp_path, shared_dir, capsys):
    out, root = tmp_path / "kitti.json", shared_dir / "data" / "kitti"
    assert make_data(["grounding", "--source", f"kitti:{root}", "--out", str(out), "--languages", "en", "zh"]) == 0
    data = read_grounding(out)
    assert len(data.images) == 14 and len(data.expressions) > 80
    kinds = {e.kind for e in data.expressions.values()}
    assert kinds == {"zero", "single", "multi"} and {e.language for e in data.expressions.values()} == {"en", "zh"}
    # What the labels do not tell is not spoken of.
    assert not any("color" in e.tags or "lane" in e.tags for e in data.expressions.values())
    assert len(load_grounding(str(out), str(root))) == 14
    rows = sum(
        len([r for r in p.read_text().splitlines() if not r.startswith("DontCare")])
        for p in (root / "training" / "label_2").iterdir()
    )
    assert len(data.objects) == rows


def test_rope3d_needs_its_images_below_the_folder(tmp_path, shared_dir):
    root = shared_dir / "data" / "rope3d_sample"
    raw = grounding_of(f"rope3d:{root}:val", root)
    assert raw["info"]["rotation_y"] == "ground" and len(raw["annotations"]) == 48
    assert raw["images"][0]["ground_plane"] is not None
    with pytest.raises(ValueError, match="does not lie below the folder of images"):
        grounding_of(f"rope3d:{root}:val", tmp_path)
    assert np.isfinite([a["location"] for a in copy.deepcopy(raw)["annotations"] if not a["ignore"]]).all()


def test_config_is_checked(tmp_path):
    cfg = make_cfg(opts=["DATASETS.TEST", "('toy_grounding_test', 'toy_grounding_val')"])
    assert check(cfg) == []
    cfg.INPUT.GROUNDING.FLIP, cfg.TEST.GROUNDING.SUBSETS = "swap", str(tmp_path / "x")
    cfg.TEST.GROUNDING.THRESHOLD_DATA = "toy_grounding_val"
    assert [p.split(" is ")[0].split(" '")[0] for p in check(cfg)] == [
        "INPUT.GROUNDING.FLIP", "TEST.GROUNDING.SUBSETS", "TEST.GROUNDING.THRESHOLD_DATA",
    ]  # fmt: skip
    cfg.TEST.GROUNDING.THRESHOLD_DATA = "nothing"
    assert "DATASETS.TEST does not name" in check(cfg)[-1]
    cfg.TEST.GROUNDING.THRESHOLD_DATA, cfg.TEST.GROUNDING.THRESHOLD_T_ACC = "", 80.0
    assert "THRESHOLD_T_ACC is 80 without THRESHOLD_DATA" in " ".join(check(cfg))


def test_training_stages_are_checked():
    cfg = make_cfg(opts=["DATASETS.TEST", "('toy_grounding_val',)"])
    node = cfg.MODEL.MONO3DVG
    for stage, key, value, message in (
        ("words", "HEAD", "dense", "TRAINING_STAGE is 'words': choose one of '', 'boxes', 'labels'"),
        ("boxes", "HEAD", "query", "pretraining is for HEAD 'dense'"),
        ("labels", "ABLATE_INPUT", "image", "pretraining is for HEAD 'dense' and ABLATE_INPUT ''"),
    ):
        before, node.TRAINING_STAGE = node[key], stage
        node[key] = value
        assert len(check(cfg)) == 1 and message in check(cfg)[0]
        node[key] = before
    for stage, needs_relation in (("labels", True), ("text_labels", True), ("boxes", False), ("text", False)):
        node.TRAINING_STAGE, node.RELATION.ENABLED = stage, False
        assert ["set RELATION.ENABLED True" in problem for problem in check(cfg)] == [True] * needs_relation


@pytest.mark.parametrize("key, value", [("HEAD", "query"), ("RELATION.ENABLED", False)])
def test_presence_needs_the_relation_layer(key, value):
    name = "MODEL.MONO3DVG."
    cfg = make_cfg(opts=["DATASETS.TEST", "('toy_grounding_val',)", name + "RELATION.PRESENCE", "True"])
    assert check(cfg) == []
    cfg.merge_from_list([name + key, value])
    assert "MODEL.MONO3DVG.RELATION.PRESENCE is True: the relation layer says it" in check(cfg)[0]
