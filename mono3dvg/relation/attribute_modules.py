"""Neural modules for the parts of a sentence: attributes, comparisons with an anchor, distance, selection by rank.

Every part of `language.form_parts` has a query of its own, which reads the words, and a module that says of each
candidate whether the part holds: attributes and comparisons by a bilinear form of its features, a distance by a number
in figures, a selection ("the second from the left", "exactly three") by counting. Words and features meet directly,
without layers between that would have to be learned first: so "white" is learned from hundreds of sentences instead of
thousands.

Source: Andreas et al., Neural Module Networks, CVPR 2016, for one module a part. Differs: the modules of all parts are
always there, each behind a gate that says whether the sentence has the part; no parser chooses a layout.
Letters: N sentences, K candidates, T words, D width, F unary features, G pairwise features, P parts, R keys of an
order.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.layers.joint_linear import joint_linear
from d2road.utils.uploads import upload
from mono3dvg.language.form_parts import ANCHOR, ATTRIBUTE_PARTS, COMPARISONS, MENTIONABLE, PARTS
from mono3dvg.language.logical_forms import RANK_KEYS
from mono3dvg.relation.relation_features import RelationFeatures

MAX_COUNT = 10
_RAMPS = torch.arange(-1.0, MAX_COUNT + 1)  # where each begins, see `encode_count`
_CERTAIN = 1e-4  # probabilities stay so far from 0 and 1
_OWN = slice(0, len(ATTRIBUTE_PARTS))
_ATTRIBUTES, _DISTANCE = PARTS.index("attributes"), PARTS.index("distance")
_COMPARED = slice(ANCHOR + 1, ANCHOR + 1 + len(COMPARISONS))
_BETWEEN = COMPARISONS.index("between")
_SELECTION = PARTS.index("selection")
_ORDERS = len(RANK_KEYS) + 2  # by a key, by the distance from the anchor; the number of all is a rank in no order
_NEARER_M = 0.5
# About as finely as people tell distances apart, in proportion; and much more coarsely, to learn from afar.
_FINE, _COARSE = 0.06, 0.5


def to_logit(log_prob: Tensor) -> Tensor:
    """Logits of probabilities that are given by their logarithms."""
    log_prob = log_prob.clamp(max=-_CERTAIN)
    # 1 - exp(x) without loss of digits near x = 0, by functions that a graph knows.
    return log_prob - torch.log(torch.tanh(log_prob / -2) * (1 + log_prob.exp()))


def encode_count(count: Tensor) -> Tensor:
    """(...,) numbers -> (..., MAX_COUNT + 2): hats over 0 to MAX_COUNT and beyond; "exactly three" is one of them."""
    # From 0 to 1 between a whole number and the next one; a hat is what two of them differ by.
    ramps = (count[..., None] - upload(_RAMPS, count.device)).clamp(min=0, max=1)
    return ramps - F.pad(ramps[..., 1:], (0, 1))


class AttributeModules(nn.Module):
    """Modules for all parts of a sentence, each with an attention over its words.

    Args:
        dim: width of words and states.
        num_unary: F; num_pairwise: G.
        numbers: compare distances with numbers in figures, besides reading those as other words.
    """

    def __init__(self, dim: int, num_unary: int, num_pairwise: int, numbers: bool = True):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(MENTIONABLE), dim) / 2)
        self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.mention_head = nn.Linear(dim, 1)
        self.unary_head, self.state_head = nn.Linear(dim, num_unary + 1), nn.Linear(dim, dim)
        self.pairwise_head = nn.Linear(dim, num_pairwise + 1)
        self.between_head = nn.Linear(dim, 3)
        self.selection = SelectionModule(dim)
        self.distance = DistanceModule(dim) if numbers else None

    def forward(
        self, unary: Tensor, states: Tensor, features: RelationFeatures, words: Tensor, mask: Tensor, numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, K, P) of whether each part holds of each candidate, (N, P - 2) of whether it is mentioned.

        A part that is not mentioned means nothing. "attributes" is what the single attributes say together,
        "description" what they and the comparisons do, "target" with the selection too: products of the probabilities
        of those mentioned.

        Args:
            unary: (N, K, F) features, states: (N, K, D).
            features: of the candidates of each sentence.
            words: (N, T, D), mask (N, T) True for words, numbers (N, T) as `TextFeatures` has them.
        """
        scores = self.key(words) @ self.queries.T / words.shape[-1] ** 0.5  # (N, T, P - 2)
        attention = scores.masked_fill(~mask[..., None], -1e4).softmax(1)
        read = attention.transpose(1, 2) @ self.value(words)  # (N, P - 2, D)
        mentioned, own_form, state_form = joint_linear(read, (self.mention_head, self.unary_head, self.state_head))
        weights, bias = own_form.split([unary.shape[-1], 1], dim=-1)
        deep = states @ state_form.transpose(1, 2) * (2 / states.shape[-1] ** 0.5)
        own = (unary @ weights.transpose(1, 2) + deep + bias.transpose(1, 2)).float()  # (N, K, P - 2)
        if self.distance is not None:
            far = self.distance(read[:, _DISTANCE], scores[..., _DISTANCE], numbers, features.distance_m)
            own = own + F.pad(far[..., None], (_DISTANCE, len(MENTIONABLE) - 1 - _DISTANCE))
        # What the sentence compares with: one of all candidates, or none.
        anchor_probs = F.pad(own[..., ANCHOR].masked_fill(~features.valid, -1e4), (1, 0)).softmax(-1)[:, 1:]  # (N, K)
        compared = self.compare(read[:, _COMPARED], anchor_probs, features)
        mentioned = mentioned[..., 0]
        gate = torch.sigmoid(mentioned.float())[:, None]
        fits = F.logsigmoid(own)
        plain = fits[..., _ATTRIBUTES] + (gate[..., _OWN] * fits[..., _OWN]).sum(-1)
        described = plain + (gate[..., _COMPARED] * F.logsigmoid(compared)).sum(-1)
        description = to_logit(described)
        chosen = self.selection(read[:, _SELECTION], description, anchor_probs, features)
        meant = described + gate[..., _SELECTION] * F.logsigmoid(chosen)
        both = to_logit(torch.stack([plain, meant], dim=-1))
        logits = [
            own[..., _OWN], both[..., :1], own[..., ANCHOR, None], compared, chosen[..., None], description[..., None],
            both[..., 1:],
        ]  # fmt: skip
        return torch.cat(logits, dim=-1), mentioned

    def compare(self, read: Tensor, anchor_probs: Tensor, features: RelationFeatures) -> Tensor:
        """(N, K, C) logits of the comparisons with the anchor: the mean over all that may be it, or nobody."""
        weights, bias = self.pairwise_head(read).split([features.pairwise.shape[-1], 1], dim=-1)
        pair = features.pairwise.to(read.dtype)
        holds = torch.sigmoid((weights @ pair.flatten(1, 2).transpose(1, 2) + bias).float())
        chance = (holds.unflatten(-1, pair.shape[1:3]) * anchor_probs[:, None, None]).sum(-1).transpose(1, 2)
        # Of two anchors the mean says nothing: they must lie on either side.
        weights, bias = self.between_head(read[:, _BETWEEN]).float().split([2, 1], dim=-1)
        lies_between = torch.sigmoid(
            (between_features(anchor_probs, features.offset_m) @ weights[..., None])[..., 0] + bias
        )
        amid = lies_between * anchor_probs.sum(1)[:, None]
        chance = torch.cat([chance[..., :_BETWEEN], amid[..., None], chance[..., _BETWEEN + 1 :]], dim=-1)
        return torch.logit(chance, eps=_CERTAIN)  # 1 - eps is 1 in half precision


