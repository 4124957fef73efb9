"""Test-time augmentation in 3D: what mirror images find comes back into the world of the image."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from d2road.structures import Boxes3D
from diffusion_det.tta import DetectorWithTTA
from tests.factories.pose_models import ON, TTA, camera_for, run


class Geometer(nn.Module):
    """Finds the bright box by geometry alone: bottom centre on the ground, heading to the side of the grey mark."""

    def forward(self, inputs):
        results = []
        for x in inputs:
            image, camera = x["image"][0], x["camera"]
            ys, xs = torch.nonzero(image > 200, as_tuple=True)
            gray = torch.nonzero((image > 90) & (image < 160))[:, 1].float().mean()
            box = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])[None].float()
            foot = np.array([box[0, [0, 2]].mean().item(), box[0, 3].item()])
            location = torch.tensor(camera.intersect_plane(foot)[None]).float()
            ry = 0.4 if gray > foot[0] else np.pi - 0.4
            rows = torch.cat([location, torch.tensor([[1.5, 1.8, 4.4, ry]])], dim=1)
            found = Instances(tuple(image.shape))
            found.pred_boxes, found.pred_classes = Boxes(box), torch.tensor([2])
            found.scores, found.scores_2d = torch.tensor([0.5]), torch.tensor([0.6])
            found.pred_boxes3d = Boxes3D.from_kitti(rows, camera.ground_rotation())
            found.pred_depth_std_m = torch.tensor([1.0])
            results.append({"instances": found})
        return results


def marked_image():
    image = torch.zeros(3, 96, 128, dtype=torch.uint8)
    image[:, 50:70, 30:60] = 255
    image[:, 5:25, 90:120] = 120
    return image


@pytest.mark.parametrize("size", [(96, 128), (192, 320)])  # of the output; the second with unequal factors
def test_tta_answers_in_the_world_of_the_image(small_cfg, size):
    cfg = small_cfg(*TTA, "TEST.AUG.MIN_SIZES", "(96, 192)")
    tta = DetectorWithTTA(cfg, Geometer())
    camera = camera_for(3)
    image = {"image": marked_image(), "height": size[0], "width": size[1], "camera": camera}
    parts = []
    original = tta._part
    tta._part = lambda *args: parts.append(original(*args)) or parts[-1]
    (answer,) = tta([image])
    assert answer["instances"].image_size == size and len(answer["instances"]) == 1
    assert len(parts) == 4  # two scales, plain and mirrored
    frame = camera.ground_rotation()
    wanted = camera.intersect_plane(np.array([45.0, 70.0]))
    scale = torch.tensor([size[1] / 128, size[0] / 96] * 2)
    for part in parts:
        torch.testing.assert_close(
            part.pred_boxes.tensor[0], torch.tensor([30.0, 50, 60, 70]) * scale, atol=1.5, rtol=0
        )
        np.testing.assert_allclose(part.pred_boxes3d.location[0], wanted, atol=0.4)
        assert part.pred_boxes3d.yaw(frame).item() == pytest.approx(0.4, abs=1e-4)
        assert torch.linalg.det(part.pred_boxes3d.rotation).item() == pytest.approx(1.0, abs=1e-4)
    exact = parts[0].pred_boxes3d.location
    torch.testing.assert_close(parts[1].pred_boxes3d.location, exact, atol=1e-3, rtol=0)


def test_tta_runs_the_real_model(small_cfg, small_model, make_scene):
    cfg = small_cfg(*TTA, "TEST.AUG.MIN_SIZES", "(80,)")
    (found,) = run(small_model(*ON).eval().with_tta(cfg), [make_scene(0)])
    assert len(found) == len(found.pred_boxes3d) > 0
    assert (found.scores[:-1] >= found.scores[1:]).all()
    assert found.has("pred_depth_std_m") and found.has("scores_2d")
