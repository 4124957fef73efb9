"""Calibration of a detector with data: teacher statistics, map quantiles and threshold, and the hooks of a training."""

import logging
from collections.abc import Iterable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import Tensor

from d2road.checkpoint.model_state import take_sizes
from d2road.engine.meta_arch import register_training_files, register_training_hooks
from d2road.utils.errors import DataError
from d2road.utils.rng import preserve_rng
from efficientad.calibration_statistics import (
    MAP_END,
    Moments,
    Quantiles,
    check_quantiles,
    maps_for_quantiles,
)
from efficientad.checkpoint.teacher_files import check_teacher_path
from efficientad.config import features_of
from efficientad.conformal import decision_threshold, images_needed
from efficientad.data.image_iteration import DatasetImages, calibration_names, gathered, images_of, rows_of_all
from efficientad.detector import EfficientAD
from efficientad.inference.image_batches import output_size
from efficientad.inference.quantization import Observer
from efficientad.inference.raw_maps import RawMaps
from efficientad.inference.tiling import cut_in_batches, tile_size
from efficientad.modeling.error_whitening import ErrorCovariance
from efficientad.modeling.extractor_teacher import ExtractorTeacher
from efficientad.modeling.feature_extractors import require_weights_of
from efficientad.modeling.networks import student_errors
from efficientad.modeling.puad import FEW, Puad
from efficientad.teacher_loading import fill_teacher

logger = logging.getLogger(__name__)

MAP_NAMES = ("student-teacher", "autoencoder")
FEW_IMAGES = 10
# Of the threshold, so that a good image that lies on it does not cross it by the rounding of another batch size.
ROUNDING = 1e-4
# Entries of the state dict that calibration makes, not training.
CALIBRATED = ("networks.teacher_mean", "networks.teacher_std", "networks.whitening", "state.", "puad.")


@torch.no_grad()
def measure_teacher(model: EfficientAD, batches: Iterable[list[dict]], label: str) -> None:
    """Take mean and deviation of the teacher's channels over good images into the model.

    Args:
        model: with its teacher loaded.
        batches: mapped images; of several processes each has its share.
        label: what to call the teacher.
    Raises:
        ValueError: no image, or a degenerate channel.
    """
    moments = Moments()
    for entry in images_of(batches, "teacher statistics"):
        image = model.preprocess_image(entry)
        for top, left, bottom, right in model.tiling.boxes(image):
            moments.update(model.networks.teacher(image[None, :, top:bottom, left:right]))
    moments = gathered(moments)
    mean, std = moments.result()
    model.networks.teacher_mean.copy_(mean)
    model.networks.teacher_std.copy_(std)
    model.state.set_teacher(label)


@torch.no_grad()
def measure_maps(
    model: EfficientAD,
    batches: Iterable[list[dict]],
    *,
    quantiles: Sequence[float] = (0.9, 0.995),
    false_positive_rate: float = 0.01,
    method: str = "auto",
    training: Iterable[list[dict]] | None = None,
) -> None:
    """Take the quantiles of both maps and the decision threshold from good images into the model.

    Args:
        model: with its weights and the teacher's statistics.
        batches: mapped good images that were not trained on; of several processes each has its share. For 8-bit
            precision they are gone through twice.
        quantiles, false_positive_rate, method: see MODEL.EFFICIENT_AD.CALIBRATION.
        training: mapped good training images, needed with PUAD; with Mahalanobis distances their errors are measured
            anew, and stay as they are without images.
    Raises:
        ValueError: no image, or maps without spread.
    """
    was_training = model.training
    model.eval()
    model.unfold()  # what was prepared for other weights
    try:
        if model.state.ranges is not None:
            model.state.ranges = _measured_ranges(model, batches)
        if model.networks.whitening is not None and training is not None:
            _measure_errors(model, model.networks.whitening, training)
        if model.puad is not None:
            _fit_puad(model, model.puad, training)
        _measure_maps(model, batches, quantiles, false_positive_rate, method)
    finally:
        model.train(was_training)


