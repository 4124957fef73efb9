"""The published keys under Detectron2's own config machinery."""

import logging

import pytest
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from d2road.config import default_argument_parser, setup_cfg
from diffusion_det import add_diffusion_det_config

# Every key of the published project, with the values of its LVIS and Swin variants.
PUBLISHED_YAML = """
MODEL:
  META_ARCHITECTURE: "DiffusionDet"
  WEIGHTS: ""
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  BACKBONE: {NAME: "build_resnet_fpn_backbone"}
  RESNETS: {OUT_FEATURES: ["res2", "res3", "res4", "res5"], DEPTH: 50, STRIDE_IN_1X1: False}
  FPN: {IN_FEATURES: ["res2", "res3", "res4", "res5"]}
  SWIN: {SIZE: "B-22k", USE_CHECKPOINT: False, OUT_FEATURES: [0, 1, 2, 3]}
  ROI_HEADS: {IN_FEATURES: ["p2", "p3", "p4", "p5"]}
  ROI_BOX_HEAD: {POOLER_TYPE: "ROIAlignV2", POOLER_RESOLUTION: 7, POOLER_SAMPLING_RATIO: 2}
  DiffusionDet:
    {NUM_PROPOSALS: 500, NUM_CLASSES: 80, NHEADS: 8, DROPOUT: 0.0, DIM_FEEDFORWARD: 2048, ACTIVATION: relu,
     HIDDEN_DIM: 256, NUM_CLS: 1, NUM_REG: 3, NUM_HEADS: 6, NUM_DYNAMIC: 2, DIM_DYNAMIC: 64,
     CLASS_WEIGHT: 2.0, GIOU_WEIGHT: 2.0,
     L1_WEIGHT: 5.0, DEEP_SUPERVISION: True, NO_OBJECT_WEIGHT: 0.1, USE_FOCAL: True, USE_FED_LOSS: False, ALPHA: 0.25,
     GAMMA: 2.0, PRIOR_PROB: 0.01, OTA_K: 5, SNR_SCALE: 2.0, SAMPLE_STEP: 4, USE_NMS: True}
MODEL_EMA: {ENABLED: False, DECAY: 0.999, DEVICE: "", USE_EMA_WEIGHTS_FOR_EVAL_ONLY: False, YOLOX: False}
DATASETS:
  TRAIN: ("coco_2017_train",)
  TEST: ("coco_2017_val",)
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.000025
  STEPS: (350000, 420000)
  MAX_ITER: 450000
  WARMUP_FACTOR: 0.01
  WARMUP_ITERS: 1000
  WEIGHT_DECAY: 0.0001
  OPTIMIZER: "ADAMW"
  BACKBONE_MULTIPLIER: 1.0
  CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: "full_model", CLIP_VALUE: 1.0, NORM_TYPE: 2.0}
SEED: 40244023
INPUT:
  MIN_SIZE_TRAIN: (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
  FORMAT: "RGB"
  CROP:
    ENABLED: True
    TYPE: "absolute_range"
    SIZE: (384, 600)
TEST:
  EVAL_PERIOD: 7330
  AUG:
    ENABLED: False
    MIN_SIZES: (400, 500, 600, 640, 700, 900, 1000, 1100, 1200, 1300, 1400, 1800, 800)
    CVPODS_TTA: True
    SCALE_FILTER: True
DATALOADER: {FILTER_EMPTY_ANNOTATIONS: False, NUM_WORKERS: 4}
VERSION: 2
"""


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text(PUBLISHED_YAML)
    return path


def test_published_keys_merge(published):
    cfg = get_cfg()
    add_diffusion_det_config(cfg)
    cfg.merge_from_file(str(published))
    assert cfg.MODEL.DiffusionDet.NUM_PROPOSALS == 500
    assert not cfg.MODEL.DiffusionDet.OFFICIAL_COMPAT
    assert (
        setup_cfg(default_argument_parser().parse_args(["--config-file", str(published)])).SOLVER.OPTIMIZER == "ADAMW"
    )


def test_log_says_that_compat_is_off(small_cfg, caplog):
    with caplog.at_level(logging.INFO, logger="diffusion_det"):
        build_model(small_cfg())
        assert "OFFICIAL_COMPAT is off" in caplog.text
        caplog.clear()
        build_model(small_cfg("MODEL.DiffusionDet.OFFICIAL_COMPAT", True))
        assert "OFFICIAL_COMPAT" not in caplog.text


PUBLISHED = [f"{data}/{backbone}" for data in ("coco", "lvis") for backbone in ("resnet50", "resnet101", "swin_base")]


@pytest.mark.parametrize("name", [*PUBLISHED, "toy_roadside/effnet_lite0", "toy_roadside/demo", "kitti/effnet_lite0"])
def test_shipped_configs_are_valid(repo_dir, name):
    cfg = setup_cfg(
        default_argument_parser().parse_args(["--config-file", str(repo_dir / f"configs/diffusion_det/{name}.yaml")])
    )
    assert name.startswith(("coco", "lvis")) == cfg.MODEL.DiffusionDet.OFFICIAL_COMPAT


def test_number_of_classes_must_be_known(small_cfg):
    with pytest.raises(ValueError, match="NUM_CLASSES is 0"):
        build_model(small_cfg("MODEL.DiffusionDet.NUM_CLASSES", 0))
