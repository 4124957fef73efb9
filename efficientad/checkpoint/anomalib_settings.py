"""What an anomalib checkpoint says beside its weights: flags of the networks, image size, decision threshold.

Since 2.7 these are plain data; before, objects of anomalib and torchvision, which are read from their stand-ins.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from d2road.checkpoint.plain_pickle import StandIn

logger = logging.getLogger(__name__)

OWN_SIZE = (0, 0)  # of INPUT.IMAGE_SIZE: images stay as they are
# Transforms that change type or scale alone, as reading an image does here.
NEUTRAL = ("ToImage", "ToDtype", "ToTensor", "ConvertImageDtype", "PILToTensor", "ToPureTensor", "Identity")


@dataclass(frozen=True)
class AnomalibSettings:
    """Settings of a model of anomalib.

    Attributes:
        padding: zeros around every layer.
        pad_maps: 4 cells of 0 around the maps, be the layers padded or not.
        image_size: height and width that images are resized to, (0, 0) for their own; None where it is not known.
        threshold: image score above which anomalib calls an image anomalous, or None.
    """

    padding: bool = False
    pad_maps: bool = True
    image_size: tuple[int, int] | None = None
    threshold: float | None = None

    @property
    def compat(self) -> str:
        """COMPAT that computes the same maps."""
        return "anomalib" if self.pad_maps else "paper"


def read_settings(loaded: Mapping[str, Any], state: Mapping[str, Any], source: str) -> AnomalibSettings:
    """The settings of a checkpoint; what it does not say, or what cannot be done here, is told by a warning.

    Args:
        loaded: the whole file.
        state: its state dict.
        source: what to call it in messages.
    """
    parameters = plain(loaded.get("hyper_parameters"))
    flags = {}
    for name, default in (("padding", False), ("pad_maps", True)):
        value = parameters.get(name)
        if not isinstance(value, bool):
            logger.warning("%s does not say %s; it is taken to be %s, anomalib's default", source, name, default)
            value = default
        flags[name] = value
    size = _image_size(loaded, parameters, source)
    return AnomalibSettings(**flags, image_size=size, threshold=_threshold(loaded, state, source))


def plain(value: Any) -> dict[str, Any]:
    """Attributes or items of an object that may not have been built; {} where it has none."""
    if isinstance(value, StandIn):
        inner = value.state if isinstance(value.state, Mapping) else {}
        pairs = [item for item in value.items if isinstance(item, tuple) and len(item) == 2]
        return {**inner, **dict(pairs)}
    return dict(value) if isinstance(value, Mapping) else {}


# --- image size ---


def _image_size(loaded: Mapping[str, Any], parameters: Mapping[str, Any], source: str) -> tuple[int, int] | None:
    enabled = plain(loaded.get("anomalib_components_enabled"))
    pre_processor = plain(loaded.get("anomalib_pre_processor_config")) or plain(parameters.get("pre_processor"))
    modules = plain(pre_processor.get("_modules"))
    transform = pre_processor.get("transform") or modules.get("transform") or loaded.get("transform")
    if enabled.get("pre_processor") is False:
        logger.warning("%s has no pre-processor: images are taken in their own size", source)
        return OWN_SIZE
    if transform is None:
        logger.warning(
            "%s does not say how images are transformed: they are resized to 256 x 256, anomalib's default; set "
            "INPUT.IMAGE_SIZE to what it was trained with",
            source,
        )
        return None
    size, odd = OWN_SIZE, list[str]()
    for name, options in _steps(transform):
        sides = options.get("size")
        if name == "Resize" and isinstance(sides, (list, tuple)) and len(sides) == 2:
            if size != OWN_SIZE:
                odd.append("Resize once more")
            size = int(sides[0]), int(sides[1])
            odd += _other_resizing(options)
        elif name not in NEUTRAL:
            odd.append(f"{name}({sides})" if sides is not None else name)
    if odd:
        taken = "in their own size" if size == OWN_SIZE else f"resized to {size[0]} x {size[1]}"
        logger.warning(
            "%s transforms images by %s, which has no counterpart here: they are taken %s, without aspect ratio, "
            "bilinearly with antialiasing, and maps differ from anomalib's",
            source, ", ".join(odd), taken,
        )  # fmt: skip
    return size


def _steps(transform: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and options of the transforms of a specification or of a torchvision object, one after the other."""
    if isinstance(transform, StandIn):
        name, options = transform.origin, plain(transform)
    else:
        name, options = str(plain(transform).get("class_path")), plain(plain(transform).get("init_args"))
    name = name.rpartition(".")[2]
    if name in ("Compose", "Sequential"):
        inner = options.get("transforms") or list(plain(options.get("_modules")).values())
        for step in inner:
            yield from _steps(step)
    else:
        yield name, options


def _other_resizing(options: Mapping[str, Any]) -> list[str]:
    mode = options.get("interpolation", "bilinear")
    mode = mode.arguments[0] if isinstance(mode, StandIn) and mode.arguments else mode
    odd = []
    if str(mode).lower().rpartition(".")[2] != "bilinear":
        odd.append(f"Resize with {mode} interpolation")
    if options.get("antialias") is False:
        odd.append("Resize without antialiasing")
    return odd


# --- threshold ---


def _threshold(loaded: Mapping[str, Any], state: Mapping[str, Any], source: str) -> float | None:
    """The raw image score above which anomalib decides for an anomaly: its normalisation and sensitivity undone."""

    def number(*names: str) -> float:
        found = next((float(state[name]) for name in names if name in state), math.nan)
        return found if math.isfinite(found) else math.nan

    config = plain(loaded.get("anomalib_post_processor_config"))
    if config.get("enable_thresholding") is False:
        return None
    threshold = number("post_processor._image_threshold", "image_threshold.value")
    if math.isnan(threshold) and config.get("enable_threshold_matching", True):
        threshold = number("post_processor._pixel_threshold")
    low, high = number("post_processor.image_min"), number("post_processor.image_max")
    normalised = config.get("enable_normalization", True) and high > low
    if math.isnan(threshold) and normalised:
        threshold = (low + high) / 2
    if math.isnan(threshold):
        logger.warning("%s holds no image threshold: none is set", source)
        return None
    sensitivity = config.get("image_sensitivity", 0.5)
    if normalised:
        # Score s is anomalous where (s - threshold) / (high - low) + 0.5 > 1 - sensitivity.
        return threshold + (0.5 - float(sensitivity)) * (high - low)
    if "anomalib_post_processor_config" in loaded:
        logger.warning(
            "%s does not normalise scores: anomalib compares them with %g, 1 - its sensitivity, and not with the "
            "threshold that it found; here the latter, %g, is taken",
            source, 1 - float(sensitivity), threshold,
        )  # fmt: skip
    return threshold
