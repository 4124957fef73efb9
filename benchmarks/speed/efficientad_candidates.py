"""What takes part in the benchmark of EfficientAD: detectors with one set of random weights, images, anomalib."""

import logging
from functools import cache
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model

from d2road.config import make_cfg
from d2road.utils.rng import seeded_rng
from efficientad.calibration import measure_maps, measure_teacher
from efficientad.detector import EfficientAD

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "efficientad" / "Base-EfficientAD.yaml"
SIDE = 256  # the published autoencoder takes nothing else
GOOD_IMAGES = 3
ANOMALIB_MISSING = "anomalib is not installed, so nothing here is measured against it (pip install anomalib==2.7.0)"


def random_images(count: int, seed: int, side: int = SIDE) -> list[dict]:
    """Model inputs: random images with structure of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(count, 3, side, side)
    for cells in (4, 16, 64, side):
        noise = torch.rand(count, 3, cells, cells, generator=generator)
        image += torch.nn.functional.interpolate(noise, (side, side), mode="bilinear") / 4
    return [{"image": one * 255, "height": side, "width": side} for one in image]


def detector(size: str, seed: int, precision: str = "fp32", convolution: str = "") -> EfficientAD:
    """A detector with the published autoencoder; the same weights for one seed.

    Args:
        convolution: "direct" for none of fewer products.
    """
    node = "MODEL.EFFICIENT_AD."
    keys = [node + "SIZE", size, node + "AUTOENCODER", "conv", "INFERENCE.PRECISION", precision]
    keys += [node + "WINOGRAD", convolution != "direct", "MODEL.DEVICE", "cpu"]
    with seeded_rng(seed):
        return build_model(make_cfg(str(CONFIG), keys))


@cache
def calibrated(size: str, seed: int, precision: str = "fp32", convolution: str = "") -> EfficientAD:
    """The same in eval mode, calibrated on a few random images."""
    model = detector(size, seed, precision, convolution).eval()
    good = [[entry] for entry in random_images(GOOD_IMAGES, seed + 1)]
    log = logging.getLogger(measure_maps.__module__)
    level = log.level
    log.setLevel(logging.ERROR)  # that few images make a rough calibration does not matter here
    try:
        measure_teacher(model, good, "random")
        measure_maps(model, good)
    finally:
        log.setLevel(level)
    return model


def anomalib_model(model: EfficientAD) -> Any:
    """anomalib's network with the weights of a detector; None if it is not installed."""
    try:
        from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel, EfficientAdModelSize
    except ImportError:
        return None
    networks = model.networks
    size = EfficientAdModelSize.S if networks.teacher.size == "small" else EfficientAdModelSize.M
    other = EfficientAdModel(teacher_out_channels=networks.channels, model_size=size, padding=False, pad_maps=True)
    for theirs, ours in ((other.teacher, networks.teacher), (other.student, networks.student),
                         (other.ae, networks.autoencoder)):  # fmt: skip
        theirs.load_state_dict(ours.state_dict())
    values = {"mean": networks.teacher_mean, "std": networks.teacher_std}
    for name, value in values.items():
        other.mean_std[name].data = value.view(1, -1, 1, 1).clone()
    for name, value in zip(("qa_st", "qb_st", "qa_ae", "qb_ae"), model.state.map_quantiles.flatten()):
        other.quantiles[name].data = value.clone()
    return other.eval()
