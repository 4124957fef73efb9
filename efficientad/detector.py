"""The registered meta-architecture: pictures in, losses or anomaly maps out."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from PIL import Image
from torch import Tensor, nn

from d2road.utils.errors import ConfigError
from efficientad.calibration_state import ModelState
from efficientad.config import architecture_of, bottleneck_of
from efficientad.inference.anomaly_maps import combined_map, part_maps
from efficientad.inference.fused_networks import FoldedNetworks
from efficientad.inference.image_batches import Boxes, by_shape, name_of, stack
from efficientad.inference.quantization import QuantisedNetworks, for_inference, range_names
from efficientad.inference.tiling import cut, tile_boxes
from efficientad.modeling.autoencoder import build_autoencoder
from efficientad.modeling.networks import Networks, difference_maps
from efficientad.modeling.pdn import PDN
from efficientad.modeling.puad import Puad, channel_means

logger = logging.getLogger(__name__)


@META_ARCH_REGISTRY.register()
class EfficientAD(nn.Module):
    """Anomaly detector with a student and an autoencoder that fail to follow a teacher.

    Args:
        networks: teacher, student, autoencoder.
        pixel_mean, pixel_std: per channel, 0 to 255.
        compat: order of border, enlargement and quantiles, see `calibration`.
        architecture: what the networks are, by key of the config; a checkpoint of another one is refused.
        tile: height and width of tiles in pixels, or None to take pictures whole.
        overlap: of tiles, as a share of their side.
        image_size: height and width that pictures are resized to, (0, 0) for their own size; the mapper does so, and
            `resize_image` for those that come without a mapper.
        puad: adds the distance of mean features to the score, or None.
        arithmetic: of testing, see `reduced`; maps are calibrated for it.

    Its calibration is saved with the weights: `networks` holds the teacher's statistics, `state` the rest.
    """

    default_mapper = "EfficientADMapper"

    @configurable
    def __init__(
        self,
        *,
        networks: Networks,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        compat: str = "nelson1425",
        architecture: dict[str, object],
        tile: tuple[int, int] | None = None,
        overlap: float = 0.25,
        image_size: tuple[int, int] = (0, 0),
        puad: Puad | None = None,
        arithmetic: str = "float32",
    ):
        super().__init__()
        self.networks = networks.to(memory_format=torch.channels_last)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.compat, self.tile, self.overlap, self.puad = compat, tile, overlap, puad
        self.image_size = tuple(image_size)
        tiling = f"tiles of {tile[0]} x {tile[1]}" if tile else "whole pictures"
        setting = f"COMPAT {compat}, {tiling}" + (", PUAD" if puad is not None else "")
        self.arithmetic = arithmetic
        setting += f", {arithmetic}" if arithmetic != "float32" else ""
        num_ranges = len(range_names(networks.teacher.size)) if arithmetic == "int8" else 0
        self.state = ModelState(architecture, setting, num_ranges)
        self._warned = False
        # Networks of `fold_for_inference`; in a list, so that they are no part of the state dict.
        self._folded: list[FoldedNetworks | QuantisedNetworks] = []
        self.register_load_state_dict_post_hook(_unfold)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments of __init__ from a config."""
        node = cfg.MODEL.EFFICIENT_AD
        autoencoder = build_autoencoder(
            node.AUTOENCODER,
            node.OUT_CHANNELS,
            bottleneck_of(node),
            node.DROPOUT,
            dim=node.ATTENTION_DIM,
            heads=node.ATTENTION_HEADS,
        )
        return {
            "networks": Networks(
                PDN(node.SIZE, node.OUT_CHANNELS, node.PADDING, node.WINOGRAD),
                PDN(node.SIZE, 2 * node.OUT_CHANNELS, node.PADDING, node.WINOGRAD),
                autoencoder,
                node.HARD_QUANTILE,
            ),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "compat": node.COMPAT,
            "architecture": architecture_of(node),
            "tile": tuple(node.TILING.TILE) if node.TILING.ENABLED else None,
            "overlap": node.TILING.OVERLAP,
            "image_size": cfg.INPUT.IMAGE_SIZE,
            "puad": Puad(node.OUT_CHANNELS) if node.PUAD.ENABLED else None,
            "arithmetic": node.INFERENCE.ARITHMETIC,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        """Detectron2's contract.

        Args:
            batched_inputs: per picture `image` (3, H, W) in 0..255 of RGB order, resized by the mapper; `height` and
                `width` of the output (default: those of `image`). In training also `image_ae`, the picture with jitter
                (default: `image`), and optionally `image_penalty`, a picture of something else.
        Returns:
            in training the losses by name; else per picture {"anomaly_map": (height, width) float32, to about 0.1 where
            all is well; "anomaly_score": its maximum (with PUAD: the combined score, and the maximum as "map_score");
            "anomaly_threshold": score that good pictures rarely exceed; "map_student_teacher", "map_autoencoder": the
            normalised maps that it is the mean of, (h, w) at feature size (tiled: at the size of `image`); "teacher":
            where the teacher comes from}.
        Raises:
            ValueError: pixels that are not finite, a picture that is too small; in testing, maps that are not
                calibrated.
        """
        if self.training:
            return self._losses(batched_inputs)
        self.state.require_calibration()
        return self.detect(batched_inputs)

    # --- training ---

    def _losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        if not self.state.teacher_name and not self._warned:
            logger.warning(
                "Training without a known teacher and its statistics, which the Trainer would load and measure"
            )
            self._warned = True
        sums: dict[str, Tensor] = {}
        for places in by_shape(batched_inputs):
            losses = self.networks.losses(*self._training_pictures([batched_inputs[i] for i in places]))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value * (len(places) / len(batched_inputs))
        return sums

    def _training_pictures(self, group: list[dict]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Pictures for the student, for the autoencoder, and of other things, of one size."""
        students, twins, others = [], [], []
        for entry in group:
            student = self.normalised(entry)
            twin = self.normalised(entry, "image_ae") if "image_ae" in entry else student
            if twin.shape != student.shape:
                raise ConfigError(
                    f"{name_of(entry)}: image_ae is {tuple(twin.shape)}, image is {tuple(student.shape)}; the "
                    "autoencoder takes the same picture with other colours"
                )
            top, left, bottom, right = self._training_tile(student)
            students.append(student[:, top:bottom, left:right])
            twins.append(twin[:, top:bottom, left:right])
            if "image_penalty" in entry:
                others.append(self.normalised(entry, "image_penalty")[:, : bottom - top, : right - left])
        return stack(students), stack(twins), stack(others) if others else None

    def _training_tile(self, image: Tensor) -> tuple[int, int, int, int]:
        """A random tile, or the whole picture."""
        boxes = self.boxes(image)
        return boxes[int(torch.randint(len(boxes), (1,)))] if len(boxes) > 1 else boxes[0]

    # --- testing ---

    @torch.no_grad()
    def detect(self, batched_inputs: list[dict]) -> list[dict]:
        """Maps and scores, calibrated or not."""
        results: list[dict] = [{}] * len(batched_inputs)
        for places in by_shape(batched_inputs):
            images = stack([self.normalised(batched_inputs[i]) for i in places])
            size = tuple(images.shape[-2:])
            boxes = self.boxes(images[0])
            for place, (raw, means) in zip(places, self.measure(images)):
                entry = batched_inputs[place]
                output = (int(entry.get("height", size[0])), int(entry.get("width", size[1])))
                results[place] = self._result(raw, means, boxes, size, output)
        return results

    def measure(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Raw maps (T, 2, h, w) of the tiles of each normalised image (one if whole); with PUAD mean features (C,)."""
        if self.arithmetic != "float32" and not self._folded:
            self.fold_for_inference()
        boxes = self.boxes(images[0])
        pieces = [images] if len(boxes) == 1 else [cut(image, boxes) for image in images]
        for piece in pieces:
            piece = piece.contiguous(memory_format=torch.channels_last)
            means = None
            if self._folded:
                raw = self._folded[0].raw_maps(piece)
            else:
                features = self.networks.features(piece)
                raw = difference_maps(features)
                means = channel_means(features.student) if self.puad is not None else None
            if len(boxes) == 1:
                yield from ((raw[i : i + 1], None if means is None else means[i]) for i in range(len(piece)))
            else:
                yield raw, None if means is None else means.mean(0)

    def score_map(self, raw: Tensor, boxes: Boxes, size: tuple[int, int], output: tuple[int, int]) -> Tensor:
        """Anomaly map (height, width) of `output` from the raw maps (T, 2, h, w) of a picture's tiles, see
        `anomaly_maps`."""
        quantiles, border = self.state.map_quantiles, self.networks.border
        return combined_map(raw, quantiles, self.compat, border, boxes, size, output)

    def _result(self, raw: Tensor, means: Tensor | None, boxes: Boxes, size: tuple, output: tuple) -> dict:
        anomaly_map = self.score_map(raw, boxes, size, output)
        parts = part_maps(raw, self.state.map_quantiles, self.networks.border, boxes, size)
        result = {
            "anomaly_map": anomaly_map,
            "anomaly_score": anomaly_map.max(),
            "teacher": self.state.teacher_name,
            "map_student_teacher": parts[0],
            "map_autoencoder": parts[1],
        }
        if self.state.has_threshold:
            result["anomaly_threshold"] = self.state.threshold.clone()
        if self.puad is not None:
            result["map_score"] = result["anomaly_score"]
            distance = self.puad.distance(means[None])
            result["anomaly_score"] = self.puad.combine(distance, result["map_score"][None])[0]
        return result

    def anomaly_threshold(self) -> float | None:
        """The score above which an image is anomalous; None where none was set."""
        return float(self.state.threshold) if self.state.has_threshold else None

    def fold_for_inference(self) -> None:
        """Work with networks that give the same maps faster, until the model trains or loads weights again.

        PUAD needs the student's features, which folded networks do not keep: with it nothing changes.

        Raises:
            ValueError, ImportError: see `reduced.for_inference`.
        """
        if self.puad is None:
            self._folded = [for_inference(self.networks, self.arithmetic, self.state.ranges)]

    def unfold(self) -> None:
        """Give up the networks of `fold_for_inference`."""
        self._folded = []

    def train(self, mode: bool = True):
        """Switch the mode; training gives up folded networks."""
        if mode:
            self.unfold()
        return super().train(mode)

    # --- pictures ---

    def resize_image(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 in RGB order at the network's input size, with antialiasing as the mapper resizes."""
        if not all(self.image_size):
            return rgb
        return np.asarray(Image.fromarray(rgb).resize(self.image_size[::-1], Image.Resampling.BILINEAR))

    def normalised(self, entry: dict, key: str = "image") -> Tensor:
        """(3, H, W) float32 on the model's device, by ImageNet's statistics.

        Raises:
            ValueError: not three channels, or pixels that are NaN or infinite.
        """
        image = entry[key]
        if image.ndim != 3 or image.shape[0] != 3:
            raise ConfigError(
                f"{name_of(entry)}: {key} is {tuple(image.shape)}, expected (3, height, width) in RGB order"
            )
        # On the CPU, where pictures come from; a GPU would have to wait for the answer.
        if image.is_floating_point() and image.device.type == "cpu" and not bool(torch.isfinite(image).all()):
            raise ConfigError(
                f"{name_of(entry)}: {key} has pixels that are NaN or infinite; repair or leave out the picture"
            )
        return (image.to(self.device).float() - self.pixel_mean) / self.pixel_std

    def boxes(self, image: Tensor) -> Boxes:
        """Tiles (top, left, bottom, right) of a picture (3, H, W); one with everything if it is taken whole."""
        height, width = image.shape[-2:]
        if self.tile is None:
            return [(0, 0, height, width)]
        return tile_boxes((height, width), self.tile, self.overlap)


def _unfold(module: EfficientAD, incompatible_keys) -> None:
    module.unfold()
