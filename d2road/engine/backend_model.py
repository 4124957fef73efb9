"""A trained model whose forward pass another library does, called as any meta-architecture is.

The model gives its export graph (see `ExportsGraph`), which holds all that comes before and after its networks; it is
loaded from memory by an engine of `d2road.export.engines`, and checked there by the graph's own test images.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import nn

from d2road.engine.meta_arch import DenoisesBoxes, ExportsGraph
from d2road.export.check_file import check_session, failure_of
from d2road.export.engines import OnnxRuntimeSession, OpenVinoSession, is_installed
from d2road.export.file_metadata import entries_of, parse_entries
from d2road.export.graph import ExportGraph, ExportOptions
from d2road.export.onnx_file import onnx_bytes
from d2road.export.precision import FP32, INT8, choose_precision
from d2road.export.test_images import generated_images
from d2road.runtime.runtime import task_of
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import read_image
from d2road.utils.processor import multiplies_bytes

KEY = "INFERENCE.BACKEND"
BACKENDS: dict[str, Any] = {kind.engine: kind for kind in (OnnxRuntimeSession, OpenVinoSession)}


class BackendModel(nn.Module):
    """A model by its graph; images are taken as they are, for the graph resizes them.

    Args:
        model: that the graph is of, in eval mode, on the CPU.
        graph: of the model.
        backend: name of the engine. precision: one that the engine offers.
        channels: order of the channels of model inputs, RGB or BGR.
    Raises:
        ConfigError: the package of the engine is missing, or the engine computes something else than the model.

    Attributes:
        metadata: of the graph.
    """

    def __init__(self, model: nn.Module, graph: ExportGraph, backend: str, precision: str, channels: str):
        super().__init__()
        kind = BACKENDS[backend]
        if not is_installed(kind):
            raise ConfigError(f"{KEY} is {backend}, which is not installed: pip install {backend}")
        self.channels, self.backend = channels, backend
        quantized = graph.metadata.get("precision") == INT8
        native = (*kind.native(), *([INT8] if multiplies_bytes() else []))
        offered = (INT8,) if quantized else kind.offered
        self.precision = choose_precision(precision, offered, native, f"{KEY} {backend}")
        content = parse_entries(entries_of(graph, ""), "the graph")
        self.metadata = content.metadata
        self.session = kind(onnx_bytes(graph, ""), threads=torch.get_num_threads(), precision=self.precision)
        self.task: Any = task_of(content.task, self.metadata, "the graph")
        self._read = {"anomaly": self._anomaly, "detection": self._detection, "grounding": self._grounding}[
            content.task
        ]
        self.score_threshold: float | None = self.metadata.get("score_threshold")
        # A detector's random boxes start where its own would.
        self._noise = model.graph_noise if isinstance(model, DenoisesBoxes) else None
        if self.precision in (FP32, INT8):
            failure = failure_of(backend, check_session(self.session, content))
            if failure:
                raise ConfigError(f"{failure}: set {KEY} torch")
        self.eval()

    def resize_image(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 as it is."""
        return rgb

    def anomaly_threshold(self) -> float | None:
        """The score above which an image is anomalous; None where none was set."""
        return self.metadata.get("threshold")

    def good_scores(self) -> list[float]:
        """Scores of the good images that the threshold was taken from, rising; [] where they are not known."""
        return list(self.metadata.get("good_scores", ()))

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detectron2's contract, of testing; inputs and results as of the model itself.

        Of an input whose image was resized before, the file is read anew.
        """
        return [self._read(entry, self._pixels(entry)) for entry in batched_inputs]

    def _pixels(self, entry: Mapping[str, Any]) -> np.ndarray:
        """The image (H, W, 3) uint8 in RGB order."""
        image = entry["image"]
        height, width = entry.get("height", image.shape[1]), entry.get("width", image.shape[2])
        if tuple(image.shape[1:]) != (height, width):
            if "file_name" not in entry:
                raise ConfigError(f"{KEY} {self.backend} takes images at their own size, or their file names")
            return np.ascontiguousarray(read_image(entry["file_name"]))
        pixels = image.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return np.ascontiguousarray(pixels if self.channels == "RGB" else pixels[:, :, ::-1])

    def _run(self, pixels: np.ndarray, inputs: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the runtime's task says of one image."""
        outputs = self.session.run(self.task.inputs([pixels], **inputs, **asked))
        return self.task.results(outputs, [pixels], **asked)[0]

    def _anomaly(self, entry: Mapping[str, Any], pixels: np.ndarray) -> dict[str, Any]:
        found = self._run(pixels, {}, {})
        heat, score = torch.from_numpy(found["anomaly_map"]), torch.tensor(found["anomaly_score"])
        result: dict[str, Any] = {
            "anomaly_map": heat,
            "anomaly_score": score,
            "teacher": self.metadata.get("teacher", ""),
        }
        if found["anomaly_threshold"] is not None:
            result["anomaly_threshold"] = torch.tensor(found["anomaly_threshold"])
        result |= {name: self.metadata[name] for name in ("map_start", "map_threshold") if name in self.metadata}
        if float(score) != float(heat.max()):
            result["map_score"] = heat.max()
        if self.metadata.get("guarantee"):
            result["anomaly_guarantee"] = self.metadata["guarantee"]
        return result

    def _detection(self, entry: Mapping[str, Any], pixels: np.ndarray) -> dict[str, Any]:
        if entry.get("with_steps"):
            raise ConfigError(f"{KEY} is {self.backend}: a graph does not tell its steps; set {KEY} torch")
        noise = {} if self._noise is None else {"noise": self._noise(entry)}
        found = self._run(pixels, noise, {})
        instances = Instances(pixels.shape[:2])
        instances.pred_boxes = Boxes(torch.from_numpy(found["boxes"]))
        instances.scores, instances.pred_classes = (torch.from_numpy(found[name]) for name in ("scores", "classes"))
        return {"instances": instances}

    def _grounding(self, entry: Mapping[str, Any], pixels: np.ndarray) -> dict[str, Any]:
        expressions = entry.get("expressions", ())
        if not expressions:
            return {"groundings": []}
        camera = entry["camera"].resized(
            pixels.shape[1] / entry["image"].shape[2], pixels.shape[0] / entry["image"].shape[1]
        )
        asked = {"sentences": [e["text"] for e in expressions], "score_threshold": self.metadata["min_score"]}
        answers = self._run(pixels, {"camera": camera}, asked)["groundings"]
        tensors = ("boxes", "scores", "boxes_xyxy", "classes")
        return {
            "groundings": [
                {
                    **answer,
                    "expression_id": expression.get("id"),
                    **{name: torch.from_numpy(answer[name]) for name in tensors},
                }
                for expression, answer in zip(expressions, answers, strict=True)
            ]
        }


def backend_model(cfg: CfgNode, model: nn.Module, backend: str) -> BackendModel:
    """The model of a config in a library.

    Args:
        model: loaded, calibrated, in eval mode, neither fused nor folded.
        backend: as INFERENCE.BACKEND has it.
    Raises:
        ConfigError: the model has no graph, or the library cannot run it; with the cure.
    """
    if not isinstance(model, ExportsGraph):
        raise ConfigError(f"{KEY} is {backend}: {cfg.MODEL.META_ARCHITECTURE} offers no graph; set it to torch")
    try:
        graph = model.export_graph(cfg, list(generated_images()), ExportOptions())
    except ConfigError as error:
        raise ConfigError(f"{KEY} is {backend}: {error}; or set {KEY} torch") from error
    return BackendModel(model, graph, backend, cfg.INFERENCE.PRECISION, cfg.INPUT.FORMAT)
