"""What a sentence says of candidates, part by part: "white", "to the left of it", and who "it" is.

Every part of `language.parts` has a query of its own, which reads the words, and says of each candidate by a bilinear
form of its bare facts whether it holds. Words and facts meet directly, without layers between that would have to be
learned first: so "white" is learned from hundreds of sentences instead of thousands.

Letters: N sentences, K candidates, T words, D width, R facts of a candidate, G facts of a pair, P parts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .language.parts import ANCHOR, ATTRIBUTES, COMPARISONS, PARTS

_CERTAIN = 1e-4  # probabilities stay so far from 0 and 1
_DESCRIBED = PARTS.index("described")  # the last: no query reads it, it follows from the others
_OWN = slice(0, len(ATTRIBUTES))
_PLAIN = PARTS.index("plain")
_COMPARED = slice(ANCHOR + 1, ANCHOR + 1 + len(COMPARISONS))


def to_logit(log_prob: Tensor) -> Tensor:
    """Logits of probabilities that are given by their logarithms."""
    log_prob = log_prob.clamp(max=-_CERTAIN)
    return log_prob - torch.log(-torch.expm1(log_prob))


class PartReader(nn.Module):
    """Reads the parts of sentences and says of which candidates they hold.

    Args:
        dim: width of words and states.
        num_facts: R; num_pair_facts: G.
    """

    def __init__(self, dim: int, num_facts: int, num_pair_facts: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(_DESCRIBED, dim) / 2)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.mention = nn.Linear(dim, 1)
        self.own, self.deep = nn.Linear(dim, num_facts + 1), nn.Linear(dim, dim)
        self.pair = nn.Linear(dim, num_pair_facts + 1)

    def forward(
        self, bare: Tensor, states: Tensor, pair: Tensor, valid: Tensor, words: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, K, P) of whether each part holds of each candidate, (N, P - 1) of whether it is mentioned.

        A part that is not mentioned means nothing. "plain" is what the attributes say together, "described" what they
        and the comparisons do: products of the probabilities of those that are mentioned.

        Args:
            bare: (N, K, R) facts; states (N, K, D).
            pair: (N, K, K, G), pair[:, i, j] is how j lies to i; valid (N, K).
            words: (N, T, D), mask (N, T) True for words.
        """
        scores = self.key(words) @ self.queries.T / words.shape[-1] ** 0.5  # (N, T, P - 1)
        look = scores.masked_fill(~mask[..., None], -1e4).softmax(1)
        read = look.transpose(1, 2) @ self.value(words)  # (N, P - 1, D)
        mentioned = self.mention(read)[..., 0]
        weights, bias = self.own(read).split([bare.shape[-1], 1], dim=-1)
        deep = states @ self.deep(read).transpose(1, 2) * (2 / states.shape[-1] ** 0.5)
        own = (bare @ weights.transpose(1, 2) + deep + bias.transpose(1, 2)).float()  # (N, K, P - 1)
        compared = self.compare(read[:, _COMPARED], own[..., ANCHOR], pair, valid)
        gate = torch.sigmoid(mentioned.float())[:, None]
        plain = F.logsigmoid(own[..., _PLAIN]) + (gate[..., _OWN] * F.logsigmoid(own[..., _OWN])).sum(-1)
        described = plain + (gate[..., _COMPARED] * F.logsigmoid(compared)).sum(-1)
        logits = [
            own[..., _OWN],
            to_logit(plain)[..., None],
            own[..., [ANCHOR]],
            compared,
            to_logit(described)[..., None],
        ]
        return torch.cat(logits, dim=-1), mentioned

    def compare(self, read: Tensor, anchor: Tensor, pair: Tensor, valid: Tensor) -> Tensor:
        """(N, K, C) logits of the comparisons with the anchor: the mean over all that may be it, or nobody."""
        weights, bias = self.pair(read).split([pair.shape[-1], 1], dim=-1)
        holds = torch.sigmoid((weights @ pair.flatten(1, 2).transpose(1, 2) + bias).float())
        who = F.pad(anchor.masked_fill(~valid, -1e4), (1, 0)).softmax(-1)[:, 1:]  # (N, K)
        chance = (holds.unflatten(-1, pair.shape[1:3]) * who[:, None, None]).sum(-1).transpose(1, 2)
        return torch.logit(chance, eps=_CERTAIN)  # 1 - eps is 1 in half precision
