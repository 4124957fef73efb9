"""Configuration of DiffusionDet: the published keys under their published names, then ours."""

from detectron2.config import CfgNode as CN

from d2road.config import add_common_config, register_check, register_finalizer
from d2road.config.defaults import set_default
from d2road.utils.lazy_package import register_components

META_ARCHITECTURE = "DiffusionDet"

PUBLISHED = {
    "NUM_CLASSES": 80,  # 0 takes it from the training data
    "NUM_PROPOSALS": 300,  # boxes an image in training, and in testing unless TEST_NUM_PROPOSALS says otherwise
    "NHEADS": 8,  # attention heads
    "DROPOUT": 0.0,
    "DIM_FEEDFORWARD": 2048,
    "ACTIVATION": "relu",
    "HIDDEN_DIM": 256,  # width of the decoder; the FPN's OUT_CHANNELS must equal it
    "NUM_CLS": 1,  # layers of the class tower
    "NUM_REG": 3,  # layers of the box tower
    "NUM_HEADS": 6,  # decoder stages
    "NUM_DYNAMIC": 2,  # matrix products of a dynamic convolution; only 2 exists
    "DIM_DYNAMIC": 64,
    "CLASS_WEIGHT": 2.0,
    "GIOU_WEIGHT": 2.0,
    "L1_WEIGHT": 5.0,
    "DEEP_SUPERVISION": True,
    "NO_OBJECT_WEIGHT": 0.1,  # softmax loss only
    "USE_FOCAL": True,
    "USE_FED_LOSS": False,
    "ALPHA": 0.25,
    "GAMMA": 2.0,
    "PRIOR_PROB": 0.01,
    "OTA_K": 5,  # best overlaps that vote for the number of queries of an object
    "SNR_SCALE": 2.0,  # boxes span [-SNR_SCALE, SNR_SCALE] in the diffusion
    "SAMPLE_STEP": 1,
    "USE_NMS": True,
}

OURS = {
    # Numerically the published code, with its slips: class prior in parameters by shape, the last of several steps
    # unused, renewal decided by the first image of a batch, noise from the global random state. Off, these are fixed.
    "OFFICIAL_COMPAT": False,
    "HEAD": "DynamicHead",  # DIFFUSION_HEAD_REGISTRY
    "FREEZE_HEADS": 0,  # decoder stages, from the first, that do not train
    "POOLER_CANONICAL_SIZE": 224.0,  # a box of this side pools from stride 16; small images want less
    "TIMESTEPS": 1000,
    "TRANSPORT": "diffusion",  # diffusion | flow: the path between boxes and noise, TRANSPORT_REGISTRY
    # Levels to train at: () draws them evenly; (mean, deviation) of a normal variable whose logistic function is the
    # share of TIMESTEPS.
    "LEVEL_DENSITY": (),
    "COUPLING": "independent",  # independent | optimal: which noise of an image goes to which box in training
    "SAMPLER": "ddim",  # ddim | ddpm | dpmsolver++ | restart, and along the path of flow also euler | heun
    "ETA": 1.0,  # share of fresh noise in a DDIM step
    "BOX_RENEWAL": True,
    "RENEWAL_THRESH": 0.5,  # boxes that score at most this are drawn anew after a step
    "ENSEMBLE": True,  # report the union of all steps; else the last step alone
    "NMS_THRESH": 0.5,
    "TEST_NUM_PROPOSALS": -1,  # -1: NUM_PROPOSALS
    # The decoder by torch.compile, in training and testing: "" leaves it as it is, else a back end, e.g. "inductor".
    "COMPILE": "",
    "CUDA_GRAPH": False,  # in testing on CUDA the decoder is replayed as a graph, one for each size of input
    "TEST_SEED": 0,  # with the image id, in predictions the pixels, it seeds the noise of an image
}

FLOW: dict[str, object] = {
    "SHIFT": 1.0,  # above 1, all levels are noisier
    "SAME_SNR": False,  # signal-to-noise ratios of the levels are those of diffusion
}

