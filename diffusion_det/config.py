"""Configuration of DiffusionDet: the published keys under their published names, then ours."""

from functools import partial

from detectron2.config import CfgNode as CN

from d2road.config import add_common_config, register_check, register_finalizer
from d2road.config.defaults import set_default
from d2road.utils.lazy_package import register_components
from diffusion_det.config_checks import check
from diffusion_det.text_config import TEXT

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
    "IGNORE_CROWDS": False,  # boxes in crowd regions that are no object's have no class loss; else they are background
    "CLASSIFIER": "linear",  # linear | text: text embeddings of class words, see TEXT
    "HEAD": "DynamicHead",  # DIFFUSION_HEAD_REGISTRY
    "FREEZE_HEADS": 0,  # decoder stages, from the first, that do not train
    "POOLER_CANONICAL_SIZE": 224.0,  # a box of this side pools from stride 16; small images want less
    "TIMESTEPS": 1000,
    "TRANSPORT": "diffusion",  # diffusion | flow: the path between boxes and noise, TRANSPORT_REGISTRY
    # Levels to train at: () draws them evenly; (mean, deviation) of a normal variable whose logistic function is the
    # share of TIMESTEPS.
    "LEVEL_DENSITY": (),
    # normal | fitted: the Gaussian of boxes where the path ends in noise. normal: mean 0.5 and deviation
    # 1 / (2 SNR_SCALE) in units of the image; fitted: mean and deviation of the training boxes.
    "PRIOR": "normal",
    # Means of cx, cy, w, h in units of the image, then their deviations; filled from the training data if empty.
    "PRIOR_MOMENTS": (),
    "COUPLING": "independent",  # independent | optimal: which noise of an image goes to which box in training
    # set | velocity: what the boxes learn by, BOX_LOSS_REGISTRY. set: matched to objects, L1 and GIoU; velocity: each
    # towards the object that it was made from, by the squared error of its velocity, with a weight of its own.
    "BOX_LOSS": "set",
    "VELOCITY_WEIGHT": 0.25,
    # noise | grid | sobol | queries, PROPOSALS_REGISTRY: where the decoder's first boxes come from. noise draws them
    # for each image; grid and sobol are the same for all, in testing, on any weights: training with them draws noise.
    # queries learns them, with a feature each (Sparse R-CNN): a training of its own, one step in testing, no noise, and
    # nothing of TRANSPORT, PRIOR, SAMPLER, BOX_RENEWAL and ENSEMBLE.
    "PROPOSALS": "noise",
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
    for name, keys in {"FLOW": FLOW, "POSE": POSE, "TEXT": TEXT}.items():
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
    if cfg.MODEL.DiffusionDet.PRIOR == "fitted" and not len(cfg.MODEL.DiffusionDet.PRIOR_MOMENTS):
        fit_prior(cfg)
    pose = cfg.MODEL.DiffusionDet.POSE
    names = cfg.DATASETS.TRAIN or cfg.DATASETS.TEST
    if pose.ENABLED and not len(pose.DIMENSION_PRIORS) and len(names):
        from d2road.data.labels3d import mean_dimensions

        key = "MODEL.DiffusionDet.POSE.DIMENSION_PRIORS"
        pose.DIMENSION_PRIORS = mean_dimensions(names, key, cfg.MODEL.CLASS_NAMES)


def fit_prior(cfg: CN) -> None:
    """Fill the moments of the prior from the boxes that are trained on, never from a test set's."""
    from d2road.data.box_moments import box_moments
    from diffusion_det.mapper import is_trained_on

    if len(cfg.DATASETS.TRAIN):
        cfg.MODEL.DiffusionDet.PRIOR_MOMENTS = box_moments(
            cfg.DATASETS.TRAIN, "MODEL.DiffusionDet.PRIOR_MOMENTS", partial(is_trained_on, cfg)
        )


register_finalizer(META_ARCHITECTURE, finalize)
register_check(META_ARCHITECTURE, check)
