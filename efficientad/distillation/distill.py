"""Distillation of a teacher: a PDN learns to describe patches as a pretrained network does.

META_ARCHITECTURE TeacherDistillation; its checkpoints are what MODEL.EFFICIENT_AD.TEACHER takes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.engine import HookBase
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from d2road.config import register_check
from d2road.data.catalog import register_lazily
from d2road.data.dataset_formats import DATASET_FORMATS, DatasetFormat
from d2road.engine.meta_arch import register_training_hooks
from d2road.utils.image_io import image_size
from d2road.utils.rng import preserve_rng
from d2road.utils.text_tensors import encode
from efficientad.calibration_statistics import Moments
from efficientad.data.dataset_layouts import is_image_file
from efficientad.data.image_iteration import DatasetImages, gathered, images_of
from efficientad.distillation.patch_features import describe_patches
from efficientad.modeling.feature_extractors import FeatureExtractor, build_extractor, extractor_problems
from efficientad.modeling.pdn import BORDER, LAYERS, PDN

logger = logging.getLogger(__name__)

META_ARCHITECTURE = "TeacherDistillation"
LUMA = (0.299, 0.587, 0.114)
SKIPPED = ("ground_truth",)  # masks are no images


@dataclass
class FrozenExtractor:
    """A pretrained network beside a model: no nn.Module, so that checkpoints do not repeat its weights."""

    extractor: FeatureExtractor

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Maps of images (B, 3, H, W) in 0 to 255, on the device of the images."""
        return self.extractor.to(images.device)(images)