POSE: dict[str, object] = {
    "ENABLED": False,  # location, size and heading beside the 2D boxes; needs cameras and 3D labels
    "NUM_POSE": 2,  # layers of a stage's pose tower
    "POOLED": True,  # pose also looks at the pooled map of a box, not only at the decoder's feature of it
    # Class means h, w, l in m, one triple a class; filled from the training data if empty.
    "DIMENSION_PRIORS": (),
    "GRADIENT_TO_2D": False,  # pose losses train the decoder and the backbone too
    "DEPTH": "fused",  # fused | direct | plane | height: the depth branch in testing
    "USE_GIVEN_GROUND": True,  # False: RGB and intrinsics alone, the ground plane is predicted from the image
    "GROUND_PREDICTION": True,  # predict the ground plane (with variance) from the image
    "SHARED_GROUND_ERROR": True,  # let all objects of an image correct its plane together
    # Share of the variance of direct depths that is one error of the whole image and says nothing about its plane.
    # 0.5 did best among 0, 0.3, 0.5, 0.7, 0.9 on 100 toy views of a seed of their own.
    "COMMON_DIRECT": 0.5,
    # How far a given plane is trusted in testing: standard deviations of roll and pitch in degrees, of height relative.
    "GROUND_STD": (0.1, 0.1, 0.005),
    # Levels of the deviation (degrees) of the planes given in training, one drawn an image; and the share of images
    # whose plane is withheld.
    "GROUND_JITTER": (0.02, 0.25, 0.5, 1.0),
    "GROUND_DROPOUT": 0.25,
    # The diffusion state carries pose beside the box (research option); STATE_SCALE is its signal scale.
    "IN_STATE": False,
    "STATE_SCALE": 1.0,
    "SCORE_EXPONENTS": (1.0, 1.0),  # of the 2D score and of the predicted 3D overlap in the final score
    "WEIGHTS": {"xy": 1.0, "z": 1.0, "dims": 1.0, "depth": 0.25, "heading": 2.0, "quality": 0.5, "ground": 0.5},
}


def add_diffusion_det_config(cfg: CN) -> None:
    """Add the keys of DiffusionDet and the common ones to a Detectron2 config, in place; idempotent."""
    register_components("diffusion_det")
    add_common_config(cfg)
    set_default(cfg.MODEL, "DiffusionDet", CN())
    for key, value in {**PUBLISHED, **OURS}.items():
        set_default(cfg.MODEL.DiffusionDet, key, value)
    for name, keys in {"FLOW": FLOW, "POSE": POSE}.items():
        set_default(cfg.MODEL.DiffusionDet, name, CN())
        for key, value in keys.items():
            set_default(cfg.MODEL.DiffusionDet[name], key, CN(value) if isinstance(value, dict) else value)
    set_default(cfg.INPUT, "COLOR_JITTER", 0.0)  # brightness, contrast and saturation each vary by up to this share
    # Objects whose label says more than this (KITTI, Rope3D) are not trained on: occluded 0 to 3, truncated share.
    set_default(cfg.INPUT, "MAX_OCCLUDED", 3)
    set_default(cfg.INPUT, "MAX_TRUNCATED", 1.0)


def finalize(cfg: CN) -> None:
    """Fill values that follow from others."""
    if cfg.MODEL.DiffusionDet.NUM_CLASSES == 0:
        from d2road.data import num_classes_of

        data = cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
        cfg.MODEL.DiffusionDet.NUM_CLASSES = len(cfg.MODEL.CLASS_NAMES) or num_classes_of(data)
    pose = cfg.MODEL.DiffusionDet.POSE
    names = cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    if pose.ENABLED and not len(pose.DIMENSION_PRIORS) and len(names):
        from d2road.data.labels3d import mean_dimensions

        key = "MODEL.DiffusionDet.POSE.DIMENSION_PRIORS"
        pose.DIMENSION_PRIORS = mean_dimensions(names, key, cfg.MODEL.CLASS_NAMES)


