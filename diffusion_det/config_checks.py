"""Contradictions in the configuration of DiffusionDet, each with its cure."""

from detectron2.config import CfgNode as CN

from diffusion_det.proposal_checks import proposal_problems
from diffusion_det.text_config import text_problems


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
    problems += text_problems(cfg)
    problems += transport_problems(node)
    problems += proposal_problems(node)
    problems += pose_problems(node)
    if node.POSE.ENABLED:
        problems += pose_input_problems(cfg)
    data = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    key, names = "MODEL.DiffusionDet.NUM_CLASSES", cfg.MODEL.CLASS_NAMES
    return problems + class_count_problems(key, node.NUM_CLASSES, data, names)


def transport_problems(node: CN) -> list[str]:
    """Contradictions of path, levels, coupling and solver."""
    from diffusion_det.losses import BOX_LOSS_REGISTRY
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
    problems += prior_problems(node)
    if node.BOX_LOSS not in BOX_LOSS_REGISTRY:
        wrong("BOX_LOSS", node.BOX_LOSS, f"choose one of {', '.join(BOX_LOSS_REGISTRY.names())}")
    if node.BOX_LOSS == "velocity" and node.OFFICIAL_COMPAT:
        wrong("BOX_LOSS", node.BOX_LOSS, "the published code knows the set losses alone; set OFFICIAL_COMPAT False")
    if node.VELOCITY_WEIGHT <= 0:
        wrong("VELOCITY_WEIGHT", node.VELOCITY_WEIGHT, "must be positive")
    return problems


def prior_problems(node: CN) -> list[str]:
    """Contradictions of the prior of boxes and its moments."""
    problems, moments = [], node.PRIOR_MOMENTS

    def wrong(key: str, cure: str) -> None:
        problems.append(f"MODEL.DiffusionDet.{key} is {node[key]!r}: {cure}")

    if node.PRIOR not in ("normal", "fitted"):
        wrong("PRIOR", "choose normal or fitted")
    if node.PRIOR != "normal" and node.OFFICIAL_COMPAT:
        wrong("PRIOR", "the published code knows normal alone; set OFFICIAL_COMPAT False")
    if node.PRIOR == "fitted" and node.SNR_SCALE != 2:
        wrong("SNR_SCALE", "has no effect beside PRIOR fitted: set it to 2.0")
    # Empty ones are left to the data; without data the model says so when it is built.
    if len(moments) and node.PRIOR == "normal":
        wrong("PRIOR_MOMENTS", "has no effect beside PRIOR normal: set it to (), or PRIOR to fitted")
    elif len(moments) and (len(moments) != 8 or min(moments[2:]) <= 0 or not all(0 <= m <= 1 for m in moments[:4])):
        cure = "eight numbers in units of the image: means of cx, cy, w, h, from 0 to 1, then their positive deviations"
        wrong("PRIOR_MOMENTS", f"{cure}; or () for those of the training data")
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
