"""State of a fusion of anomaly maps: quantiles and thresholds, and what they belong to and promise."""

import math

import torch
from torch import Tensor

from d2road.utils.errors import CheckpointError
from efficientad.conformal import Guarantee, guarantee_from_json
from efficientad.good_scores import StateWithGoodScores

PARTS = ("student", "autoencoder", "bank")
GUARANTEE_LENGTH = 512
CURE = "calibrate it: d2road train with its config and MODEL.WEIGHTS, DATASETS.CALIBRATION naming good images"


class FusionState(StateWithGoodScores):
    """Buffers that are saved in every checkpoint.

    map_quantiles (3, 2): lower and higher quantile of the maps of student, autoencoder and memory bank on good images;
    threshold: score that good images rarely exceed; map_threshold: likewise of the values of a smoothed map. As text
    calibrated_for: the setting of these, "" before; promise: the guarantee as JSON.

    Args:
        setting: what scores depend on beside the weights.
    """

    map_quantiles: Tensor
    threshold: Tensor
    map_threshold: Tensor

    def __init__(self, setting: str):
        super().__init__()
        self.setting = setting
        self.register_buffer("map_quantiles", torch.tensor([[0.0, 1.0]] * len(PARTS)))
        for name in ("threshold", "map_threshold"):
            self.register_buffer(name, torch.tensor(math.inf))
        self.register_text("calibrated_for", "")
        self.register_text("promise", "", GUARANTEE_LENGTH)

    @property
    def guarantee(self) -> Guarantee | None:
        """What the threshold promises; None before the model is calibrated."""
        text = self.text("promise")
        return guarantee_from_json(text, "the guarantee in the checkpoint") if text else None

    def set_thresholds(self, threshold: float, map_threshold: float, guarantee: Guarantee) -> None:
        """Take over what was calibrated under the present setting."""
        self.threshold.fill_(threshold)
        self.map_threshold.fill_(map_threshold)
        self.set_good_scores([])
        self.forget_decoded()
        self.set_text("promise", guarantee.to_json())
        self.set_text("calibrated_for", self.setting)

    def require_calibration(self) -> None:
        """Raise CheckpointError, with the cure, unless the maps are calibrated for the present setting."""
        found = self.text("calibrated_for")
        if not found:
            raise CheckpointError(f"this fused model is not calibrated: {CURE}")
        if found != self.setting:
            raise CheckpointError(
                f"this fused model is calibrated for {found}, the config says {self.setting}. Set the config back, or "
                f"{CURE}"
            )
