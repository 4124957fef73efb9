"""ONNX files: one self-contained file with the graph, its weights and its metadata.

The graph is traced (`torch.onnx.export` with dynamo=False): it takes a second where the newer exporter takes half a
minute and specialises sizes that arithmetic like padding to a stride leaves open.
"""

import contextlib
import io
import logging
import os
import warnings

from d2road.export.file_metadata import entries_of
from d2road.export.graph import ExportGraph
from d2road.utils.errors import ConfigError
from d2road.utils.optional_packages import require_package
from d2road.utils.output_files import atomic_write

logger = logging.getLogger(__name__)

OPSET = 18
LARGEST = 2**31 - 1  # bytes of a protocol buffer


def write_onnx(graph: ExportGraph, path: str | os.PathLike, cfg_text: str) -> None:
    """Write a graph with its metadata to a .onnx file, whole or not at all.

    Args:
        cfg_text: the config, of which the file keeps the SHA-256.
    Raises:
        ConfigError: onnx is not installed, or the model is larger than the format holds.
        FileNotFoundError, OutputError: see `atomic_write`.
    """
    content = onnx_bytes(graph, cfg_text)
    with atomic_write(path) as file:
        file.write(content)
    logger.info("Wrote %s (%.1f MB)", path, len(content) / 1e6)


def onnx_bytes(graph: ExportGraph, cfg_text: str) -> bytes:
    """The content of a .onnx file; errors as of `write_onnx`."""
    onnx = require_package("onnx", "export", "an export to ONNX")
    buffer = io.BytesIO()
    _trace(graph, buffer)
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name = "d2road"
    for key, value in entries_of(graph, cfg_text).items():
        model.metadata_props.add(key=key, value=value)
    if model.ByteSize() > LARGEST:
        raise ConfigError(f"the model has {model.ByteSize() / 1e9:.1f} GB, a file of ONNX holds 2: export to OUT.pt2")
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _trace(graph: ExportGraph, buffer: io.BytesIO) -> None:
    import torch

    example = tuple(map(torch.from_numpy, graph.example()))
    axes = {name: dict(found) for name, found in graph.dynamic.items()}
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        # Of tracing: that it is the older exporter, and that constants of this model are constants of the graph. It
        # prints a whole graph where it fails.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            example,
            buffer,  # type: ignore[arg-type]  # the older exporter takes open files
            dynamo=False,
            input_names=list(graph.input_names),
            output_names=list(graph.output_names),
            dynamic_axes=axes,
            opset_version=OPSET,
        )
