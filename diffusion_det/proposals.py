"""Proposals: where the boxes come from that the decoder's first stage is given.

Letters: B images, N boxes an image, C channels.
"""

import torch
from torch import Tensor, nn

from d2road.utils.errors import ConfigError
from d2road.utils.registry import Registry
from diffusion_det.box_prior import BoxPrior
from diffusion_det.fixed_boxes import grid_boxes, sobol_normal

# Origins of the first boxes by the name in MODEL.DiffusionDet.PROPOSALS: built with the keyword arguments of Proposals.
PROPOSALS_REGISTRY = Registry("MODEL.DiffusionDet.PROPOSALS")

LEARNED_LEVEL = 0  # noise level that the decoder is told of learned boxes, which have none
SMALLEST_SIDE = 1e-4  # of a learned box, in units of the image


@PROPOSALS_REGISTRY.register(name="noise")
class Proposals(nn.Module):
    """Random boxes of each image, at the noisiest level.

    Args:
        count: N in training; dim: C of the decoder.
    """

    drawn = True  # whether the first boxes are random
    denoised = True  # whether steps follow that bring noise to boxes

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.count, self.dim = count, dim

    def undenoised(self, image_whwh: Tensor) -> Tensor | None:
        """Boxes (B, N, 4) in pixels that the decoder takes as they are, told LEARNED_LEVEL; None if it denoises.

        Args:
            image_whwh: width, height, width, height (B, 4) of each image.
        """
        return None

    def for_training(self, image_whwh: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """What the decoder is given in training, as of `diffuse_boxes`; None where noise is added to objects."""
        return None

    def start(self, count: int, prior: BoxPrior) -> Tensor | None:
        """States (count, 4), on the CPU, that the boxes of every image have at the noisiest level; None draws them."""
        return None

    def queries(self, batch: int) -> Tensor | None:
        """Queries (B, N, C) of the decoder's first stage; None where it takes them from the image."""
        return None

    def check_sampling(self, steps: int, count: int) -> None:
        """Raise ConfigError unless so many steps of so many boxes can be."""


@PROPOSALS_REGISTRY.register(name="grid")
class GridProposals(Proposals):
    """The boxes of `grid_boxes` for every image, in testing; training draws noise."""

    drawn = False

    def start(self, count: int, prior: BoxPrior) -> Tensor:
        """As Proposals'."""
        return prior.encode(grid_boxes(count))


@PROPOSALS_REGISTRY.register(name="sobol")
class SobolProposals(Proposals):
    """Sobol points of the distribution of noise for every image, in testing; training draws noise."""

    drawn = False

    def start(self, count: int, prior: BoxPrior) -> Tensor:
        """As Proposals'."""
        return sobol_normal(count)


@PROPOSALS_REGISTRY.register(name="queries")
class LearnedProposals(Proposals):
    """Learned proposal boxes and proposal features, the same for all images.

    Boxes (N, 4) are cx, cy, w, h in units of the image and begin as all of it; features (N, C) replace the mean of the
    pooled map as the queries of the first stage and begin standard normal.

    Source: Sun et al., Sparse R-CNN, CVPR 2021, section 3.2. Differs: the decoder is DiffusionDet's, told one and the
        same noise level, and its matches are DiffusionDet's, several boxes an object; sides are at least SMALLEST_SIDE.
    """

    drawn = False
    denoised = False

    def __init__(self, count: int, dim: int):
        super().__init__(count, dim)
        self.boxes = nn.Parameter(torch.tensor([0.5, 0.5, 1.0, 1.0]).repeat(count, 1))
        self.features = nn.Parameter(torch.randn(count, dim))

    def undenoised(self, image_whwh: Tensor) -> Tensor:
        """As Proposals'."""
        center, sides = self.boxes[:, :2], self.boxes[:, 2:].clamp(min=SMALLEST_SIDE)
        return torch.cat([center - sides / 2, center + sides / 2], dim=-1) * image_whwh[:, None]

    def queries(self, batch: int) -> Tensor:
        """As Proposals'."""
        return self.features.expand(batch, -1, -1)

    def for_training(self, image_whwh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, N, 4) in pixels, noise levels (B,), and -1 (B, N): no box was made from an object."""
        boxes = self.undenoised(image_whwh)
        levels = torch.full(boxes.shape[:1], LEARNED_LEVEL, dtype=torch.long, device=boxes.device)
        return boxes, levels, torch.full(boxes.shape[:2], -1, device=boxes.device)

    def check_sampling(self, steps: int, count: int) -> None:
        """As Proposals'."""
        if (steps, count) != (1, self.count):
            raise ConfigError(
                f"{steps} steps of {count} boxes: MODEL.DiffusionDet.PROPOSALS queries has {self.count} learned boxes "
                f"and no noise; choose 1 step of {self.count} boxes"
            )
