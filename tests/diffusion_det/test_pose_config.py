"""Keys of the pose head: contradictions are all reported, with their cure."""

import pytest
from detectron2.modeling import build_model
from pose_models import NODE, ON, POSE

from d2ext.config import validate


def test_wrong_pose_keys_are_all_reported(small_cfg):
    cfg = small_cfg(
        *ON, POSE + "DEPTH", "stereo", POSE + "NUM_POSE", 0, POSE + "GROUND_JITTER", "()", POSE + "GROUND_DROPOUT", 1.5,
        POSE + "GROUND_STD", "(0.1,)", POSE + "SCORE_EXPONENTS", "(-1.0, 1.0)", POSE + "STATE_SCALE", 0.0,
        POSE + "IN_STATE", True, NODE + "OFFICIAL_COMPAT", True, NODE + "NUM_CLASSES", 4,
        "DATASETS.TRAIN", "()", "DATASETS.TEST", "()",
    )  # fmt: skip
    with pytest.raises(ValueError) as error:
        validate(cfg)
    for key in ("DEPTH", "NUM_POSE", "GROUND_JITTER", "GROUND_DROPOUT", "GROUND_STD", "SCORE_EXPONENTS", "STATE_SCALE",
                "IN_STATE", "DIMENSION_PRIORS"):  # fmt: skip
        assert f"POSE.{key}" in str(error.value), key


def test_priors_must_be_known(small_cfg):
    with pytest.raises(ValueError, match="DIMENSION_PRIORS is empty"):
        build_model(small_cfg(POSE + "ENABLED", True))