class DistanceModule(nn.Module):
    """Whether candidates are as far away as a sentence says: "about 30 metres", "less than 100 feet".

    A number in figures is read as the number it is, and the words around it say its unit and what it bounds. Layers
    that would have to find out what each of a thousand figures means need many more sentences.

    Args:
        dim: width of what is read.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.unit = nn.Linear(dim, 1)
        self.bound = nn.Linear(dim, 5)  # of how to weigh the four measures of the difference, and a bias

    def forward(self, read: Tensor, scores: Tensor, numbers: Tensor, distance_m: Tensor) -> Tensor:
        """Logits (N, K) of whether each candidate is as far away as is said, 0 where no number is.

        Args:
            read: (N, D) from the words for the distance.
            scores: (N, T) how much each word matters for it, logits.
            numbers: (N, T) as `TextFeatures` has them.
            distance_m: (N, K).
        """
        there = ~numbers.isnan()
        attention = scores.float().masked_fill(~there, -1e4).softmax(1)
        log_meters = (attention * numbers.nan_to_num()).sum(1, keepdim=True) + self.unit(read).float()
        off = distance_m.float().clamp(min=0.1).log() - log_meters  # (N, K)
        near = off.square()
        measures = [
            torch.tanh(off / _FINE), torch.tanh(off / _COARSE), torch.exp(-near / (2 * _FINE**2)),
            torch.exp(-near / (2 * _COARSE**2)),
        ]  # fmt: skip
        weights, bias = self.bound(read).float().split([4, 1], dim=-1)
        logits = (torch.stack(measures, dim=-1) @ weights[..., None])[..., 0] + bias
        return 4 * logits * there.any(1, keepdim=True)


class SelectionModule(nn.Module):
    """What a sentence selects of those it describes, by rank or number: "the second from the left", "exactly three".

    A selection is read as an order and a rank and carried out: how many of those described come before a candidate in
    that order, and how many there are. Layers that would have to find out how to count need many more sentences.

    Args:
        dim: width of what is read.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.order_head = nn.Linear(dim, _ORDERS)
        self.rank_head = nn.Linear(dim, MAX_COUNT + 3)  # and a bias
        self.sharpness = nn.Parameter(torch.tensor(3.0))  # many that hardly fit are not to count as one that does

    def forward(self, read: Tensor, described: Tensor, anchor_probs: Tensor, features: RelationFeatures) -> Tensor:
        """Logits (N, K) of whether each candidate is chosen, if it is one of those described.

        Args:
            read: (N, D) from the words for the selection.
            described: (N, K) logits.
            anchor_probs: (N, K) probability of being the anchor.
            features: of the candidates of each sentence.
        """
        share = torch.sigmoid(self.sharpness * described.float()) * features.valid
        ranks = rank_distribution(share, anchor_probs, features)
        order, rank = (part.float() for part in joint_linear(read, (self.order_head, self.rank_head)))
        order, (rank, bias) = order.softmax(-1), rank.split([MAX_COUNT + 2, 1], dim=-1)
        return torch.einsum("nkop,no,np->nk", ranks, order, rank) + bias


