"""The programs of examples/ run as they are, on files that a user would have, and are short enough to be read."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from d2road.engine import Predictor
from d2road.export.graph import ExportOptions
from d2road.export.test_images import generated_images
from d2road.synthetic.fastener_kit.kit_image import good_image
from d2road.synthetic.roadside import make_toy_roadside
from d2road.synthetic.roadside.compose import render_frame
from tests.factories.anomaly_models import calibrated, image_of, small_cfg
from tests.factories.blocked_imports import run_without
from tests.factories.exported_files import onnx_file
from tests.factories.kitti_folder import kitti_folder  # noqa: F401  a fixture
from tests.factories.small_detectors import small_detector, small_detector_cfg
from tests.factories.traffic_data import with_stopped
from tests.factories.traffic_windows import traffic

CAMERA_FILES = (("image_2", "jpg"), ("calib", "txt"), ("denorm", "txt"))
EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))


def load(name: str):
    (path,) = [path for path in EXAMPLES if path.stem == name]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_say_how_they_are_run_and_have_a_test(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert f"python examples/{path.name} " in text.split('"""')[1]
    assert f'load("{path.stem}")' in Path(__file__).read_text()


def test_detect_objects_finds_and_draws_vehicles_of_a_rendered_view(tmp_path):
    cv2.imwrite(str(tmp_path / "view.png"), render_frame(np.random.default_rng(5)).image)
    found = load("detect_objects").main(str(tmp_path / "view.png"), str(tmp_path / "drawn.jpg"), confidence=0.3)
    assert "car" in {name for name, _ in found} and all(0.3 <= score <= 1 for _, score in found)
    assert cv2.imread(str(tmp_path / "drawn.jpg")).shape == cv2.imread(str(tmp_path / "view.png")).shape


def test_ask_in_words_counts_what_is_meant(tmp_path):
    """The nearest car is one, where there are cars; there is no bus."""
    make_toy_roadside(tmp_path / "toy", seed=0, train=0, val=1, workers=0)
    view = tmp_path / "toy/validation"
    files = [str(view / folder / f"000000.{end}") for folder, end in CAMERA_FILES]
    counts = load("ask_in_words").main(*files, "the nearest car", "the orange bus that faces away")
    kinds = [line.split()[0] for line in (view / "label_2/000000.txt").read_text().splitlines()]
    assert "car" in kinds and "bus" not in kinds and counts == [1, 0]


def test_learn_good_images_calls_a_black_image_anomalous_and_a_good_one_good(tmp_path):
    (tmp_path / "own/good").mkdir(parents=True)
    for index in range(21):
        image = cv2.resize(good_image(np.random.default_rng(index)).image, (64, 64), interpolation=cv2.INTER_AREA)
        place = tmp_path / "own/good" if index else tmp_path
        cv2.imwrite(str(place / f"{index}.png"), image[:, :, ::-1])
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((64, 64, 3), np.uint8))
    small = ("INPUT.IMAGE_SIZE", "(64, 64)", "DATALOADER.NUM_WORKERS", "0")
    images = [str(tmp_path / name) for name in ("0.png", "black.png")]
    verdicts = load("learn_good_images").main(str(tmp_path / "own"), str(tmp_path / "out"), *images, options=small)
    assert verdicts == [False, True]


def test_run_exported_file_needs_no_torch_and_says_what_the_model_says(tmp_path, repo_dir):
    pytest.importorskip("onnxruntime")
    model = calibrated()
    onnx_file(model.export_graph(None, generated_images(), ExportOptions()), tmp_path)
    image = image_of(np.random.default_rng(1), 150)
    image[40:70, 30:90] = (0, 0, 250)
    cv2.imwrite(str(tmp_path / "red.png"), image)
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    expected = Predictor(small_cfg(), tmp_path / "weights.pth")(image)
    score, threshold = float(expected["anomaly_score"]), float(expected["anomaly_threshold"])
    code = f"import sys, runpy\nsys.argv = ['x', '{tmp_path}/model.onnx', '{tmp_path}/red.png']\n"
    (path,) = [path for path in EXAMPLES if path.stem == "run_exported_file"]
    said = run_without(("torch", "detectron2", "cv2"), f"{code}runpy.run_path('{path}', run_name='__main__')", repo_dir)
    verdict = "anomalous" if score > threshold else "good"
    assert said == f"{tmp_path}/red.png: {score:.2f}, threshold {threshold:.2f}: {verdict}\n"


def test_run_exported_file_prints_what_a_detector_finds_from_a_score_on(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    size = ("INPUT.MIN_SIZE_TEST", 72, "INPUT.MAX_SIZE_TEST", 128, "MODEL.DEVICE", "cpu")
    graph = small_detector(*size).eval().export_graph(small_detector_cfg(*size), generated_images(), ExportOptions())
    model = onnx_file(graph, tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), generated_images()[0])
    main = load("run_exported_file").main
    limit = float(np.median(main(str(model), str(tmp_path / "a.png"))[0]["scores"]))  # weights are random
    capsys.readouterr()
    (found,) = main(str(model), str(tmp_path / "a.png"), confidence=limit)
    shown = [f"{c} {s:.2f}" for c, s in zip(found["classes"], found["scores"]) if s >= limit]
    assert 0 < len(shown) < len(found["scores"])
    assert capsys.readouterr().out == f"{tmp_path / 'a.png'}: {', '.join(shown)}\n"


def test_find_incidents_puts_a_vehicle_that_stops_first(tmp_path):
    good, stop = tmp_path / "good.csv", tmp_path / "stop.csv"
    traffic(0, 600.0).to_csv(good, index=False)
    with_stopped(traffic(1, 60.0))[0].to_csv(stop, index=False)
    found = load("find_incidents").main(f"csv:{good}", f"csv:{stop}", most=2)
    assert found[0][1] == "x" and found[0][0] > 2


def test_judge_kitti_files_sees_that_boxes_are_two_metres_off(kitti_folder, capsys):  # noqa: F811
    predictions = kitti_folder / "predictions"
    predictions.mkdir()
    for path in (kitti_folder / "label_2").glob("*.txt"):
        fields = [line.split() for line in path.read_text().splitlines() if line.strip()]
        for row in fields:
            row[13] = f"{float(row[13]) + 2:.4f}"
        (predictions / path.name).write_text("".join(" ".join([*row, "0.9"]) + "\n" for row in fields))
    cars = load("judge_kitti_files").main(str(kitti_folder / "label_2"), str(predictions))
    assert cars["3d@0.5"] == 0 < cars["bbox"] == cars["aos"]  # half a car's length
    assert "3d@0.5" in capsys.readouterr().out
