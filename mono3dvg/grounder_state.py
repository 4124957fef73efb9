"""What a trained model knows beside its weights: classes, what angles mean, and the threshold of its answers."""

from collections.abc import Sequence

from torch import nn

from d2road.utils.errors import CheckpointError
from d2road.utils.text_tensors import decode, encode

SEPARATOR = "\n"
LENGTH = 2000


class GrounderState(nn.Module):
    """Buffers that are saved in every checkpoint, all as text (see `d2road.utils.text_tensors`), which no average of
    weights touches: classes, ry_frame, threshold.

    Args:
        classes: names in order. ry_frame: about what headings turn.
        score_threshold: boxes from this score on are the answer.
    """

    def __init__(self, classes: Sequence[str], ry_frame: str, score_threshold: float):
        super().__init__()
        self.register_buffer("classes", encode(SEPARATOR.join(classes), LENGTH))
        self.register_buffer("ry_frame", encode(ry_frame))
        self.register_buffer("threshold", encode(repr(float(score_threshold))))
        self.register_load_state_dict_pre_hook(_refuse_other_data)

    @property
    def score_threshold(self) -> float:
        """Boxes from this score on are the answer."""
        return float(decode(self.threshold))

    def set_threshold(self, score_threshold: float) -> None:
        self.threshold.copy_(encode(repr(float(score_threshold))))


def _refuse_other_data(module: GrounderState, state_dict: dict, prefix: str, *args) -> None:
    """Raise ValueError for weights of other classes or of another meaning of angles."""
    for name, key in (("classes", "CLASSES"), ("ry_frame", "RY_FRAME")):
        given = state_dict.get(prefix + name)
        if given is None:
            continue
        theirs, ours = (decode(record).split(SEPARATOR) for record in (given, getattr(module, name)))
        if theirs != ours:
            raise CheckpointError(
                f"this checkpoint is of other data: its {name} are {', '.join(theirs)}, the config says "
                f"{', '.join(ours)}. Take the config.yaml of its training, or set MODEL.MONO3DVG.{key}"
            )
