"""Real images through loaders, training and evaluation, for a few steps."""

import json

import pytest

from d2road.config import default_argument_parser, setup_cfg
from d2road.engine import Trainer


@pytest.mark.parametrize("source", ["kitti", "coco"])
def test_train_and_evaluate(repo_dir, shared_dir, small_opts, tmp_path, source):
    data = shared_dir / "data"
    name = {
        "kitti": f"kitti:{data / 'kitti/training'}",
        "coco": f"coco:{data / 'coco_subset/instances_val2017.json'}:{data / 'coco_subset/val2017'}",
    }[source]
    opts = [
        *small_opts, "MODEL.DiffusionDet.NUM_CLASSES", 0,
        "DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", f"('{name}',)",
        "SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", 96,
        "INPUT.MAX_SIZE_TRAIN", 320, "INPUT.MAX_SIZE_TEST", 320, "DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", tmp_path,
    ]  # fmt: skip
    config = str(repo_dir / "configs/diffusion_det/Base-Small.yaml")
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", config, *map(str, opts)]))
    assert {"kitti": 3, "coco": 80}[source] == cfg.MODEL.DiffusionDet.NUM_CLASSES
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert 0 <= results["bbox"]["AP50"] <= 100
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["bbox"]["AP50"] == results["bbox"]["AP50"]
    assert (tmp_path / "inference" / "coco_instances_results.json").is_file()
