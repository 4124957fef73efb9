"""Export of a trained model to a file of another program: load it, ask for its graph, write the file, check it."""

import logging
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from d2road.engine.meta_arch import ExportsGraph
from d2road.engine.predictor import Predictor
from d2road.export.check_file import Deviation, check_file
from d2road.export.graph import ExportGraph, ExportOptions
from d2road.export.onnx_file import write_onnx
from d2road.export.openvino_file import write_openvino
from d2road.export.test_images import generated_images
from d2road.export.torch_file import write_torch
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import read_image

logger = logging.getLogger(__name__)

WRITERS = {"onnx": write_onnx, "openvino": write_openvino, "torch": write_torch}


def graph_of(cfg: CfgNode, test_images: Sequence[str | Path], options: ExportOptions) -> ExportGraph:
    """The graph of the model of a config and its weights, on the CPU.

    Args:
        test_images: two files, or none for generated images.
    Raises:
        ConfigError: the model has no graph. CheckpointError, FileNotFoundError: as `Predictor`.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    predictor = Predictor(cfg, fuse=False)
    model = predictor.model
    if not isinstance(model, ExportsGraph):
        raise ConfigError(f"{cfg.MODEL.META_ARCHITECTURE} cannot be exported: it offers no graph, see docs/export.md")
    if not test_images:
        logger.info("The file's test images are generated ones; --test-images A B takes images of yours")
    images = [read_image(path) for path in test_images] or list(generated_images())
    return model.export_graph(predictor.cfg, images, options)


def export_to_file(
    cfg: CfgNode, out: Path, kind: str, test_images: Sequence[str | Path] = (), options: ExportOptions | None = None
) -> list[Deviation]:
    """Write the model of a config in a format of WRITERS, and run the file's test images through its engines.

    Returns:
        deviations of what the file computes from what the model computed, see `check_file`.
    Raises:
        ConfigError: the model has no graph, or a package is missing.
    """
    graph = graph_of(cfg, test_images, options or ExportOptions())
    WRITERS[kind](graph, out, cfg.dump())
    return check_file(out)
