"""What a trained grounder knows beside its weights: classes, what angles mean, and the threshold of its answers."""

from collections.abc import Mapping, Sequence

from d2road.checkpoint.model_state import ModelState
from d2road.utils.errors import CheckpointError

SEPARATOR = "\n"
LENGTH = 2000


class GrounderState(ModelState):
    """Texts that are saved in every checkpoint: classes, ry_frame, threshold.

    Args:
        classes: names in order. ry_frame: about what headings turn.
        score_threshold: boxes from this score on are the answer.
    """

    def __init__(self, classes: Sequence[str], ry_frame: str, score_threshold: float):
        super().__init__()
        self.register_text("classes", SEPARATOR.join(classes), LENGTH)
        self.register_text("ry_frame", ry_frame)
        self.register_text("threshold", repr(float(score_threshold)))

    @property
    def score_threshold(self) -> float:
        """Boxes from this score on are the answer."""
        return float(self.text("threshold"))

    def set_threshold(self, score_threshold: float) -> None:
        self.set_text("threshold", repr(float(score_threshold)))

    def check_stored(self, stored: Mapping[str, str]) -> None:
        """Raise CheckpointError for weights of other classes or of another meaning of angles."""
        for name, key in (("classes", "CLASSES"), ("ry_frame", "RY_FRAME")):
            theirs, ours = (texts.split(SEPARATOR) for texts in (stored.get(name, self.text(name)), self.text(name)))
            if theirs != ours:
                raise CheckpointError(
                    f"this checkpoint is of other data: its {name} are {', '.join(theirs)}, the config says "
                    f"{', '.join(ours)}. Take the config.yaml of its training, or set MODEL.MONO3DVG.{key}"
                )
