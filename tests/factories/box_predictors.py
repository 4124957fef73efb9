"""Predictors that find the same two boxes everywhere, and small files to find them in."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.structures import Boxes, Instances

from d2road.engine import annotators
from d2road.structures import Boxes3D

SIZE = (60, 80)  # height, width


class OneBox:
    """A predictor that finds the same two boxes everywhere."""

    def __init__(self, cfg, batch_size=1):
        pass

    def __call__(self, images_bgr, camera=None, **extra) -> list[dict]:
        cameras = camera or [None] * len(images_bgr)
        return [self.find(image, *([own] if own else []), **extra) for image, own in zip(images_bgr, cameras)]

    def find(self, image_bgr):
        assert image_bgr.dtype == np.uint8 and image_bgr.flags["C_CONTIGUOUS"]
        found = Instances(image_bgr.shape[:2])
        found.pred_boxes = Boxes(torch.tensor([[10.0, 30, 50, 55], [0, 0, 5, 5]]))
        found.scores = torch.tensor([0.75, 0.25])
        found.pred_classes = torch.tensor([1, 0])
        return {"instances": found}


class PosedBox(OneBox):
    """With a 3D box before the camera, turned about the ground's normal; only frames with a camera are taken."""

    def find(self, image_bgr, camera):
        found = super().find(image_bgr)["instances"]
        frame = camera.ground_rotation()
        rows = torch.tensor([[0.0, 1, 12, 1.5, 1.8, 4, 0.7]] * 2)
        found.pred_boxes3d = Boxes3D.from_kitti(rows, frame)
        found.pred_depth_std_m = torch.tensor([0.5, 2.0])
        return {"instances": found}


def box_cfg(monkeypatch: pytest.MonkeyPatch, predictor: type = OneBox) -> CfgNode:
    """A config whose predictor is this one, with the names of no data set."""
    monkeypatch.setattr(annotators, "Predictor", predictor)
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    return cfg


def calibration(folder: Path) -> tuple[str, str]:
    """Files of a camera 6 m above the ground, as KITTI and Rope3D have them."""
    folder.mkdir()
    (folder / "calib.txt").write_text("P2: 100 0 40 0 0 100 20 0 0 0 1 0\n")
    (folder / "denorm.txt").write_text("0 -0.98 -0.2 6\n")
    return str(folder / "calib.txt"), str(folder / "denorm.txt")


def draw_image(path: Path, color: tuple[int, int, int] = (10, 20, 200)) -> Path:
    """An image of one color, BGR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*SIZE, 3), color, np.uint8))
    return path


def grey_video(path: Path, frames: int) -> Path:
    """Grey frames, 12 a second."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12, SIZE[::-1])
    for _ in range(frames):
        writer.write(np.full((*SIZE, 3), 90, np.uint8))
    writer.release()
    return path


def predictions(folder: Path) -> list[dict]:
    return json.loads((folder / "predictions.json").read_text())


def outputs(folder: Path) -> set[str]:
    """Names of all files in an output folder but the journal."""
    return {path.name for path in folder.iterdir() if path.name != ".journal"}
