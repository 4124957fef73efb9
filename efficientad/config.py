"""Configuration of EfficientAD."""

from collections.abc import Mapping
from pathlib import Path

from detectron2.config import CfgNode as CN

from d2road.config import add_common_config, register_check
from d2road.config.defaults import set_default
from d2road.config.time_space import add_time_space_config
from d2road.export.precision import AUTO, FP32, INT8
from d2road.utils.lazy_package import register_components
from efficientad.extractor_config import EXTRACTOR, extractor_keys_problems, features_of
from efficientad.fusion_config import add_fusion_config
from efficientad.patchcore.patchcore_config import add_patchcore_config

META_ARCHITECTURE = "EfficientAD"
NO_AUTOENCODER = "none"  # value of AUTOENCODER

MODEL = {
    # narrow (for CPUs) | small | medium (published): of the networks (PDN) of teacher and student.
    "SIZE": "small",
    # Channels of the teacher's features; the student has twice as many. Published teachers have 384.
    "OUT_CHANNELS": 384,
    # Zeros around every layer of the networks: maps then cover the whole image, with features at the border that see
    # the zeros. Off, as published, the outer 16 pixels have no value of their own.
    "PADDING": False,
    # Order of border, upsampling and quantiles: nelson1425 | anomalib | paper; see calibration_statistics.py.
    "COMPAT": "nelson1425",
    # conv (published, from 256 pixels up) | softmax_attention | linear_attention | gated_linear_attention |
    # relu_linear_attention (with the Mix-FFN of SANA) | none: both maps are the student's; with TEACHER features:NAME,
    # for things that lie at any angle, which no summary can tell
    "AUTOENCODER": "linear_attention",
    # Numbers that describe an image inside the autoencoder; 0 or null: no bottleneck, maps all the way.
    "BOTTLENECK": 64,
    # Width and heads of the attention autoencoders; conv has neither.
    "ATTENTION_DIM": 64,
    "ATTENTION_HEADS": 4,
    # Share of the values that the autoencoder's decoder drops in training, as published.
    "DROPOUT": 0.2,
    # On a CPU in fp32, do large convolutions by fewer products: equal up to rounding, and twice as fast. See
    # winograd.py.
    "WINOGRAD": True,
    # Teacher to train with: a .pth of nelson1425 or anomalib, or of `make teacher`. "random" trains against random
    # features. A checkpoint in MODEL.WEIGHTS brings its own teacher along. features:NAME takes the features of a frozen
    # extractor (the names of MODEL.PATCHCORE.FEATURES) as they are; see EXTRACTOR. The student is then a U-Net, and
    # SIZE, OUT_CHANNELS, PADDING and WINOGRAD are not read.
    "TEACHER": "",
    # The student learns from the distances above this quantile: the largest thousandth, as published. 0, from all, is
    # for short trainings: a thousandth takes thousands of steps to tell what features are like at all.
    "HARD_QUANTILE": 0.999,
}

CALIBRATION = {
    # Quantiles of the map values on good images, which become 0 and 0.1: so both maps weigh alike in their mean.
    "QUANTILES": (0.9, 0.995),
    # exact: keeps all values | histogram: constant memory, relative error below 1e-4 | auto: exact while they are few
    "METHOD": "auto",
    # The decision threshold: share of good images that may be called anomalous.
    "FALSE_POSITIVE_RATE": 0.01,
}

TILING = {
    # Cut images into tiles of the size that the model was trained on: small defects of large images stay visible.
    "ENABLED": False,
    # Height and width in pixels of the model input.
    "TILE": (256, 256),
    # Share of a tile's side that neighbours have in common, so that seams do not show.
    "OVERLAP": 0.25,
}

PUAD = {
    # Add the Mahalanobis distance of channel means to the score: it tells images whose parts all look right.
    "ENABLED": False,
}

DISTILL = {
    # Network whose features of strides 8 and 16 the teacher learns: efficientnet_lite0 (weights of the installed
    # package) | wide_resnet101 (FEATURE_WEIGHTS names the file of torchvision, IMAGENET1K_V1), and others: see
    # modeling/feature_extractors.py.
    "FEATURES": "efficientnet_lite0",
    "FEATURE_WEIGHTS": "",
    # Images at most that mean and deviation of its features are measured on: more change them little.
    "STATISTICS_IMAGES": 10000,
    # Share of images without colour, as published: the teacher is not to lean on colour alone.
    "GRAYSCALE": 0.1,
    # Side in pixels, of INPUT.IMAGE_SIZE, of the part of an image that a step takes, drawn at random; 0 is the whole.
    # The same work on parts of more images tells more.
    "CROP": 0,
    # Zeros around every layer of the teacher while it learns, as published. Off, it learns only where its patches are
    # whole: around a part of an image zeros would be much of what it sees.
    "PADDING": True,
}

