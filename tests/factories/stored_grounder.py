"""The stored grounder of version 0.1 as files for `d2road predict`: config, weights, an image and its camera."""

import shutil
from pathlib import Path

import cv2
import numpy as np

from d2road.config import make_cfg

STORED = Path(__file__).resolve().parents[1] / "stored" / "v0_1" / "mono3dvg"
# The data that it was trained on is not here.
KEYS = ["DATASETS.TRAIN", "()", "DATASETS.TEST", "()", "TEST.GROUNDING.THRESHOLD_DATA", "", "MODEL.DEVICE", "cpu"]


def grounder_files(folder: Path) -> None:
    """Write them into a folder."""
    cfg = make_cfg(str(STORED / "config.yaml.txt"), [*KEYS, "SOLVER.CHECKPOINT_PERIOD", "1"])
    (folder / "config.yaml").write_text(cfg.dump())
    shutil.copy(STORED / "model_final.pth", folder / "weights.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "street.png"), cv2.resize(pixels, (480, 270)))
    (folder / "calib.txt").write_text("P2: 360 0 240 0 0 360 135 0 0 0 1 0\n")
    (folder / "denorm.txt").write_text("0 -0.97 -0.24 6\n")
