"""PyTorch files: MODEL.pt2 of torch.export, the metadata as extra files."""

import io
import logging
import os

from d2road.export.file_metadata import entries_of
from d2road.export.graph import ExportGraph
from d2road.utils.output_files import atomic_write, check_output

logger = logging.getLogger(__name__)


def write_torch(graph: ExportGraph, path: str | os.PathLike, cfg_text: str) -> None:
    """Write a graph with its metadata to a .pt2 file, whole or not at all.

    Args:
        cfg_text: the config, of which the file keeps the SHA-256.
    Raises:
        FileNotFoundError, OutputError: see `atomic_write`.
    """
    import torch

    check_output(path)
    example = tuple(map(torch.from_numpy, graph.example()))
    auto = torch.export.Dim.AUTO
    shapes = tuple(dict.fromkeys(graph.dynamic.get(name, {}), auto) for name in graph.input_names)
    with torch.no_grad():
        program = torch.export.export(graph.module.eval(), example, dynamic_shapes=shapes, strict=False)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=entries_of(graph, cfg_text))
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    logger.info("Wrote %s (%.1f MB)", path, len(buffer.getvalue()) / 1e6)
