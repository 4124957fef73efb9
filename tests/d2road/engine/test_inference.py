"""INFERENCE.PRECISION and INFERENCE.BACKEND of an anomaly detector, and what is refused of any model."""

import shutil
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from d2road.config.validate import find_problems
from d2road.engine import Predictor
from d2road.engine.backend_model import BACKENDS, BackendModel
from d2road.engine.inference import chosen_backend, native_precisions
from d2road.export.engines import OpenVinoSession, is_installed
from d2road.runtime import Runtime
from d2road.utils.errors import CheckpointError, ConfigError
from tests.factories.anomaly_models import calibrated, image_of, small_cfg
from tests.factories.exported_files import needs_openvino, onnx_file
from tests.factories.tiny_system import make_data, tiny_cfg

pytest.importorskip("onnxruntime")
KEY, BACKEND = "INFERENCE.PRECISION", "INFERENCE.BACKEND"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that are calibrated in fp32, and beside them an image of another size than the network's."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save({"model": calibrated().state_dict()}, folder / "weights.pth")
    image = image_of(np.random.default_rng(1), 150)
    image[40:70, 30:90] = (0, 0, 250)
    cv2.imwrite(str(folder / "image.png"), image)
    return folder / "weights.pth"


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_library_says_what_the_model_says(weights, backend):
    if not is_installed(BACKENDS[backend]):
        pytest.skip(f"{backend} is not installed")
    file = weights.with_name("image.png")
    expected, predict = Predictor(small_cfg(), weights)(file), Predictor(small_cfg(BACKEND, backend), weights)
    assert isinstance(predict.model, BackendModel) and predict.model.precision == "fp32"
    for image in (file, cv2.imread(str(file))):
        found = predict(image)
        torch.testing.assert_close(found["anomaly_map"], expected["anomaly_map"], atol=1e-4, rtol=1e-4)
        assert float(found["anomaly_score"]) == pytest.approx(float(expected["anomaly_score"]), rel=1e-4)
        assert float(found["anomaly_threshold"]) == pytest.approx(float(expected["anomaly_threshold"]), rel=1e-6)
    assert predict.model.anomaly_threshold() == pytest.approx(float(expected["anomaly_threshold"]), rel=1e-6)
    resized = torch.zeros(3, 64, 64)
    again = predict.model([{"image": resized, "height": 150, "width": 150, "file_name": str(file)}])[0]
    assert torch.equal(again["anomaly_map"], predict(file)["anomaly_map"])  # the file is read where it was resized
    with pytest.raises(ConfigError, match="own size, or their file names"):
        predict.model([{"image": resized, "height": 150, "width": 150}])


@needs_openvino
@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_openvino_rounds_if_it_is_told_to(weights, precision):
    file = weights.with_name("image.png")
    predict = Predictor(small_cfg(BACKEND, "openvino", KEY, precision), weights)
    assert predict.model.precision == ("bf16" if precision == "bf16" else OpenVinoSession.native()[-1])
    exact = Predictor(small_cfg(), weights)(file)["anomaly_map"]
    found = predict(file)["anomaly_map"]
    torch.testing.assert_close(found, exact, atol=0.05 * float(exact.max() - exact.min()), rtol=0)
    assert torch.equal(found, exact) is False


@pytest.fixture(scope="module")
def weights_int8(weights, tmp_path_factory):
    """Weights that are calibrated in 8 bits, and the same image."""
    folder = tmp_path_factory.mktemp("int8")
    torch.save({"model": calibrated(KEY, "int8").state_dict()}, folder / "weights.pth")
    shutil.copy(weights.with_name("image.png"), folder / "image.png")
    return folder / "weights.pth"


@pytest.mark.parametrize("backend", BACKENDS)
def test_8_bits_by_another_library_are_those_of_the_model(weights_int8, weights, backend):
    if not is_installed(BACKENDS[backend]):
        pytest.skip(f"{backend} is not installed")
    file = weights_int8.with_name("image.png")
    expected = Predictor(small_cfg(KEY, "int8"), weights_int8)(file)
    predict = Predictor(small_cfg(BACKEND, backend, KEY, "int8"), weights_int8)
    assert isinstance(predict.model, BackendModel) and predict.model.precision == "int8"
    found, exact = predict(file)["anomaly_map"], Predictor(small_cfg(), weights)(file)["anomaly_map"]
    spread = float(expected["anomaly_map"].max() - expected["anomaly_map"].min())
    torch.testing.assert_close(found, expected["anomaly_map"], atol=0.05 * spread, rtol=0.02)
    off = [float((one - expected["anomaly_map"]).abs().mean()) for one in (found, exact)]
    assert off[0] < off[1]  # nearer to the 8 bits of the model than float32 is
    with pytest.raises(CheckpointError, match=r"calibrated for .*, the config says .*int8"):
        Predictor(small_cfg(BACKEND, backend, KEY, "int8"), weights)


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("is_there", [True, False])
def test_backend_auto_is_openvino_for_8_bits_where_that_is_faster(
    weights_int8, weights, monkeypatch, is_native, is_there, caplog
):
    if is_there and not is_installed(OpenVinoSession):
        pytest.skip("openvino is not installed")
    monkeypatch.setattr("d2road.engine.inference.multiplies_bytes", lambda: is_native)
    monkeypatch.setattr("d2road.engine.inference.is_installed", lambda _: is_there)
    with caplog.at_level("INFO", logger="d2road.engine.inference"):
        predict = Predictor(small_cfg(BACKEND, "auto", KEY, "int8"), weights_int8)
    assert isinstance(predict.model, BackendModel) is (is_native and is_there)
    assert ("pip install openvino" in caplog.text) is (is_native and not is_there)
    assert not isinstance(Predictor(small_cfg(BACKEND, "auto"), weights).model, BackendModel)
    cfg = small_cfg(BACKEND, "auto", KEY, "int8")
    cfg.MODEL.DEVICE = "cuda"
    assert chosen_backend(cfg) == "torch"


