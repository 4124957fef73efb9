"""The evaluator of data sets by KITTI's protocol: the official program's figures, files, several processes."""

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from PIL import Image

from benchmarks.speed.speed_kitti_eval import write_frames
from d2road.cli.eval_kitti import main as eval_kitti
from d2road.data import register_by_name
from d2road.data.catalog import register_lazily
from d2road.evaluation import EVALUATOR_REGISTRY, KittiEvaluator
from d2road.evaluation.metrics.kitti_objects import read_predictions_folder
from d2road.structures import Boxes3D

CLASSES = ["Car", "Pedestrian", "Cyclist"]
SIZE = (1242, 375)


def _arrange(labels: Path, root: Path) -> str:
    """KITTI's folders around label files, with empty images; the name of the data set."""
    for name in ("image_2", "calib"):
        (root / name).mkdir(parents=True)
    labels.rename(root / "label_2")
    for path in sorted((root / "label_2").glob("*.txt")):
        Image.new("RGB", SIZE).save(root / "image_2" / f"{path.stem}.png")
        (root / "calib" / path.name).write_text("P2: 720 0 620 0 0 720 180 0 0 0 1 0\n")
    name = f"kitti:{root}"
    register_by_name(name)
    return name


def _outputs(folder: Path, frames: list[str]) -> tuple[list[dict], list[dict]]:
    """Prediction files as a model's inputs and outputs."""
    objects = read_predictions_folder(folder, frames)
    inputs, outputs = [], []
    for index, frame in enumerate(frames):
        mine = objects[objects.frame == index]
        found = Instances(SIZE[::-1])
        found.pred_boxes = Boxes(torch.tensor(mine.boxes_xyxy, dtype=torch.float32))
        found.pred_classes = torch.tensor([[c.lower() for c in CLASSES].index(t) for t in mine.type], dtype=torch.long)
        found.scores = torch.tensor(mine.scores, dtype=torch.float32)
        found.pred_boxes3d = Boxes3D.from_kitti(torch.tensor(mine.boxes3d, dtype=torch.float32))
        inputs.append({"image_id": frame})
        outputs.append({"instances": found})
    return inputs, outputs


@pytest.fixture
def made_up(tmp_path: Path) -> tuple[str, list[dict], list[dict]]:
    """A data set, inputs and outputs."""
    frames = write_frames(tmp_path / "text", frames=6, objects=30, detections=40)
    inputs, outputs = _outputs(tmp_path / "text" / "pred", frames)
    return _arrange(tmp_path / "text" / "gt", tmp_path / "kitti"), inputs, outputs


def _evaluate(evaluator, inputs: list[dict], outputs: list[dict]) -> dict:
    evaluator.reset()
    evaluator.process(inputs, outputs)
    return evaluator.evaluate()


def test_gives_the_figures_of_the_official_program(golden_dir, tmp_path):
    source = golden_dir / "kitti_eval"
    for name in ("label_2", "pred"):
        with zipfile.ZipFile(source / f"{name}.zip") as archive:
            archive.extractall(tmp_path / name)
    name = _arrange(tmp_path / "label_2", tmp_path / "kitti")
    frames = sorted(path.stem for path in (tmp_path / "pred").glob("*.txt"))
    results = _evaluate(KittiEvaluator(name, str(tmp_path / "out")), *_outputs(tmp_path / "pred", frames))
    expected = json.loads((source / "expected.json").read_text())["ap"]
    for kind, metrics in expected.items():
        for metric in ("bbox", "bev", "3d"):  # alpha is computed from the box here, there it has a noise of its own
            for recall, values in metrics[metric].items():
                for difficulty, value in zip(("easy", "moderate", "hard"), values):
                    got = results[f"kitti_{metric}"][f"{kind}_{metric}_{difficulty}_{recall}"]
                    assert got == pytest.approx(value, abs=0.01), (kind, metric, recall, difficulty)


def test_the_written_files_give_the_same_result(made_up, tmp_path):
    name, inputs, outputs = made_up
    out = tmp_path / "out"
    (out / "kitti").mkdir(parents=True)
    (out / "kitti" / "old.txt").write_text("of an earlier evaluation")
    results = _evaluate(KittiEvaluator(name, str(out)), inputs, outputs)
    arguments = ["--gt", str(tmp_path / "kitti" / "label_2"), "--pred", str(out / "kitti"), "--iou", "car=0.5"]
    assert eval_kitti([*arguments, "--json", str(tmp_path / "ap.json")]) == 0
    by_tool = json.loads((tmp_path / "ap.json").read_text())
    ours = json.loads((out / "kitti_ap.json").read_text())
    assert 0 < ours["car"]["3d@0.5"]["R40"][2] < 100
    for kind in by_tool:
        for metric, curves in by_tool[kind].items():
            assert ours[kind][metric] == curves, (kind, metric)
    assert results["kitti_3d"]["car_3d@0.5_hard_R40"] == ours["car"]["3d@0.5"]["R40"][2]


