"""What a sentence says of candidates, part by part: "white", "to the left of it", and who "it" is.

Every part of `language.parts` has a query of its own, which reads the words, and says of each candidate by a bilinear
form of its bare facts whether it holds. Words and facts meet directly, without layers between that would have to be
learned first: so "white" is learned from hundreds of sentences instead of thousands.

Letters: N sentences, K candidates, T words, D width, R facts of a candidate, G facts of a pair, P parts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mono3dvg.language.form_parts import ANCHOR, ATTRIBUTES, COMPARISONS, PARTS, READ
from mono3dvg.relation.distances import DistanceReader
from mono3dvg.relation.relation_features import Facts
from mono3dvg.relation.selection_modules import ChoiceReader, spread_of

_CERTAIN = 1e-4  # probabilities stay so far from 0 and 1
_OWN = slice(0, len(ATTRIBUTES))
_PLAIN, _DISTANCE = PARTS.index("plain"), PARTS.index("distance")
_COMPARED = slice(ANCHOR + 1, ANCHOR + 1 + len(COMPARISONS))
_BETWEEN = COMPARISONS.index("between")
_CHOSEN = PARTS.index("chosen")


def to_logit(log_prob: Tensor) -> Tensor:
    """Logits of probabilities that are given by their logarithms."""
    log_prob = log_prob.clamp(max=-_CERTAIN)
    return log_prob - torch.log(-torch.expm1(log_prob))


class PartReader(nn.Module):
    """Reads the parts of sentences and says of which candidates they hold.

    Args:
        dim: width of words and states.
        num_facts: R; num_pair_facts: G.
        numbers: compare distances with numbers in figures, besides reading those as other words.
    """

    def __init__(self, dim: int, num_facts: int, num_pair_facts: int, numbers: bool = True):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(READ), dim) / 2)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.mention = nn.Linear(dim, 1)
        self.own, self.deep = nn.Linear(dim, num_facts + 1), nn.Linear(dim, dim)
        self.pair = nn.Linear(dim, num_pair_facts + 1)
        self.between = nn.Linear(dim, 3)
        self.choice = ChoiceReader(dim)
        self.distance = DistanceReader(dim) if numbers else None

    def forward(
        self, bare: Tensor, states: Tensor, facts: Facts, words: Tensor, mask: Tensor, numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, K, P) of whether each part holds of each candidate, (N, P - 2) of whether it is mentioned.

        A part that is not mentioned means nothing. "plain" is what the attributes say together, "described" what they
        and the comparisons do, "meant" with the choice too: products of the probabilities of those that are mentioned.

        Args:
            bare: (N, K, R) facts; states (N, K, D).
            facts: of the candidates of each sentence.
            words: (N, T, D), mask (N, T) True for words, numbers (N, T) as `Words` has them.
        """
        scores = self.key(words) @ self.queries.T / words.shape[-1] ** 0.5  # (N, T, P - 2)
        look = scores.masked_fill(~mask[..., None], -1e4).softmax(1)
        read = look.transpose(1, 2) @ self.value(words)  # (N, P - 2, D)
        mentioned = self.mention(read)[..., 0]
        weights, bias = self.own(read).split([bare.shape[-1], 1], dim=-1)
        deep = states @ self.deep(read).transpose(1, 2) * (2 / states.shape[-1] ** 0.5)
        own = (bare @ weights.transpose(1, 2) + deep + bias.transpose(1, 2)).float()  # (N, K, P - 2)
        if self.distance is not None:
            own[..., _DISTANCE] += self.distance(read[:, _DISTANCE], scores[..., _DISTANCE], numbers, facts.away)
        # Who is what the sentence compares with: a choice among all, or nobody.
        who = F.pad(own[..., ANCHOR].masked_fill(~facts.valid, -1e4), (1, 0)).softmax(-1)[:, 1:]  # (N, K)
        compared = self.compare(read[:, _COMPARED], who, facts)
        gate = torch.sigmoid(mentioned.float())[:, None]
        plain = F.logsigmoid(own[..., _PLAIN]) + (gate[..., _OWN] * F.logsigmoid(own[..., _OWN])).sum(-1)
        described = plain + (gate[..., _COMPARED] * F.logsigmoid(compared)).sum(-1)
        chosen = self.choice(read[:, _CHOSEN], to_logit(described), who, facts)
        meant = described + gate[..., _CHOSEN] * F.logsigmoid(chosen)
        logits = [
            own[..., _OWN],
            torch.stack([to_logit(plain), own[..., ANCHOR]], dim=-1),
            compared,
            torch.stack([chosen, to_logit(described), to_logit(meant)], dim=-1),
        ]
        return torch.cat(logits, dim=-1), mentioned

    def compare(self, read: Tensor, who: Tensor, facts: Facts) -> Tensor:
        """(N, K, C) logits of the comparisons with the anchor: the mean over all that may be it, or nobody."""
        weights, bias = self.pair(read).split([facts.pair.shape[-1], 1], dim=-1)
        pair = facts.pair.to(read.dtype)
        holds = torch.sigmoid((weights @ pair.flatten(1, 2).transpose(1, 2) + bias).float())
        chance = (holds.unflatten(-1, pair.shape[1:3]) * who[:, None, None]).sum(-1).transpose(1, 2)
        # Of two anchors the mean says nothing: they must lie on either side.
        weights, bias = self.between(read[:, _BETWEEN]).float().split([2, 1], dim=-1)
        amid = torch.sigmoid((spread_of(who, facts.offset) @ weights[..., None])[..., 0] + bias) * who.sum(1)[:, None]
        chance = torch.cat([chance[..., :_BETWEEN], amid[..., None], chance[..., _BETWEEN + 1 :]], dim=-1)
        return torch.logit(chance, eps=_CERTAIN)  # 1 - eps is 1 in half precision
