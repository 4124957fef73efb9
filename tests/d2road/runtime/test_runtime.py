"""The runtime: what the predictor says, without torch, and quickly."""

import json

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest

from d2road.engine import Predictor
from d2road.export.graph import ExportOptions
from d2road.export.test_images import generated_images
from d2road.runtime import Runtime
from d2road.runtime.runtime import task_of
from d2road.utils.errors import ConfigError, DataError
from tests.factories.anomaly_models import calibrated, image_of, small_cfg
from tests.factories.blocked_imports import run_without
from tests.factories.exported_files import needs_openvino, onnx_file

pytest.importorskip("onnxruntime")
BLOCKED = ("torch", "torchvision", "detectron2", "cv2", "scipy", "onnx", "timm")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder with model.onnx and two images, and the predictor of the same model."""
    import torch

    folder = tmp_path_factory.mktemp("exported")
    model = calibrated()
    onnx_file(model.export_graph(None, generated_images(), ExportOptions()), folder)
    torch.save({"model": model.state_dict()}, folder / "weights.pth")
    rng = np.random.default_rng(1)
    for number, side in enumerate((150, 170)):
        image = image_of(rng, side)
        image[40:70, 30:90] = (0, 0, 250)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder, Predictor(small_cfg(), folder / "weights.pth")


def test_it_says_what_the_predictor_says(exported):
    folder, predict = exported
    files = [folder / "0.png", folder / "1.png"]
    images = [cv2.imread(str(file)) for file in files]
    runtime = Runtime(folder / "model.onnx", batch_size=3)
    expected = predict(files)
    for found in (runtime(files), runtime(images), runtime([images[0], images[1], images[0]])[:2]):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one["anomaly_map"], other["anomaly_map"].numpy(), atol=1e-4, rtol=1e-4)
            assert one["anomaly_score"] == pytest.approx(float(other["anomaly_score"]), rel=1e-4)
            assert one["anomaly_threshold"] == float(other["anomaly_threshold"])
            assert one["is_anomalous"] is (float(other["anomaly_score"]) > float(other["anomaly_threshold"]))
    assert runtime(str(files[0]))["anomaly_map"].shape == (150, 150)
    known = predict.model.good_scores()
    assert runtime.task.good_scores == pytest.approx(known, rel=1e-5) and len(known) > 1


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
def test_images_of_pillow_are_what_their_files_are(exported, mode, tmp_path):
    folder, predict = exported
    with PIL.Image.open(folder / "0.png") as file:
        grey = np.asarray(file.convert("L")).astype(np.uint16) * 257
        image = PIL.Image.fromarray(grey) if mode == "I;16" else file.convert(mode)
    turned = PIL.Image.Exif()
    turned[PIL.ExifTags.Base.Orientation] = 6
    image.crop((0, 0, 150, 90)).save(tmp_path / "turned.png", exif=turned)
    runtime = Runtime(folder / "model.onnx")
    of_file = runtime(tmp_path / "turned.png")
    with PIL.Image.open(tmp_path / "turned.png") as image:
        assert image.mode == mode
        found, expected = runtime(image), predict(image)
        assert runtime([image])[0]["anomaly_score"] == found["anomaly_score"]
    assert found["anomaly_map"].shape == (150, 90)  # upright
    assert found["anomaly_score"] == of_file["anomaly_score"]
    np.testing.assert_allclose(found["anomaly_map"], expected["anomaly_map"].numpy(), atol=1e-4, rtol=1e-4)


@needs_openvino
def test_openvino_alone_runs_an_onnx_file(exported, monkeypatch):
    folder, predict = exported
    monkeypatch.setattr("d2road.export.engines.is_installed", lambda engine: engine.engine == "openvino")
    runtime = Runtime(folder / "model.onnx")
    assert runtime.session.engine == "openvino"
    score = float(predict(folder / "0.png")["anomaly_score"])
    assert runtime(folder / "0.png")["anomaly_score"] == pytest.approx(score, rel=1e-4)


def test_it_needs_neither_torch_nor_detectron2_nor_a_second(exported, repo_dir):
    folder, predict = exported
    code = f"""
import json, time
start = time.process_time()
from d2road.runtime import Runtime
runtime = Runtime("{folder}/model.onnx", threads=1)
taken = time.process_time() - start
found = runtime("{folder}/0.png")
print(json.dumps([taken, found["anomaly_score"], found["is_anomalous"]]))
"""
    taken, score, _ = json.loads(run_without(BLOCKED, code, repo_dir))
    assert score == pytest.approx(float(predict(folder / "0.png")["anomaly_score"]), rel=1e-4)
    assert taken < 1  # seconds of the processor


@pytest.mark.parametrize(
    ("options", "named"), [(ExportOptions(steps=2), "--steps"), (ExportOptions(nms=False), "--no-nms")]
)
def test_options_of_a_sampler_are_not_dropped_silently(options, named):
    with pytest.raises(ConfigError, match=f"{named} is for DiffusionDet, this is an anomaly detector"):
        calibrated().export_graph(None, generated_images(), options)


def test_what_it_cannot_take_is_refused(exported, tmp_path):
    folder, _ = exported
    runtime = Runtime(folder / "model.onnx")
    image = np.zeros((60, 60, 3), np.uint8)
    with pytest.raises(ValueError, match="uint8 with values"):
        runtime(image.astype(float))
    with pytest.raises(FileNotFoundError):
        runtime(tmp_path / "gone.png")
    with pytest.raises(DataError, match="takes images alone, not camera"):
        runtime(image, camera=1)
    with pytest.raises(DataError, match="has no runtime"):
        task_of("poetry", {}, "a.onnx")
    with pytest.raises(ValueError, match="batch_size"):
        Runtime(folder / "model.onnx", batch_size=0)
    model = calibrated("INPUT.IMAGE_SIZE", (0, 0))
    onnx_file(model.export_graph(None, generated_images(), ExportOptions(image_size=(140, 130))), tmp_path)
    fixed = Runtime(tmp_path / "model.onnx")
    assert fixed(np.zeros((140, 130, 3), np.uint8))["anomaly_map"].shape == (140, 130)
    with pytest.raises(DataError, match="takes 140 x 130 alone"):
        fixed(image)
