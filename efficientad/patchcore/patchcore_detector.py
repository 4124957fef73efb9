"""PatchCore as a meta-architecture: good images in, a memory bank; images in, anomaly maps out."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from d2road.engine.meta_arch import register_training_files
from d2road.export.graph import ExportGraph, ExportOptions
from efficientad.calibration_statistics import resize_maps
from efficientad.conformal import Threshold, leave_one_out_threshold, split_threshold
from efficientad.data.image_iteration import DatasetImages, Entry, calibration_names, images_of
from efficientad.inference.gaussian_blur import gaussian_blur
from efficientad.inference.image_batches import by_shape, name_of, normalise_image, output_size, resize_rgb, stack
from efficientad.modeling.feature_extractors import FeatureExtractor, build_extractor, require_weights_of
from efficientad.modeling.patch_embedding import cells, embed_patches, pad_to_stride
from efficientad.patchcore.bank_calibration import (
    Assessment,
    GoodScores,
    log_threshold,
    require_origin,
    score_good_images,
    with_rounding,
)
from efficientad.patchcore.bank_fit import fit_bank, without_images_of
from efficientad.patchcore.bank_graph import export_bank_graph
from efficientad.patchcore.bank_state import BankState, describe_setting
from efficientad.patchcore.patchcore_config import architecture_of

logger = logging.getLogger(__name__)

# Of thresholds by the images of a config, where the bank holds images that were accepted by such a threshold.
KNOWN_BEFORE = (
    "images were accepted by a threshold of these same images; draw new ones for d2road accept --calibrate-on"
)


@META_ARCH_REGISTRY.register()
class PatchCore(nn.Module):
    """PatchCore: distances of an image's patch features to those of good images in a memory bank.

    Args:
        extractor: of features; its weights are part of the checkpoint.
        architecture: what a vector of the bank means, by key of the config; a bank of another one is refused.
        neighbourhood: cells a side that are averaged around each.
        neighbours: that weigh the score of an image.
        blur: deviation in pixels of the network input that maps are smoothed by.
        precision: of the bank. search: of neighbours in it, see `NeighbourSearch`.
        image_size: height and width that images are resized to, (0, 0) for their own size.

    Bank and thresholds are saved with the weights, in `state`.
    """

    default_mapper = "EfficientADMapper"
    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        extractor: FeatureExtractor,
        architecture: Mapping[str, object],
        neighbourhood: int = 3,
        neighbours: int = 9,
        blur: float = 4.0,
        precision: str = "fp32",
        search: str = "auto",
        image_size: tuple[int, int] = (0, 0),
    ):
        super().__init__()
        self.extractor = extractor
        self.register_buffer("pixel_mean", extractor.mean.clone(), persistent=False)
        self.register_buffer("pixel_std", extractor.std.clone(), persistent=False)
        self.neighbourhood, self.neighbours, self.blur = neighbourhood, neighbours, blur
        self.image_size = image_size
        self.state = BankState(architecture, describe_setting(image_size, neighbours, blur), precision, search)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of __init__ from a config."""
        node = cfg.MODEL.PATCHCORE
        return {
            "extractor": build_extractor(node.FEATURES, None, tuple(node.LAYERS)),
            "architecture": architecture_of(node),
            "neighbourhood": node.NEIGHBOURHOOD,
            "neighbours": node.REWEIGHT_NEIGHBOURS,
            "blur": node.BLUR,
            "precision": node.PRECISION,
            "search": node.SEARCH,
            "image_size": tuple(cfg.INPUT.IMAGE_SIZE),
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detectron2's contract, of testing; there are no losses.

        Args:
            batched_inputs: per image `image` (3, H, W) in 0..255 of RGB order, resized by the mapper; `height` and
                `width` of the output (default: those of `image`).
        Returns:
            per image {"anomaly_map": (height, width) float32, smoothed distances to the bank; "anomaly_score": the
            largest distance, weighted by the neighbourhood in the bank; "anomaly_threshold": score that good images
            rarely exceed; "map_score": maximum of the map, "map_threshold": what that of good images rarely exceeds,
            "map_start": what nine in ten values of maps of good images are below; "anomaly_guarantee": what the
            threshold promises, in words; "teacher": what gives the features}.
        Raises:
            CheckpointError: no bank, or one that is not calibrated for these settings.
            DataError: pixels that are not finite, or not three channels.
        """
        if self.training:
            raise RuntimeError("PatchCore has no losses; its training is the method fit")
        self.state.require_calibration()
        return self.detect(batched_inputs)

    @torch.no_grad()
    def detect(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Maps and scores, calibrated or not."""
        results: list[dict[str, Any]] = [{}] * len(batched_inputs)
        for places in by_shape(batched_inputs):
            entries = [batched_inputs[place] for place in places]
            for place, entry, embedding in zip(places, entries, self.embed(self.preprocess(entries))):
                results[place] = self.describe(self.compare(embedding, entry))
        return results

    def preprocess(self, entries: list[dict[str, Any]]) -> Tensor:
        """Normalised images (B, 3, H, W) of model inputs of one size; errors as of `normalise_image`."""
        return stack([normalise_image(entry, "image", self.pixel_mean, self.pixel_std) for entry in entries])

    def embed(self, images: Tensor) -> Tensor:
        """Patch embeddings (B, C, h, w) of normalised images, continued to a multiple of the coarsest stride."""
        return embed_patches(self.extractor.maps(pad_to_stride(images, self.extractor.stride)), self.neighbourhood)

    def compare(self, embedding: Tensor, entry: Mapping[str, Any], without_image: int | None = None) -> Assessment:
        """Score and map of an image by the distances of its embedding (C, h, w) to the bank.

        Args:
            entry: the model input, of which sizes are read.
            without_image: vectors of this training image do not count.
        """
        vectors, bank = cells(embedding), self.state.bank
        distances = bank.distances(vectors, without_image)  # (h * w,)
        score = bank.image_score(vectors, distances, self.neighbours, without_image)
        return Assessment(score, distances.max(), self.anomaly_map(distances.view(embedding.shape[-2:]), entry))

    def anomaly_map(self, distances: Tensor, entry: Mapping[str, Any]) -> Tensor:
        """The map (height, width) of an image: distances (h, w) enlarged to the network input and smoothed."""
        height, width = entry["image"].shape[-2:]
        stride = self.extractor.stride
        padded = (height + -height % stride, width + -width % stride)
        enlarged = resize_maps(distances[None, None], padded)[..., :height, :width]
        smooth = gaussian_blur(enlarged, self.blur)
        output = output_size(entry, (height, width))
        return (smooth if output == (height, width) else resize_maps(smooth, output))[0, 0]

    def describe(self, found: Assessment) -> dict[str, Any]:
        """What the model says of an image, see `forward`."""
        result: dict[str, Any] = {
            "anomaly_map": found.anomaly_map,
            "anomaly_score": found.score,
            "map_score": found.anomaly_map.max(),
            "teacher": self.state.text("features"),
        }
        if self.state.has_threshold:
            result["anomaly_threshold"] = self.state.threshold.clone()
            result["map_threshold"] = self.state.map_threshold.clone()
            result["map_start"] = self.state.map_start.clone()
            result["anomaly_guarantee"] = self.anomaly_guarantee()
        return result

    def anomaly_threshold(self) -> float | None:
        """The score above which an image is anomalous; None where none was set."""
        return float(self.state.threshold) if self.state.has_threshold else None

    def good_scores(self) -> list[float]:
        """Scores of the good images that the threshold was taken from, rising; [] where they are not known."""
        return self.state.good_scores

    def anomaly_guarantee(self) -> str:
        """What the threshold promises, in words; "" before the model is calibrated."""
        return self.state.guarantee.text if self.state.guarantee is not None else ""

    def resize_image(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 in RGB order at the network's input size, with antialiasing as the mapper resizes."""
        return resize_rgb(rgb, self.image_size)

    def export_graph(self, cfg: CfgNode, images: Sequence[np.ndarray], options: ExportOptions) -> ExportGraph:
        """The whole detector as a graph, see `d2road.engine.meta_arch.ExportsGraph`."""
        parts = self.extractor, self.neighbourhood, self.neighbours, self.blur
        return export_bank_graph(self, self.state, parts, self.image_size, images, options)

    # --- fit ---

    def fit(self, cfg: CfgNode) -> dict[str, float]:
        """Make the bank of DATASETS.TRAIN and calibrate it.

        Returns:
            number of vectors, and what `calibrate` returns.
        Raises:
            D2RoadError, FileNotFoundError: no good images, or no weights of the extractor.
        """
        node, start = cfg.MODEL.PATCHCORE, time.perf_counter()
        features = self.state.text("features")
        if not features:
            pretrained = build_extractor(node.FEATURES, node.FEATURE_WEIGHTS, tuple(node.LAYERS))
            self.extractor.load_state_dict(pretrained.state_dict())
            features = pretrained.label
        found = fit_bank(
            DatasetImages(cfg, cfg.DATASETS.TRAIN),
            self.vectors_of,
            size=node.BANK_SIZE,
            candidates=node.CANDIDATES,
            coreset=node.CORESET,
            seed=cfg.SEED,
        )
        self.state.set_bank(found.vectors, found.images, features, found.by_image, found.digests)
        logger.info("Memory bank of %d vectors after %.1f s", len(found.images), time.perf_counter() - start)
        return {"bank_vectors": float(len(found.images)), **self.calibrate(cfg)}

    @torch.no_grad()
    def vectors_of(self, entry: Entry) -> Tensor:
        """Vectors (h * w, C) of a model input."""
        return cells(self.embed(self.preprocess([entry]))[0])

    def calibrate(self, cfg: CfgNode) -> dict[str, float]:
        """Measure the thresholds on the good images that a config names.

        Returns:
            the threshold and the number of images, for the metrics of a run.
        """
        node = cfg.MODEL.PATCHCORE.CALIBRATION
        if node.METHOD == "held_out":
            images = DatasetImages(cfg, calibration_names(cfg))
            return self.calibrate_on(cfg, images_of(images, "scores of held-out good images"))
        images = DatasetImages(cfg, cfg.DATASETS.TRAIN)
        numbered = zip(images_of(images, "scores without an image's own vectors"), images.numbers())
        found = score_good_images(numbered, self._assess_without_own)
        # No score is above its largest distance, which no further image raises where each gives its vectors by itself.
        # So the threshold of these keeps the promise for the scores, of int8 up to the rounding of both.
        promises = self.state.is_by_image
        threshold = leave_one_out_threshold(
            found.distances if promises else found.scores,
            node.FALSE_POSITIVE_RATE,
            node.RANDOM_SAMPLE,
            monotone=promises,
            covering_radius=2 * self.state.bank.rounding if promises else 0.0,
        )
        return self._set_thresholds(found, threshold)

    def calibrate_on(self, cfg: CfgNode, images: Iterable[Entry]) -> dict[str, float]:
        """Measure the thresholds on good images that are not in the bank; returns as `calibrate`.

        Raises:
            DataError: an image of the bank, or none.
        """
        node = cfg.MODEL.PATCHCORE.CALIBRATION
        others = without_images_of(self.state.digests, images)
        found = score_good_images(zip(others, count()), self._assess)
        return self._set_thresholds(found, split_threshold(found.scores, node.FALSE_POSITIVE_RATE, node.RANDOM_SAMPLE))

    def _set_thresholds(
        self, found: GoodScores, threshold: Threshold, after_acceptance: bool = False
    ) -> dict[str, float]:
        value, guarantee = with_rounding(threshold.value), threshold.guarantee
        if self.state.has_accepted_images and not after_acceptance:
            guarantee = guarantee.void(KNOWN_BEFORE)
        of_map = split_threshold(found.maxima, guarantee.wanted_rate, guarantee.randomly_drawn)
        self.state.set_thresholds(value, with_rounding(of_map.value), found.map_start, guarantee)
        self.state.set_good_scores(found.scores)
        log_threshold(value, guarantee)
        return {"threshold": value, "calibration_images": float(guarantee.n)}

    @torch.no_grad()
    def _assess(self, entry: Entry, number: int) -> Assessment:
        return self.compare(self.embed(self.preprocess([entry]))[0], entry)

    @torch.no_grad()
    def _assess_without_own(self, entry: Entry, number: int) -> Assessment:
        embedding = self.embed(self.preprocess([entry]))[0]
        require_origin(self.state.vectors_of(number), cells(embedding), self.state.bank.rounding, name_of(entry))
        return self.compare(embedding, entry, without_image=number)

    # --- good images that are accepted after the training, see d2road.engine.meta_arch ---

    def accept_image(self, model_input: Mapping[str, Any], image_id: int) -> int:
        """Add all vectors of an image to the bank; returns their number."""
        vectors = self.vectors_of(dict(model_input))
        self.state.add_image(vectors, image_id)
        return len(vectors)

    def remove_image(self, image_id: int) -> int:
        """Take back the vectors of an accepted image; returns their number."""
        return self.state.remove_image(image_id)

    def recalibrate(self, cfg: CfgNode, images: Iterable[Mapping[str, Any]]) -> None:
        """Set the thresholds by good images that were drawn at random and are not in the bank."""
        others = without_images_of(self.state.digests, map(dict, images))
        found = score_good_images(zip(others, count()), self._assess)
        rate = cfg.MODEL.PATCHCORE.CALIBRATION.FALSE_POSITIVE_RATE
        self._set_thresholds(found, split_threshold(found.scores, rate, randomly_drawn=True), after_acceptance=True)

    def audit_trail(self) -> str:
        """JSON lines of what was accepted."""
        return self.state.audit_trail

    def set_audit_trail(self, text: str) -> None:
        """Replace them."""
        self.state.set_audit_trail(text)


@register_training_files("PatchCore")
def require_extractor_weights(cfg: CfgNode) -> None:
    """Raise where there are no weights of the extractor; weights to start from bring their own."""
    if not cfg.MODEL.WEIGHTS:
        require_weights_of(cfg.MODEL.PATCHCORE.FEATURES, cfg.MODEL.PATCHCORE.FEATURE_WEIGHTS)
