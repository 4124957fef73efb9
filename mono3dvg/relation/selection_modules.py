"""What a sentence chooses of those it describes: "the second from the left", "nearest to the bus", "exactly three".

Such a choice is read as an order and a number and carried out: how many of those described come before a candidate in
that order, and how many there are. Layers that would have to find out how to count need many more sentences.

Letters: N sentences, K candidates, D width, R keys of an order (`RANK_KEYS`).
"""

import torch
from torch import Tensor, nn

from mono3dvg.language.logical_forms import RANK_KEYS
from mono3dvg.relation.relation_blocks import MAX_COUNT, encode_count
from mono3dvg.relation.relation_features import Facts

_ORDERS = len(RANK_KEYS) + 2  # by a key, by the distance from the anchor; the number of all is a place in no order
_NEARER_M = 0.5


class ChoiceReader(nn.Module):
    """Reads which order a sentence counts in and which places it means.

    Args:
        dim: width of what is read.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.order = nn.Linear(dim, _ORDERS)
        self.places = nn.Linear(dim, MAX_COUNT + 3)  # and a bias
        self.sharpness = nn.Parameter(torch.tensor(3.0))  # many that hardly fit are not to count as one that does

    def forward(self, read: Tensor, described: Tensor, who: Tensor, facts: Facts) -> Tensor:
        """Logits (N, K) of whether each candidate is chosen, if it is one of those described.

        Args:
            read: (N, D) from the words for the choice.
            described: (N, K) logits.
            who: (N, K) probability of being the anchor.
            facts: of the candidates of each sentence.
        """
        share = torch.sigmoid(self.sharpness * described.float()) * facts.valid
        code = encode_count(places_of(share, who, facts))  # (N, K, orders, places)
        order = self.order(read).float().softmax(-1)
        places, bias = self.places(read).float().split([MAX_COUNT + 2, 1], dim=-1)
        return torch.einsum("nkop,no,np->nk", code, order, places) + bias


def places_of(share: Tensor, who: Tensor, facts: Facts) -> Tensor:
    """(N, K, R + 2) how many of a set come before each candidate by each key, and by nearness to the anchor; how many
    there are.

    Args:
        share: (N, K) from 0 to 1 of being in the set; who: (N, K) of being the anchor, which is in no place itself.
    """
    others = ~torch.eye(share.shape[1], dtype=torch.bool, device=share.device)
    by_key = torch.einsum("nijr,nj->nir", facts.before.float() * others[..., None], share)
    to_anchor = (facts.offset.norm(dim=-1).float() @ who[..., None])[..., 0]  # (N, K) m
    nearer = torch.sigmoid((to_anchor[:, :, None] - to_anchor[:, None]) / _NEARER_M * 2) * others
    by_nearness = (nearer @ (share * (1 - who))[..., None])[..., 0] + who * (MAX_COUNT + 1)
    number = share.sum(1, keepdim=True).expand_as(share)
    return torch.cat([by_key, by_nearness[..., None], number[..., None]], dim=-1)


def spread_of(who: Tensor, offset: Tensor) -> Tensor:
    """(N, K, 2) how candidates lie to two anchors: 0 if they are in opposite directions, 1 in the same; below 0 if the
    way along them is not much longer than from one anchor to the other, above if it is.

    Args:
        who: (N, K) probabilities, half each for two anchors.
        offset: (N, K, K, 2) m, from one candidate to another.
    """
    offset = offset.float()
    away = offset.norm(dim=-1)  # (N, K, K)
    share = who / who.sum(1, keepdim=True).clamp(min=1e-4)
    direction = offset / away[..., None].clamp(min=0.1)
    mean = (direction * share[:, None, :, None]).sum(2)
    way = (away @ share[..., None])[..., 0]
    apart = (share[:, None] @ away @ share[..., None])[:, 0]  # (N, 1)
    return torch.stack([mean.square().sum(-1), torch.tanh((way / apart.clamp(min=0.5) - 1.15) / 0.2)], dim=-1)
