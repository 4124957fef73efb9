"""OpenVINO files: MODEL.xml with MODEL.bin, converted from ONNX, the metadata in rt_info."""

import logging
import os
import tempfile
from pathlib import Path

from d2road.export.file_metadata import PREFIX, entries_of
from d2road.export.graph import ExportGraph
from d2road.export.onnx_file import onnx_bytes
from d2road.export.openvino_core import openvino_core
from d2road.utils.optional_packages import require_package
from d2road.utils.output_files import atomic_write, check_output

logger = logging.getLogger(__name__)


def write_openvino(graph: ExportGraph, path: str | os.PathLike, cfg_text: str) -> None:
    """Write a graph with its metadata to a .xml file and the .bin beside it, weights in float32.

    Args:
        cfg_text: the config, of which the file keeps the SHA-256.
    Raises:
        ConfigError: onnx or openvino is not installed.
        FileNotFoundError, OutputError: see `atomic_write`.
    """
    openvino = require_package("openvino", "openvino", "an export to OpenVINO")
    path = Path(path)
    check_output(path)
    with tempfile.TemporaryDirectory(prefix=".d2road", dir=path.parent) as folder:
        source = Path(folder) / "model.onnx"
        source.write_bytes(onnx_bytes(graph, cfg_text))
        # As openvino.convert_model reads ONNX; that one also reports its use over the network.
        model = openvino_core().read_model(str(source))
        for key, value in entries_of(graph, cfg_text).items():
            model.set_rt_info(value, ["d2road", key.removeprefix(PREFIX)])
        made = Path(folder) / path.name
        openvino.save_model(model, str(made), compress_to_fp16=False)  # its default would halve the weights' digits
        for part in (made.with_suffix(".bin"), made):  # the .xml last: it makes no sense alone
            with atomic_write(path.parent / part.name) as file:
                file.write(part.read_bytes())
    logger.info("Wrote %s and %s", path, path.with_suffix(".bin").name)
