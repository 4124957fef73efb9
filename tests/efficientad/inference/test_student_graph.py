"""EfficientAD as one file: maps, scores and verdicts are those of the model, for any size of image and batch."""

import numpy as np
import pytest
import torch

from d2road.export.graph import ExportOptions
from d2road.export.test_images import generated_images
from d2road.utils.errors import ConfigError
from efficientad.inference.image_batches import resize_rgb
from tests.factories.anomaly_models import SIDE, calibrated, entries, narrow_networks
from tests.factories.exported_files import ENGINES, assert_equal, onnx_file

NODE = "MODEL.EFFICIENT_AD."
CONV = ("INPUT.IMAGE_SIZE", (256, 256), NODE + "AUTOENCODER", "conv", NODE + "COMPAT", "anomalib")
CASES = {
    "attention": (),
    "padded": (NODE + "PADDING", True, NODE + "COMPAT", "paper"),
    "puad": (NODE + "PUAD.ENABLED", True),
}


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


def photograph(height, width, seed):
    """A smooth image (H, W, 3) uint8 with a bright blot."""
    rng = np.random.default_rng(seed)
    image = resize_rgb(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8), (height, width)).copy()
    image[height // 3 : height // 2, width // 4 : width // 2] = 250
    return image


def as_the_model_does(model, images, size=None):
    """What the detector says of RGB images by the way that a user's images take."""
    size = size or model.image_size
    found = []
    for rgb in images:
        pixels = torch.from_numpy(resize_rgb(rgb, size).transpose(2, 0, 1).astype(np.float32))
        found += model([{"image": pixels, "height": rgb.shape[0], "width": rgb.shape[1]}])
    scores = np.array([float(one["anomaly_score"]) for one in found], np.float32)
    return {
        "anomaly_map": np.stack([one["anomaly_map"].numpy() for one in found]),
        "anomaly_score": scores,
        "is_anomalous": scores > model.anomaly_threshold(),
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_says_what_the_model_says(engine, case, tmp_path):
    model = calibrated(*CASES[case])
    graph = model.export_graph(None, generated_images(), ExportOptions())
    session = engine(onnx_file(graph, tmp_path))
    for height, width, count in ((300, 200, 3), (90, 140, 1)):
        images = [photograph(height, width, seed) for seed in range(count)]
        found = session.run({"images": np.stack(images)})
        assert_equal(found, as_the_model_does(model, images), graph)
    assert graph.metadata["threshold"] == model.anomaly_threshold() and graph.tolerances["anomaly_map"][0] == 1e-4


def test_the_published_autoencoder_and_order_too(tmp_path):
    model = calibrated(*CONV, batches=[[entry] for entry in entries(3, 256, seed=1)])
    graph = model.export_graph(None, generated_images(), ExportOptions())
    images = [photograph(280, 260, 4)]
    found = ENGINES[0](onnx_file(graph, tmp_path)).run({"images": np.stack(images)})
    assert_equal(found, as_the_model_does(model, images), graph)


def test_a_threshold_between_two_images_divides_them(tmp_path):
    model = calibrated()
    images = [photograph(150, 150, 1), photograph(150, 150, 2)]
    scores = as_the_model_does(model, images)["anomaly_score"]
    model.state.threshold.fill_(float(scores.mean()))
    model.state.forget_decoded()
    graph = model.export_graph(None, generated_images(), ExportOptions())
    found = ENGINES[0](onnx_file(graph, tmp_path)).run({"images": np.stack(images)})
    assert found["is_anomalous"].tolist() == (scores > scores.mean()).tolist() and found["is_anomalous"].sum() == 1


def test_images_at_their_own_size_take_a_size_of_the_graph(tmp_path):
    model = calibrated("INPUT.IMAGE_SIZE", (0, 0))
    with pytest.raises(ConfigError, match="--image-size H W"):
        model.export_graph(None, generated_images(), ExportOptions())
    size = (SIDE + 12, SIDE)
    graph = model.export_graph(None, generated_images(), ExportOptions(image_size=size))
    images = [photograph(*size, seed) for seed in range(2)]
    found = ENGINES[0](onnx_file(graph, tmp_path)).run({"images": np.stack(images)})
    assert_equal(found, as_the_model_does(model, images, size), graph)


def test_what_has_no_graph_is_refused():
    for keys, options, said in (
        ((), ExportOptions(image_size=(9, 9)), "takes images of any size"),
        ((NODE + "TILING.ENABLED", True, NODE + "TILING.TILE", (SIDE, SIDE)), ExportOptions(), "takes images whole"),
        (("INFERENCE.PRECISION", "bf16"), ExportOptions(), "a graph is in fp32"),
    ):
        with pytest.raises(ConfigError, match=said):
            calibrated(*keys).export_graph(None, generated_images(), options)
