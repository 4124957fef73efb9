"""EfficientAD as a meta-architecture: images in, losses or anomaly maps out."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from d2road.export.graph import ExportGraph, ExportOptions
from d2road.export.precision import BF16, FP32, INT8
from d2road.utils.aliases import rename_stored_weights
from d2road.utils.errors import ConfigError, DataError
from efficientad.calibration_state import CalibrationState, describe_setting
from efficientad.calibration_statistics import MAP_END
from efficientad.config import architecture_of, calibrated_precision
from efficientad.inference.anomaly_maps import NormalisedMaps, combined_map, part_maps
from efficientad.inference.graph_parts import export_anomaly_graph, network_size
from efficientad.inference.image_batches import by_shape, name_of, normalise_image, output_size, resize_rgb, stack
from efficientad.inference.quantization import limits_of, range_names
from efficientad.inference.raw_maps import RawMapInference, RawMaps
from efficientad.inference.student_graph import StudentGraph
from efficientad.inference.tiling import Tiling
from efficientad.modeling.networks import Networks
from efficientad.modeling.pdn import PDN
from efficientad.modeling.puad import Puad
from efficientad.network_builder import build_networks

logger = logging.getLogger(__name__)


@META_ARCH_REGISTRY.register()
class EfficientAD(nn.Module):
    """EfficientAD: a student and an autoencoder that fail to follow a teacher where an image is anomalous.

    Args:
        networks: teacher, student, autoencoder.
        pixel_mean, pixel_std: per channel, 0 to 255.
        compat: order of border, enlargement and quantiles, see `calibration_statistics`.
        architecture: what the networks are, by key of the config; a checkpoint of another one is refused.
        tiling: how images are divided.
        image_size: height and width that images are resized to, (0, 0) for their own size; the mapper does so, and
            `resize_image` for those that come without a mapper.
        puad: adds the distance of mean features to the score, or None.
        precision: of testing, see `quantization`; maps are calibrated for it.

    Its calibration is saved with the weights: `networks` holds the teacher's statistics, `state` the rest.
    """

    default_mapper = "EfficientADMapper"
    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        networks: Networks,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        compat: str = "nelson1425",
        architecture: Mapping[str, object],
        tiling: Tiling,
        image_size: tuple[int, int] = (0, 0),
        puad: Puad | None = None,
        precision: str = "fp32",
    ):
        super().__init__()
        self.networks = networks.to(memory_format=torch.channels_last)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.compat, self.tiling, self.image_size, self.puad = compat, tiling, image_size, puad
        self.inference = RawMapInference(tiling, precision, with_means=puad is not None)
        num_ranges = len(range_names(networks.teacher.size, networks.autoencoder)) if precision == "int8" else 0
        setting = describe_setting(compat, tiling.tile, puad is not None, precision, networks.teacher.padding)
        self.state = CalibrationState(architecture, setting, num_ranges)
        self._warned = False
        self.register_load_state_dict_pre_hook(rename_stored_weights)
        self.register_load_state_dict_post_hook(_unfold)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of __init__ from a config."""
        node, networks = cfg.MODEL.EFFICIENT_AD, build_networks(cfg)
        return {
            "networks": networks,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "compat": node.COMPAT,
            "architecture": architecture_of(node),
            "tiling": Tiling(tuple(node.TILING.TILE) if node.TILING.ENABLED else None, node.TILING.OVERLAP),
            "image_size": tuple(cfg.INPUT.IMAGE_SIZE),
            "puad": Puad(networks.channels) if node.PUAD.ENABLED else None,
            "precision": calibrated_precision(cfg),
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Detectron2's contract.

        Args:
            batched_inputs: per image `image` (3, H, W) in 0..255 of RGB order, resized by the mapper; `height` and
                `width` of the output (default: those of `image`). In training also `image_ae`, the jittered image
                (default: `image`), and optionally `image_penalty`, an image of something else.
        Returns:
            in training the losses by name; else per image {"anomaly_map": (height, width) float32, to about 0.1 where
            all is well; "anomaly_score": its maximum (with PUAD: the combined score, and the maximum as "map_score");
            "anomaly_threshold": score that good images rarely exceed; "map_student_teacher", "map_autoencoder": the
            normalised maps that it is the mean of, (h, w) at feature size (tiled: at the size of `image`); "teacher":
            where the teacher comes from}.
        Raises:
            ValueError: pixels that are not finite, an image that is too small; in testing, maps that are not
                calibrated.
        """
        if self.training:
            return self.losses(batched_inputs)
        self.state.require_calibration()
        return self.detect(batched_inputs)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Losses by name: the mean over images of any size."""
        if not self.state.teacher_name and not self._warned:
            logger.warning(
                "Training without a known teacher and its statistics, which the Trainer would load and measure"
            )
            self._warned = True
        sums: dict[str, Tensor] = {}
        for places in by_shape(batched_inputs):
            losses = self.networks.losses(*self.preprocess_for_training([batched_inputs[i] for i in places]))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value * (len(places) / len(batched_inputs))
        return sums

    @torch.no_grad()
    def detect(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Maps and scores, calibrated or not."""
        results: list[dict[str, Any]] = [{}] * len(batched_inputs)
        for places in by_shape(batched_inputs):
            images = self.preprocess([batched_inputs[i] for i in places])
            for place, raw in zip(places, self.raw_maps(images)):
                maps = self.normalise(raw, output_size(batched_inputs[place], raw.size))
                results[place] = self.score(maps, raw)
        return results

    def preprocess(self, entries: list[dict[str, Any]]) -> Tensor:
        """Normalised images (B, 3, H, W) of model inputs of one size; errors as of `preprocess_image`."""
        return stack([self.preprocess_image(entry) for entry in entries])

    def preprocess_image(self, entry: Mapping[str, Any], key: str = "image") -> Tensor:
        """(3, H, W) float32 on the model's device, by ImageNet's statistics; errors as of `normalise_image`."""
        return normalise_image(entry, key, self.pixel_mean, self.pixel_std)

    def preprocess_for_training(self, entries: list[dict[str, Any]]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images for the student, jittered ones for the autoencoder, and penalty images, of one size: a tile each."""
        images, jittered_images, penalty_images, same = [], [], [], True
        for entry in entries:
            image = self.preprocess_image(entry)
            other = entry.get("image_ae") is not None and not _known_equal(entry["image_ae"], entry["image"])
            same &= not other
            jittered = self.preprocess_image(entry, "image_ae") if other else image
            if jittered.shape != image.shape:
                raise DataError(
                    f"{name_of(entry)}: image_ae is {tuple(jittered.shape)}, image is {tuple(image.shape)}; the "
                    "autoencoder takes the same image with other colours"
                )
            top, left, bottom, right = self.tiling.random_box(image)
            images.append(image[:, top:bottom, left:right])
            jittered_images.append(jittered[:, top:bottom, left:right])
            if "image_penalty" in entry:
                penalty = self.preprocess_image(entry, "image_penalty")
                penalty_images.append(penalty[:, : bottom - top, : right - left])
        together, penalties = stack(images), stack(penalty_images) if penalty_images else None
        # Without jitter one pass of the networks is enough.
        return together, together if same else stack(jittered_images), penalties

    def raw_maps(self, images: Tensor) -> Iterator[RawMaps]:
        """Raw maps of each normalised image (B, 3, H, W)."""
        return self.inference(self.networks, self.state.ranges, images)

    def normalise(self, raw: RawMaps, output: tuple[int, int]) -> NormalisedMaps:
        """Maps by the quantiles of good images, the anomaly map at the size `output` (height, width)."""
        return NormalisedMaps(
            self.anomaly_map(raw, output), part_maps(raw, self.state.map_quantiles, self.networks.border)
        )

    def anomaly_map(self, raw: RawMaps, output: tuple[int, int]) -> Tensor:
        """The anomaly map (height, width) of `output` alone."""
        return combined_map(raw, self.state.map_quantiles, self.compat, self.networks.border, output)

    def score(self, maps: NormalisedMaps, raw: RawMaps) -> dict[str, Any]:
        """What the model says of an image, see `forward`."""
        result: dict[str, Any] = {
            "anomaly_map": maps.anomaly_map,
            "anomaly_score": maps.anomaly_map.max(),
            "teacher": self.state.teacher_name,
            "map_student_teacher": maps.parts[0],
            "map_autoencoder": maps.parts[1],
        }
        if self.state.has_threshold:
            result["anomaly_threshold"] = self.state.threshold.clone()
        if self.puad is not None and raw.means is not None:
            result["map_score"] = result["anomaly_score"]
            distance = self.puad.distance(raw.means[None])
            result["anomaly_score"] = self.puad.combine(distance, result["map_score"][None])[0]
        return result

    def anomaly_threshold(self) -> float | None:
        """The score above which an image is anomalous; None where none was set."""
        return float(self.state.threshold) if self.state.has_threshold else None

    def good_scores(self) -> list[float]:
        """Scores of the good images that the threshold was taken from, rising; [] where they are not known."""
        return self.state.good_scores

    def fold_for_inference(self) -> None:
        """Work with networks that give the same maps faster, until the model trains or loads weights again.

        PUAD needs the student's features, which fused networks do not keep: with it nothing changes.

        Raises:
            ValueError, ImportError: see `quantization.prepare_networks`.
        """
        self.inference.prepare(self.networks, self.state.ranges)

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the calibrated networks can run in: what they are calibrated for, and bf16 in place of fp32."""
        if self.inference.precision != FP32:
            return (self.inference.precision,)
        lower = self.puad is None and isinstance(self.networks.teacher, PDN)
        return (FP32, BF16) if lower else (FP32,)

    def set_precision(self, precision: str) -> None:
        """Work with networks in this precision, by the calibration that there is, until `unfold`."""
        self.inference.prepare(self.networks, self.state.ranges, precision)

    def unfold(self) -> None:
        """Give up the networks of `fold_for_inference`."""
        self.inference.forget()

    def train(self, mode: bool = True) -> "EfficientAD":
        """Switch the mode; training gives up fused networks."""
        if mode:
            self.unfold()
        return super().train(mode)

    def export_graph(self, cfg: CfgNode, images: Sequence[np.ndarray], options: ExportOptions) -> ExportGraph:
        """The whole detector as a graph, see `d2road.engine.meta_arch.ExportsGraph`; of images that are taken whole."""
        precision = self.inference.precision
        if precision not in (FP32, INT8):
            raise ConfigError(
                f"INFERENCE.PRECISION is {precision}: a graph is in fp32 or int8; take the model before it was made to "
                "predict in that"
            )
        if self.tiling.tile is not None:
            raise ConfigError("TILING.ENABLED: a graph takes images whole; export a model that was calibrated so")
        size = network_size(self.image_size, options)
        limits = None
        if precision == INT8:
            limits = limits_of(self.networks.teacher.size, self.networks.autoencoder, self.state.ranges)
        return export_anomaly_graph(
            StudentGraph(self.networks, self.state.map_quantiles, self.compat, size, self.puad, limits),
            self,
            images,
            resizes_to=self.image_size,
            options=options,
            pixel_mean=self.pixel_mean,
            pixel_std=self.pixel_std,
            threshold=self.anomaly_threshold(),
            spread=MAP_END,  # of normalised maps, by their definition
            good_scores=self.good_scores(),
            metadata={"meta_architecture": "EfficientAD", "teacher": self.state.teacher_name, "map_start": 0.0},
            precision=precision,
        )

    def resize_image(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 in RGB order at the network's input size, with antialiasing as the mapper resizes."""
        return resize_rgb(rgb, self.image_size)


def _known_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two images are equal; of others than the processor's that is known where they are one tensor."""
    return a is b or (a.device.type == b.device.type == "cpu" and torch.equal(a, b))


def _unfold(module: EfficientAD, _: object) -> None:
    module.unfold()
