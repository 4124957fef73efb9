"""Configuration of PatchCore."""

from collections.abc import Mapping

from detectron2.config import CfgNode as CN
from detectron2.utils import comm

from d2road.config import register_check, register_finalizer
from d2road.config.defaults import set_default
from d2road.engine.fit_step import fit_problems

META_ARCHITECTURE = "PatchCore"
CORESETS = ("greedy", "approximate", "random", "within_images")
PRECISIONS = ("fp32", "int8")
SEARCHES = ("auto", "integer", "principal")
METHODS = ("held_out", "leave_one_out")

PATCHCORE = {
    # Network whose features are compared: efficientnet_lite0 (weights of the installed package) | efficientnet_lite1 |
    # efficientnet_lite2 | wide_resnet101 | timm:NAME; see modeling/feature_extractors.py. It brings its own mean and
    # deviation of pixels along; MODEL.PIXEL_MEAN and PIXEL_STD are not read.
    "FEATURES": "efficientnet_lite0",
    # File of its weights, read when a bank is made; "" for those of an installed package. Checkpoints hold them.
    "FEATURE_WEIGHTS": "",
    # Its maps by stride in pixels, the finest first: the grid of the first one is that of the bank.
    "LAYERS": ("s8", "s16"),
    # Cells a side that are averaged around each cell of a map; odd, 1 is none.
    "NEIGHBOURHOOD": 3,
    # Vectors of the bank at most; scoring takes time in proportion.
    "BANK_SIZE": 30000,
    # Vectors of the training images at most that the bank is chosen from, as many of each image: memory and the time
    # of the choice stay bounded, some minutes on two cores.
    "CANDIDATES": 100000,
    # greedy (k-centre, as published) | approximate (nearly the same covering radius, in less time) | random |
    # within_images (greedy for each image by itself, as many vectors of each, which is fast; the threshold of
    # leave_one_out then has a guarantee)
    "CORESET": "approximate",
    # fp32 | int8: of the bank. A model is calibrated for one; d2road export makes it one for the other.
    "PRECISION": "fp32",
    # auto | integer | principal: bounds that spare most distances to the bank, by 8-bit integers or in float32. auto
    # takes integers where onnxruntime and a processor with VNNI or AMX make them the faster ones; the results are the
    # same.
    "SEARCH": "auto",
    # The score of an image is its largest distance, weighted by how alone the nearest vector lies among so many
    # neighbours in the bank, as published; 1 is the largest distance itself.
    "REWEIGHT_NEIGHBOURS": 9,
    # Deviation of the Gaussian that the map is smoothed by, in pixels of the network input; 0 is none.
    "BLUR": 4.0,
}

CALIBRATION = {
    # held_out: scores of good images that are not in the bank, DATASETS.CALIBRATION or the validation part of each of
    # DATASETS.TRAIN: their threshold has a guarantee. leave_one_out: of each training image against the bank without
    # its own vectors: as many scores as images. With CORESET within_images, or a bank of all vectors, their threshold
    # has the same guarantee; else it promises nothing. See docs/anomaly_thresholds.md.
    "METHOD": "held_out",
    # The decision threshold: share of good images that may be called anomalous.
    "FALSE_POSITIVE_RATE": 0.01,
    # The good images are drawn at random from what the model will meet; else its threshold promises nothing.
    "RANDOM_SAMPLE": True,
}


def add_patchcore_config(cfg: CN) -> None:
    """Add the keys of PatchCore to a config, in place; idempotent."""
    set_default(cfg.MODEL, "PATCHCORE", CN())
    node = cfg.MODEL.PATCHCORE
    set_default(node, "CALIBRATION", CN())
    nodes: list[tuple[CN, Mapping[str, object]]] = [(node, PATCHCORE), (node.CALIBRATION, CALIBRATION)]
    for target, keys in nodes:
        for key, value in keys.items():
            set_default(target, key, value)


def architecture_of(node: CN) -> dict[str, object]:
    """The keys of MODEL.PATCHCORE that decide what a vector of the bank means."""
    return {
        "FEATURES": node.FEATURES,
        "LAYERS": "+".join(node.LAYERS),
        "NEIGHBOURHOOD": node.NEIGHBOURHOOD,
    }


def check(cfg: CN) -> list[str]:
    """Contradictions in the keys of PatchCore, each with its cure."""
    from efficientad.modeling.feature_extractors import extractor_problems

    node, name, problems = cfg.MODEL.PATCHCORE, "MODEL.PATCHCORE.", fit_problems(cfg)

    def wrong(key: str, value: object, cure: str) -> None:
        problems.append(f"{name}{key} is {value!r}: {cure}")

    problems += [name + problem for problem in extractor_problems(node.FEATURES, tuple(node.LAYERS))]
    for key, allowed in (("CORESET", CORESETS), ("PRECISION", PRECISIONS), ("SEARCH", SEARCHES)):
        if node[key] not in allowed:
            wrong(key, node[key], f"choose one of {', '.join(allowed)}")
    if node.CALIBRATION.METHOD not in METHODS:
        wrong("CALIBRATION.METHOD", node.CALIBRATION.METHOD, f"choose one of {', '.join(METHODS)}")
    if not 0 < node.CALIBRATION.FALSE_POSITIVE_RATE < 1:
        wrong("CALIBRATION.FALSE_POSITIVE_RATE", node.CALIBRATION.FALSE_POSITIVE_RATE, "between 0 and 1")
    if node.NEIGHBOURHOOD < 1 or node.NEIGHBOURHOOD % 2 == 0:
        wrong("NEIGHBOURHOOD", node.NEIGHBOURHOOD, "an odd number of cells, such as 3, or 1 for none")
    if node.BANK_SIZE < 1:
        wrong("BANK_SIZE", node.BANK_SIZE, "must be at least 1, better 30000")
    if node.CANDIDATES < node.BANK_SIZE:
        wrong("CANDIDATES", node.CANDIDATES, f"the bank of BANK_SIZE {node.BANK_SIZE} is chosen from them; give more")
    if node.REWEIGHT_NEIGHBOURS < 1:
        wrong("REWEIGHT_NEIGHBOURS", node.REWEIGHT_NEIGHBOURS, "choose 9, as published, or 1 for the distance alone")
    if not node.BLUR >= 0:
        wrong("BLUR", node.BLUR, "pixels, 4 as published, or 0 for none")
    return problems + _image_problems(cfg)


def _image_problems(cfg: CN) -> list[str]:
    size, problems = cfg.INPUT.IMAGE_SIZE, list[str]()
    if cfg.INPUT.FORMAT != "RGB":
        problems.append(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}: feature extractors are trained on RGB; set it to RGB")
    if len(size) != 2 or min(size) < 0 or (any(size) and min(size) < 64):
        problems.append(
            f"INPUT.IMAGE_SIZE is {tuple(size)}: height and width in pixels, 64 or more each, or (0, 0) for the "
            "image's own size"
        )
    return problems


def finalize(cfg: CN) -> None:
    """No batches are made of training images: any number of processes may share them."""
    cfg.SOLVER.IMS_PER_BATCH = max(cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size() * cfg.SOLVER.GRAD_ACCUM_STEPS)


register_check(META_ARCHITECTURE, check)
register_finalizer(META_ARCHITECTURE, finalize)
