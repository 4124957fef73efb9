"""Conditional flow matching loss: what each noised box is off by in the velocity of its path, without a matcher.

Letters: G images times stages, N boxes.

The decoder predicts x_0; the path then implies a noise, (x_t - alpha x_0) / sigma, and a velocity. Of an error e in x_0
the velocity is off by

    flow        v = noise - x_0                 (-alpha / sigma - 1) e        = -e / sigma,   alpha + sigma = 1
    diffusion   v = alpha noise - sigma x_0     (-alpha^2 / sigma - sigma) e  = -e / sigma,   alpha^2 + sigma^2 = 1

so that one loss, |e / sigma|^2, serves both.
"""

from typing import Any

from torch import Tensor

from diffusion_det.box_prior import BoxPrior
from diffusion_det.losses import BOX_LOSS_REGISTRY, SetCriterion
from diffusion_det.matcher import Targets
from diffusion_det.schedule import boxes_to_state

# Less noise than this counts as this, as in Li & He: below, 1 / sigma^2 would drown all other levels.
SIGMA_FLOOR = 0.05


@BOX_LOSS_REGISTRY.register(name="velocity")
class VelocityCriterion(SetCriterion):
    """Velocity criterion: squared error of the velocity that each box's own object and noise give, and classification.

    A box that was made from an object learns that object, in every stage; one that fills up has no loss on its place
    and learns "no object". Both sums are divided by the number of boxes made from objects.

    Args:
        prior: of boxes, whose coordinates the velocity is in.
        velocity_weight: of the squared velocity error, summed over the four numbers of a box.
        others: see SetCriterion; the weights of L1 and GIoU are not used.
    Source: Lipman et al., Flow Matching for Generative Modeling, ICLR 2023, Eq. 9; the velocity of diffusion: Salimans
        & Ho, Progressive Distillation, ICLR 2022, Section 4; predicted x_0 under a loss on velocities with a floor of
        sigma: Li & He, Back to Basics, 2025. Differs: boxes in place of pixels, and boxes that fill up have no loss.
    """

    def __init__(self, *, prior: BoxPrior, velocity_weight: float = 0.25, **others: Any):
        super().__init__(**others)
        self.prior = prior
        self.weights = {"loss_ce": self.options.class_weight, "loss_velocity": velocity_weight}

    def assign(self, logits: Tensor, boxes_xyxy: Tensor, targets: Targets) -> Tensor:
        """Each box's own object, (S or 1, B, N), -1 for none; see SetCriterion."""
        assert targets.origin is not None
        return targets.origin.expand(len(logits) if self.deep_supervision else 1, -1, -1)

    def box_losses(self, boxes_xyxy: Tensor, gt_xyxy: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Squared error of the velocity of each box."""
        assert targets.sigma is not None
        states = [boxes_to_state(boxes, targets.whwh, self.prior) for boxes in (boxes_xyxy, gt_xyxy)]
        error = (states[0] - states[1]) / targets.sigma.clamp(min=SIGMA_FLOOR)[:, None, None]
        return {"loss_velocity": error.square().sum(2)}