@needs_openvino
def test_backend_auto_falls_back_to_torch_where_a_model_has_no_graph(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("d2road.engine.inference.multiplies_bytes", lambda: True)
    opts = (BACKEND, "auto", KEY, "int8", "MODEL.EFFICIENT_AD.TILING.ENABLED", True,
            "MODEL.EFFICIENT_AD.TILING.TILE", (128, 128))  # fmt: skip
    torch.save({"model": calibrated(*opts).state_dict()}, tmp_path / "weights.pth")
    with caplog.at_level("INFO", logger="d2road.engine.inference"):
        predict = Predictor(small_cfg(*opts), tmp_path / "weights.pth")
    assert not isinstance(predict.model, BackendModel)
    assert "INFERENCE.BACKEND auto: torch, since" in caplog.text


@pytest.mark.parametrize("is_native", [True, False])
def test_auto_takes_bf16_by_the_calibration_of_fp32_where_the_processor_has_it(weights, monkeypatch, is_native):
    monkeypatch.setattr("d2road.engine.inference.multiplies_bfloat16", lambda: is_native)
    predict = Predictor(small_cfg(KEY, "auto"), weights)
    assert predict.model.inference.prepared.stem.weight.dtype == (torch.bfloat16 if is_native else torch.float32)
    file = weights.with_name("image.png")
    exact, found = Predictor(small_cfg(), weights)(file), predict(file)
    assert float(found["anomaly_score"]) == pytest.approx(float(exact["anomaly_score"]), rel=0.05)
    assert float(found["anomaly_threshold"]) == float(exact["anomaly_threshold"])


def test_a_named_precision_needs_its_own_calibration(weights):
    with pytest.raises(CheckpointError, match=r"calibrated for .*, the config says .*bf16"):
        Predictor(small_cfg(KEY, "bf16"), weights)


def test_a_model_that_offers_nothing_is_refused_with_what_it_can(tmp_path):
    data = make_data(tmp_path / "data")
    tiny = partial(tiny_cfg, data, tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"INFERENCE\.PRECISION is int8: TinyDetector runs in fp32; choose that, or auto"
    ):
        Predictor(tiny(KEY, "int8"), "random")
    with pytest.raises(ConfigError, match=r"INFERENCE\.BACKEND is onnxruntime: TinyDetector offers no graph"):
        Predictor(tiny(BACKEND, "onnxruntime"), "random")
    assert Predictor(tiny(KEY, "auto"), "random").model is not None


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ((KEY, "fp8"), "choose one of auto, fp32, bf16, int8"),
        ((BACKEND, "tensorrt"), "choose one of torch, onnxruntime, openvino, auto"),
    ],
)
def test_wrong_keys_are_told_with_the_choices(pairs, message):
    assert message in "\n".join(find_problems(small_cfg(*pairs)))


def test_a_library_of_the_processor_needs_the_processor():
    cfg = small_cfg(BACKEND, "openvino")
    cfg.MODEL.DEVICE = "cuda"
    assert "which runs on the CPU" in "\n".join(find_problems(cfg))


def test_devices_without_bfloat16_are_known():
    assert native_precisions(torch.device("mps")) == ("fp32",)
    assert native_precisions(torch.device("cpu"))[0] == "fp32"


def test_onnxruntime_has_no_bfloat16(weights):
    with pytest.raises(ConfigError, match=r"INFERENCE\.BACKEND onnxruntime runs in fp32"):
        Predictor(small_cfg(BACKEND, "onnxruntime", KEY, "bf16"), weights)


@needs_openvino
def test_the_runtime_takes_library_and_precision(weights, tmp_path):
    from d2road.export.graph import ExportOptions
    from d2road.export.test_images import generated_images

    path, file = (
        onnx_file(calibrated().export_graph(None, generated_images(), ExportOptions()), tmp_path),
        str(weights.with_name("image.png")),
    )
    exact = Runtime(path)(file)["anomaly_map"]
    other = Runtime(path, backend="openvino")
    np.testing.assert_allclose(other(file)["anomaly_map"], exact, atol=1e-4, rtol=1e-4)
    rounded = Runtime(path, backend="openvino", precision="bf16")
    assert (other.precision, rounded.precision) == ("fp32", "bf16")
    assert not np.array_equal(rounded(file)["anomaly_map"], exact)
    with pytest.raises(ConfigError, match="onnxruntime runs in fp32"):
        Runtime(path, precision="bf16")
    with pytest.raises(ConfigError, match="not by torch"):
        Runtime(path, backend="torch")
