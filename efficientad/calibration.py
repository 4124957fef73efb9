"""Calibration with data: what the Trainer and the tools do around the detector."""

import logging
from collections.abc import Iterable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm

from d2road.engine.meta_arch import register_training_hooks
from d2road.utils.errors import DataError
from d2road.utils.rng import preserve_rng
from efficientad.calibration_statistics import (
    MAP_END,
    Moments,
    Quantiles,
    check_quantiles,
    decision_threshold,
    maps_for_quantiles,
    pictures_needed,
)
from efficientad.checkpoint.teacher_files import load_teacher
from efficientad.data.anomaly_datasets import validation_name
from efficientad.data.image_iteration import Pictures, gathered, pictures_of, rows_of_all
from efficientad.detector import EfficientAD
from efficientad.inference.quantization import Observer
from efficientad.inference.tiling import cut
from efficientad.modeling.puad import FEW

logger = logging.getLogger(__name__)

MAP_NAMES = ("student-teacher", "autoencoder")
FEW_IMAGES = 10
# Of the threshold, so that a good picture that lies on it does not cross it by the rounding of another batch size.
ROUNDING = 1e-4
# Entries of the state dict that calibration makes, not training.
CALIBRATED = ("networks.teacher_mean", "networks.teacher_std", "state.", "puad.")


@torch.no_grad()
def measure_teacher(model: EfficientAD, batches: Iterable[list[dict]], label: str) -> None:
    """Take mean and deviation of the teacher's channels over good pictures into the model.

    Args:
        model: with its teacher loaded.
        batches: mapped pictures; of several processes each has its share.
        label: what to call the teacher.
    Raises:
        ValueError: no picture, or a degenerate channel.
    """
    moments = Moments()
    for entry in pictures_of(batches, "teacher statistics"):
        image = model.normalised(entry)
        for top, left, bottom, right in model.boxes(image):
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
    """Take the quantiles of both maps and the decision threshold from good pictures into the model.

    Args:
        model: with its weights and the teacher's statistics.
        batches: mapped good pictures that were not trained on; of several processes each has its share. For 8-bit
            arithmetic they are gone through twice.
        quantiles, false_positive_rate, method: see MODEL.EFFICIENT_AD.CALIBRATION.
        training: mapped good training pictures, needed with PUAD.
    Raises:
        ValueError: no picture, or maps without spread.
    """
    was_training = model.training
    model.eval()
    model.unfold()  # what was prepared for other weights
    try:
        if model.arithmetic == "int8":
            _measure_ranges(model, batches)
        if model.puad is not None:
            _fit_puad(model, training)
        _measure_maps(model, batches, quantiles, false_positive_rate, method)
    finally:
        model.train(was_training)


def _measure_maps(model, batches, quantiles, false_positive_rate, method) -> None:
    values = [Quantiles(method) for _ in MAP_NAMES]
    kept = []  # maps at feature size, 25 kB a picture, spare a second pass for the scores
    for entry in pictures_of(batches, "map quantiles"):
        image = model.normalised(entry)
        size, boxes = tuple(image.shape[-2:]), model.boxes(image)
        (raw, means), = model.measure(image[None])  # fmt: skip
        tile = (boxes[0][2] - boxes[0][0], boxes[0][3] - boxes[0][1])
        for part, found in enumerate(values):
            found.update(maps_for_quantiles(raw[:, part : part + 1], model.compat, model.networks.border, tile))
        output = (int(entry.get("height", size[0])), int(entry.get("width", size[1])))
        kept.append((raw, boxes, size, output, means))
    pairs = []
    for name, found in zip(MAP_NAMES, values):
        pairs.append(gathered(found).result(quantiles))
        check_quantiles(*pairs[-1], name)
    model.state.map_quantiles.copy_(torch.tensor(pairs))
    maxima = [model.score_map(*picture[:-1]).max() for picture in kept]
    scores = rows_of_all(torch.stack(maxima) if maxima else torch.zeros(0))
    if model.puad is not None:
        own = torch.stack([picture[-1] for picture in kept]) if kept else torch.zeros(0, model.networks.channels)
        distances = model.puad.distance(rows_of_all(own).to(model.device))
        model.puad.standardise(distances, scores.to(model.device))
        scores = model.puad.combine(distances, scores.to(model.device))
    threshold = decision_threshold(scores.tolist(), false_positive_rate)
    threshold += ROUNDING * max(abs(threshold), MAP_END)
    model.state.set_map_quantiles(torch.tensor(pairs), threshold)
    _warn_of_scores(model, scores.tolist(), false_positive_rate)
    logger.info("Calibrated on %d good pictures: quantiles %s, threshold %.6g", len(scores), pairs, threshold)


