"""Graphs that are traced with one size run with every size, and their logarithms stay finite."""

import io
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from d2road.export.traceable_operations import traceable_operations

onnxruntime = pytest.importorskip("onnxruntime")


class Views(torch.nn.Module):
    def forward(self, x):
        with traceable_operations():
            parts = x.unflatten(-1, (2, -1)).transpose(1, 2)  # (N, 2, S, 2)
            table = F.logsigmoid(100 * parts.reshape(parts.shape[0], 2, parts.shape[2], 2))
            return table.flatten(1, 2).unflatten(1, (2, -1)).transpose(1, 2).flatten(2), parts.flatten(1)


def test_sizes_stay_open_and_logarithms_finite():
    module, buffer = Views().eval(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.randn(3, 5, 4),), buffer, dynamo=False, opset_version=18, input_names=["x"],
            dynamic_axes={"x": {0: "n", 1: "s"}},
        )  # fmt: skip
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    for shape in ((3, 5, 4), (1, 7, 4), (4, 2, 4)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        for found, expected in zip(session.run(None, {"x": x.numpy()}), module(x), strict=True):
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-6, rtol=1e-6)


def test_outside_of_tracing_nothing_is_replaced():
    before = torch.Tensor.flatten, F.logsigmoid
    with traceable_operations():
        assert (torch.Tensor.flatten, F.logsigmoid) == before
