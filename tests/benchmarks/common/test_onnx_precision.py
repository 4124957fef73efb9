"""Exported files in lower precision: trained layers alone are changed, and what they compute stays about the same."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.common.onnx_precision import PRECISIONS, convert, trained_layers
from d2road.export.engines import OnnxRuntimeSession


class Graph(nn.Module):
    """Two trained layers, a product of two inputs, and one by a large constant, which stands for a memory bank."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.register_buffer("bank", torch.randn(5, 2000))

    def forward(self, images, weights):
        x = self.linear(self.conv(weights @ images).relu().mean((2, 3)))
        return x, x @ self.bank


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    example = (torch.randn(1, 3, 8, 8), torch.randn(8, 8))
    path = tmp_path / "graph.onnx"
    names = {"input_names": ["images", "weights"], "output_names": ["x", "distances"]}
    torch.onnx.export(Graph().eval(), example, str(path), dynamo=False, **names)
    model = onnx.load(path)
    model.metadata_props.add(key="d2road.task", value="of the test")
    onnx.save(model, path)
    return path


def draw(seed):
    rng = np.random.default_rng(seed)
    return {"images": rng.normal(size=(1, 3, 8, 8)).astype("f4"), "weights": rng.normal(size=(8, 8)).astype("f4")}


def test_layers_are_those_with_trained_weights(file):
    model = onnx.load(file)
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert sorted(kinds[name] for name in trained_layers(model, largest=1000)) == ["Conv", "Gemm"]
    assert sorted(kinds[name] for name in trained_layers(model)) == ["Conv", "Gemm", "MatMul"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_converted_file_computes_about_the_same(file, precision):
    target, layers = convert(file, precision, [draw(seed) for seed in range(8)], largest=1000)
    assert (target == file) == (precision == "fp32") and layers == (0 if precision == "fp32" else 2)
    whole, other = OnnxRuntimeSession(file, threads=1), OnnxRuntimeSession(target, threads=1)
    assert other.entries["d2road.task"] == "of the test"
    expected, found = whole.run(draw(1)), other.run(draw(1))
    spread = np.abs(expected["x"]).max()
    off = np.abs(expected["x"] - found["x"]).max() / spread
    assert off == 0 if precision == "fp32" else 0 < off < (2e-3 if precision == "fp16" else 0.1)
    assert file.stat().st_size >= target.stat().st_size - 4000
    assert onnx.load(file).ByteSize() == file.stat().st_size, "the source stays as it is"
