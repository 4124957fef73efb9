"""The baseline of the benchmarks of EfficientAD: nearest neighbours among the teacher's features of good images.

Same teacher, same images, same evaluation as the trained models; nothing is trained. Whitened, the features are weighed
by their covariance over all places of the good images: then distances are Mahalanobis distances.
"""

import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from benchmarks.common.records import read_record
from benchmarks.efficientad.anomaly_results import FINAL, record_test, run_test
from benchmarks.efficientad.anomaly_runs import Run, run_name
from benchmarks.efficientad.baseline_detector import BaselineDetector
from efficientad.calibration import measure_teacher
from efficientad.calibration_statistics import resize_maps
from efficientad.data.image_iteration import DatasetImages, images_of
from efficientad.detector import EfficientAD
from efficientad.modeling.error_whitening import ErrorCovariance
from efficientad.modeling.memory_bank import MemoryBank
from efficientad.teacher_loading import fill_teacher

BASELINE, WHITENED = "memory_bank", "memory_bank_whitened"
FIRST_NAME = "neighbours"  # of its first records
BANK_SIZE = 20000
RIDGE = 0.01  # of the covariance, see `error_whitening`


class MemoryBankDetector(BaselineDetector):
    """Detectron2's contract of a detector around a memory bank.

    Args:
        model: whose teacher, statistics and image normalisation are used; nothing else of it.
        bank: of the teacher's normalised features.
        whitening: (C, C) that these are multiplied by; None for none.
    """

    def __init__(self, model: EfficientAD, bank: MemoryBank, whitening: Tensor | None = None):
        super().__init__()
        self.model, self.bank, self.whitening = model, bank, whitening

    def detect(self, entry: dict) -> tuple[Tensor, Tensor]:
        features = teacher_features(self.model, entry, self.whitening)
        # The border has no features of its own: it takes the nearest ones.
        distances = F.pad(
            self.bank.distance_map(features)[None, None], (self.model.networks.border,) * 4, mode="replicate"
        )
        image = entry["image"]
        size = (int(entry.get("height", image.shape[-2])), int(entry.get("width", image.shape[-1])))
        anomaly_map = resize_maps(distances, size)[0, 0]
        return anomaly_map, anomaly_map.max()


@torch.no_grad()
def teacher_features(model: EfficientAD, entry: dict, whitening: Tensor | None = None) -> Tensor:
    """The teacher's normalised features (C, h, w) of a mapped image, multiplied by `whitening` (C, C)."""
    features = model.networks.teacher_features(model.preprocess_image(entry)[None])[0]
    return features if whitening is None else torch.einsum("dc,chw->dhw", whitening, features)


def build_baseline(cfg: CfgNode, bank_size: int = BANK_SIZE, whitened: bool = False) -> MemoryBankDetector:
    """Bank from the training images, threshold from the validation images.

    Args:
        cfg: of EfficientAD; SEED draws the places.
        bank_size: vectors, as many of each image.
        whitened: weigh the features by their covariance.
    """
    model = build_model(cfg).eval()
    label = fill_teacher(model.networks.teacher, cfg.MODEL.EFFICIENT_AD)
    good = DatasetImages(cfg, cfg.DATASETS.TRAIN)
    measure_teacher(model, good, label)
    covariance, whitening = ErrorCovariance(share=1.0), None
    if whitened:
        for entry in images_of(good, "covariance of the features"):
            covariance.update(teacher_features(model, entry)[None])
        whitening = covariance.whitening(RIDGE)

    def maps() -> Iterator[Tensor]:
        for entry in images_of(good, "memory bank"):
            yield teacher_features(model, entry, whitening)

    bank = MemoryBank.from_maps(maps(), len(good), bank_size, cfg.SEED)
    detector = MemoryBankDetector(model, bank, whitening)
    detector.take_threshold(cfg, cfg.MODEL.EFFICIENT_AD.CALIBRATION.FALSE_POSITIVE_RATE)
    return detector


def evaluate_baseline(run: Run, category: str = "") -> None:
    """Evaluate the baseline with a run's teacher, data and seed, unless there is a record."""
    folder = run_name(run.teacher, run.variant, run.cfg.SEED, 0, category)
    recorded = [folder]
    if run.variant == BASELINE:
        recorded.append(run_name(run.teacher, FIRST_NAME, run.cfg.SEED, 0, category))
    if any(read_record(run.bench, f"{name}/{FINAL}") is not None for name in recorded):
        return
    start = time.perf_counter()
    detector = build_baseline(run.cfg, whitened=run.variant.partition("+")[0] == WHITENED)
    ready = time.perf_counter() - start
    tested = run_test(run.cfg, detector)
    record_test(
        run, FINAL, tested, start, folder, steps=0, bank=len(detector.bank),
        seconds_to_calibrated=round(ready, 1),
        note="distance to the nearest of `bank` feature vectors, drawn at random from the training images",
    )  # fmt: skip
