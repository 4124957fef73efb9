"""Geometry and paint of candidates, geometry of pairs: what the relation layer knows beside fused features and words.

Letters: B images, K candidates, F facts of a candidate, G facts of a pair.
"""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from d2ext.structures.cameras import Scene

from .candidates import Candidates
from .objects import upright_frame

_DISTANCES = (6.0, 8.0, 10.0, 12.5, 15.0, 18.0, 21.0, 25.0, 30.0, 36.0, 43.0, 52.0, 62.0, 75.0, 90.0)  # m
NUM_PAIR_FACTS = 23
_PATCHES = 2  # a side, in the middle of a 2D box: what something is painted like
NUM_PAINT = 3 * _PATCHES**2
NUM_OWN_FACTS = 21 + len(_DISTANCES) + NUM_PAINT


@dataclass
class Facts:
    """Geometry of candidates: own (B, K, F), pair (B, K, K, G): pair[:, i, j] is how j lies to i, valid (B, K)."""

    own: Tensor
    pair: Tensor
    valid: Tensor

    def __getitem__(self, index: Tensor) -> "Facts":
        return Facts(*(getattr(self, f.name)[index] for f in fields(self)))


@torch.no_grad()
def describe(found: Candidates, scene: Scene, sizes_hw: Tensor, ry_frame: str, images: Tensor | None = None) -> Facts:
    """Facts about the candidates of B images, once for all sentences.

    Positions are over the ground, x to the right and z ahead of the camera, from the point below it; without a plane
    they are the camera's. All is centred and scaled to about 1, and bounded: padding and wild predictions do no harm.

    Args:
        scene: camera and ground of each image.
        sizes_hw: (B, 2) height and width of the unpadded images, pixels.
        ry_frame: of the annotations, "camera" or "ground".
        images: (B, 3, H, W) normalised; None if nothing is seen, where all paint is 0.
    """
    level = scene.ground.frame()  # (B, 3, 3)
    rows = found.rows.float()
    place = ((rows[..., :3] @ level)[..., [0, 2]]).clamp(-500.0, 500.0)
    ry = rows[..., 6]
    turned = torch.stack([ry.cos(), torch.zeros_like(ry), -ry.sin()], dim=-1)
    heading = F.normalize((turned @ upright_frame(scene, ry_frame).transpose(1, 2) @ level)[..., [0, 2]], dim=-1)
    away = place.norm(dim=-1).clamp(min=1e-3)
    dims = rows[..., 3:6].clamp(0.1, 40.0)
    size = sizes_hw.to(rows).flip(-1).repeat(1, 2)[:, None]  # (B, 1, 4) w h w h
    box = (found.boxes_xyxy.float() / size).clamp(-0.5, 1.5)
    paint = box.new_zeros(*box.shape[:2], NUM_PAINT) if images is None else paint_of(found.boxes_xyxy, images)
    own = torch.cat([_own_facts(place, away, heading, dims, box, found), paint], dim=-1)
    pair = _pair_facts(place, away, heading, dims, box)
    return Facts(own, pair, found.valid)


def paint_of(boxes_xyxy: Tensor, images: Tensor) -> Tensor:
    """(B, K, NUM_PAINT) mean colours of patches in the middle half of boxes (B, K, 4) in pixels of images (B, 3, H, W).

    Detectors learn to see past colours, and sentences name them.
    """
    boxes = boxes_xyxy.float().nan_to_num().clamp(-1e4, 1e4)
    middle, quarter = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).clamp(min=0) / 4
    inner = torch.cat([middle - quarter, middle + quarter], dim=-1)
    patches = roi_align(images.float(), list(inner), _PATCHES, sampling_ratio=4, aligned=True)
    return patches.flatten(1).unflatten(0, boxes.shape[:2])


