"""From the numbers of the pose head to boxes in metres, each depth by several branches with their own uncertainty.

Letters: P objects of any images, each with its own camera and ground; J = 3 depth branches (BRANCHES).

    direct   log z = log(fy * class height / box height) + r
    plane    the ray through the bottom centre meets the ground, z exp(r)
    height   the ray through the box's middle meets the plane at its predicted height above ground (after BEVHeight)

All are depths of the bottom centre. Errors of a branch's own are independent; the error of the ground is common to
"plane" and "height" and to all objects of an image (see `pose_fusion.py`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.structures.camera_batch import Cameras, Grounds
from d2road.structures.depth_cues import (
    MAX_LOG_RATIO,
    decode_dimensions,
    log_depth_from_height,
    log_depth_on_ground,
)
from d2road.structures.headings import decode_heading
from d2road.structures.tensor_record import TensorRecord
from d2road.utils.errors import ConfigError
from diffusion_det.pose.pose_head import BRANCHES, RawPose

MAX_LOG_DEPTH = 7.0  # 1.1 km


@dataclass
class Pose(TensorRecord):
    """P decoded objects.

    xy (P, 2): normalised image coordinates of the bottom centre. log_depth, var (P, J) by branch; usable (P, J).
    shared (P, J, 3): change of each log depth with s0, s1, log H of the ground. dims (P, 3): h, w, l in m.
    alpha (P,): heading against the ray, about the ground normal, rad. quality (P,): 0..1.
    """

    xy: Tensor
    log_depth: Tensor
    var: Tensor
    usable: Tensor
    shared: Tensor
    dims: Tensor
    alpha: Tensor
    quality: Tensor


def decode(
    raw: RawPose, boxes_xyxy: Tensor, classes: Tensor, priors_hwl: Tensor, cameras: Cameras, grounds: Grounds
) -> Pose:
    """Give the raw numbers their meaning.

    Args:
        boxes_xyxy: (P, 4) pixels of the network input.
        classes: (P,) int64.
        priors_hwl: (K, 3) mean sizes of the classes, m.
        cameras, grounds: one a row.
    """
    x1, y1, x2, y2 = boxes_xyxy.float().unbind(-1)
    wh = torch.stack([x2 - x1, y2 - y1], dim=-1).clamp(min=1)
    middle = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2], dim=-1)
    foot = torch.stack([(x1 + x2) / 2, y2], dim=-1)
    xy = cameras.normalize(foot + raw.bottom * wh)
    center_xy = cameras.normalize(middle + raw.center * wh)

    ratio = raw.dims.gather(1, classes[:, None, None].expand(-1, 1, 3))[:, 0]
    prior = priors_hwl[classes].float()  # metres stay in single precision, whatever the network computes in
    direct = log_depth_from_height(prior[:, 0], wh[:, 1], cameras) + raw.depth[:, 0]
    plane = log_depth_on_ground(xy, grounds) + raw.depth[:, 1]
    height, height_shared, height_ok = _height_branch(raw.depth[:, 2], prior[:, 0], center_xy, grounds)

    shared = torch.stack([torch.zeros_like(height_shared), grounds.depth_jacobian(xy), height_shared], dim=1)
    usable = torch.stack([torch.ones_like(height_ok), grounds.below_horizon(xy), height_ok], dim=1)
    return Pose(
        xy=xy,
        log_depth=torch.stack([direct, plane, height], dim=1).clamp(max=MAX_LOG_DEPTH),
        var=(2 * raw.log_std).exp(),
        usable=usable,
        shared=shared,
        dims=decode_dimensions(ratio, prior),
        alpha=decode_heading(raw.bins, raw.residuals),
        quality=raw.quality.sigmoid(),
    )


def _height_branch(
    correction: Tensor, prior_h: Tensor, center_xy: Tensor, grounds: Grounds
) -> tuple[Tensor, Tensor, Tensor]:
    """Log depth of the bottom below the middle of the box, its Jacobian in the ground, and whether there is one."""
    above = 0.5 * prior_h * correction.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()  # m over ground, along the normal
    normal = grounds.normal()
    along_y = above / -normal[:, 1]  # the same height along the camera's y axis
    left = grounds.mean[:, 2].exp() - along_y
    ok = grounds.below_horizon(center_xy) & (left > 0.3)
    left = left.clamp(min=0.3)
    depth = left / grounds.drop(center_xy)
    bottom = (depth - normal[:, 2] * above).clamp(min=0.1)
    jacobian = grounds.depth_jacobian(center_xy)
    jacobian = torch.cat([jacobian[:, :2], (grounds.mean[:, 2].exp() / left)[:, None]], dim=1)
    return bottom.log(), jacobian * (depth / bottom)[:, None], ok


def branch_index(name: str) -> int:
    """Position of a branch by its name.

    Raises:
        ConfigError: no such branch.
    """
    if name not in BRANCHES:
        raise ConfigError(f"no depth branch is called {name!r}: choose fused, {', '.join(BRANCHES)}")
    return BRANCHES.index(name)