# Keys of the node TEST.ANOMALY: how maps are evaluated.
TEST_ANOMALY = {
    # Keep every pixel of the maps; else some thousand weighted scores of each, right to about 1e-5.
    "EXACT": False,
    # .tiff | .npy: also write the maps, to anomaly_maps in the folder of the results, for `d2road eval-anomaly`;
    # mvtec_ad_2: in the form that MVTec's benchmark server takes.
    "SAVE_MAPS": "",
    # Draws for the bootstrap confidence intervals over images; 0 is none.
    "BOOTSTRAP": 1000,
}

INPUT = {
    # Height and width in pixels that the mapper resizes to, without keeping the aspect ratio, as published; the longer
    # way round for large images is MODEL.EFFICIENT_AD.TILING. (0, 0) keeps the image's own size.
    "IMAGE_SIZE": (256, 256),
    # The autoencoder's copy of an image: one of these kinds, by a factor drawn from the range. () is none.
    "AUTOENCODER_JITTER": ("brightness", "contrast", "saturation"),
    "AUTOENCODER_JITTER_RANGE": (0.8, 1.2),
    # In training, show each image in one of its eight rotations by quarter turns and reflections, drawn anew each time:
    # for things that lie at any angle. A student of a hundred images otherwise learns them by heart.
    "SYMMETRIES": False,
}

DATASETS = {
    # Data sets of good images that maps are calibrated on; () takes the validation part of each of DATASETS.TRAIN.
    "CALIBRATION": (),
    # Folder of images of anything else (searched in depth), on which the student is to stay silent; "" is none.
    "PENALTY_IMAGES": "",
}


def add_efficientad_config(cfg: CN) -> None:
    """Add the keys of EfficientAD, PatchCore, their fusion, and the common ones to a config, in place; idempotent."""
    register_components("efficientad")
    add_common_config(cfg)
    set_default(cfg.MODEL, "EFFICIENT_AD", CN())
    set_default(cfg.TEST, "ANOMALY", CN())
    model = cfg.MODEL.EFFICIENT_AD
    inner: dict[str, Mapping[str, object]] = {
        "EXTRACTOR": EXTRACTOR,
        "CALIBRATION": CALIBRATION,
        "TILING": TILING,
        "PUAD": PUAD,
        "DISTILL": DISTILL,
    }
    for name in inner:
        set_default(model, name, CN())
    nodes: list[tuple[CN, Mapping[str, object]]] = [(model, MODEL), (cfg.TEST.ANOMALY, TEST_ANOMALY)]
    nodes += [(cfg.INPUT, INPUT), (cfg.DATASETS, DATASETS)]
    for node, keys in [*nodes, *((model[name], keys) for name, keys in inner.items())]:
        for key, value in keys.items():
            set_default(node, key, value)
    add_patchcore_config(cfg)
    add_fusion_config(cfg)
    add_time_space_config(cfg)


def bottleneck_of(node: CN) -> int | None:
    """BOTTLENECK as a number, or None for none."""
    return node.BOTTLENECK or None


def calibrated_precision(cfg: CN) -> str:
    """The precision that maps are calibrated for: that of INFERENCE.PRECISION, where PyTorch runs the model in it.

    Under `auto`, and in bf16 in other libraries, what is calibrated in fp32 is run.
    """
    node = cfg.INFERENCE
    other = node.BACKEND not in ("torch", AUTO) and node.PRECISION != INT8
    return FP32 if node.PRECISION == AUTO or other else node.PRECISION


def has_autoencoder(node: CN) -> bool:
    """Whether there is an autoencoder beside the student."""
    return bool(node.AUTOENCODER != NO_AUTOENCODER)