def _warn_of_scores(model: EfficientAD, scores: list[float], false_positive_rate: float) -> None:
    """Say where a threshold from these scores of good pictures promises little."""
    count, needed = len(scores), pictures_needed(false_positive_rate)
    if count < needed:
        logger.warning(
            "Calibrated on %d good picture(s): a false-positive rate of %.3g needs %d or more. The threshold is the "
            "largest score among them, which about %.2g of all good pictures exceed",
            count,
            false_positive_rate,
            needed,
            1 / (count + 1),
        )
    elif count < FEW_IMAGES:
        logger.warning("Calibrated on %d good pictures: the quantiles of so few maps are rough", count)
    flat = sum(score <= 0 for score in scores)
    if model.puad is None and model.compat == "nelson1425" and 2 * flat > count:
        logger.warning(
            "In %d of %d good pictures nothing exceeds the border of the map, which COMPAT nelson1425 sets to 0, and "
            "their scores are 0: the maps hardly change from place to place, as those of a model that has not learned "
            "yet. Train longer; COMPAT paper sets no border",
            flat,
            count,
        )


def _measure_ranges(model: EfficientAD, batches: Iterable[list[dict]]) -> None:
    """Ranges of the values that 8-bit arithmetic has to hold."""
    limits = (torch.tensor([0.0, 255.0], device=model.device).view(-1, 1, 1, 1) - model.pixel_mean) / model.pixel_std
    observer = Observer(model.networks, float(limits.min()), float(limits.max()))
    for entry in pictures_of(batches, "ranges for 8 bits"):
        image = model.normalised(entry)
        boxes = model.boxes(image)
        observer.update(cut(image, boxes))
    parts = torch.stack([part.to(model.device) for part in comm.all_gather(observer.ranges)])
    model.state.ranges.copy_(torch.stack([parts[..., 0].amin(0), parts[..., 1].amax(0)], dim=1))


def _fit_puad(model: EfficientAD, training: Iterable[list[dict]] | None) -> None:
    if training is None:
        raise DataError("PUAD needs the good training pictures for calibration: name them, or set PUAD.ENABLED False")
    own = []
    for entry in pictures_of(training, "PUAD statistics"):
        ((_, means),) = model.measure(model.normalised(entry)[None])
        own.append(means)
    model.puad.fit(rows_of_all(torch.stack(own) if own else torch.zeros(0, model.networks.channels)))


class Calibration(HookBase):
    """Loads and measures the teacher before the first step; calibrates the maps before each evaluation and checkpoint.

    Calibration leaves no trace in the random numbers, and with averaged weights (MODEL_EMA) it is these whose maps are
    measured. Between calibrations the model counts as uncalibrated.

    Args:
        cfg: of the training.
    """

    def __init__(self, cfg):
        self.cfg = cfg

    def before_train(self) -> None:
        model = self.trainer.bare_model
        if self.trainer.start_iter > 0 and model.state.teacher_name:
            return
        label, path = model.state.teacher_name, self.cfg.MODEL.EFFICIENT_AD.TEACHER
        if not label:
            label = load_teacher(model.networks.teacher, path)
        elif path:
            logger.info("The teacher is that of MODEL.WEIGHTS (%s); TEACHER %s is not read", label, path)
        with preserve_rng():
            check_pictures(self.cfg, model)
            measure_teacher(model, Pictures(self.cfg, self.cfg.DATASETS.TRAIN), label)
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
                trainer.save_checkpoint()  # what was learned stays, whatever is wrong with the pictures
            raise
        # Averaged weights are gone again, and with them what was measured; only that is taken over.
        state = model.state_dict()
        for name, value in found.items():
            state[name].copy_(value)
            if trainer.ema and name in trainer.ema.weights:
                trainer.ema.weights[name].copy_(value)
        model.state.forget_texts()


@register_training_hooks("EfficientAD")
def calibration_hooks(cfg: CfgNode) -> list[HookBase]:
    """Teacher and statistics before the first step, calibration before each evaluation and checkpoint."""
    return [Calibration(cfg)]


def calibrate(cfg, model: EfficientAD) -> None:
    """Calibrate the maps of a model with the good validation pictures that a config names."""
    node = cfg.MODEL.EFFICIENT_AD
    measure_maps(
        model,
        Pictures(cfg, calibration_names(cfg)),
        quantiles=node.CALIBRATION.QUANTILES,
        false_positive_rate=node.CALIBRATION.FALSE_POSITIVE_RATE,
        method=node.CALIBRATION.METHOD,
        training=Pictures(cfg, cfg.DATASETS.TRAIN) if model.puad is not None else None,
    )


def calibration_names(cfg) -> list[str]:
    """The data sets of good pictures that maps are calibrated on."""
    return list(cfg.MODEL.EFFICIENT_AD.VALIDATION) or [validation_name(name) for name in cfg.DATASETS.TRAIN]


def check_pictures(cfg, model: EfficientAD) -> None:
    """Read the pictures to calibrate with: what is wrong with them shall not come out when the training is done.

    Raises:
        FileNotFoundError, ValueError: there are none, too few for PUAD, or one that cannot be used.
    """
    pictures = Pictures(cfg, calibration_names(cfg))
    count = sum(len(loader.dataset) for loader in pictures.loaders)
    if model.puad is not None and count < FEW:
        raise DataError(
            f"PUAD standardises its scores on {FEW} good validation pictures or more, there is {count}: name others in "
            "MODEL.EFFICIENT_AD.VALIDATION, or set MODEL.EFFICIENT_AD.PUAD.ENABLED False"
        )
    for entry in pictures_of(pictures, "pictures to calibrate with"):
        model.normalised(entry)
