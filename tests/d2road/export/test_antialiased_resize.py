"""The resize inside a graph is Pillow's, digit for digit, in every engine and for every size."""

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from d2road.export.antialiased_resize import AntialiasedResize, pillow_orders_axes
from tests.factories.exported_files import ENGINES

SIZE = (96, 112)
# Large and small ones, tall and wide ones, of the size itself, of one side of it; some take the vertical axis first.
SIZES = ((2000, 1500), (100, 100), (700, 300), (181, 150), (60, 300), (96, 112), (96, 50), (31, 112))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            AntialiasedResize(SIZE).eval(),
            (torch.zeros(2, 3, 40, 50, dtype=torch.uint8),),
            buffer,
            dynamo=False,
            opset_version=18,
            input_names=["images"],
            output_names=["resized"],
            dynamic_axes={"images": {0: "batch", 2: "height", 3: "width"}},
        )
    path = tmp_path_factory.mktemp("resize") / "resize.onnx"
    path.write_bytes(buffer.getvalue())
    return path


def images_of(height, width, count=1):
    return np.random.default_rng(height).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def pillow(images, size=SIZE):
    resized = [np.asarray(Image.fromarray(one).resize(size[::-1], Image.Resampling.BILINEAR)) for one in images]
    return np.stack(resized).transpose(0, 3, 1, 2)


def channels_first(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_pixel_is_that_of_pillow(engine, file):
    session = engine(file)
    for height, width in SIZES:
        images = images_of(height, width, count=2 if height < 200 else 1)
        found = session.run({"images": channels_first(images)})["resized"]
        different = found != pillow(images)
        # OpenVINO may compute in another order on another processor.
        assert different.mean() <= (0 if engine.engine == "onnxruntime" else 1e-3), (height, width)
        assert np.abs(found - pillow(images)).max() <= 1


def test_the_module_itself_does_the_same():
    for height, width in SIZES[1:]:
        images = images_of(height, width)
        found = AntialiasedResize(SIZE)(torch.from_numpy(channels_first(images)))
        np.testing.assert_array_equal(found.numpy(), pillow(images))


def test_the_order_of_the_axes_is_that_of_the_pillow_that_is_installed():
    images = images_of(400, 200)
    same = [
        np.array_equal(
            AntialiasedResize((100, 100), orders)(torch.from_numpy(channels_first(images))), pillow(images, (100, 100))
        )
        for orders in (False, True)
    ]
    assert same == [not pillow_orders_axes(), pillow_orders_axes()]
