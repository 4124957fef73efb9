"""Whole trained models of other programs, as checkpoints of this one."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from d2road.checkpoint.fit import without_wrappers
from d2road.checkpoint.weights import WholeModelError, load_weights_file, weights_of
from d2road.utils.errors import CheckpointError, ConfigError
from efficientad.calibration_state import describe_setting
from efficientad.checkpoint.anomalib_settings import read_settings
from efficientad.checkpoint.teacher_files import check_fit, checksum
from efficientad.checkpoint.weight_names import autoencoder_names, pdn_names, size_of, subset
from efficientad.detector import EfficientAD
from efficientad.modeling.pdn import PDN

logger = logging.getLogger(__name__)

SOURCES = ("nelson1425", "anomalib", "own")
NELSON_FILES = {part: (f"{part}_final.pth", f"{part}_tmp.pth") for part in ("teacher", "student", "autoencoder")}
# Names that tell the model of anomalib whatever is around it.
ANOMALIB_WEIGHTS = ("teacher.conv1.weight", "student.conv1.weight", "ae.encoder.enconv1.weight")
ANOMALIB_QUANTILES = (("qa_st", "qb_st"), ("qa_ae", "qb_ae"))


@dataclass
class Parts:
    """A whole model under our names.

    Attributes:
        teacher, student, autoencoder: their weights.
        source: what to call it in messages.
        statistics: mean and deviation (C,) of the teacher's channels, or None.
        quantiles: (2, 2), lower and higher one of both maps, or None.
        compat: order of border, enlargement and quantiles that maps of this model have.
        padding: whether its layers are padded.
        image_size: height and width that images are resized to, (0, 0) for their own, or None.
        threshold: image score above which the other program calls an image anomalous, or None.
    """

    teacher: dict[str, Tensor]
    student: dict[str, Tensor]
    autoencoder: dict[str, Tensor]
    source: str
    statistics: tuple[Tensor, Tensor] | None = None
    quantiles: Tensor | None = None
    compat: str = "nelson1425"
    padding: bool = False
    image_size: tuple[int, int] | None = None
    threshold: float | None = None

    @property
    def size(self) -> str:
        """Of teacher and student: "small" or "medium"."""
        return size_of(self.teacher)[0]

    @property
    def channels(self) -> int:
        """Of the teacher's features."""
        return size_of(self.teacher)[1]


def read_anomalib(path: str | Path) -> Parts:
    """An anomalib Lightning checkpoint (.ckpt), or a state dict of its EfficientAd.

    Raises:
        FileNotFoundError, ValueError: as `load_weights_file`; or a part is missing.
    """
    loaded = load_weights_file(path)
    everything = weights_of(loaded, str(path))
    state, _ = without_wrappers(everything, ANOMALIB_WEIGHTS)
    absent = [part for part in ("teacher", "student", "ae") if not subset(state, f"{part}.")]
    if absent:
        raise CheckpointError(
            f"{path}: no EfficientAd model of anomalib: it has no {', '.join(absent)}; found "
            f"{', '.join(list(state)[:5]) or 'nothing'}"
        )
    parts = _parts(str(path), *(subset(state, f"{part}.") for part in ("teacher", "student", "ae")))
    if "mean_std.mean" in state and "mean_std.std" in state:
        mean, std = state["mean_std.mean"].flatten(), state["mean_std.std"].flatten()
        if bool(mean.any() or std.any()):  # before its training they are zero
            parts.statistics = mean, std
    names = [[f"quantiles.{name}" for name in pair] for pair in ANOMALIB_QUANTILES]
    if all(name in state for pair in names for name in pair):
        quantiles = torch.tensor([[float(state[name]) for name in pair] for pair in names])
        if bool((quantiles[:, 1] > quantiles[:, 0]).all()):  # before its validation they are zero
            parts.quantiles = quantiles
    settings = read_settings(loaded, everything, str(path))
    parts.compat, parts.padding = settings.compat, settings.padding
    parts.image_size, parts.threshold = settings.image_size, settings.threshold
    return parts


