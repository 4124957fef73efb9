"""The one path from a command line to a config."""

import json
import logging
import sys
from argparse import Namespace

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from d2road.config import default_argument_parser, make_cfg, register_check, register_finalizer, setup_cfg, validate
from d2road.data import DATASET_FAMILIES


def _setup(*opts: str, config_file: str = "") -> CfgNode:
    return setup_cfg(Namespace(config_file=config_file, opts=list(opts)))


def test_frozen_and_on_a_device_that_exists(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    logging.getLogger("d2road").handlers.clear()
    cfg = setup_cfg(default_argument_parser().parse_args(["MODEL.DEVICE", "cuda:1"]))
    assert cfg.is_frozen()
    assert cfg.MODEL.DEVICE == "cpu"
    assert not logging.getLogger("d2road").handlers
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert _setup("MODEL.DEVICE", "cuda:1").MODEL.DEVICE == "cuda:1"
    assert _setup("MODEL.DEVICE", "cpu").MODEL.DEVICE == "cpu"


def test_every_config_of_the_project_is_valid(repo_dir):
    files = sorted(repo_dir.glob("configs/*/**/*.yaml"))
    assert files
    for path in files:
        names = make_cfg(str(path)).DATASETS
        for name in (*names.TRAIN, *names.TEST):
            assert ":" in name or name in DatasetCatalog or name.split("/")[0] in DATASET_FAMILIES, (path, name)
        # Valid apart from the data, which need not be on this machine.
        _setup(
            *["DATASETS.TRAIN", "()", "DATASETS.TEST", "()", "MODEL.DiffusionDet.NUM_CLASSES", "4"],
            *["DATASETS.PENALTY_IMAGES", "", "TEST.GROUNDING.THRESHOLD_DATA", ""],
            config_file=str(path),
        )


def test_data_by_path_is_registered_and_gives_the_number_of_classes(tmp_path):
    (tmp_path / "images").mkdir()
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 4}],
        "categories": [{"id": i, "name": f"c{i}"} for i in range(5)],
        "annotations": [],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    name = f"coco:{tmp_path}/a.json:{tmp_path}/images"
    opts = ["MODEL.META_ARCHITECTURE", "DiffusionDet", "DATASETS.TRAIN", name, "MODEL.FPN.OUT_CHANNELS", "256"]
    cfg = _setup(*opts, "MODEL.DiffusionDet.NUM_CLASSES", "0")
    assert cfg.MODEL.DiffusionDet.NUM_CLASSES == 5
    assert name in DatasetCatalog
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 3, but data set .* has 5 classes; set it to 5"):
        _setup(*opts, "MODEL.DiffusionDet.NUM_CLASSES", "3")
    absent = f"coco:{tmp_path}/none.json:{tmp_path}/images"
    # What follows from it is not told.
    with pytest.raises(ValueError, match=r"\A1 problem (.|\n)*none\.json does not exist"):
        _setup(*opts, "DATASETS.TRAIN", absent, "MODEL.DiffusionDet.NUM_CLASSES", "0")
    with pytest.raises(ValueError, match=r"\A1 problem (.|\n)*MODEL.WEIGHTS is empty or tells none"):
        _setup(*opts, "DATASETS.TRAIN", "()", "MODEL.DiffusionDet.NUM_CLASSES", "0")


def test_finalizer_and_check_of_a_meta_architecture(monkeypatch):
    monkeypatch.setattr("d2road.config.setup._FINALIZERS", {})
    monkeypatch.setattr(sys.modules["d2road.config.validate"], "_CHECKS", {})
    register_finalizer("RetinaNet", lambda cfg: setattr(cfg.MODEL.RETINANET, "NUM_CLASSES", 7))
    register_check("RetinaNet", lambda cfg: [f"found {cfg.MODEL.RETINANET.NUM_CLASSES}", "and this"])
    with pytest.raises(ValueError, match=r"2 problems (.|\n)*1\. found 7\n  2\. and this"):
        _setup("MODEL.META_ARCHITECTURE", "RetinaNet")
    assert _setup("MODEL.META_ARCHITECTURE", "GeneralizedRCNN").MODEL.RETINANET.NUM_CLASSES == 80


WRONG = {
    "MODEL.META_ARCHITECTURE": ("DiffusionDt", "did you mean 'DiffusionDet'"),
    "MODEL.BACKBONE.NAME": ("build_timm_bakbone", "did you mean 'build_timm_backbone'"),
    "INPUT.MAPPER": ("Mappr", "known are: DatasetMapper"),
    "DATASETS.TRAIN": ("toy_roadside_trian", "did you mean 'toy_roadside_train'"),
    "DATASETS.TEST": ("coco:a.json", "does not read as coco:ANNOTATIONS.json:IMAGE_DIR"),
    "SOLVER.OPTIMIZER": ("LION", "choose one of ADAMW, SGD, ADAM"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("fullmodel", "choose one of full_model, norm, value"),
    "SOLVER.AMP.DTYPE": ("fp8", "choose one of auto, fp16, bf16"),
    "SOLVER.GRAD_ACCUM_STEPS": ("3", "16 is no multiple of SOLVER.GRAD_ACCUM_STEPS 3"),
    "SOLVER.STEPS": ("(5, 4)", "must rise"),
    "SOLVER.BASE_LR": ("-1.0", "must not be negative"),
    "SOLVER.CHECKPOINTS_TO_KEEP": ("1", "must be at least 2"),
    "MODEL_EMA.DECAY": ("1.0", "choose from 0 up to but not including 1"),
    "TEST.BEST_METRIC": ("AP", "expected task/metric such as bbox/AP"),
    "TEST.BEST_MODE": ("highest", "choose max or min"),
    "INPUT.MIN_SIZE_TRAIN": ("(480, -1)", "sizes are pixels"),
    "INPUT.MAX_SIZE_TEST": ("0", "sizes are pixels"),
    "MODEL.PIXEL_STD": ("[1.0, 0.0, 1.0]", "every number must be positive"),
    "DATALOADER.NUM_WORKERS": ("-1", "0 reads in the main process"),
}


@pytest.mark.parametrize("key", WRONG)
def test_each_wrong_key_is_reported_with_its_cure(key):
    value, message = WRONG[key]
    with pytest.raises(ValueError, match="1 problem in") as error:
        _setup(key, value)
    assert message in str(error.value)
    assert key.split(".")[-1] in str(error.value)


def test_all_wrong_keys_are_reported_at_once():
    opts = [word for key, (value, _) in WRONG.items() for word in (key, value)]
    with pytest.raises(ValueError, match=f"{len(WRONG)} problems in") as error:
        _setup(*opts)
    for _, message in WRONG.values():
        assert message in str(error.value)


def test_sizes_and_ranges_of_test_time_augmentation_go_together():
    opts = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(400, 500)"]
    with pytest.raises(ValueError, match="2 MIN_SIZES and 13 SCALE_RANGES"):
        _setup(*opts)
    _setup(*opts, "TEST.AUG.SCALE_FILTER", "False")
    _setup(*opts[2:])


def test_validate_changes_nothing():
    cfg = make_cfg()
    before = cfg.dump()
    validate(cfg)
    assert cfg.dump() == before
    assert not cfg.is_frozen()
