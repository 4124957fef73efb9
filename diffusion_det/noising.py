"""Noisy boxes for training: objects, filled up with random boxes, diffused to a random level each image."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from d2road.utils.uploads import upload
from diffusion_det.schedule import CosineSchedule, boxes_to_state, random_unit_boxes, state_to_boxes


def diffuse_boxes(
    gt_boxes_xyxy: Sequence[Tensor], image_whwh: Tensor, schedule: CosineSchedule, count: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Diffuse the objects of each image; random draws come from the global states, in the published order.

    An image without objects gets one box over all of it; more objects than `count` are thinned out at random (all of
    them still take part in the matching).

    Args:
        gt_boxes_xyxy: per image (M_i, 4) pixels.
        image_whwh: (B, 4).
        count: boxes an image, N.
    Returns:
        boxes_xyxy (B, N, 4) float64 pixels, t (B,) int64, origin (B, N) object that a box was made from, -1 for none.
    """
    boxes, levels, origins = [], [], []
    for gt, whwh in zip(gt_boxes_xyxy, image_whwh):
        t = torch.randint(0, schedule.timesteps, (1,), device=whwh.device)
        noise = torch.randn(count, 4, device=whwh.device)
        whole_image = torch.cat([torch.zeros_like(whwh[2:]), whwh[2:]])[None]
        x0 = boxes_to_state(gt if len(gt) else whole_image, whwh, scale)
        origin = torch.arange(count, device=whwh.device)
        origin = torch.where(origin < len(gt), origin, -1)
        if len(x0) < count:
            fill = random_unit_boxes(count - len(x0), whwh.device)
            x0 = torch.cat([x0, (fill * 2 - 1) * scale])
        elif len(x0) > count:
            mask = [True] * count + [False] * (len(x0) - count)
            random.shuffle(mask)
            origin = upload(torch.tensor(mask).nonzero()[:, 0], whwh.device)
            x0 = x0[origin]
        boxes.append(state_to_boxes(schedule.add_noise(x0[None], t, noise[None])[0], whwh, scale))
        levels.append(t)
        origins.append(origin)
    return torch.stack(boxes), torch.cat(levels), torch.stack(origins)
