"""Presence head: whether a sentence means any of the candidates at all, from all of them and the words together.

Letters: N sentences, K candidates, T words, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOP = 4  # highest logits of candidates that are looked at


class PresenceHead(nn.Module):
    """Existence classifier of a set of candidates: the no-target head of generalised referring expressions.

    It begins as what the contrast of the candidates with "none" says, log sum exp of their logits, and learns what to
    add to it from the candidates' states, pooled by how likely each is meant, from the words, and from the highest
    logits.

    Source: Liu et al., GRES, CVPR 2023, for a no-target classifier of its own. Differs: reads candidates.

    Args:
        dim: width D of states and words.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.word_scores = nn.Linear(dim, 1)
        self.hidden = nn.Linear(2 * dim + TOP, dim)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, 1)
        self.scale = nn.Parameter(torch.ones(()))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, states: Tensor, answers: Tensor, valid: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Logits (N,) of whether any candidate is meant; finite where there is no candidate.

        Args:
            states: (N, K, D). answers: (N, K) logits of being meant, valid: (N, K) those that are there.
            words: (N, T, D), mask (N, T) True for words.
        """
        with_none = F.pad(answers.float().masked_fill(~valid, -1e4), (0, TOP), value=-1e4)
        nobody = with_none.new_zeros(with_none.shape[0], 1)
        shares = torch.cat([nobody, with_none[:, : answers.shape[1]]], dim=1).softmax(-1)[:, 1:].to(states.dtype)
        pooled = (shares[:, None] @ states)[:, 0]
        attention = self.word_scores(words)[..., 0].masked_fill(~mask, -1e4).softmax(-1)
        sentence = (attention[:, None] @ words)[:, 0]
        highest = with_none.topk(TOP, dim=-1).values.clamp(-8, 8)
        hidden = self.hidden(torch.cat([pooled, sentence, highest.to(states.dtype) / 4], dim=-1))
        found = with_none.logsumexp(-1).clamp(min=-20)
        return self.scale * found + self.output(F.silu(self.norm(hidden)))[:, 0].float()


def joint_scores(scores: Tensor, presence: Tensor, valid: Tensor) -> Tensor:
    """Scores (N, K) that decide on the set first: P(any is meant) times how good each candidate is beside the best.

    So the best one passes a threshold exactly if the presence does, however surely it was detected.

    Args:
        scores: (N, K) of each candidate by itself, 0 to 1. presence: (N,) logits. valid: (N, K).
    """
    scores = scores.float()
    # Without a candidate there is no best one.
    best = F.pad(scores.masked_fill(~valid, 0.0), (0, 1)).amax(dim=1, keepdim=True)
    return torch.sigmoid(presence.float())[:, None] * (scores / best.clamp(min=1e-30)).clamp(max=1.0)
