"""Whether candidates are as far away as a sentence says: "about 30 metres", "less than 100 feet".

A number in figures is read as the number it is, and the words around it say its unit and what it bounds. Layers that
would have to find out what each of a thousand figures means need many more sentences.

Letters: N sentences, K candidates, T words, D width.
"""

import torch
from torch import Tensor, nn

# About as finely as people tell distances apart, in proportion; and much more coarsely, to learn from afar.
_FINE, _COARSE = 0.06, 0.5


class DistanceReader(nn.Module):
    """Compares distances with the number of a sentence.

    Args:
        dim: width of what is read.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.unit = nn.Linear(dim, 1)
        self.bound = nn.Linear(dim, 5)  # of how to weigh the four measures of the difference, and a bias

    def forward(self, read: Tensor, scores: Tensor, numbers: Tensor, away: Tensor) -> Tensor:
        """Logits (N, K) of whether each candidate is as far away as is said, 0 where no number is.

        Args:
            read: (N, D) from the words for the distance.
            scores: (N, T) how much each word matters for it, logits.
            numbers: (N, T) as `Words` has them.
            away: (N, K) m.
        """
        there = ~numbers.isnan()
        look = scores.float().masked_fill(~there, -1e4).softmax(1)
        meters = (look * numbers.nan_to_num()).sum(1, keepdim=True) + self.unit(read).float()
        off = away.float().clamp(min=0.1).log() - meters  # (N, K)
        near = off.square()
        measures = [
            torch.tanh(off / _FINE), torch.tanh(off / _COARSE), torch.exp(-near / (2 * _FINE**2)),
            torch.exp(-near / (2 * _COARSE**2)),
        ]  # fmt: skip
        weights, bias = self.bound(read).float().split([4, 1], dim=-1)
        logits = (torch.stack(measures, dim=-1) @ weights[..., None])[..., 0] + bias
        return 4 * logits * there.any(1, keepdim=True)