def _measure_maps(
    model: EfficientAD,
    batches: Iterable[list[dict]],
    quantiles: Sequence[float],
    false_positive_rate: float,
    method: str,
) -> None:
    values = [Quantiles(method) for _ in MAP_NAMES]
    # Maps at feature size, 25 kB an image, spare a second pass for the scores.
    kept: list[tuple[RawMaps, tuple[int, int]]] = []
    for entry in images_of(batches, "map quantiles"):
        (raw,) = model.raw_maps(model.preprocess([entry]))
        tile = tile_size(raw.boxes)
        for part, found in enumerate(values):
            found.update(maps_for_quantiles(raw.tiles[:, part : part + 1], model.compat, tile))
        kept.append((raw, output_size(entry, raw.size)))
    pairs: list[tuple[float, float]] = []
    for name, found in zip(MAP_NAMES, values):
        start, end = gathered(found).result(quantiles)
        check_quantiles(start, end, name)
        pairs.append((start, end))
    model.state.map_quantiles.copy_(torch.tensor(pairs))
    maxima = [model.anomaly_map(raw, output).max() for raw, output in kept]
    scores = rows_of_all(torch.stack(maxima) if maxima else torch.zeros(0))
    if model.puad is not None:
        own = means_of_all(model, [raw for raw, _ in kept]).to(model.device)
        distances = model.puad.distance(own)
        model.puad.standardise(distances, scores.to(model.device))
        scores = model.puad.combine(distances, scores.to(model.device))
    threshold = decision_threshold(scores.tolist(), false_positive_rate)
    threshold += ROUNDING * max(abs(threshold), MAP_END)
    model.state.set_map_quantiles(torch.tensor(pairs), threshold)
    model.state.set_good_scores(scores.tolist())
    _warn_of_scores(model, scores.tolist(), false_positive_rate)
    logger.info("Calibrated on %d good images: quantiles %s, threshold %.6g", len(scores), pairs, threshold)


def _warn_of_scores(model: EfficientAD, scores: list[float], false_positive_rate: float) -> None:
    """Say where a threshold from these scores of good images promises little."""
    count, needed = len(scores), images_needed(false_positive_rate)
    if count < needed:
        logger.warning(
            "Calibrated on %d good image(s): a false-positive rate of %.3g needs %d or more. The threshold is the "
            "largest score among them, which about %.2g of all good images exceed",
            count,
            false_positive_rate,
            needed,
            1 / (count + 1),
        )
    elif count < FEW_IMAGES:
        logger.warning("Calibrated on %d good images: the quantiles of so few maps are rough", count)
    flat = sum(score <= 0 for score in scores)
    if model.puad is None and model.compat == "nelson1425" and 2 * flat > count:
        logger.warning(
            "In %d of %d good images nothing exceeds the border of the map, which COMPAT nelson1425 sets to 0, and "
            "their scores are 0: the maps hardly change from place to place, as those of a model that has not learned "
            "yet. Train longer; COMPAT paper sets no border",
            flat,
            count,
        )


def _measured_ranges(model: EfficientAD, batches: Iterable[list[dict]]) -> Tensor:
    """Ranges of the values that 8-bit quantization has to hold."""
    limits = (torch.tensor([0.0, 255.0], device=model.device).view(-1, 1, 1, 1) - model.pixel_mean) / model.pixel_std
    observer = Observer(model.networks, float(limits.min()), float(limits.max()))
    for entry in images_of(batches, "ranges for 8 bits"):
        image = model.preprocess_image(entry)
        for tiles in cut_in_batches(image, model.tiling.boxes(image)):
            observer.update(tiles)
    parts = torch.stack([part.to(model.device) for part in comm.all_gather(observer.ranges)])
    return torch.stack([parts[..., 0].amin(0), parts[..., 1].amax(0)], dim=1)


def _measure_errors(model: EfficientAD, whitening: Tensor, training: Iterable[list[dict]]) -> None:
    """Take the covariance of the student's errors on good training images into the model."""
    networks, found = model.networks, ErrorCovariance()
    assert isinstance(networks.teacher, ExtractorTeacher), "checked with the config"
    for entry in images_of(training, "errors of the student"):
        image = model.preprocess_image(entry)
        for top, left, bottom, right in model.tiling.boxes(image):
            tile = image[None, :, top:bottom, left:right]
            found.update(student_errors(networks.features(tile, networks.teacher.recurring(tile))))
    whitening.copy_(gathered(found).whitening())


def _fit_puad(model: EfficientAD, puad: Puad, training: Iterable[list[dict]] | None) -> None:
    if training is None:
        raise DataError("PUAD needs the good training images for calibration: name them, or set PUAD.ENABLED False")
    own = [raw for entry in images_of(training, "PUAD statistics") for raw in model.raw_maps(model.preprocess([entry]))]
    puad.fit(means_of_all(model, own))


def means_of_all(model: EfficientAD, own: Iterable[RawMaps]) -> Tensor:
    """Mean features (N, C) of the images of all processes."""
    means = [raw.means for raw in own if raw.means is not None]
    return rows_of_all(torch.stack(means) if means else torch.zeros(0, model.networks.channels))


