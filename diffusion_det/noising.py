"""Noisy boxes for training: objects, filled up with random boxes, diffused to a random level each image."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from d2road.utils.uploads import upload
from diffusion_det.box_prior import BoxPrior
from diffusion_det.schedule import NoisePath, boxes_to_state, random_unit_boxes, state_to_boxes


def diffuse_boxes(
    gt_boxes_xyxy: Sequence[Tensor],
    image_whwh: Tensor,
    schedule: NoisePath,
    count: int,
    prior: BoxPrior,
    coupling: str = "independent",
) -> tuple[Tensor, Tensor, Tensor]:
    """Diffuse the objects of each image; random draws come from the global states, in the published order.

    An image without objects gets one box over all of it; more objects than `count` are thinned out at random (all of
    them still take part in the matching).

    Args:
        gt_boxes_xyxy: per image (M_i, 4) pixels.
        image_whwh: (B, 4).
        count: boxes an image, N.
        prior: of boxes, where the path ends.
        coupling: "independent", or "optimal": an image's N noises are dealt out to its N boxes, padding included, so
            that the squared distances are least in all (minibatch optimal transport: Tong et al., TMLR 2024).
    Returns:
        boxes_xyxy (B, N, 4) float64 pixels, t (B,) int64, origin (B, N) object that a box was made from, -1 for none.
    """
    boxes, levels, origins = [], [], []
    for gt, whwh in zip(gt_boxes_xyxy, image_whwh):
        t = schedule.draw_level(whwh.device)
        noise = torch.randn(count, 4, device=whwh.device)
        whole_image = torch.cat([torch.zeros_like(whwh[2:]), whwh[2:]])[None]
        x0 = boxes_to_state(gt if len(gt) else whole_image, whwh, prior)
        origin = torch.arange(count, device=whwh.device)
        origin = torch.where(origin < len(gt), origin, -1)
        if len(x0) < count:
            fill = random_unit_boxes(count - len(x0), whwh.device)
            x0 = torch.cat([x0, prior.encode(fill)])
        elif len(x0) > count:
            mask = [True] * count + [False] * (len(x0) - count)
            random.shuffle(mask)
            origin = upload(torch.tensor(mask).nonzero()[:, 0], whwh.device)
            x0 = x0[origin]
        if coupling == "optimal":
            noise = noise[nearest_noise(x0, noise)]
        boxes.append(state_to_boxes(schedule.add_noise(x0[None], t, noise[None])[0], whwh, prior))
        levels.append(t)
        origins.append(origin)
    return torch.stack(boxes), torch.cat(levels), torch.stack(origins)


def nearest_noise(x0: Tensor, noise: Tensor) -> Tensor:
    """(N,) int64: the permutation of noise (N, 4) with the least sum of squared distances to x0 (N, 4)."""
    from scipy.optimize import linear_sum_assignment  # scipy.optimize takes half a second

    cost = torch.cdist(x0.double(), noise.double()).square()
    return upload(torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]), x0.device)
