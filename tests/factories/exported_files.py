"""Graphs written as ONNX and run in the engines that are installed."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from d2road.export.engines import OnnxRuntimeSession, OpenVinoSession
from d2road.export.graph import ExportGraph
from d2road.export.onnx_file import write_onnx

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
ENGINES = [OnnxRuntimeSession, pytest.param(OpenVinoSession, marks=needs_openvino)]


def onnx_file(graph: ExportGraph, folder: Path) -> Path:
    """The graph as a file."""
    path = folder / "model.onnx"
    write_onnx(graph, path, "the config")
    return path


def assert_equal(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], graph: ExportGraph) -> None:
    """Within the graph's own tolerances, by numpy."""
    for name, (absolute, relative) in graph.tolerances.items():
        np.testing.assert_allclose(found[name], expected[name], atol=absolute, rtol=relative, err_msg=name)
