"""Sentences of like length read together: in a batch of mixed ones, what fills up the short costs as much as words."""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

TOGETHER = 16  # sentences at once


def by_length(ids: Sequence[Tensor], read: Callable[[Sequence[Tensor]], Tensor]) -> Tensor:
    """Hidden states (N, S, W) of N sentences, zero behind their ends, read group by group.

    Args:
        ids: tokens (S,) of each. read: from the tokens of a group to its hidden states, of each sentence by itself.
    """
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    found: dict[int, Tensor] = {}
    for start in range(0, len(order), TOGETHER):
        rows = order[start : start + TOGETHER]
        for row, hidden in zip(rows, read([ids[row] for row in rows]), strict=True):
            found[row] = hidden[: len(ids[row])]
    return pad_sequence([found[row] for row in range(len(ids))], batch_first=True)
