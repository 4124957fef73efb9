"""Scores of the good images that a threshold was taken from, which checkpoints keep beside it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from d2road.checkpoint.model_state import ModelState

MOST = 1000  # scores that are kept


class StateWithGoodScores(ModelState):
    """A state with good_score_bytes (4 n,): n scores in rising order, the bytes of float32; as such, no average of
    weights touches them, and no 16-bit file rounds them. Checkpoints of earlier versions have none."""

    good_score_bytes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_optional("good_score_bytes", torch.zeros(0, dtype=torch.uint8))

    @property
    def good_scores(self) -> list[float]:
        """The scores, rising; [] where they are not known."""
        return self.good_score_bytes.cpu().clone().view(torch.float32).tolist()

    def set_good_scores(self, scores: Sequence[float]) -> None:
        """Replace them; of more than MOST, as many that divide them evenly, the least and the largest among these."""
        ordered = torch.tensor(sorted(scores), dtype=torch.float32)
        if len(ordered) > MOST:
            ordered = ordered[torch.linspace(0, len(ordered) - 1, MOST, dtype=torch.float64).round().long()]
        self.good_score_bytes = ordered.view(torch.uint8).to(self.good_score_bytes.device)