def read_nelson(folder: str | Path, *, unsafe: bool = False) -> Parts:
    """The output folder of nelson1425's training: teacher, student and autoencoder, each a whole pickled module
    (*_final.pth) or a state dict. It holds no statistics.

    Args:
        unsafe: unpickle whole modules, which runs what is in the files.
    Raises:
        FileNotFoundError: a file is missing.
        ValueError: whole modules without `unsafe`, or other models.
    """
    folder, states = Path(folder), []
    for names in NELSON_FILES.values():
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"{folder}: expected the output folder of a training, with {' or '.join(names)} in it"
            )
        states.append(load_nelson_file(path, unsafe))
    return _parts(str(folder), *states)


def load_nelson_file(path: Path, unsafe: bool) -> dict[str, Tensor]:
    """The state dict of a part, be it stored as such or as a whole module.

    Raises:
        ValueError: a whole module without `unsafe`, or neither.
    """
    try:
        return weights_of(load_weights_file(path), str(path))
    except WholeModelError as error:
        if not unsafe:
            raise CheckpointError(
                f"{path}: this is a whole pickled model, and loading it runs what is in the file. If you made it or "
                "trust who did, say so with --unsafe-pickle"
            ) from error
    logger.warning("%s: unpickling a whole model, as asked for", path)
    module = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(module, nn.Module):
        raise CheckpointError(f"{path}: expected a model or its weights, found {type(module).__name__}")
    return module.state_dict()


def fill(model: EfficientAD, parts: Parts) -> None:
    """Fill a detector, with the statistics that there are, and name the teacher.

    Anomalib's quantiles make it a calibrated one, with the decision threshold that anomalib has found on its labelled
    test images, if it did.

    Raises:
        ValueError: the detector has another autoencoder than the published one, another size or other padding.
    """
    networks, source = model.networks, parts.source
    if not isinstance(networks.teacher, PDN) or not isinstance(networks.student, PDN):
        raise ConfigError(
            f"{source}: models of other programs have a PDN as their teacher, the config says features of an "
            "extractor: set MODEL.EFFICIENT_AD.TEACHER ''"
        )
    if networks.teacher.padding != parts.padding:
        raise CheckpointError(
            f"{source}: its layers are {'' if parts.padding else 'not '}padded, the config says PADDING "
            f"{networks.teacher.padding}: set MODEL.EFFICIENT_AD.PADDING {parts.padding}"
        )
    if parts.image_size is not None and tuple(model.image_size) != parts.image_size:
        logger.warning(
            "%s was trained on images of %d x %d (0 x 0: their own size), INPUT.IMAGE_SIZE is %s: maps will differ",
            source, *parts.image_size, tuple(model.image_size),
        )  # fmt: skip
    assert networks.autoencoder is not None, "left out only beside an extractor"
    if networks.autoencoder.kind != "conv":
        raise CheckpointError(
            f"models of other programs have the published autoencoder, the config says {networks.autoencoder.kind}: "
            "set MODEL.EFFICIENT_AD.AUTOENCODER conv and BOTTLENECK 64"
        )
    check_fit(networks.teacher, parts.teacher, f"{source} (teacher)")
    check_fit(networks.student, parts.student, f"{source} (student)")
    own = networks.autoencoder.state_dict()
    if {name: value.shape for name, value in own.items()} != {n: v.shape for n, v in parts.autoencoder.items()}:
        raise CheckpointError(f"{source} (autoencoder): does not fit the config; set MODEL.EFFICIENT_AD.BOTTLENECK 64")
    for name in ("teacher", "student", "autoencoder"):
        getattr(networks, name).load_state_dict({k: v.float() for k, v in getattr(parts, name).items()})
    model.state.set_teacher(f"{Path(source).name} ({checksum(parts.teacher)})")
    if parts.statistics is not None:
        networks.teacher_mean.copy_(parts.statistics[0])
        networks.teacher_std.copy_(parts.statistics[1])
    if parts.quantiles is not None:
        threshold = float("inf") if parts.threshold is None else parts.threshold
        setting = describe_setting(parts.compat, padding=parts.padding)
        model.state.set_map_quantiles(parts.quantiles, threshold, setting=setting)


def _parts(source: str, teacher: Mapping, student: Mapping, autoencoder: Mapping) -> Parts:
    return Parts(
        pdn_names(teacher, f"{source} (teacher)"),
        pdn_names(student, f"{source} (student)"),
        autoencoder_names(autoencoder, f"{source} (autoencoder)"),
        source,
    )
