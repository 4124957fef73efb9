"""Trained models made ready to predict: those of other programs, own ones calibrated anew, lower precision."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from d2road.checkpoint import Checkpointer
from d2road.config import make_cfg
from d2road.config.merge import raise_problems
from d2road.config.validate import find_problems
from d2road.data import build_mapper
from d2road.engine.defaults import load_weights
from d2road.utils.errors import CheckpointError, ConfigError
from d2road.utils.output_files import atomic_write, make_folder
from efficientad.calibration import calibrate, measure_maps, measure_teacher
from efficientad.checkpoint.foreign_models import Parts, fill, read_anomalib, read_nelson
from efficientad.data.image_iteration import images_of
from efficientad.data.mapper import find_images
from efficientad.detector import EfficientAD
from efficientad.inference.onnx_graph import CURE
from efficientad.modeling.memory_bank import PRECISIONS as BANK_PRECISIONS
from efficientad.onnx_sessions import require_onnx
from efficientad.patchcore.patchcore_detector import PatchCore

logger = logging.getLogger(__name__)

BASE = "efficientad/Base-EfficientAD.yaml"
PRECISION_KEY = "INFERENCE.PRECISION"


class MappedImages:
    """Images of a list of files, through a mapper, one a batch."""

    def __init__(self, mapper: Callable[[dict[str, Any]], dict[str, Any]], files: list[Path]):
        self.mapper, self.files = mapper, files

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for index, file in enumerate(self.files):
            yield [self.mapper({"file_name": str(file), "image_id": index})]


def convert_model(
    source: str,
    path: str,
    out: Path,
    *,
    config_file: str = "",
    opts: Sequence[Any] = (),
    calibrate_on: Path | None = None,
    unsafe_pickle: bool = False,
) -> EfficientAD:
    """Read a model of another program, or an own one; calibrate and write it.

    Args:
        source: anomalib, nelson1425 or own.
        path: checkpoint, or folder of a nelson1425 training.
        out: the .pth to write.
        config_file: of the model; "" for the published one.
        opts: KEY, VALUE, KEY, VALUE, ... of the config.
        calibrate_on: folder of good images, searched in depth.
        unsafe_pickle: unpickle whole models, which runs what is in the files.
    Raises:
        FileNotFoundError, ValueError: what is missing or does not fit, with the cure.
    """
    check_output(out)
    if source == "own" and not config_file:
        raise ConfigError("--source own needs --config-file: the config.yaml beside the checkpoint")
    parts = None
    if source == "anomalib":
        parts = read_anomalib(path)
    elif source == "nelson1425":
        parts = read_nelson(path, unsafe=unsafe_pickle)
    cfg = config_of_model(config_file, published_keys(parts, config_file) + list(opts))
    if EfficientAD.__name__ != cfg.MODEL.META_ARCHITECTURE:
        raise ConfigError(
            f"{config_file}: --source {source} makes an EfficientAD, MODEL.META_ARCHITECTURE is "
            f"{cfg.MODEL.META_ARCHITECTURE}; a PatchCore is calibrated anew by d2road export --calibrate-on"
        )
    model = build_model(cfg)
    if parts is not None:
        fill(model, parts)
    else:
        Checkpointer(model).load(path, checkpointables=[], require="all", use_ema=cfg.MODEL_EMA.ENABLED)
    if calibrate_on is not None:
        # Statistics of the teacher that the student has learned by stay as they are.
        calibrate_on_folder(cfg, model, calibrate_on, with_teacher=parts is not None and parts.statistics is None)
    write_model(model, cfg, out)
    if not model.state.calibrated_for:
        logger.warning("%s is NOT calibrated and will refuse to predict: convert again with --calibrate-on", out)
    return model


def export_model(
    out: Path, precision: str, config_file: str, opts: Sequence[Any] = (), calibrate_on: Path | None = None
) -> EfficientAD | PatchCore:
    """Make a trained model predict in lower precision: load, measure and write.

    Args:
        out: the .pth to write.
        precision: of the networks of EfficientAD or of the bank of PatchCore, as the key of the config has it.
        config_file: the config.yaml beside the checkpoint.
        opts: KEY, VALUE, KEY, VALUE, ... of the config; MODEL.WEIGHTS names the checkpoint.
        calibrate_on: folder of good images, searched in depth; None for those that the config calibrates on.
    Raises:
        FileNotFoundError, ValueError: what is missing or does not fit, with the cure.
        ImportError: int8 without onnx and onnxruntime.
    """
    check_output(out)
    kind = make_cfg(config_file, opts).MODEL.META_ARCHITECTURE
    if kind not in (EfficientAD.__name__, PatchCore.__name__):
        raise ConfigError(
            f"{config_file}: MODEL.META_ARCHITECTURE is {kind}, export is for EfficientAD and PatchCore where OUT "
            "is a .pth: take the config.yaml of a training of theirs, or name OUT.onnx for a file of the whole model"
        )
    if kind == PatchCore.__name__:
        return export_bank(out, precision, config_of_model(config_file, opts), calibrate_on)
    if precision == "int8":
        require_onnx(CURE)
    cfg = config_of_model(config_file, [*opts, PRECISION_KEY, precision])
    weights = weights_to_export(cfg)
    model = build_model(cfg).eval()
    load_weights(cfg, model, weights)
    if not model.state.teacher_name:
        raise CheckpointError(
            f"{weights}: its teacher was never measured, so nothing was trained; train it with train_net.py"
        )
    if calibrate_on is not None:
        calibrate_on_folder(cfg, model, calibrate_on, with_teacher=False)
    else:
        calibrate(cfg, model)
    write_model(model, cfg, out)
    return model


def export_bank(out: Path, precision: str, cfg: CfgNode, calibrate_on: Path | None = None) -> PatchCore:
    """The same of a PatchCore: its bank in another precision, or its thresholds anew.

    Args:
        cfg: of the model as it is.
    """
    node, weights = cfg.MODEL.PATCHCORE, weights_to_export(cfg)
    if precision not in BANK_PRECISIONS:
        raise ConfigError(f"--precision {precision}: the bank of a PatchCore is in {' or '.join(BANK_PRECISIONS)}")
    if node.PRECISION == "int8" and precision == "fp32":
        raise ConfigError(f"{weights}: a bank in int8 has lost its float32 vectors; take the model that it was made of")
    model = build_model(cfg).eval()
    load_weights(cfg, model, weights)
    if precision != node.PRECISION:
        node.PRECISION = precision
        lower = build_model(cfg).eval()
        lower.extractor.load_state_dict(model.extractor.state_dict())
        state = model.state
        lower.state.set_bank(state.bank.vectors, state.images, state.text("features"), state.is_by_image, state.digests)
        model = lower
    if calibrate_on is not None:
        files = MappedImages(build_mapper(cfg, False), find_images(calibrate_on))
        model.calibrate_on(cfg, images_of(files, "scores of good images"))
    else:
        model.calibrate(cfg)
    write_model(model, cfg, out)
    return model


def weights_to_export(cfg: CfgNode) -> str:
    """The checkpoint that a config names.

    Raises:
        ConfigError: it names none.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("there are no weights: name a checkpoint with --weights, the config's MODEL.WEIGHTS is empty")
    return cfg.MODEL.WEIGHTS