def check(cfg: CN) -> list[str]:
    """Contradictions in the keys of DiffusionDet, each with its cure."""
    from d2road.data import class_count_problems
    from diffusion_det.head import DIFFUSION_HEAD_REGISTRY
    from diffusion_det.sampler import SAMPLER_REGISTRY

    node, problems = cfg.MODEL.DiffusionDet, []

    def wrong(key: str, cure: str) -> None:
        problems.append(f"MODEL.DiffusionDet.{key} is {node[key]!r}: {cure}")

    if node.NUM_CLASSES < 0:  # 0 is left only where the data could not tell it, which is said already
        wrong("NUM_CLASSES", "choose the number of classes, or 0 for that of the training data")
    for key in ("NUM_PROPOSALS", "NUM_HEADS", "HIDDEN_DIM", "OTA_K", "DIM_DYNAMIC", "TIMESTEPS"):
        if node[key] < 1:
            wrong(key, "must be at least 1")
    if node.NHEADS < 1 or node.HIDDEN_DIM % max(node.NHEADS, 1):
        wrong("NHEADS", f"must divide HIDDEN_DIM = {node.HIDDEN_DIM}")
    if "fpn" in cfg.MODEL.BACKBONE.NAME.lower() and cfg.MODEL.FPN.OUT_CHANNELS != node.HIDDEN_DIM:
        wrong("HIDDEN_DIM", f"must equal MODEL.FPN.OUT_CHANNELS = {cfg.MODEL.FPN.OUT_CHANNELS}")
    if not 0 <= node.FREEZE_HEADS <= node.NUM_HEADS:
        wrong("FREEZE_HEADS", f"choose 0 to NUM_HEADS = {node.NUM_HEADS}")
    elif node.FREEZE_HEADS and not cfg.MODEL.WEIGHTS:
        wrong("FREEZE_HEADS", "frozen stages keep the weights that they begin with, so name these in MODEL.WEIGHTS")
    if node.TEST_NUM_PROPOSALS == 0 or node.TEST_NUM_PROPOSALS < -1:
        wrong("TEST_NUM_PROPOSALS", "choose the number of boxes at test time, or -1 for NUM_PROPOSALS")
    if not 1 <= node.SAMPLE_STEP <= node.TIMESTEPS:
        wrong("SAMPLE_STEP", f"choose 1 to TIMESTEPS = {node.TIMESTEPS}")
    if node.SAMPLER not in SAMPLER_REGISTRY and node.SAMPLER.lower() not in SAMPLER_REGISTRY:
        wrong("SAMPLER", f"choose one of {', '.join(SAMPLER_REGISTRY.names())}")
    if node.HEAD not in DIFFUSION_HEAD_REGISTRY:
        wrong("HEAD", f"choose one of {', '.join(DIFFUSION_HEAD_REGISTRY.names())}")
    if node.ACTIVATION not in ("relu", "gelu"):
        wrong("ACTIVATION", "choose relu or gelu")
    for key in ("ETA", "RENEWAL_THRESH", "NMS_THRESH", "ALPHA"):
        if not 0 <= node[key] <= 1:
            wrong(key, "choose a number from 0 to 1")
    if not 0 < node.PRIOR_PROB < 1:
        wrong("PRIOR_PROB", "choose a number between 0 and 1")
    if node.SNR_SCALE <= 0:
        wrong("SNR_SCALE", "must be positive")
    for key in ("COMPILE", "CUDA_GRAPH"):
        if node[key] and node.POSE.ENABLED:
            wrong(key, "is for 2D boxes alone; switch it or POSE.ENABLED off")
    if node.COMPILE and node.CUDA_GRAPH:
        wrong("CUDA_GRAPH", "what COMPILE has made is not recorded again; choose one of both")
    if node.NUM_DYNAMIC != 2:
        wrong("NUM_DYNAMIC", "only 2 exists, in the published code too")
    if node.USE_FED_LOSS and not node.USE_FOCAL:
        wrong("USE_FED_LOSS", "needs USE_FOCAL True")
    if node.OFFICIAL_COMPAT and node.OTA_K > node.NUM_PROPOSALS:
        wrong("OTA_K", f"must not exceed NUM_PROPOSALS = {node.NUM_PROPOSALS}")
    problems += transport_problems(node)
    problems += pose_problems(node)
    if node.POSE.ENABLED:
        problems += pose_input_problems(cfg)
    data = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    key, names = "MODEL.DiffusionDet.NUM_CLASSES", cfg.MODEL.CLASS_NAMES
    return problems + class_count_problems(key, node.NUM_CLASSES, data, names)


def transport_problems(node: CN) -> list[str]:
    """Contradictions of path, levels, coupling and solver."""
    from diffusion_det.sampler import SAMPLER_REGISTRY, sampler_names
    from diffusion_det.schedule import TRANSPORT_REGISTRY

    problems = []

    def wrong(key: str, value: object, cure: str) -> None:
        problems.append(f"MODEL.DiffusionDet.{key} is {value!r}: {cure}")

    if node.TRANSPORT not in TRANSPORT_REGISTRY:
        wrong("TRANSPORT", node.TRANSPORT, f"choose one of {', '.join(TRANSPORT_REGISTRY.names())}")
    elif node.SAMPLER in SAMPLER_REGISTRY and node.SAMPLER not in sampler_names(
        TRANSPORT_REGISTRY.get(node.TRANSPORT).straight
    ):
        wrong("SAMPLER", node.SAMPLER, "it follows straight paths: choose ddim, or TRANSPORT flow")
    if node.OFFICIAL_COMPAT and node.TRANSPORT != "diffusion":
        wrong("TRANSPORT", node.TRANSPORT, "the published code knows diffusion alone; set OFFICIAL_COMPAT False")
    if len(node.LEVEL_DENSITY) not in (0, 2) or (len(node.LEVEL_DENSITY) == 2 and node.LEVEL_DENSITY[1] <= 0):
        wrong("LEVEL_DENSITY", node.LEVEL_DENSITY, "choose () or a mean and a positive deviation, such as (0.0, 1.0)")
    if node.COUPLING not in ("independent", "optimal"):
        wrong("COUPLING", node.COUPLING, "choose independent or optimal")
    if node.FLOW.SHIFT <= 0:
        wrong("FLOW.SHIFT", node.FLOW.SHIFT, "must be positive")
    if node.FLOW.SAME_SNR and node.FLOW.SHIFT != 1:
        wrong("FLOW.SHIFT", node.FLOW.SHIFT, "has no effect beside FLOW.SAME_SNR: set it to 1.0")
    return problems


