"""Mapper of EfficientAD: read, resize with antialiasing; in training a jittered image and a penalty image."""

import copy
import os
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image, ImageEnhance

from d2road.data.mapper_registry import MAPPER_REGISTRY
from d2road.utils.errors import DataError
from d2road.utils.image_io import open_rgb
from d2road.utils.input_files import walk_files
from efficientad.data.dataset_layouts import is_image_file

JITTERS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}
PENALTY_GRAYSCALE = 0.3  # share of penalty images without colour
# The other seven symmetries of a square.
SYMMETRIES = tuple(Image.Transpose)


@MAPPER_REGISTRY.register()
class EfficientADMapper:
    """Images as the published training sees them.

    Resized by Pillow, whose bilinear filter widens when it shrinks; resizing without that costs accuracy. The jitter is
    applied to the resized image instead of the full one, which differs by rounding alone. Random draws come from
    numpy's global state, which the loader seeds for each sample.

    Args:
        cfg: INPUT.IMAGE_SIZE, INPUT.AUTOENCODER_JITTER, INPUT.AUTOENCODER_JITTER_RANGE, INPUT.SYMMETRIES and
            DATASETS.PENALTY_IMAGES.
        is_train: attach `image_ae` and `image_penalty`.
    Raises:
        FileNotFoundError, ValueError: the folder of penalty images is missing or empty.
    """

    def __init__(self, cfg: CfgNode, is_train: bool = True):
        self.is_train, self.size = is_train, tuple(cfg.INPUT.IMAGE_SIZE)
        self.jitter, self.jitter_range = tuple(cfg.INPUT.AUTOENCODER_JITTER), tuple(cfg.INPUT.AUTOENCODER_JITTER_RANGE)
        self.symmetries = is_train and cfg.INPUT.SYMMETRIES
        folder = cfg.DATASETS.PENALTY_IMAGES
        self.penalty_files = find_images(folder) if is_train and folder else []

    def __call__(self, dataset_dict: dict) -> dict:
        """Read and resize one image.

        Returns:
            the dict with `image` (3, H, W) float32, RGB from 0 to 255, and the image's own `height` and `width`. In
            training also `image_ae`, the jittered image for the autoencoder, and, where there are penalty images,
            `image_penalty`, one of them; both are as `image`.
        Raises:
            FileNotFoundError, ValueError: the image is missing, broken, of another size than the dict says, or has
                values that are no colours.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        image = open_rgb(dataset_dict["file_name"], _entry(dataset_dict))
        _check_size(dataset_dict, image)
        height, width = self.size if all(self.size) else image.size[::-1]
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        if self.symmetries:
            resized = turned(resized, np.random.randint(1 + len(SYMMETRIES)))
        dataset_dict["image"] = to_tensor(resized)
        if self.is_train:
            jittered = self._jittered(resized)
            dataset_dict["image_ae"] = dataset_dict["image"] if jittered is resized else to_tensor(jittered)
            if self.penalty_files:
                path = self.penalty_files[np.random.randint(len(self.penalty_files))]
                dataset_dict["image_penalty"] = to_tensor(penalty_image(path, height, width))
        return dataset_dict

    def _jittered(self, image: Image.Image) -> Image.Image:
        if not self.jitter:
            return image
        kind = self.jitter[np.random.randint(len(self.jitter))]
        return JITTERS[kind](image).enhance(np.random.uniform(*self.jitter_range))


def turned(image: Image.Image, number: int) -> Image.Image:
    """One of the eight rotations by quarter turns and reflections of an image; 0 is the image itself."""
    return image.transpose(SYMMETRIES[number - 1]) if number else image


def to_tensor(image: Image.Image) -> torch.Tensor:
    """(3, H, W) float32, 0..255."""
    values = np.asarray(image).transpose(2, 0, 1).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(values))


def penalty_image(path: Path, height: int, width: int) -> Image.Image:
    """An image of something else: shrunk to twice the size, sometimes grey, its middle cut out.

    Source: the published training code; random draws come from numpy's global state.
    """
    image = open_rgb(path).resize((2 * width, 2 * height), Image.Resampling.BILINEAR)
    if np.random.uniform() < PENALTY_GRAYSCALE:
        image = image.convert("L").convert("RGB")
    # Rounded as torchvision's CenterCrop rounds.
    top, left = round(height / 2), round(width / 2)
    return image.crop((left, top, left + width, top + height))


def find_images(folder: str | os.PathLike) -> list[Path]:
    """All images below a folder, sorted.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"folder of penalty images {root} does not exist; '' trains without them")
    found = [path for path in walk_files(root) if is_image_file(path)]
    if not found:
        raise DataError(f"folder of penalty images {root} holds no image; '' trains without them")
    return found


def _entry(dataset_dict: dict) -> str:
    return f"image_id {dataset_dict['image_id']!r}" if "image_id" in dataset_dict else "a data set entry"


def _check_size(dataset_dict: dict, image: Image.Image) -> None:
    """Compare with the dict's size, or add it."""
    width, height = image.size
    stated = (dataset_dict.setdefault("width", width), dataset_dict.setdefault("height", height))
    if stated != (width, height):
        raise DataError(
            f"image {dataset_dict['file_name']} ({_entry(dataset_dict)}) is {width}x{height}, its data set says "
            f"{stated[0]}x{stated[1]} (width x height): did the files change?"
        )
