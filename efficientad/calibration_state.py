"""What a trained model knows beside its weights: quantiles and threshold, and what they and the weights belong to."""

import torch
from torch import Tensor, nn

from d2road.utils.aliases import present_text
from d2road.utils.errors import CheckpointError
from d2road.utils.text_tensors import decode, encode

RECALIBRATE = "d2road convert --source own --config-file CONFIG --calibrate-on FOLDER_OF_GOOD_PICTURES IN OUT"
# The same for other arithmetic, on the pictures of the config.
EXPORT = "d2road export --arithmetic int8 --config-file CONFIG --weights IN OUT.pth"


class ModelState(nn.Module):
    """Buffers that are saved in every checkpoint.

    map_quantiles (2, 2): lower and higher quantile, of the student-teacher and of the autoencoder map; threshold: score
    that good pictures rarely exceed; as text (see `d2road.utils.text_tensors`) teacher: where it comes from,
    architecture: what the weights are, maps: what the maps are calibrated for. The texts of teacher and maps are empty
    until that is done. For 8-bit arithmetic also ranges (P, 2): least and largest value at each place of the networks,
    see `reduced`.

    Args:
        architecture: what decides which weights there are and what they mean, by key of the config. A state dict of
            another architecture is refused.
        setting: what map quantiles depend on beside the weights.
        num_ranges: P, or 0 for none.
    """

    def __init__(self, architecture: dict[str, object], setting: str, num_ranges: int = 0):
        super().__init__()
        self.setting = setting
        self.register_buffer("map_quantiles", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        self.register_buffer("threshold", torch.tensor(float("inf")))
        self.register_buffer("ranges", torch.zeros(num_ranges, 2) if num_ranges else None)
        self.register_buffer("teacher", encode(""))
        self.register_buffer("maps", encode(""))
        self.register_buffer("architecture", encode(";".join(f"{k}={v}" for k, v in architecture.items())))
        self._texts: dict[str, str] = {}  # decoded once: on a GPU, reading a buffer waits for it
        self.register_load_state_dict_pre_hook(_refuse_other_architecture)
        self.register_load_state_dict_post_hook(_forget_texts)

    @property
    def teacher_name(self) -> str:
        """Where the teacher comes from; "" if none has been loaded and measured."""
        return self._text("teacher")

    @property
    def calibrated_for(self) -> str:
        """The `setting` that the maps are calibrated for; "" if they are not."""
        return self._text("maps")

    @property
    def has_threshold(self) -> bool:
        """Whether there is a decision threshold; an imported model need not have one."""
        if "threshold" not in self._texts:
            self._texts["threshold"] = "yes" if bool(torch.isfinite(self.threshold)) else ""
        return bool(self._texts["threshold"])

    def set_teacher(self, name: str) -> None:
        self._set_text("teacher", name)

    def set_map_quantiles(self, quantiles: Tensor, threshold: float, setting: str = "") -> None:
        """Take over quantiles (2, 2) and threshold, measured under `setting` (default: the model's own)."""
        self.map_quantiles.copy_(quantiles)
        self.threshold.fill_(threshold)
        self.forget_texts()
        self._set_text("maps", setting or self.setting)

    def outdate_maps(self) -> None:
        """Weights have changed since the maps were calibrated."""
        if self.calibrated_for:
            self._set_text("maps", "")

    def require_calibration(self) -> None:
        """Raise ValueError, with the cure, unless maps are calibrated for the present setting."""
        if not self.calibrated_for:
            raise CheckpointError(
                "this model is not calibrated: without quantiles of its maps on good pictures its scores mean nothing. "
                f"Training with train_net.py calibrates; a model of other origin does so by: {RECALIBRATE}"
            )
        if self.calibrated_for != self.setting:
            raise CheckpointError(
                f"this model is calibrated for {self.calibrated_for}, the config says {self.setting}. Set the config "
                f"back, or calibrate anew: {RECALIBRATE}, or for other arithmetic: {EXPORT}"
            )

    def forget_texts(self) -> None:
        """To be called when the buffers were written to directly."""
        self._texts.clear()

    def _text(self, name: str) -> str:
        if name not in self._texts:
            self._texts[name] = present_text(decode(self.get_buffer(name)))
        return self._texts[name]

    def _set_text(self, name: str, text: str) -> None:
        self.get_buffer(name).copy_(encode(text))
        self._texts.pop(name, None)


def _refuse_other_architecture(module: ModelState, state_dict: dict, prefix: str, *args) -> None:
    record = state_dict.get(prefix + "architecture")
    if record is None:
        return
    theirs, ours = (
        dict(pair.split("=") for pair in present_text(decode(r)).split(";")) for r in (record, module.architecture)
    )
    different = [
        f"{key} is {theirs[key]} in the checkpoint and {ours[key]} in the config"
        for key in ours
        if theirs.get(key, ours[key]) != ours[key]
    ]
    if different:
        raise CheckpointError(
            f"this checkpoint is of another network: {'; '.join(different)}. Set MODEL.EFFICIENT_AD accordingly"
        )


def _forget_texts(module: ModelState, incompatible_keys) -> None:
    module.forget_texts()
