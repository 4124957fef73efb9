"""The rise of the hard-feature loss from all distances to the largest few."""

from detectron2.engine import HookBase

from .losses import ramped_quantile


class HardQuantileRamp(HookBase):
    """Sets the quantile of each step by MODEL.EFFICIENT_AD.HARD_QUANTILE and HARD_QUANTILE_RAMP.

    It depends on the number of the step alone, so an interrupted training goes on as it would have.
    """

    def __init__(self, cfg):
        node = cfg.MODEL.EFFICIENT_AD
        self.quantile, self.steps = node.HARD_QUANTILE, node.HARD_QUANTILE_RAMP * cfg.SOLVER.MAX_ITER

    def before_step(self) -> None:
        progress = self.trainer.iter / self.steps
        self.trainer.bare_model.networks.hard_quantile = ramped_quantile(self.quantile, progress)