def rank_distribution(share: Tensor, anchor_probs: Tensor, features: RelationFeatures) -> Tensor:
    """(N, K, R + 2, MAX_COUNT + 2) soft rank of each candidate in each order, spread over the whole ranks next to it.

    Args:
        share, anchor_probs: as for `soft_rank`.
    """
    return encode_count(soft_rank(share, anchor_probs, features))


def soft_rank(share: Tensor, anchor_probs: Tensor, features: RelationFeatures) -> Tensor:
    """(N, K, R + 2) how many of a set come before each candidate by each key, and by nearness to the anchor; how many
    there are.

    Args:
        share: (N, K) from 0 to 1 of being in the set; anchor_probs: (N, K) of being the anchor, which has no rank.
    """
    place = torch.arange(share.shape[1], device=share.device)
    others = place != place[:, None]
    by_key = torch.einsum("nijr,nj->nir", features.precedes.float() * others[..., None], share)
    to_anchor = (features.offset_m.norm(dim=-1).float() @ anchor_probs[..., None])[..., 0]  # (N, K) m
    nearer = torch.sigmoid((to_anchor[:, :, None] - to_anchor[:, None]) / _NEARER_M * 2) * others
    by_nearness = (nearer @ (share * (1 - anchor_probs))[..., None])[..., 0] + anchor_probs * (MAX_COUNT + 1)
    number = share.sum(1, keepdim=True).expand_as(share)
    return torch.cat([by_key, by_nearness[..., None], number[..., None]], dim=-1)


def between_features(anchor_probs: Tensor, offset_m: Tensor) -> Tensor:
    """(N, K, 2) how candidates lie to two anchors: 0 if they are in opposite directions, 1 in the same; below 0 if the
    way along them is not much longer than from one anchor to the other, above if it is.

    Args:
        anchor_probs: (N, K), half each for two anchors.
        offset_m: (N, K, K, 2), from one candidate to another.
    """
    offset_m = offset_m.float()
    away = offset_m.norm(dim=-1)  # (N, K, K)
    share = anchor_probs / anchor_probs.sum(1, keepdim=True).clamp(min=1e-4)
    direction = offset_m / away[..., None].clamp(min=0.1)
    mean = (direction * share[:, None, :, None]).sum(2)
    way = (away @ share[..., None])[..., 0]
    apart = (share[:, None] @ away @ share[..., None])[:, 0]  # (N, 1)
    return torch.stack([mean.square().sum(-1), torch.tanh((way / apart.clamp(min=0.5) - 1.15) / 0.2)], dim=-1)
