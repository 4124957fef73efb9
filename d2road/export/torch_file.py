"""PyTorch files: MODEL.pt2 of torch.export, the metadata as extra files."""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from d2road.export.file_metadata import entries_of
from d2road.export.graph import ExportGraph
from d2road.utils.errors import ConfigError, D2RoadError
from d2road.utils.output_files import atomic_write, check_output

logger = logging.getLogger(__name__)


def write_torch(graph: ExportGraph, path: str | os.PathLike, cfg_text: str) -> None:
    """Write a graph with its metadata to a .pt2 file, whole or not at all.

    Args:
        cfg_text: the config, of which the file keeps the SHA-256.
    Raises:
        ConfigError: torch.export cannot follow the model.
        FileNotFoundError, OutputError: see `atomic_write`.
    """
    import torch

    check_output(path)
    buffer = io.BytesIO()
    torch.export.save(exported_program(graph), buffer, extra_files=entries_of(graph, cfg_text))
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    logger.info("Wrote %s (%.1f MB)", path, len(buffer.getvalue()) / 1e6)


def exported_program(graph: ExportGraph) -> Any:
    """The graph as a program of torch.export, its dynamic axes open.

    Raises:
        ConfigError: torch.export cannot follow the model.
    """
    import torch

    example = tuple(map(torch.from_numpy, graph.example()))
    auto = torch.export.Dim.AUTO
    shapes = tuple(dict.fromkeys(graph.dynamic.get(name, {}), auto) for name in graph.input_names)
    try:
        with torch.no_grad(), _whole_padding():
            program = torch.export.export(graph.module.eval(), example, dynamic_shapes=shapes, strict=False)
    except D2RoadError:
        raise
    except Exception as error:  # of a dozen classes: guards on values, operations without a graph, failed shapes
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        cure = "" if graph.metadata.get("image_size") else "with --image-size H W, or "
        raise ConfigError(
            f"torch.export cannot follow {graph.metadata.get('meta_architecture')} ({said}): export it {cure}to "
            "OUT.onnx or OUT.xml"
        ) from error
    _require_open(graph, program)
    return program


def _require_open(graph: ExportGraph, program: Any) -> None:
    """Refuse a program for which torch.export has taken a dynamic axis for a constant, which Dim.AUTO lets it do."""
    examples = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    for name, given in zip(graph.input_names, program.graph_signature.user_inputs, strict=True):
        for axis in graph.dynamic.get(name, {}):
            side = examples[given].shape[axis]
            if isinstance(side, int) or not side.node.expr.free_symbols:
                raise ConfigError(
                    f"torch.export takes axis {axis} of {name}, which is to stay open, for a constant: export this "
                    f"{graph.metadata.get('meta_architecture')} to OUT.onnx or OUT.xml"
                )


@contextmanager
def _whole_padding() -> Iterator[None]:
    """Let timm pad by whole numbers: the floats of its own formula leave open what an open size divided by 2 is."""
    import timm.layers.padding as padding

    before = padding.get_same_padding
    try:
        padding.get_same_padding = _same_padding
        yield
    finally:
        padding.get_same_padding = before


def _same_padding(x: Any, kernel_size: int, stride: int, dilation: int) -> Any:
    """`timm.layers.padding.get_same_padding` of a size."""
    return max((-(-x // stride) - 1) * stride + (kernel_size - 1) * dilation + 1 - x, 0)