def _own_facts(place: Tensor, away: Tensor, heading: Tensor, dims: Tensor, box: Tensor, found: Candidates) -> Tensor:
    """(B, K, F - NUM_PAINT)."""
    ray = place / away[..., None]
    along = (heading * ray).sum(-1)
    to_right = heading[..., 0] * ray[..., 1] - heading[..., 1] * ray[..., 0]
    u, v = (box[..., 0] + box[..., 2]) / 2, (box[..., 1] + box[..., 3]) / 2
    wide, high = box[..., 2] - box[..., 0], box[..., 3] - box[..., 1]
    # About as finely as people tell distances apart, in proportion.
    steps = torch.tanh((away[..., None] / away.new_tensor(_DISTANCES)).log() / 0.1)
    sides = torch.tanh((u[..., None] - u.new_tensor([0.25, 0.39, 0.5, 0.61, 0.75])) / 0.05)
    columns = [
        along, to_right, away.log() / 2 - 1.5, away / 50, place[..., 0] / 20, place[..., 1] / 50, u * 2 - 1, v * 2 - 1,
        wide * 4, high * 4, *dims.log().unbind(-1), found.heat.float(), found.std.float(),
        torch.tanh(dims[..., 2] - 6.5),
    ]  # fmt: skip
    return torch.cat([torch.stack(columns, dim=-1), steps, sides], dim=-1)


def _pair_facts(place: Tensor, away: Tensor, heading: Tensor, dims: Tensor, box: Tensor) -> Tensor:
    """(B, K, K, G): how j (third axis) lies to i (second axis)."""
    offset = place[:, None] - place[:, :, None]  # (B, K, K, 2), from i to j
    gap = offset.norm(dim=-1)
    ray = (place / away[..., None])[:, :, None]  # of i
    behind = (offset * ray).sum(-1)  # j farther along the line of sight through i
    aside = offset[..., 0] * ray[..., 1] - offset[..., 1] * ray[..., 0]
    ray_j = (place / away[..., None])[:, None]
    behind_j = -(offset * ray_j).sum(-1)  # i farther along the line of sight through j
    aside_j = -(offset[..., 0] * ray_j[..., 1] - offset[..., 1] * ray_j[..., 0])
    farther = away[:, None] - away[:, :, None]
    u = (box[..., 0] + box[..., 2]) / 2
    right = u[:, None] - u[:, :, None]
    past_right = box[:, None, :, 0] - u[:, :, None]  # left side of j past the middle of i
    past_left = u[:, :, None] - box[:, None, :, 2]
    longer = dims[:, None, :, 2] - dims[:, :, None, 2]
    taller = dims[:, None, :, 0] - dims[:, :, None, 0]
    reach = (dims[:, None, :, 2] + dims[:, :, None, 2]) / 4 + (dims[:, None, :, 1] + dims[:, :, None, 1]) / 4
    direction = offset / gap.clamp(min=0.1)[..., None]
    eye = torch.eye(place.shape[1], device=place.device).expand_as(gap)
    columns = [
        torch.tanh(right / 0.02), torch.tanh(right / 0.2), torch.tanh(past_right / 0.02), torch.tanh(past_left / 0.02),
        torch.tanh(farther), torch.tanh(farther / 10), torch.tanh(longer), torch.tanh(taller / 0.4),
        torch.tanh((gap - reach - 3) / 2), torch.tanh(gap / 5), torch.tanh(gap / 25), (gap + 1).log() / 2 - 1,
        torch.tanh(behind / 3), torch.tanh(aside.abs() / 3), torch.tanh(aside.abs() / behind.abs().clamp(min=0.5)),
        torch.tanh(behind_j / 3), torch.tanh(aside_j.abs() / 3),
        torch.tanh(aside_j.abs() / behind_j.abs().clamp(min=0.5)), direction[..., 0], direction[..., 1],
        offset[..., 0] / 20, offset[..., 1] / 20, eye,
    ]  # fmt: skip
    return torch.stack(columns, dim=-1).clamp(-4.0, 4.0)
