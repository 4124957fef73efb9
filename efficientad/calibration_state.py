"""Calibration state of a detector: quantiles and threshold, and what they and the weights belong to."""

from collections.abc import Mapping

import torch
from torch import Tensor

from d2road.utils.errors import CheckpointError
from efficientad.good_scores import StateWithGoodScores

RECALIBRATE = "d2road convert --source own --config-file CONFIG --calibrate-on FOLDER_OF_GOOD_IMAGES IN OUT"
# The same for another precision, on the images of the config.
EXPORT = "d2road export --precision int8 --config-file CONFIG --weights IN OUT.pth"
# What checkpoints had before they said it.
EARLIER = {"TEACHER": "a PDN", "DISTANCE": "squared"}


def describe_setting(
    compat: str,
    tile: tuple[int, int] | None = None,
    puad: bool = False,
    precision: str = "fp32",
    padding: bool = False,
) -> str:
    """What map quantiles depend on beside the weights, as checkpoints say it."""
    tiling = f"tiles of {tile[0]} x {tile[1]}" if tile else "whole images"
    parts = [f"COMPAT {compat}", tiling, *(["PUAD"] if puad else []), *([precision] if precision != "fp32" else [])]
    # Told from quantiles of earlier versions, which took maps of padded layers without a border.
    return ", ".join([*parts, *(["a border around padded maps"] if padding and compat == "anomalib" else [])])


class CalibrationState(StateWithGoodScores):
    """Buffers that are saved in every checkpoint.

    map_quantiles (2, 2): lower and higher quantile, of the student-teacher and of the autoencoder map; threshold: score
    that good images rarely exceed; as text teacher: where it comes from, architecture: what the weights are, maps: what
    the maps are calibrated for. The texts of teacher and maps are empty until that is done. For 8-bit quantization also
    ranges (P, 2): least and largest value at each place of the networks, see `quantization`.

    Args:
        architecture: what decides which weights there are and what they mean, by key of the config. A state dict of
            another architecture is refused.
        setting: what map quantiles depend on beside the weights, see `describe_setting`.
        num_ranges: P, or 0 for none.
    """

    map_quantiles: Tensor
    threshold: Tensor
    ranges: Tensor | None

    def __init__(self, architecture: Mapping[str, object], setting: str, num_ranges: int = 0):
        super().__init__()
        self.setting = setting
        self.register_buffer("map_quantiles", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        self.register_buffer("threshold", torch.tensor(float("inf")))
        if num_ranges:  # fewer in checkpoints of earlier versions, see `quantization.range_names`
            self.register_sized_by_data("ranges", torch.zeros(num_ranges, 2))
        else:
            self.register_buffer("ranges", None)
        self.register_text("teacher", "")
        self.register_text("maps", "")
        self.register_text("architecture", ";".join(f"{k}={v}" for k, v in architecture.items()))
        self._has_threshold: bool | None = None  # read once, as the texts are

    @property
    def teacher_name(self) -> str:
        """Where the teacher comes from; "" if none has been loaded and measured."""
        return self.text("teacher")

    @property
    def calibrated_for(self) -> str:
        """The `setting` that the maps are calibrated for; "" if they are not."""
        return self.text("maps")

    @property
    def has_threshold(self) -> bool:
        """Whether there is a decision threshold; an imported model need not have one."""
        if self._has_threshold is None:
            self._has_threshold = bool(torch.isfinite(self.threshold))
        return self._has_threshold

    def set_teacher(self, name: str) -> None:
        """Name the teacher, once it is loaded and measured."""
        self.set_text("teacher", name)

    def set_map_quantiles(self, quantiles: Tensor, threshold: float, setting: str = "") -> None:
        """Take over quantiles (2, 2) and threshold, measured under `setting` (default: the model's own)."""
        self.map_quantiles.copy_(quantiles)
        self.threshold.fill_(threshold)
        self.set_good_scores([])
        self.forget_decoded()
        self.set_text("maps", setting or self.setting)

    def outdate_maps(self) -> None:
        """Weights have changed since the maps were calibrated."""
        if self.calibrated_for:
            self.set_text("maps", "")

    def require_calibration(self) -> None:
        """Raise CheckpointError, with the cure, unless maps are calibrated for the present setting."""
        if not self.calibrated_for:
            raise CheckpointError(
                "this model is not calibrated: without quantiles of its maps on good images its scores mean nothing. "
                f"Training with train_net.py calibrates; a model of other origin does so by: {RECALIBRATE}"
            )
        if self.calibrated_for != self.setting:
            raise CheckpointError(
                f"this model is calibrated for {self.calibrated_for}, the config says {self.setting}. Set the config "
                f"back, or calibrate anew: {RECALIBRATE}, or for another precision: {EXPORT}"
            )

    def forget_decoded(self) -> None:
        """To be called when the buffers were written to directly."""
        super().forget_decoded()
        self._has_threshold = None

    def check_stored(self, stored: Mapping[str, str]) -> None:
        """Raise CheckpointError for weights of another architecture."""
        if "architecture" not in stored:
            return
        texts = stored["architecture"], self.text("architecture")
        theirs, ours = (EARLIER | _as_dict(text) for text in texts)
        different = [
            f"{key} is {theirs[key]} in the checkpoint and {ours[key]} in the config"
            for key in ours
            if theirs.get(key, ours[key]) != ours[key]
        ]
        if different:
            raise CheckpointError(
                f"this checkpoint is of another network: {'; '.join(different)}. Set MODEL.EFFICIENT_AD accordingly"
            )


def _as_dict(architecture: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in architecture.split(";"))
    return {key: value for key, _, value in pairs}
