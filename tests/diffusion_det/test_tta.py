"""Test-time augmentation."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from d2road.engine.meta_arch import with_test_time_augmentation
from diffusion_det.tta import DetectorWithTTA


class Marker(nn.Module):
    """Finds the box of bright pixels."""

    def forward(self, inputs):
        results = []
        for x in inputs:
            ys, xs = torch.nonzero(x["image"][0] > 128, as_tuple=True)
            found = Instances(tuple(x["image"].shape[1:]))
            found.pred_boxes = Boxes(torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])[None].float())
            found.scores, found.pred_classes = torch.tensor([0.5 + x["image"].shape[1] / 1e4]), torch.tensor([2])
            results.append({"instances": found})
        return results


def image(size):
    image = torch.zeros(3, 100, 160, dtype=torch.uint8)
    image[:, 20 : 20 + size, 30 : 30 + size] = 255
    return {"image": image, "height": 100, "width": 160}


def cfg_with(small_cfg, ranges):
    cfg = small_cfg("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", "(50, 100, 200)", "TEST.AUG.MAX_SIZE", 400)
    cfg.TEST.AUG.SCALE_RANGES = ranges
    return cfg


def test_scales_and_flips_agree_on_the_image(small_cfg):
    tta = DetectorWithTTA(cfg_with(small_cfg, ([0, 1e4],) * 3), Marker())
    found = tta([image(40)])[0]["instances"]
    assert len(found) == 1  # six views, one object
    torch.testing.assert_close(found.pred_boxes.tensor, torch.tensor([[30.0, 20, 70, 60]]), atol=1.5, rtol=0)
    assert found.scores[0] == 0.5 + 200 / 1e4
    assert found.pred_classes.tolist() == [2]


def test_scale_filter(small_cfg):
    """Small objects are taken from the largest scale only, here nothing is left for the one of 40 pixels."""
    tta = DetectorWithTTA(cfg_with(small_cfg, ([100, 1e4], [100, 1e4], [0, 30])), Marker())
    assert len(tta([image(40)])[0]["instances"]) == 0
    assert len(tta([image(20)])[0]["instances"]) == 1


def test_trainer_evaluates_with_it(small_cfg, small_model):
    model = small_model()
    cfg = cfg_with(small_cfg, ([0, 1e4],) * 3)
    assert isinstance(with_test_time_augmentation(cfg, model), DetectorWithTTA)
    with pytest.raises(ValueError, match="no test-time augmentation"):
        with_test_time_augmentation(cfg, nn.Identity())
