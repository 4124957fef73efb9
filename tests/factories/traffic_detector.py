"""A detector of simulated traffic, in the place of `Predictor`: it finds the boxes of a table, frame by frame."""

from types import SimpleNamespace

import numpy as np
import torch
from detectron2.structures import Boxes, Instances


def traffic_detector(rows, size_wh):
    """A class and the focal lengths that it was asked with, one a call.

    Args:
        rows: of calibration observations. Those of its first frame are found first, and so on.
    """
    frames, names = [group for _, group in rows.groupby("frame")], sorted(rows["cls"].astype(str).unique())
    asked = []

    class Detector:
        metadata = SimpleNamespace(get=lambda name, default: names)

        def __init__(self, cfg):
            pass

        def __call__(self, image, camera):
            found = frames[len(asked)] if len(asked) < len(frames) else rows[:0]
            asked.append(camera.K[0, 0])
            boxes = torch.tensor(found[["x1", "y1", "x2", "y2"]].to_numpy(np.float32))
            classes = torch.tensor([names.index(name) for name in found["cls"]], dtype=torch.long)
            scores = torch.full((len(found),), 0.9)
            instances = Instances(size_wh[::-1], pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)
            return {"instances": instances}

    return Detector, asked