def test_stands_beside_the_ap_of_boxes(made_up, tmp_path):
    name, inputs, outputs = made_up
    build = EVALUATOR_REGISTRY.get("kitti")
    results = _evaluate(build(get_cfg(), name, str(tmp_path / "out")), inputs, outputs)
    assert set(results) == {"bbox", "kitti_3d", "kitti_bev", "kitti_bbox", "kitti_aos"}
    for output in outputs:
        output["instances"].remove("pred_boxes3d")
    results = _evaluate(build(get_cfg(), name, str(tmp_path / "out2")), inputs, outputs)
    assert set(results) == {"bbox"}


def test_several_processes_give_what_one_gives(made_up, tmp_path, monkeypatch):
    name, inputs, outputs = made_up
    single = _evaluate(KittiEvaluator(name, str(tmp_path / "one")), inputs, outputs)
    other = KittiEvaluator(name, str(tmp_path / "other"))
    other.process(inputs[1::2], outputs[1::2])
    main = KittiEvaluator(name, str(tmp_path / "main"))
    main.process(inputs[::2], outputs[::2])
    with monkeypatch.context() as patch:
        patch.setattr(comm, "gather", lambda part, dst: [part, (other._texts, other._has_3d)])
        np.testing.assert_equal(main.evaluate(), single)
        patch.setattr(comm, "is_main_process", lambda: False)
        assert other.evaluate() == {}
    written = sorted(path.name for path in (tmp_path / "main" / "kitti").iterdir())
    assert written == [f"{i:06d}.txt" for i in range(6)]


def test_own_classes_crowds_and_rows_without_3d_box(tmp_path):
    """A class with a blank, a crowd that excuses, a 2D-only row, and an id that is no file name."""

    def row(x: float, **changes) -> dict:
        base = {
            "bbox": [600 + 40 * x, 100, 650 + 40 * x, 200], "bbox_mode": 0, "category_id": 0, "type": "lift",
            "truncated": 0.0, "occluded": 0, "alpha": 0.0, "dimensions_hwl": [2.0, 2.0, 4.0],
            "location": [x, 1.5, 20.0], "rotation_y": 0.0, "has_3d": True,
        }  # fmt: skip
        return {**base, **changes}

    flat = {"has_3d": False, "dimensions_hwl": [0.0] * 3, "location": [0.0] * 3}
    rows = [row(5.0 * i) for i in range(3)] + [row(-5, iscrowd=1), row(-10, **flat)]
    record = {"file_name": "a.png", "image_id": "cam 1/a", "width": 1242, "height": 375, "annotations": rows}
    name = f"forklifts_{tmp_path.name}"
    register_lazily(name, lambda: [record], thing_classes=["Fork lift"], evaluator_type="kitti", ry_frame="camera")
    found = Instances((375, 1242))
    found.pred_boxes = Boxes(torch.tensor([r["bbox"] for r in rows]))
    found.pred_classes, found.scores = torch.zeros(5, dtype=torch.long), torch.linspace(0.5, 0.9, 5)
    found.pred_boxes3d = Boxes3D.from_kitti(torch.tensor([[5.0 * i, 1.5, 20, 2, 2, 4, 0] for i in (0, 1, 2, -1, -2)]))
    evaluator = KittiEvaluator(name, str(tmp_path))
    results = _evaluate(evaluator, [record], [{"instances": found}])
    text = (tmp_path / "kitti" / "cam_1_a.txt").read_text().splitlines()
    assert text[0] == "Fork_lift -1 -1 0.00 600.00 100.00 650.00 200.00 2.00 2.00 4.00 0.00 1.50 20.00 0.00 0.500000"
    perfect_2d, perfect_3d = 100 * 3 / 40, 100 * 2 / 40  # of 4 and of 3 objects, as points 1 to 40 count
    assert results["kitti_bbox"]["fork_lift_bbox_easy_R40"] == pytest.approx(perfect_2d)
    # Best of all is the detection of the object that has no 3D box: a false positive there.
    assert results["kitti_3d"]["fork_lift_3d_easy_R40"] == pytest.approx(perfect_3d * 3 / 4)
    assert not any(math.isnan(v) for v in results["kitti_bev"].values())


def test_predictions_that_are_not_finite_are_named(made_up, tmp_path):
    name, inputs, outputs = made_up
    outputs[2]["instances"].pred_boxes3d.location[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"000002\.txt line 2: (alpha|z) is nan"):
        _evaluate(KittiEvaluator(name, str(tmp_path / "out")), inputs, outputs)
