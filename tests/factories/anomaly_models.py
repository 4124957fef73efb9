"""A tiny data set in the MVTec AD layout, narrow models, and a config for both."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from detectron2.modeling import build_model

from d2road.config import make_cfg
from efficientad.calibration import measure_maps, measure_teacher
from efficientad.detector import EfficientAD
from efficientad.modeling.pdn import LAYERS

SIDE = 128


def write_category(root: Path, num_train: int = 8, num_test: int = 3, side: int = SIDE) -> Path:
    """Good images: a soft grid with noise; anomalous ones have a dark blot. Returns the category's folder."""
    rng = np.random.default_rng(0)
    category = root / "tiles"
    for folder, count, blot in (
        ("train/good", num_train, False),
        ("test/good", num_test, False),
        ("test/blot", num_test, True),
    ):
        (category / folder).mkdir(parents=True)
        for number in range(count):
            image = image_of(rng, side)
            if blot:
                y, x = rng.integers(40, side - 60, 2)
                image[y : y + 24, x : x + 24] = 0
                mask = np.zeros((side, side), np.uint8)
                mask[y : y + 24, x : x + 24] = 255
                truth = category / "ground_truth" / "blot"
                truth.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(truth / f"{number:03d}_mask.png"), mask)
            cv2.imwrite(str(category / folder / f"{number:03d}.png"), image)
    return category


def image_of(rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8."""
    y, x = np.mgrid[:side, :side]
    grid = 128 + 40 * np.sin((x + rng.integers(20)) / 6) + 30 * np.sin((y + rng.integers(20)) / 9)
    image = grid[..., None] + rng.normal(0, 8, (side, side, 3))
    return image.clip(0, 255).astype(np.uint8)


@contextmanager
def narrow_networks() -> Iterator[None]:
    """Networks built inside have an eighth of the published width, for speed."""
    narrow = {size: tuple((k, p, w // 8, r, o) for k, p, w, r, o in layers) for size, layers in LAYERS.items()}
    with mock.patch.dict(LAYERS, narrow):
        yield


def small_cfg(*pairs):
    """A config of a small model that never saw a file, with KEY, VALUE pairs merged."""
    cfg = make_cfg(
        str(Path(__file__).resolve().parents[2] / "configs" / "efficientad" / "Base-EfficientAD.yaml"),
        [
            *("MODEL.DEVICE", "cpu", "MODEL.EFFICIENT_AD.TEACHER", "random", "MODEL.EFFICIENT_AD.OUT_CHANNELS", 8),
            *("MODEL.EFFICIENT_AD.ATTENTION_DIM", 16, "MODEL.EFFICIENT_AD.ATTENTION_HEADS", 2, "SEED", 3),
            *("INPUT.IMAGE_SIZE", f"({SIDE}, {SIDE})", "DATALOADER.NUM_WORKERS", 0),
        ],
    )
    cfg.merge_from_list(list(pairs))
    return cfg


def entries(count: int = 2, side: int | tuple[int, int] = SIDE, seed: int = 0, **more) -> list[dict]:
    """Model inputs of random images."""
    generator = torch.Generator().manual_seed(seed)
    height, width = (side, side) if isinstance(side, int) else side
    return [
        {"image": torch.rand(3, height, width, generator=generator) * 255, "height": height, "width": width, **more}
        for _ in range(count)
    ]


def build(*pairs, seed: int = 0) -> EfficientAD:
    """An untrained model of `small_cfg`."""
    torch.manual_seed(seed)
    return build_model(small_cfg(*pairs))


def calibrated(*pairs, batches: list[list[dict]] | None = None, seed: int = 0) -> EfficientAD:
    """The same in eval mode, calibrated on batches of model inputs."""
    model = build(*pairs, seed=seed)
    batches = batches or [[entry] for entry in entries(4, seed=1)]
    measure_teacher(model, batches, "a random teacher")
    measure_maps(model, batches, training=batches)
    return model.eval()
