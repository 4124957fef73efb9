"""Monocular depth cues, sizes and viewpoint angles: how 3D boxes show in an image, and back from there to metres.

Letters: P objects of any images, each with its own camera, ground and upright frame (columns are its axes in the camera
frame, y down: `Grounds.frame`, or the identity where boxes turn about the camera's y axis).

    height   an object h metres high is fy h / z pixels high:  log z = log(fy h / pixels)
    ground   the ray through the bottom centre meets the ground:  log z = log H - log(drop below the horizon)
    sizes    log-ratios of h, w, l to the means of the class
    heading  alpha = ry - azimuth of the ray through the bottom centre; as bins in `headings.py`

Networks predict corrections of these. `place_boxes` undoes `view_boxes`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.structures.camera_batch import NEAR, Cameras, Grounds
from d2road.structures.headings import azimuth
from d2road.structures.tensor_record import TensorRecord

MAX_LOG_RATIO = 1.5  # sizes stay within e^1.5 = 4.5 times the class mean


@dataclass
class BoxViews(TensorRecord):
    """How P boxes show in the images of their cameras.

    xy (P, 2): normalised image point of the bottom centre. bottom, middle (P, 2): bottom centre and middle, pixels.
    log_depth (P,) of the bottom centre. alpha (P,): heading against the ray. in_front (P,): False where bottom centre
    or middle lie beside or behind the camera and so have no image point.
    """

    xy: Tensor
    bottom: Tensor
    middle: Tensor
    log_depth: Tensor
    alpha: Tensor
    in_front: Tensor


def view_boxes(boxes3d: Tensor, cameras: Cameras, frame: Tensor) -> BoxViews:
    """Project boxes (P, 7), rows x, y, z, h, w, l, ry, by one camera and upright frame (P, 3, 3) each."""
    location, height, ry = boxes3d[:, :3], boxes3d[:, 3:4], boxes3d[:, 6]
    xy, z = cameras.project(location)
    middle, z_middle = cameras.project(location - frame[:, :, 1] * height / 2)  # the frame's y points down
    return BoxViews(
        xy=xy,
        bottom=cameras.to_pixels(xy),
        middle=cameras.to_pixels(middle),
        log_depth=z.clamp(min=NEAR).log(),
        alpha=ry - azimuth(xy, frame),
        in_front=(z > NEAR) & (z_middle > NEAR),
    )


def place_boxes(xy: Tensor, log_depth: Tensor, alpha: Tensor, cameras: Cameras, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Bottom centres and headings from what the image shows.

    Args:
        xy: (P, 2) normalised image points of the bottom centres; log_depth, alpha: (P,); frame: (P, 3, 3).
    Returns:
        location (P, 3) in the camera frame, m; ry (P,) about the frame's y axis, rad, not wrapped.
    """
    return cameras.lift(xy, log_depth.exp()), alpha + azimuth(xy, frame)


def log_depth_from_height(height_m: Tensor, height_px: Tensor | float, cameras: Cameras) -> Tensor:
    """(P,) log depth at which objects of a height (P,) in metres are so many pixels high."""
    return (cameras.fy * height_m / height_px).log()


def log_depth_on_ground(xy: Tensor, grounds: Grounds) -> Tensor:
    """(P,) log depth at which the rays through normalised points (P, 2) meet the ground."""
    return grounds.mean[:, 2] - grounds.drop(xy).log()


def variance_from_ground(jacobian: Tensor, ground_var: Tensor) -> Tensor:
    """Variance of log depths (...) that an uncertain ground adds: Jacobian (..., 3) in it, its variances (..., 3)."""
    return (jacobian.square() * ground_var).sum(-1)


def decode_dimensions(log_ratio: Tensor, mean_hwl: Tensor) -> Tensor:
    """Sizes h, w, l (P, 3) in m from log-ratios to class means (P, 3), clamped to MAX_LOG_RATIO."""
    return mean_hwl * log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def encode_dimensions(dims_hwl: Tensor, mean_hwl: Tensor) -> Tensor:
    """Log-ratios (P, 3) of sizes to class means; inverse of `decode_dimensions` within its clamp."""
    return (dims_hwl / mean_hwl).log()


def yaw_rotations(ry: Tensor) -> Tensor:
    """(P, 3, 3) rotations about the y axis by (P,) angles."""
    cos, sin, zero, one = ry.cos(), ry.sin(), torch.zeros_like(ry), torch.ones_like(ry)
    return torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1).view(-1, 3, 3)
