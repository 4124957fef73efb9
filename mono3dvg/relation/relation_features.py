"""Geometry and paint of candidates, geometry of pairs: what the relation layer knows beside fused features and words.

Letters: B images, K candidates, F facts of a candidate, G facts of a pair, R keys of an order.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from d2road.structures.camera_batch import SceneGeometry
from d2road.structures.tensor_record import TensorRecord
from mono3dvg.detection.candidates import Candidates
from mono3dvg.detection.objects import upright_frame
from mono3dvg.language.logical_forms import RANK_KEYS

_DISTANCES = (6.0, 8.0, 10.0, 12.5, 15.0, 18.0, 21.0, 25.0, 30.0, 36.0, 43.0, 52.0, 62.0, 75.0, 90.0)  # m
NUM_PAIR_FACTS = 26
_PATCHES = 3  # a side, in the middle of a 2D box: what something is painted like
_SAMPLES = 4  # a side of a patch
_PATCHED = 0.75  # of the box
_HUES, _GREYS = 6, 5
_NUM_COLORS = 3 + _HUES + _GREYS
NUM_PAINT = _NUM_COLORS * _PATCHES**2
NUM_OWN_FACTS = 22 + len(_DISTANCES) + NUM_PAINT


@dataclass
class Facts(TensorRecord):
    """Geometry of candidates: own (B, K, F), pair (B, K, K, G): pair[:, i, j] is how j lies to i, valid (B, K).

    before (B, K, K, R): from 0 to 1 whether j comes before i in the order of each of `RANK_KEYS`. offset (B, K, K, 2):
    from i to j over the ground, away (B, K) from the camera, m.
    """

    own: Tensor
    pair: Tensor
    before: Tensor
    offset: Tensor
    away: Tensor
    valid: Tensor


@torch.no_grad()
def describe(
    found: Candidates, scene: SceneGeometry, sizes_hw: Tensor, ry_frame: str, images: Tensor | None = None
) -> Facts:
    """Facts about the candidates of B images, once for all sentences.

    Positions are over the ground, x to the right and z ahead of the camera, from the point below it; without a plane
    they are the camera's. All is centred and scaled to about 1, and bounded: padding and wild predictions do no harm.

    Args:
        scene: camera and ground of each image.
        sizes_hw: (B, 2) height and width of the unpadded images, pixels.
        ry_frame: of the annotations, "camera" or "ground".
        images: (B, 3, H, W) colours from 0 to 1; None if nothing is seen, where all paint is 0.
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
    offset = place[:, None] - place[:, :, None]  # (B, K, K, 2), from i to j
    pair = _pair_facts(place, away, heading, dims, box, offset)
    return Facts(own, pair, _orders(away, dims, box), offset, away, found.valid)


def paint_of(boxes_xyxy: Tensor, images: Tensor) -> Tensor:
    """(B, K, NUM_PAINT) colours of patches in the middle of boxes (B, K, 4) in pixels of images (B, 3, H, W), 0 to 1.

    Of each patch the mean of the channels and of `color_names`. Detectors learn to see past colours, and sentences name
    them.
    """
    boxes = boxes_xyxy.float().nan_to_num().clamp(-1e4, 1e4)
    middle, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    inner = torch.cat([middle - sides * (_PATCHED / 2), middle + sides * (_PATCHED / 2)], dim=-1)
    seen = roi_align(images.float(), list(inner), _PATCHES * _SAMPLES, sampling_ratio=1, aligned=True)
    patches = F.avg_pool2d(torch.cat([2 * seen - 1, color_names(seen)], dim=1), _SAMPLES)
    return patches.flatten(1).unflatten(0, boxes.shape[:2])


