"""Colour features of candidates: mean colours and soft colour names of patches in the middle of their 2D boxes.

Letters: B images, K candidates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

_PATCHES = 3  # a side, in the middle of a 2D box
_SAMPLES = 4  # a side of a patch
_PATCHED = 0.75  # of the box
_HUES, _GREYS = 6, 5
NUM_COLOR_FEATURES = (3 + _HUES + _GREYS) * _PATCHES**2


def color_features(boxes_xyxy: Tensor, images: Tensor, image_of: Tensor | None = None) -> Tensor:
    """(B, K, NUM_COLOR_FEATURES) of boxes (B, K, 4) in pixels of images (B, 3, H, W), colours from 0 to 1.

    Boxes (R, K, 4) of other rows than these images name the image of each, `image_of` (R,).

    Of each patch of the middle of a box the mean of the channels and of `color_names`. Detectors learn to see past
    colours, and sentences name them.
    """
    boxes = boxes_xyxy.float().nan_to_num().clamp(-1e4, 1e4)
    middle, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    inner = torch.cat([middle - sides * (_PATCHED / 2), middle + sides * (_PATCHED / 2)], dim=-1)
    rows = torch.arange(len(boxes), device=boxes.device) if image_of is None else image_of
    rois = torch.cat([rows.to(inner)[:, None, None].expand(*inner.shape[:2], 1), inner], dim=-1).flatten(0, 1)
    samples = roi_align(images.float(), rois, _PATCHES * _SAMPLES, sampling_ratio=1, aligned=True)
    patches = F.avg_pool2d(torch.cat([2 * samples - 1, color_names(samples)], dim=1), _SAMPLES)
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
