"""Programs of torch.export: what it cannot follow is said with the cure, and no axis is closed silently."""

from dataclasses import replace

import numpy as np
import pytest
import timm.layers.padding as padding
import torch

from d2road.export.engines import TorchSession
from d2road.export.torch_file import write_torch
from d2road.runtime import Runtime
from d2road.utils.errors import ConfigError, DataError
from tests.factories.exported_graphs import Grey, grey_graph


class Branching(Grey):
    """A branch on a value."""

    def forward(self, images):
        grey, largest, is_bright = super().forward(images)
        return (grey, largest, is_bright) if bool(is_bright.all()) else (grey, largest, ~is_bright)


class Closed(Grey):
    """A side of the example in the graph."""

    def forward(self, images):
        grey, largest, is_bright = super().forward(images)
        return grey + 0 * torch.ones(int(images.shape[1]), 1), largest, is_bright


@pytest.mark.parametrize(
    ("module", "size", "said"),
    [
        (Branching, None, r"cannot follow Grey .*with --image-size H W, or to OUT\.onnx"),
        (Branching, [12, 17], r"cannot follow Grey .*: export it to OUT\.onnx"),
        (Closed, None, r"takes axis 1 of images, which is to stay open, for a constant"),
    ],
)
def test_what_torch_export_cannot_follow_is_refused_and_nothing_written(module, size, said, tmp_path):
    graph = grey_graph()
    graph = replace(graph, module=module(), metadata={**graph.metadata, "image_size": size})
    before = padding.get_same_padding
    with pytest.raises(ConfigError, match=said):
        write_torch(graph, tmp_path / "model.pt2", "")
    assert not list(tmp_path.iterdir()) and padding.get_same_padding is before


def test_a_program_takes_its_inputs_by_name_and_type(tmp_path):
    write_torch(grey_graph(), tmp_path / "model.pt2", "")
    session = TorchSession(tmp_path / "model.pt2")
    images = np.zeros((2, 6, 7, 3), np.uint8)
    assert session.run({"images": images})["grey"].shape == (2, 6, 7)
    for inputs, said in (
        ({"image": images}, r"model\.pt2: inputs are \['image'\], expected \['images'\]"),
        ({"images": images[..., :2]}, r"images is \(2, 6, 7, 2\) torch.uint8, expected \(any, any, any, 3\)"),
        ({"images": images[0]}, r"images is \(6, 7, 3\)"),
        ({"images": images.astype(np.float32)}, r"torch.float32, expected .* torch.uint8"),
    ):
        with pytest.raises(DataError, match=said):
            session.run(inputs)


def test_a_missing_torch_or_torchvision_is_named(tmp_path, monkeypatch):
    (tmp_path / "model.pt2").write_bytes(b"a program")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"model\.pt2: nothing here runs it: pip install torch"):
        Runtime(tmp_path / "model.pt2")

    def unknown(*_, **__):
        raise RuntimeError("torch.ops.torchvision.nms.default is unknown")

    monkeypatch.setattr("torch.export.load", unknown)
    monkeypatch.delitem(__import__("sys").modules, "torchvision")
    with pytest.raises(ConfigError, match="needs torchvision beside torch: pip install it"):
        TorchSession(tmp_path / "model.pt2")
