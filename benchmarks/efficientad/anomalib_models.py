"""anomalib's own PatchCore and PaDiM, trained by its Engine on the images of a run, as detectors for our evaluation.

Only in an environment with anomalib 2.7 (`make peers`, then `PYTHONPATH=. .peers/anomalib/bin/python -m ...`). Their
published backbones cannot be had without a network, so they get that of the run, with its packaged weights and pixel
normalisation. PatchCore keeps a two-hundredth of all vectors, since its coreset of a tenth takes hours of a processor;
all else is anomalib's default. Its EfficientAD and student-teacher models need downloads of their own and have no row.
"""

import tempfile
from collections.abc import Iterator
from typing import Any

import timm
import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from benchmarks.efficientad.baseline_detector import BaselineDetector
from d2road.modeling.backbone.timm_weights import load_timm_weights
from efficientad.calibration_statistics import resize_maps
from efficientad.data.image_iteration import DatasetImages, images_of
from efficientad.modeling.feature_extractors import FeatureExtractor, build_extractor

ANOMALIB_MODELS = ("anomalib_patchcore", "anomalib_padim")
BACKBONE = "tf_efficientnet_lite0"
PADIM_CHANNELS = 100  # of its default for a ResNet-18
CORESET_RATIO = 0.005
BATCH = 8


class AnomalibDetector(BaselineDetector):
    """Detectron2's contract of a detector around a trained model of anomalib.

    Args:
        model: anomalib's AnomalibModule, trained.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def detect(self, entry: dict) -> tuple[Tensor, Tensor]:
        image = entry["image"]
        found = self.model.model(self.model.pre_processor(image[None].float() / 255))
        size = (int(entry.get("height", image.shape[-2])), int(entry.get("width", image.shape[-1])))
        maps = found.anomaly_map.reshape(1, 1, *found.anomaly_map.shape[-2:])
        return resize_maps(maps, size)[0, 0], found.pred_score.reshape(())


def train_anomalib(cfg: CfgNode, variant: str) -> AnomalibDetector:
    """Train one of `ANOMALIB_MODELS` on the training images; its threshold comes from the validation images.

    Args:
        cfg: of PatchCore, whose FEATURES are EfficientNet-Lite0.
    Raises:
        ModuleNotFoundError: anomalib is not installed.
        ValueError: other features.
    """
    node = cfg.MODEL.PATCHCORE
    if node.FEATURES != "efficientnet_lite0":
        raise ValueError(f"{variant} is compared on the features efficientnet_lite0, not {node.FEATURES}")
    size = (int(cfg.INPUT.IMAGE_SIZE[0]), int(cfg.INPUT.IMAGE_SIZE[1]))
    extractor = build_extractor(node.FEATURES, None, tuple(node.LAYERS))
    model = _build(variant, extractor, size, tuple(node.LAYERS))
    _fit(model, cfg, variant)
    detector = AnomalibDetector(model.eval()).eval()
    detector.take_threshold(cfg, node.CALIBRATION.FALSE_POSITIVE_RATE)
    return detector


def _build(variant: str, extractor: FeatureExtractor, size: tuple[int, int], layers: tuple[str, ...]) -> Any:
    from anomalib.models import Padim, Patchcore
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    with torch.device("meta"):
        levels = timm.create_model(BACKBONE, features_only=True).feature_info.get_dicts()
    mean, std = (value.flatten().div(255).tolist() for value in (extractor.mean, extractor.std))
    given: dict[str, Any] = {
        "backbone": BACKBONE,
        "layers": [level["module"] for level in levels if f"s{level['reduction']}" in layers],
        "pre_trained": False,
        "pre_processor": PreProcessor(Compose([Resize(size, antialias=True), Normalize(mean, std)])),
        "post_processor": False, "evaluator": False, "visualizer": False,
    }  # fmt: skip
    model: Any
    if variant == "anomalib_patchcore":
        model = Patchcore(**given, coreset_sampling_ratio=CORESET_RATIO)
    else:
        model = Padim(**given, n_features=PADIM_CHANNELS)
    load_timm_weights(model.model.feature_extractor.feature_extractor, BACKBONE, "package")
    return model


def _fit(model: Any, cfg: CfgNode, variant: str) -> None:
    from anomalib.data import ImageBatch
    from anomalib.engine import Engine

    class Batches(torch.utils.data.IterableDataset):
        """Training images in batches of anomalib's kind, from 0 to 1."""

        def __iter__(self) -> Iterator[Any]:
            entries = images_of(DatasetImages(cfg, cfg.DATASETS.TRAIN), variant)
            images = [entry["image"].float() / 255 for entry in entries]
            for start in range(0, len(images), BATCH):
                batch = torch.stack(images[start : start + BATCH])
                yield ImageBatch(image=batch, gt_label=torch.zeros(len(batch), dtype=torch.bool))

    torch.manual_seed(cfg.SEED)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(
            accelerator="cpu", devices=1, logger=False, default_root_dir=folder, enable_progress_bar=False,
            limit_val_batches=0, num_sanity_val_steps=0,
        )  # fmt: skip
        engine.fit(model, train_dataloaders=torch.utils.data.DataLoader(Batches(), batch_size=None))
