"""Fusion of anomaly maps as a meta-architecture: an EfficientAD and a PatchCore look at the same image.

Letters: h x w cells of the memory bank's grid, on which all maps are laid.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from d2road.engine.defaults import load_weights
from d2road.export.graph import ExportGraph, ExportOptions
from d2road.utils.errors import ConfigError
from efficientad.calibration_statistics import MAP_END, Quantiles, check_quantiles, resize_maps
from efficientad.conformal import split_threshold
from efficientad.data.image_iteration import DatasetImages, Entry, calibration_names, gathered, images_of, rows_of_all
from efficientad.detector import EfficientAD
from efficientad.fusion import fusion_checks as _checks  # noqa: F401  only registration
from efficientad.fusion.fusion_graph import FusionGraph
from efficientad.fusion.fusion_state import PARTS, FusionState
from efficientad.fusion.map_fusion import fuse_maps
from efficientad.inference.graph_parts import export_anomaly_graph, network_size
from efficientad.modeling.extractor_teacher import ExtractorTeacher
from efficientad.patchcore.bank_calibration import log_threshold, with_rounding
from efficientad.patchcore.bank_fit import without_images_of
from efficientad.patchcore.bank_graph import graph_of
from efficientad.patchcore.patchcore_detector import PatchCore

logger = logging.getLogger(__name__)

# The score of a good image is then no longer exchangeable with those that set the threshold.
SAME_IMAGES = "the good images that set the threshold also normalise the maps"


@META_ARCH_REGISTRY.register()
class AnomalyFusion(nn.Module):
    """Student, autoencoder and memory bank: their maps by quantiles on good images, and these combined.

    Args:
        efficient_ad: gives the maps of student and autoencoder.
        patchcore: gives that of the bank, and the grid.
        weights, combine: see `fuse_maps`.
        blur: deviation in pixels of the network input that maps are smoothed by.

    One checkpoint holds both models, and quantiles and thresholds in `state`.
    """

    default_mapper = "EfficientADMapper"

    @configurable
    def __init__(
        self,
        *,
        efficient_ad: EfficientAD,
        patchcore: PatchCore,
        weights: Sequence[float] = (1.0, 1.0, 1.0),
        combine: str = "mean",
    ):
        super().__init__()
        self.efficient_ad, self.patchcore = efficient_ad, patchcore
        self.weights, self.combine = tuple(map(float, weights)), combine
        shares = " : ".join(f"{weight:g}" for weight in self.weights)
        self.state = FusionState(f"the {combine} of maps {shares}, {patchcore.state.setting}")
        # What was found of which weights, see `shares_features`.
        self._compared: tuple[tuple[tuple[int, int], ...], bool] = ((), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of __init__ from a config."""
        node = cfg.MODEL.ANOMALY_FUSION
        parts = {"efficient_ad": EfficientAD(cfg), "patchcore": PatchCore(cfg)}
        return {**parts, "weights": node.WEIGHTS, "combine": node.COMBINE}

    @property
    def device(self) -> torch.device:
        return self.patchcore.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detectron2's contract, of testing; there are no losses.

        Args:
            batched_inputs: per image `image` (3, H, W) in 0..255 of RGB order, resized by the mapper; `height` and
                `width` of the output (default: those of `image`).
        Returns:
            per image {"anomaly_map": (height, width) float32, the fused map, smoothed; "anomaly_score": its largest
            value before that; "anomaly_threshold", "map_threshold": what the score, or a value of the map, of good
            images rarely exceeds; "anomaly_guarantee": what the threshold promises, in words; "map_score": maximum of
            the map; "map_student_teacher", "map_autoencoder", "map_bank": (h, w), each 0 and 0.1 at its quantiles;
            "teacher": what gives the features}.
        Raises:
            CheckpointError: it is not calibrated for these settings.
            DataError: pixels that are not finite, or not three channels.
        """
        if self.training:
            raise RuntimeError("AnomalyFusion has no losses; its training is the method fit")
        self.state.require_calibration()
        return self.detect(batched_inputs)

    @torch.no_grad()
    def detect(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Maps and scores, calibrated or not."""
        return [self.describe(self.part_maps(entry), entry) for entry in batched_inputs]

    @torch.no_grad()
    def part_maps(self, entry: Entry) -> Tensor:
        """Maps (3, h, w) of a model input as they are: squared differences of student and autoencoder, distances."""
        images, networks = self.efficient_ad.preprocess([entry]), self.efficient_ad.networks
        if self.shares_features:
            embeddings = networks.teacher(images)
            learned = networks.maps_of(networks.features(images, embeddings))
        else:
            embeddings = self.patchcore.embed(self.patchcore.preprocess([entry]))
            (raw,) = self.efficient_ad.raw_maps(images)
            # Cells that an unpadded network lacks at the border take the nearest value.
            learned = F.pad(raw.tiles, (networks.border,) * 4, mode="replicate")
        distances = self.patchcore.state.bank.distance_map(embeddings[0])
        if learned.shape[-2:] != distances.shape:
            learned = resize_maps(learned, (distances.shape[0], distances.shape[1]))
        return torch.cat([learned[0], distances[None]])

    @property
    def shares_features(self) -> bool:
        """Whether the teacher is what the bank compares, so that the extractor need not look twice."""
        teacher, patchcore = self.efficient_ad.networks.teacher, self.patchcore
        if not isinstance(teacher, ExtractorTeacher) or teacher.neighbourhood != patchcore.neighbourhood:
            return False
        if teacher.extractor.layers != patchcore.extractor.layers:
            return False
        # Millions of numbers, on a GPU with a wait for each tensor: compared once, and again when one was written to.
        now = (*_written_state(teacher.extractor), *_written_state(patchcore.extractor))
        if self._compared[0] != now:
            self._compared = now, _have_equal_weights(teacher.extractor, patchcore.extractor)
        return self._compared[1]

    def fuse(self, maps: Tensor) -> Tensor:
        """The fused map (h, w) of maps (3, h, w)."""
        return fuse_maps(maps, self.state.map_quantiles, self.weights, self.combine)

    def describe(self, maps: Tensor, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What the model says of an image with such maps, see `forward`."""
        fused = self.fuse(maps)
        whole = self.patchcore.anomaly_map(fused, entry)
        single = [fuse_maps(m[None], q[None], (1.0,)) for m, q in zip(maps, self.state.map_quantiles)]
        result: dict[str, Any] = {
            "anomaly_map": whole,
            "anomaly_score": fused.max(),
            "map_score": whole.max(),
            "teacher": f"{self.efficient_ad.state.teacher_name}; bank: {self.patchcore.state.text('features')}",
            **dict(zip(("map_student_teacher", "map_autoencoder", "map_bank"), single, strict=True)),
        }
        if self.anomaly_threshold() is not None:
            result["anomaly_threshold"] = self.state.threshold.clone()
            result["map_threshold"] = self.state.map_threshold.clone()
            result["anomaly_guarantee"] = self.state.guarantee.text if self.state.guarantee else ""
        return result

    def anomaly_threshold(self) -> float | None:
        """The score above which an image is anomalous; None where none was set."""
        return float(self.state.threshold) if torch.isfinite(self.state.threshold) else None

    def good_scores(self) -> list[float]:
        """Scores of the good images that the threshold was taken from, rising; [] where they are not known."""
        return self.state.good_scores

    def resize_image(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 in RGB order at the network's input size, with antialiasing as the mapper resizes."""
        return self.patchcore.resize_image(rgb)

    def export_graph(self, cfg: CfgNode, images: Sequence[np.ndarray], options: ExportOptions) -> ExportGraph:
        """The whole detector as a graph, see `d2road.engine.meta_arch.ExportsGraph`."""
        student, patchcore = self.efficient_ad, self.patchcore
        if student.inference.precision != "fp32":
            raise ConfigError(f"INFERENCE.PRECISION is {student.inference.precision}: a graph is in fp32; set it back")
        parts = patchcore.extractor, patchcore.neighbourhood, patchcore.neighbours, patchcore.blur
        graph = FusionGraph(
            student.networks,
            graph_of(patchcore.state, parts, network_size(patchcore.image_size, options)),
            shares_features=self.shares_features,
            pixels=((student.pixel_mean, student.pixel_std), (patchcore.pixel_mean, patchcore.pixel_std)),
            quantiles=self.state.map_quantiles,
            weights=self.weights,
            combine=self.combine,
        )
        guarantee = self.state.guarantee.text if self.state.guarantee else ""
        return export_anomaly_graph(
            graph,
            self,
            images,
            resizes_to=patchcore.image_size,
            options=options,
            pixel_mean=student.pixel_mean,
            pixel_std=student.pixel_std,
            threshold=self.anomaly_threshold(),
            spread=MAP_END,  # of normalised maps, by their definition
            good_scores=self.good_scores(),
            metadata={"meta_architecture": "AnomalyFusion", "map_start": 0.0, "guarantee": guarantee},
        )

    def fold_for_inference(self) -> None:
        """Work with faster networks of the same maps."""
        self.efficient_ad.fold_for_inference()

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those of the student; distances to the bank are in its own."""
        return self.efficient_ad.precisions

    def set_precision(self, precision: str) -> None:
        """Maps of the student and the autoencoder in this precision, see `EfficientAD.set_precision`."""
        self.efficient_ad.set_precision(precision)

    # --- fit ---

    def fit(self, cfg: CfgNode) -> dict[str, float]:
        """Take in both models, or make the bank of DATASETS.TRAIN, and calibrate them together.

        With MODEL.WEIGHTS of a fused model both are there, and it is calibrated anew.

        Returns:
            number of vectors of the bank, the threshold and the number of images that it is from.
        Raises:
            D2RoadError, FileNotFoundError: a part or good images are missing.
        """
        node = cfg.MODEL.ANOMALY_FUSION
        if not self.efficient_ad.state.teacher_name:
            load_weights(cfg, self.efficient_ad, node.STUDENT_WEIGHTS)
        if not self.patchcore.state.text("features"):
            if node.BANK_WEIGHTS:
                load_weights(cfg, self.patchcore, node.BANK_WEIGHTS)
            else:
                self.patchcore.fit(cfg)
        return {"bank_vectors": float(len(self.patchcore.state.bank)), **self.calibrate(cfg)}

    def calibrate(self, cfg: CfgNode) -> dict[str, float]:
        """Measure quantiles and thresholds on the good images that a config names; no image of the bank is taken.

        Returns:
            the threshold and the number of images.
        Raises:
            DataError: an image of the bank, none, or maps without spread.
        """
        self.efficient_ad.state.require_calibration()
        node = cfg.MODEL.EFFICIENT_AD.CALIBRATION
        images = images_of(DatasetImages(cfg, calibration_names(cfg)), "maps of good images")
        values = [Quantiles(node.METHOD) for _ in PARTS]
        kept: list[tuple[Tensor, Entry]] = []
        for entry in without_images_of(self.patchcore.state.digests, images):
            maps = self.part_maps(entry)
            for found, of_part in zip(values, maps):
                found.update(of_part)
            kept.append((maps, entry))
        for row, name, found in zip(self.state.map_quantiles, PARTS, values, strict=True):
            start, end = gathered(found).result(node.QUANTILES)
            check_quantiles(start, end, name)
            row.copy_(torch.tensor([start, end]))
        return self._set_thresholds(kept, node.FALSE_POSITIVE_RATE)

    def _set_thresholds(self, kept: list[tuple[Tensor, Entry]], rate: float) -> dict[str, float]:
        own = [
            torch.stack([fused.max(), self.patchcore.anomaly_map(fused, entry).max()])
            for fused, entry in ((self.fuse(maps), entry) for maps, entry in kept)
        ]
        table = rows_of_all(torch.stack(own) if own else torch.zeros(0, 2))  # (I, 2)
        of_score, of_map = (split_threshold(column.tolist(), rate, randomly_drawn=True) for column in table.T)
        threshold, guarantee = with_rounding(of_score.value), of_score.guarantee.void(SAME_IMAGES)
        self.state.set_thresholds(threshold, with_rounding(of_map.value), guarantee)
        self.state.set_good_scores(table[:, 0].tolist())
        log_threshold(threshold, guarantee)
        return {"threshold": threshold, "calibration_images": float(len(table))}


def _written_state(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Which tensors a module holds, and how often each was written to."""
    return tuple((id(tensor), tensor._version) for tensor in (*module.parameters(), *module.buffers()))


def _have_equal_weights(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())