class Calibration(HookBase):
    """Loads and measures the teacher before the first step; calibrates the maps before each evaluation and checkpoint.

    Calibration leaves no trace in the random numbers, and with averaged weights (MODEL_EMA) it is these whose maps are
    measured. Between calibrations the model counts as uncalibrated.

    Args:
        cfg: of the training.
    """

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg

    def before_train(self) -> None:
        model = self.trainer.bare_model
        if self.trainer.start_iter > 0 and model.state.teacher_name:
            return
        label, path = model.state.teacher_name, self.cfg.MODEL.EFFICIENT_AD.TEACHER
        if not label:
            label = fill_teacher(model.networks.teacher, self.cfg.MODEL.EFFICIENT_AD)
        elif path and not features_of(self.cfg.MODEL.EFFICIENT_AD):
            logger.info("The teacher is that of MODEL.WEIGHTS (%s); TEACHER %s is not read", label, path)
        with preserve_rng():
            check_calibration_images(self.cfg, model)
            measure_teacher(model, DatasetImages(self.cfg, self.cfg.DATASETS.TRAIN), label)
        if self.trainer.ema:
            self.trainer.ema.reset(model)  # nothing is trained yet

    def after_step(self) -> None:
        trainer, model = self.trainer, self.trainer.bare_model
        evaluates = bool(self.cfg.DATASETS.TEST) and trainer.evaluation.due(trainer.iter + 1)
        if not evaluates and not trainer.saver.due():
            model.state.outdate_maps()
            return
        try:
            with trainer.evaluation_weights() as weighted:
                calibrate(self.cfg, weighted)
                found = {
                    name: value.clone() for name, value in weighted.state_dict().items() if name.startswith(CALIBRATED)
                }
        except ValueError:
            model.state.outdate_maps()
            if comm.get_world_size() == 1:  # others may not know of it, and would wait
                trainer.save_checkpoint()  # what was learned stays, whatever is wrong with the images
            raise
        # Averaged weights are gone again, and with them what was measured; only that is taken over.
        take_sizes(model, found)
        state = model.state_dict()
        for name, value in found.items():
            state[name].copy_(value)
            if trainer.ema and name in trainer.ema.weights:
                trainer.ema.weights[name].copy_(value)
        model.state.forget_decoded()


@register_training_files("EfficientAD")
def require_teacher(cfg: CfgNode) -> None:
    """Raise where there is no teacher; weights to start from bring their own."""
    node = cfg.MODEL.EFFICIENT_AD
    if cfg.MODEL.WEIGHTS:
        return
    if features_of(node):
        require_weights_of(features_of(node), node.EXTRACTOR.FEATURE_WEIGHTS)
    else:
        check_teacher_path(node.TEACHER)


@register_training_hooks("EfficientAD")
def calibration_hooks(cfg: CfgNode) -> list[HookBase]:
    """Teacher and statistics before the first step, calibration before each evaluation and checkpoint."""
    return [Calibration(cfg)]


def calibrate(cfg: CfgNode, model: EfficientAD) -> None:
    """Calibrate the maps of a model with the good validation images that a config names."""
    node = cfg.MODEL.EFFICIENT_AD
    learns_of_training = model.puad is not None or model.networks.whitening is not None
    measure_maps(
        model,
        DatasetImages(cfg, calibration_names(cfg)),
        quantiles=node.CALIBRATION.QUANTILES,
        false_positive_rate=node.CALIBRATION.FALSE_POSITIVE_RATE,
        method=node.CALIBRATION.METHOD,
        training=DatasetImages(cfg, cfg.DATASETS.TRAIN) if learns_of_training else None,
    )


def check_calibration_images(cfg: CfgNode, model: EfficientAD) -> None:
    """Read the images to calibrate with: what is wrong with them shall not come out when the training is done.

    Raises:
        FileNotFoundError, ValueError: there are none, too few for PUAD, or one that cannot be used.
    """
    images = DatasetImages(cfg, calibration_names(cfg))
    count = len(images)
    if model.puad is not None and count < FEW:
        raise DataError(
            f"PUAD standardises its scores on {FEW} good validation images or more, there is {count}: name others in "
            "DATASETS.CALIBRATION, or set MODEL.EFFICIENT_AD.PUAD.ENABLED False"
        )
    for entry in images_of(images, "images to calibrate with"):
        model.preprocess_image(entry)