def color_names(images: Tensor) -> Tensor:
    """(B, 11, H, W) shares of six hues and five greys, dark to light, in the colour of each pixel (B, 3, H, W), 0 to 1.

    Their means tell a red car with black windows from a brown one; the mean colour does not.
    """
    light, dark = images.amax(1), images.amin(1)
    spread = light - dark
    first, second, third = images.unbind(1)
    # Hue as in HSV: a place on a circle of 6, by the channel that is the largest.
    some = spread.clamp(min=1e-6)
    hue = torch.where(
        light == first,
        (second - third) / some,
        torch.where(light == second, 2 + (third - first) / some, 4 + (first - second) / some),
    )
    vivid = (3 * spread / light.clamp(min=1e-3)).clamp(max=1)
    at = torch.arange(_HUES, device=images.device, dtype=images.dtype)[:, None, None]
    around = ((hue[:, None] - at + 3) % 6 - 3).abs()
    levels = torch.linspace(0, 1, _GREYS, device=images.device, dtype=images.dtype)[:, None, None]
    greys = (1 - (light[:, None] - levels).abs() * (_GREYS - 1)).clamp(min=0)
    return torch.cat([(1 - around).clamp(min=0) * vivid[:, None], greys * (1 - vivid[:, None])], dim=1)


def _orders(away: Tensor, dims: Tensor, box: Tensor) -> Tensor:
    """(B, K, K, R); as sharp as differences that people see."""
    u = (box[..., 0] + box[..., 2]) / 2
    more = {
        "near": _less(away, 0.3 + 0.01 * away),
        "left": _less(u, torch.full_like(u, 0.008)),
        "long": _less(-dims[..., 2], torch.full_like(u, 0.4)),
        "tall": _less(-dims[..., 0], torch.full_like(u, 0.15)),
    }
    more["far"], more["right"] = 1 - more["near"], 1 - more["left"]
    return torch.stack([more[key] for key in RANK_KEYS], dim=-1)


def _less(values: Tensor, margin: Tensor) -> Tensor:
    """(B, K, K) from 0 to 1 whether the value of j (third axis) is less than that of i, of (B, K) each."""
    return torch.sigmoid((values[:, :, None] - values[:, None]) / (margin[:, :, None] + margin[:, None]) * 4)


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
        torch.tanh(dims[..., 2] - 6.5), to_right * away.clamp(max=100) / 20,
    ]  # fmt: skip
    return torch.cat([torch.stack(columns, dim=-1), steps, sides], dim=-1)


def _pair_facts(place: Tensor, away: Tensor, heading: Tensor, dims: Tensor, box: Tensor, offset: Tensor) -> Tensor:
    """(B, K, K, G): how j (third axis) lies to i (second axis)."""
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
    # By how many lanes j drives beside i, and whether it goes the same way.
    way = heading[:, :, None]
    lateral = way[..., 0] * offset[..., 1] - way[..., 1] * offset[..., 0]
    eye = torch.eye(place.shape[1], device=place.device).expand_as(gap)
    columns = [
        torch.tanh(right / 0.02), torch.tanh(right / 0.2), torch.tanh(past_right / 0.02), torch.tanh(past_left / 0.02),
        torch.tanh(farther), torch.tanh(farther / 10), torch.tanh(longer), torch.tanh(taller / 0.4),
        torch.tanh((gap - reach - 3) / 2), torch.tanh(gap / 5), torch.tanh(gap / 25), (gap + 1).log() / 2 - 1,
        torch.tanh(behind / 3), torch.tanh(aside.abs() / 3), torch.tanh(aside.abs() / behind.abs().clamp(min=0.5)),
        torch.tanh(behind_j / 3), torch.tanh(aside_j.abs() / 3),
        torch.tanh(aside_j.abs() / behind_j.abs().clamp(min=0.5)), direction[..., 0], direction[..., 1],
        offset[..., 0] / 20, offset[..., 1] / 20, eye,
        torch.tanh(lateral / 1.5), torch.tanh(lateral / 6), (way * heading[:, None]).sum(-1),
    ]  # fmt: skip
    return torch.stack(columns, dim=-1).clamp(-4.0, 4.0)
