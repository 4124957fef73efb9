"""What the tests of the detector with its pose head share: options, a camera, running, comparing."""

import numpy as np
import torch

from d2road.structures import Camera

NODE = "MODEL.DiffusionDet."
POSE = NODE + "POSE."
PRIORS = ((1.5, 1.8, 4.4), (3.0, 2.5, 10.0), (1.7, 0.6, 1.7), (1.7, 0.6, 0.6), (1.6, 1.9, 4.8))
ON = (POSE + "ENABLED", True, POSE + "DIMENSION_PRIORS", PRIORS)
STATE = (*ON, POSE + "IN_STATE", True)
TTA = ("TEST.AUG.ENABLED", True, "TEST.AUG.SCALE_FILTER", False, "TEST.AUG.MAX_SIZE", 400)
LOSSES = ("xy", "z", "dims", "depth", "heading", "quality")


def camera_for(seed, ground=True, width=128, height=96):
    """10 to 15 degrees down, 6 m high, in pixels of the small test image."""
    rng = np.random.default_rng(seed)
    P = np.array([[125.0, 0, width / 2, 9], [0, 118, height / 2, -3], [0, 0, 1, 0.05]])
    pitch, roll = np.radians(rng.uniform(10, 15)), np.radians(rng.uniform(-2, 2))
    up = [np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)]
    return Camera(P, [*up, 6.0] if ground else None)


def run(model, images, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        return [x["instances"] for x in model.eval()(images)]


def same(a, b, atol):
    assert len(a) == len(b) > 0
    torch.testing.assert_close(a.scores, b.scores, atol=atol, rtol=0)
    torch.testing.assert_close(a.pred_boxes.tensor / 200, b.pred_boxes.tensor / 200, atol=atol, rtol=0)
    assert torch.equal(a.pred_classes, b.pred_classes)
    torch.testing.assert_close(a.pred_boxes3d.location, b.pred_boxes3d.location, atol=30 * atol, rtol=10 * atol)
    torch.testing.assert_close(a.pred_boxes3d.dimensions, b.pred_boxes3d.dimensions, atol=10 * atol, rtol=0)
    torch.testing.assert_close(a.pred_depth_std_m, b.pred_depth_std_m, atol=30 * atol, rtol=10 * atol)
