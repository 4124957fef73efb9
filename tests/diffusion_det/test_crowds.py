"""Crowd regions: what lies in them and is no object's has no class loss."""

import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode
from PIL import Image

from diffusion_det.losses import LossOptions, SetCriterion, in_crowd
from diffusion_det.mapper import DiffusionDetMapper
from diffusion_det.matcher import Targets

SIZE = torch.tensor([[100.0, 100.0, 100.0, 100.0]])


def test_half_of_a_box_inside_one_region_is_in_the_crowd():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 0, 15, 10], [6, 0, 16, 10], [50, 50, 60, 60]]])
    crowds = torch.tensor([[[0.0, 0, 10, 20], [0, 0, 0, 0]]])
    assert in_crowd(boxes, crowds).tolist() == [[True, True, False, False]]


def test_images_without_crowds_are_padded():
    nothing = [torch.zeros(0, 4)], [torch.zeros(0)]
    both = Targets.pad(nothing[0] * 2, nothing[1] * 2, SIZE.repeat(2, 1), [torch.zeros(0, 4), torch.ones(2, 4)])
    assert both.crowds.shape == (2, 2, 4) and both.repeat(3).crowds.shape == (6, 2, 4)
    assert Targets.pad(nothing[0] * 2, nothing[1] * 2, SIZE.repeat(2, 1), [torch.zeros(0, 4), None]).crowds is None
    assert Targets.pad(*nothing, SIZE).crowds is None
    none = Targets.pad(*nothing, SIZE, [torch.zeros(0, 4)]).crowds
    assert not in_crowd(torch.tensor([[[0.0, 0, 1, 1]]]), none).any()


@pytest.mark.parametrize("use_focal", [True, False])
def test_unmatched_boxes_in_a_crowd_have_no_class_loss(use_focal):
    """Box 0 is the object's, 1 lies in the crowd, 2 is background, 3 is the object's inside the crowd."""
    criterion = SetCriterion(num_classes=2, options=LossOptions(use_focal=use_focal))
    boxes = torch.tensor([[[[0.0, 0, 20, 20], [60, 60, 80, 80], [30, 0, 50, 20], [61, 61, 81, 81]]]])
    logits = torch.zeros(1, 1, 4, 2 if use_focal else 3, requires_grad=True)
    targets = Targets.pad([torch.tensor([[0.0, 0, 20, 20], [61, 61, 81, 81]])], [torch.tensor([0, 1])], SIZE)
    matched = torch.tensor([[[0, -1, -1, 1]]])
    targets.crowds = torch.tensor([[[55.0, 55, 90, 90]]])
    criterion(logits, boxes, targets, matched)["loss_ce"].backward()
    assert (logits.grad[0, 0].abs().sum(1) > 0).tolist() == [True, False, True, True]


@pytest.mark.parametrize("ignores", [False, True])
def test_the_mapper_keeps_crowds_where_they_are_ignored(small_cfg, tmp_path, ignores):
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "a.png")
    boxes = [([4, 4, 20, 20], 0), ([30, 10, 20, 40], 1)]
    record = {
        "file_name": str(tmp_path / "a.png"), "height": 60, "width": 80, "image_id": 1,
        "annotations": [
            {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": crowd} for box, crowd in boxes
        ],
    }  # fmt: skip
    cfg = small_cfg(
        "MODEL.DiffusionDet.IGNORE_CROWDS", ignores, "INPUT.MIN_SIZE_TRAIN", (120,), "INPUT.RANDOM_FLIP", "none"
    )
    mapped = DiffusionDetMapper(cfg, True)(record)
    assert len(mapped["instances"]) == 1
    assert ("crowds" in mapped) is ignores
    if ignores:
        assert mapped["crowds"].tolist() == [[60.0, 20.0, 100.0, 100.0]]