def architecture_of(node: CN) -> dict[str, object]:
    """The keys of MODEL.EFFICIENT_AD that decide which weights there are and what they mean."""
    keys = [] if features_of(node) else ["SIZE", "OUT_CHANNELS", "PADDING"]
    described = {key: node[key] for key in (*keys, "AUTOENCODER")}
    if has_autoencoder(node):
        described["BOTTLENECK"] = bottleneck_of(node) or 0
    if node.AUTOENCODER not in ("conv", NO_AUTOENCODER):
        described |= {key: node[key] for key in ("ATTENTION_DIM", "ATTENTION_HEADS")}
    if features_of(node):
        described["NEIGHBOURHOOD"] = node.EXTRACTOR.NEIGHBOURHOOD
        described["DISTANCE"] = node.EXTRACTOR.DISTANCE
        described |= {"LAYERS": "+".join(node.EXTRACTOR.LAYERS), "TEACHER": node.TEACHER}
    return described


def check(cfg: CN) -> list[str]:
    """Contradictions in the keys of EfficientAD, each with its cure."""
    from efficientad.calibration_statistics import COMPATS, METHODS
    from efficientad.modeling.autoencoder import AUTOENCODERS
    from efficientad.modeling.pdn import LAYERS

    node, problems = cfg.MODEL.EFFICIENT_AD, list[str]()

    def wrong(key: str, value: object, cure: str) -> None:
        problems.append(f"{key} is {value!r}: {cure}")

    name = "MODEL.EFFICIENT_AD."
    autoencoders = (*AUTOENCODERS.names(), *([NO_AUTOENCODER] if features_of(node) else []))
    for key, allowed in (("SIZE", tuple(LAYERS)), ("COMPAT", COMPATS), ("AUTOENCODER", autoencoders)):
        if node[key] not in allowed:
            more = "; none needs TEACHER features:NAME" if node[key] == NO_AUTOENCODER else ""
            wrong(name + key, node[key], f"choose one of {', '.join(allowed)}{more}")
    if node.CALIBRATION.METHOD not in METHODS:
        wrong(name + "CALIBRATION.METHOD", node.CALIBRATION.METHOD, f"choose one of {', '.join(METHODS)}")
    if node.BOTTLENECK is not None and (not isinstance(node.BOTTLENECK, int) or node.BOTTLENECK < 0):
        wrong(name + "BOTTLENECK", node.BOTTLENECK, "choose how many numbers pass, such as 64, or 0 for no bottleneck")
    if node.OUT_CHANNELS < 1:
        wrong(name + "OUT_CHANNELS", node.OUT_CHANNELS, "must be at least 1; published teachers have 384")
    if node.ATTENTION_HEADS < 1 or node.ATTENTION_DIM < 1 or node.ATTENTION_DIM % max(node.ATTENTION_HEADS, 1):
        wrong(name + "ATTENTION_HEADS", node.ATTENTION_HEADS, f"must divide ATTENTION_DIM = {node.ATTENTION_DIM}")
    test = cfg.TEST.ANOMALY
    if test.SAVE_MAPS not in ("", ".tiff", ".tif", ".npy", "mvtec_ad_2"):
        wrong("TEST.ANOMALY.SAVE_MAPS", test.SAVE_MAPS, "choose .tiff, .npy or mvtec_ad_2, or '' to write no maps")
    if test.BOOTSTRAP < 0 or test.BOOTSTRAP == 1:
        wrong("TEST.ANOMALY.BOOTSTRAP", test.BOOTSTRAP, "choose 1000 draws, or 0 for no intervals")
    if not 0 <= node.DROPOUT < 1:
        wrong(name + "DROPOUT", node.DROPOUT, "choose from 0 up to but not including 1")
    if not 0 <= node.HARD_QUANTILE < 1:
        wrong(name + "HARD_QUANTILE", node.HARD_QUANTILE, "choose from 0 up to but not including 1")
    low, high = (*node.CALIBRATION.QUANTILES, 0, 0)[:2]
    if len(node.CALIBRATION.QUANTILES) != 2 or not 0 < low < high < 1:
        wrong(name + "CALIBRATION.QUANTILES", node.CALIBRATION.QUANTILES, "two rising numbers between 0 and 1")
    if not 0 < node.CALIBRATION.FALSE_POSITIVE_RATE < 1:
        wrong(name + "CALIBRATION.FALSE_POSITIVE_RATE", node.CALIBRATION.FALSE_POSITIVE_RATE, "between 0 and 1")
    return (
        problems + extractor_keys_problems(node) + _precision_problems(cfg) + _image_problems(cfg) + _size_problems(cfg)
    )


