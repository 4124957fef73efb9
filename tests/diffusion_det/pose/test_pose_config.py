"""Keys of the pose head: contradictions are all reported, with their cure."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from d2road.config import validate
from diffusion_det.config_checks import check
from tests.factories.pose_models import NODE, ON, POSE


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


@pytest.mark.parametrize("ry_frame, refused", [("camera", True), ("ground", False)])
def test_ground_is_not_guessed_where_no_data_has_one(small_cfg, ry_frame, refused):
    """Else headings would be learned about the camera's axis and answered about a plane that nothing taught."""
    name = f"headings_about_{ry_frame}"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(thing_classes=list("abcde"), ry_frame=ry_frame)
    try:
        opts = ("DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", "()")
        problems = check(small_cfg(*ON, *opts))
        assert any("GROUND_PREDICTION is True" in p and name in p for p in problems) == refused
        assert not check(small_cfg(*ON, *opts, POSE + "GROUND_PREDICTION", False, POSE + "GROUND_DROPOUT", 0.0))
        assert not check(small_cfg(*opts))  # 2D alone
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_upside_down_images(small_cfg):
    opts = ("INPUT.RANDOM_FLIP", "vertical", "DATASETS.TRAIN", "()", "DATASETS.TEST", "()")
    assert any("RANDOM_FLIP is 'vertical'" in problem for problem in check(small_cfg(*ON, *opts)))
    assert not check(small_cfg(*opts))