@META_ARCH_REGISTRY.register()
class TeacherDistillation(nn.Module):
    """A teacher in training.

    The pretrained network sees images of INPUT.IMAGE_SIZE, the teacher the same ones at half that size; both maps are
    an eighth of IMAGE_SIZE. With padding, as published, the teacher learns at all cells; without it, at those whose
    patch is whole.

    Args:
        teacher: a PDN.
        extractor: of features; it is not part of the checkpoint.
        pixel_mean, pixel_std: of the teacher's input.
        grayscale: share of images without colour.
        statistics_images: most images to take mean and deviation of the descriptions from.
        crop: side in pixels of the part of each image, drawn at random, that a step of the training takes; 0 for all.
    """

    default_mapper = "EfficientADMapper"
    pixel_mean: Tensor
    pixel_std: Tensor
    luma: Tensor
    feature_mean: Tensor
    feature_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        teacher: PDN,
        extractor: FeatureExtractor,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        grayscale: float,
        statistics_images: int,
        crop: int = 0,
    ):
        super().__init__()
        self.teacher = teacher.to(memory_format=torch.channels_last)
        self.frozen = FrozenExtractor(extractor)
        self.grayscale, self.statistics_images, self.crop = grayscale, statistics_images, crop
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA).view(-1, 1, 1), persistent=False)
        self.register_buffer("feature_mean", torch.zeros(teacher.out_channels))
        self.register_buffer("feature_std", torch.ones(teacher.out_channels))
        self.register_buffer("teacher_label", encode(f"PDN distilled from {extractor.label}"))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of __init__ from a config."""
        node = cfg.MODEL.EFFICIENT_AD
        return {
            "teacher": PDN(node.SIZE, node.OUT_CHANNELS, padding=node.DISTILL.PADDING),
            "extractor": build_extractor(node.DISTILL.FEATURES, node.DISTILL.FEATURE_WEIGHTS),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "grayscale": node.DISTILL.GRAYSCALE,
            "statistics_images": node.DISTILL.STATISTICS_IMAGES,
            "crop": node.DISTILL.CROP,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Detectron2's contract.

        Args:
            batched_inputs: per image `image` (3, H, W), RGB from 0 to 255, all of one size.
        Returns:
            in training {"loss_distill"}: mean squared difference of normalised descriptions; else per image
            {"distillation_error"}, the same.
        """
        images = torch.stack([self.cropped(entry["image"]).to(self.device).float() for entry in batched_inputs])
        if self.training and self.grayscale:
            images = torch.where(
                torch.rand(len(images), 1, 1, 1, device=self.device) < self.grayscale,
                (images * self.luma).sum(1, keepdim=True),
                images,
            )
        target = (self.describe(images) - self.feature_mean.view(-1, 1, 1)) / self.feature_std.view(-1, 1, 1)
        if not self.teacher.padding:
            target = target[..., BORDER:-BORDER, BORDER:-BORDER]
        errors = (self.teacher_features(images).float() - target).square().mean((1, 2, 3))
        if self.training:
            return {"loss_distill": errors.mean()}
        return [{"distillation_error": error} for error in errors]

    def cropped(self, image: Tensor) -> Tensor:
        """A part of an image (3, H, W) at random in training, else the image."""
        height, width = image.shape[-2:]
        if not self.training or not 0 < self.crop < min(height, width):
            return image
        # At multiples of what pools of the pretrained network and cells of the teacher have in common.
        top, left = (16 * int(torch.randint((side - self.crop) // 16 + 1, ())) for side in (height, width))
        return image[:, top : top + self.crop, left : left + self.crop]

    @torch.no_grad()
    def describe(self, images: Tensor) -> Tensor:
        """Descriptions (B, C, H / 8, W / 8) of images (B, 3, H, W) by the pretrained network."""
        return describe_patches(self.frozen(images), self.teacher.out_channels)

    def teacher_features(self, images: Tensor) -> Tensor:
        """The teacher's map (B, C, H / 8, W / 8) of the images at half their size; unpadded, without its border."""
        size = [side // 2 for side in images.shape[-2:]]
        half = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
        half = (half - self.pixel_mean) / self.pixel_std
        return self.teacher(half.contiguous(memory_format=torch.channels_last))


class MeasureFeatures(HookBase):
    """Takes mean and deviation of the descriptions from the training images before the first step."""

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg

    @torch.no_grad()
    def before_train(self) -> None:
        model = self.trainer.bare_model
        if self.trainer.start_iter > 0:
            return
        moments = Moments()
        batches = DatasetImages(self.cfg, self.cfg.DATASETS.TRAIN, most=model.statistics_images)
        with preserve_rng():
            for entry in images_of(batches, "feature statistics"):
                moments.update(model.describe(entry["image"].to(model.device).float()[None]))
        mean, std = gathered(moments).result()
        model.feature_mean.copy_(mean)
        model.feature_std.copy_(std)
        if self.trainer.ema:
            self.trainer.ema.reset(model)  # nothing is trained yet


def register_images(name: str, folder: str) -> None:
    """Register `images:DIR`: all images below a folder, without labels; masks are left out. Idempotent."""

    def load() -> list[dict]:
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"data set '{name}': there is no folder {root}")
        inside = (path for path in sorted(root.rglob("*")) if not set(SKIPPED) & set(path.relative_to(root).parts))
        dicts: list[dict] = []
        for path in filter(is_image_file, inside):
            width, height = image_size(path)
            dicts.append({"file_name": str(path), "width": width, "height": height, "image_id": len(dicts)})
        return dicts

    register_lazily(name, load)


DATASET_FORMATS.register(DatasetFormat("images:DIR", register_images, (1, 1)), name="images")


def check(cfg: CfgNode) -> list[str]:
    """Contradictions in the keys of the distillation, each with its cure."""
    node, problems = cfg.MODEL.EFFICIENT_AD, list[str]()
    size, distill = cfg.INPUT.IMAGE_SIZE, node.DISTILL
    if node.SIZE not in LAYERS:
        problems.append(f"MODEL.EFFICIENT_AD.SIZE is {node.SIZE!r}: choose one of {', '.join(LAYERS)}")
    smallest = 64 if distill.PADDING else 80  # without zeros around it a patch of 33 pixels must fit into half of it
    if len(size) != 2 or min(size) < smallest or any(side % 16 for side in size):
        problems.append(
            f"INPUT.IMAGE_SIZE is {tuple(size)}: with DISTILL.PADDING {distill.PADDING} multiples of 16 from "
            f"{smallest} up, published is (512, 512); the teacher learns at half of it"
        )
    problems += [f"MODEL.EFFICIENT_AD.DISTILL.{problem}" for problem in extractor_problems(distill.FEATURES)]
    if distill.CROP and not (80 <= distill.CROP <= min(size, default=0) and distill.CROP % 16 == 0):
        problems.append(
            f"MODEL.EFFICIENT_AD.DISTILL.CROP is {distill.CROP}: a multiple of 16 from 80 to the sides of "
            f"INPUT.IMAGE_SIZE {tuple(size)}, or 0 for whole images"
        )
    if not 0 <= distill.GRAYSCALE <= 1:
        problems.append(f"MODEL.EFFICIENT_AD.DISTILL.GRAYSCALE is {distill.GRAYSCALE}: choose a share from 0 to 1")
    if distill.STATISTICS_IMAGES < 1:
        problems.append(
            f"MODEL.EFFICIENT_AD.DISTILL.STATISTICS_IMAGES is {distill.STATISTICS_IMAGES}: must be at least 1"
        )
    if cfg.INPUT.FORMAT != "RGB":
        problems.append(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}: set it to RGB")
    return problems


register_check(META_ARCHITECTURE, check)


@register_training_hooks("TeacherDistillation")
def distillation_hooks(cfg: CfgNode) -> list[HookBase]:
    """Measures the features of the pretrained network before the first step."""
    return [MeasureFeatures(cfg)]