def _precision_problems(cfg: CN) -> list[str]:
    node, precision, key = cfg.MODEL.EFFICIENT_AD, calibrated_precision(cfg), "INFERENCE.PRECISION"
    problems: list[str] = []
    if precision != FP32 and features_of(node):
        problems.append(
            f"{key} is {precision}: it is for teachers that are a PDN; with TEACHER {node.TEACHER} set it to fp32"
        )
    if precision != FP32 and node.PUAD.ENABLED:
        problems.append(f"{key} is {precision}: PUAD needs fp32; set it so, or PUAD.ENABLED False")
    if precision == INT8 and cfg.MODEL.DEVICE != "cpu":
        problems.append(f"{key} is int8, which runs on the CPU, and MODEL.DEVICE is {cfg.MODEL.DEVICE}: set it to cpu")
    return problems


def _image_problems(cfg: CN) -> list[str]:
    problems: list[str] = []
    kinds, factors, folder = (
        cfg.INPUT.AUTOENCODER_JITTER,
        cfg.INPUT.AUTOENCODER_JITTER_RANGE,
        cfg.DATASETS.PENALTY_IMAGES,
    )
    if cfg.INPUT.FORMAT != "RGB":
        problems.append(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}: teachers are trained on RGB; set it to RGB")
    if cfg.INPUT.SYMMETRIES and len(set(cfg.INPUT.IMAGE_SIZE)) != 1:
        problems.append(
            f"INPUT.SYMMETRIES is True and INPUT.IMAGE_SIZE {tuple(cfg.INPUT.IMAGE_SIZE)}: a quarter turn would change "
            "the size; set a square one, or SYMMETRIES False"
        )
    if len(cfg.MODEL.PIXEL_MEAN) != 3 or max(cfg.MODEL.PIXEL_STD) <= 2:
        problems.append(
            f"MODEL.PIXEL_STD is {cfg.MODEL.PIXEL_STD}: published teachers take ImageNet's statistics of RGB in 0 to "
            "255, PIXEL_MEAN [123.675, 116.28, 103.53] and PIXEL_STD [58.395, 57.12, 57.375], as in "
            "configs/efficientad/Base-EfficientAD.yaml"
        )
    unknown = [kind for kind in kinds if kind not in ("brightness", "contrast", "saturation")]
    if unknown:
        problems.append(
            f"INPUT.AUTOENCODER_JITTER has {unknown}: choose among brightness, contrast, saturation; () is none"
        )
    if len(factors) != 2 or not 0 < factors[0] <= factors[1]:
        problems.append(f"INPUT.AUTOENCODER_JITTER_RANGE is {factors}: two rising factors such as (0.8, 1.2)")
    if folder and not Path(folder).is_dir():
        problems.append(
            f"DATASETS.PENALTY_IMAGES is {folder!r}, which is no folder: name one with images "
            "of other things, or '' to train without the penalty"
        )
    return problems


def _size_problems(cfg: CN) -> list[str]:
    from efficientad.modeling.autoencoder import AUTOENCODERS

    node, problems = cfg.MODEL.EFFICIENT_AD, list[str]()
    sizes = [("INPUT.IMAGE_SIZE", cfg.INPUT.IMAGE_SIZE)]
    if node.TILING.ENABLED:
        sizes.append(("MODEL.EFFICIENT_AD.TILING.TILE", node.TILING.TILE))
        if not 0 <= node.TILING.OVERLAP < 1:
            problems.append(
                f"MODEL.EFFICIENT_AD.TILING.OVERLAP is {node.TILING.OVERLAP}: choose a share from 0 below 1"
            )
    if node.AUTOENCODER not in AUTOENCODERS:
        return problems
    half = bool(features_of(node))
    least = AUTOENCODERS.get(node.AUTOENCODER).min_size * (2 if half else 1)
    for key, size in sizes:
        if len(size) != 2:
            problems.append(f"{key} is {tuple(size)}: two numbers, height and width in pixels")
        elif any(size) and min(size) < least:
            problems.append(
                f"{key} is {tuple(size)}: the {node.AUTOENCODER} autoencoder needs at least {least} pixels a side"
                + (", as it sees them at half their size" if half else "")
                + ("; attention autoencoders take 128 and more" if least > 128 and not half else "")
            )
    return problems


register_check(META_ARCHITECTURE, check)