def pose_problems(node: CN) -> list[str]:
    """Contradictions below MODEL.DiffusionDet.POSE."""
    from diffusion_det.pose.pose_head import BRANCHES

    pose, problems = node.POSE, []

    def wrong(key: str, cure: str) -> None:
        problems.append(f"MODEL.DiffusionDet.POSE.{key} is {pose[key]!r}: {cure}")

    if pose.DEPTH not in ("fused", *BRANCHES):
        wrong("DEPTH", f"choose fused, {', '.join(BRANCHES)}")
    if pose.NUM_POSE < 1:
        wrong("NUM_POSE", "must be at least 1")
    if len(pose.GROUND_STD) != 3 or min(pose.GROUND_STD) < 0:
        wrong("GROUND_STD", "three numbers from 0: roll and pitch in degrees, relative height")
    if not len(pose.GROUND_JITTER) or min(pose.GROUND_JITTER) < 0:
        wrong("GROUND_JITTER", "one or more deviations in degrees; (0.0,) switches jitter off")
    if not 0 <= pose.COMMON_DIRECT < 1:
        wrong("COMMON_DIRECT", "choose a share from 0 to below 1")
    if not 0 <= pose.GROUND_DROPOUT <= 1:
        wrong("GROUND_DROPOUT", "choose a share from 0 to 1")
    if len(pose.SCORE_EXPONENTS) != 2 or min(pose.SCORE_EXPONENTS) < 0:
        wrong("SCORE_EXPONENTS", "two numbers from 0: of the 2D score, of the quality")
    if pose.STATE_SCALE <= 0:
        wrong("STATE_SCALE", "must be positive")
    if pose.IN_STATE and not pose.ENABLED:
        wrong("IN_STATE", "needs POSE.ENABLED True")
    if pose.IN_STATE and node.OFFICIAL_COMPAT:
        wrong("IN_STATE", "the published loop knows boxes alone; set OFFICIAL_COMPAT False")
    if pose.ENABLED and not pose.GROUND_PREDICTION and pose.GROUND_DROPOUT > 0:
        wrong("GROUND_DROPOUT", "nothing replaces a withheld plane while GROUND_PREDICTION is False; set it to 0")
    priors = pose.DIMENSION_PRIORS
    # Empty ones are left to the data; without data the model says so when it is built.
    if len(priors) and (len(priors) != node.NUM_CLASSES or any(len(p) != 3 or min(p) <= 0 for p in priors)):
        wrong("DIMENSION_PRIORS", f"{node.NUM_CLASSES} triples of h, w, l in m, or () for those of the training data")
    return problems


def pose_input_problems(cfg: CN) -> list[str]:
    """What the pose head cannot learn from: images upside down, a ground that no data has."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    problems = []
    if cfg.INPUT.RANDOM_FLIP == "vertical":
        problems.append(
            "INPUT.RANDOM_FLIP is 'vertical', which 3D poses do not survive: choose horizontal or none, or set "
            "MODEL.DiffusionDet.POSE.ENABLED False"
        )
    known = [name for name in cfg.DATASETS.TRAIN if name in DatasetCatalog]
    without = [name for name in known if MetadataCatalog.get(name).get("ry_frame") == "camera"]
    if cfg.MODEL.DiffusionDet.POSE.GROUND_PREDICTION and without:
        problems.append(
            "MODEL.DiffusionDet.POSE.GROUND_PREDICTION is True, but there is no ground plane to learn it from in "
            f"{', '.join(without)}, whose headings turn about the camera's y axis: set it False and GROUND_DROPOUT 0.0"
        )
    return problems


register_finalizer(META_ARCHITECTURE, finalize)
register_check(META_ARCHITECTURE, check)