def check_output(out: Path) -> None:
    """Refuse names that Detectron2 would not take for a checkpoint."""
    if out.suffix != ".pth":
        raise ConfigError(f"OUT is {out}: expected a file name that ends with .pth")


def published_keys(parts: Parts | None, config_file: str) -> list[Any]:
    """Keys of the published model that another program trained; none for an own model, or with a config."""
    if parts is None or config_file:
        return []
    node = "MODEL.EFFICIENT_AD."
    keys = [node + "AUTOENCODER", "conv", node + "BOTTLENECK", 64, node + "COMPAT", parts.compat]
    keys += [node + "SIZE", parts.size, node + "OUT_CHANNELS", parts.channels, node + "PADDING", parts.padding]
    return keys if parts.image_size is None else [*keys, "INPUT.IMAGE_SIZE", parts.image_size]


def config_of_model(config_file: str, opts: Sequence[Any]) -> CfgNode:
    """The config of the model to write.

    Raises:
        FileNotFoundError, ValueError: all that is wrong with it.
    """
    cfg = make_cfg(config_file or BASE, opts)
    raise_problems(find_problems(cfg), config_file or "the config")
    return cfg


def write_model(model: EfficientAD | PatchCore, cfg: CfgNode, path: Path) -> None:
    """Write weights and calibration to a `.pth`, and the config that belongs to them beside it."""
    make_folder(path.parent)
    with atomic_write(path) as file:
        torch.save({"model": model.state_dict()}, file)
    cfg.MODEL.WEIGHTS = str(path)
    with atomic_write(path.with_suffix(".yaml"), "w") as file:
        file.write(cfg.dump())
    logger.info("Wrote %s and %s", path, path.with_suffix(".yaml"))


def calibrate_on_folder(cfg: CfgNode, model: EfficientAD, folder: Path, with_teacher: bool) -> None:
    """Measure maps, and if asked to the teacher, on a folder of good images."""
    images, node = MappedImages(build_mapper(cfg, False), find_images(folder)), cfg.MODEL.EFFICIENT_AD.CALIBRATION
    if with_teacher:
        measure_teacher(model, images, model.state.teacher_name)
    measure_maps(
        model,
        images,
        quantiles=node.QUANTILES,
        false_positive_rate=node.FALSE_POSITIVE_RATE,
        method=node.METHOD,
        training=images if model.puad is not None else None,
    )
