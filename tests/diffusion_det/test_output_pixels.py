"""Detections in pixels of the output, against Detectron2's function for one image."""

import copy

import pytest
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances

from diffusion_det.output_pixels import in_output_pixels


def found(seed, count, size):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 300 - 100  # many lie outside
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 80 - 10], dim=1)
    return Instances(size, pred_boxes=Boxes(boxes), scores=torch.rand(count, generator=generator))


def test_equals_detectron2():
    batch = [found(0, 200, (100, 140)), found(1, 0, (60, 60)), found(2, 5, (100, 140))]
    sizes = [(50, 90), (60, 60), (480, 640)]
    ours = in_output_pixels(batch, sizes)
    for one, before, size in zip(ours, copy.deepcopy(batch), sizes, strict=True):
        expected = detector_postprocess(before, *size)
        assert one.image_size == size and torch.equal(one.scores, expected.scores)
        torch.testing.assert_close(one.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert 0 < len(ours[0]) < 200


def test_boxes_that_are_no_numbers():
    batch = [found(0, 3, (100, 140))]
    batch[0].pred_boxes.tensor[1, 2] = torch.nan
    with pytest.raises(FloatingPointError, match="diverged"):
        in_output_pixels(batch, [(50, 90)])
