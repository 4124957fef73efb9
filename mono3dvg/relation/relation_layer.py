"""Relation layer: scores candidates by comparing them: order, number, nearness, what lies between what.

Each block lets every candidate read the words and find how well it fits all of them, then look at the other candidates
in two ways: a mean over some of them (attention: "the bus" of "behind the bus"), and a number of some of them (a sum of
gates: how many white cars are farther left; how many there are at all). What decides whom to look at is the candidate's
state, which the words have shaped, against the other's state and against how the two lie to each other.

Letters: B images, N sentences, K candidates, T words, D width, H heads, S blocks, E width of a pair's features, P parts
of a sentence, R traits.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.layers.joint_linear import joint_linear
from d2road.structures.tensor_record import rows_for_each
from mono3dvg.language.form_parts import PARTS
from mono3dvg.relation.attribute_modules import MAX_COUNT, AttributeModules, encode_count
from mono3dvg.relation.presence_head import PresenceHead
from mono3dvg.relation.relation_features import NUM_PAIRWISE_FEATURES, NUM_UNARY_FEATURES, RelationFeatures
from mono3dvg.text.text_features import TextFeatures


@dataclass
class RelationOutput:
    """Logits of N sentences and their K candidates.

    answers: (S, N, K) of being meant, by each block; the last one's counts, but in training every block is asked: all
    of them learn faster than the last alone. parts: (N, K, P) of what the parts of a sentence say, see
    `language.form_parts`. mentioned: (N, P - 2) of whether it has them. presence: (N,) of whether any is meant, where a
    head says so.
    """

    answers: Tensor
    parts: Tensor
    mentioned: Tensor
    presence: Tensor | None = None


class RelationLayer(nn.Module):
    """Scores candidates by sentence; the order of the candidates plays no part.

    Args:
        in_dim: of the fused features and the words.
        num_traits: R, classes and attributes of a candidate.
        dim: width D.
        layers, heads: blocks, heads of each kind.
        pair_dim: width E of the features of a pair.
        image_dim: width of what the modules of the parts take from the fused map.
        numbers: see `AttributeModules`.
        presence: whether a head says if any candidate is meant at all.
    """

    def __init__(
        self,
        *,
        in_dim: int,
        num_traits: int,
        dim: int = 96,
        layers: int = 4,
        heads: int = 4,
        pair_dim: int = 32,
        image_dim: int = 32,
        numbers: bool = True,
        presence: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        num_unary = NUM_UNARY_FEATURES + num_traits
        self.text_proj = nn.Sequential(nn.Linear(in_dim, dim), nn.LayerNorm(dim))
        self.fused_proj = nn.Sequential(nn.LayerNorm(in_dim), nn.Linear(in_dim, dim))
        self.image_proj = nn.Linear(in_dim, image_dim)
        self.unary_mlp = nn.Sequential(nn.Linear(num_unary, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.pairwise_mlp = nn.Sequential(
            nn.Linear(NUM_PAIRWISE_FEATURES, 2 * pair_dim), nn.ReLU(), nn.Linear(2 * pair_dim, pair_dim)
        )
        self.input_norm = nn.LayerNorm(dim)
        self.attribute_modules = AttributeModules(dim, num_unary + image_dim, NUM_PAIRWISE_FEATURES, numbers)
        self.part_proj = nn.Linear(2 * len(PARTS), dim)
        self.blocks = nn.ModuleList(RelationBlock(dim, heads, pair_dim, dropout) for _ in range(layers))
        self.output_norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, 1)
        self.presence = PresenceHead(dim) if presence else None
        self.gate = nn.Parameter(torch.ones(()))  # weight of what the modules of the parts say together

    def forward(
        self, features: RelationFeatures, image_of: Tensor, fused: Tensor, text: TextFeatures
    ) -> RelationOutput:
        """Compare the candidates of N sentences.

        Args:
            features: of the candidates of B images, see `compute_relation_features`.
            image_of: (N,) image of each sentence.
            fused: (N, K, in_dim) fused map at the cells of the candidates.
            text: words of the sentences, in_dim wide.
        Returns:
            logits; those of padding mean nothing.
        """
        pair = rows_for_each(self.pairwise_mlp(features.pairwise), image_of)
        state = rows_for_each(self.unary_mlp(features.unary), image_of)
        features = features.for_each(image_of)
        mask = text.mask | ~text.mask.any(1, keepdim=True)  # a sentence without words reads its padding
        words = self.text_proj(text.features)
        state = self.input_norm(state + self.fused_proj(fused))
        unary = torch.cat([features.unary, self.image_proj(fused)], dim=-1)
        parts, mentioned = self.attribute_modules(unary, state, features, words, mask, text.numbers)
        state = state + self.part_proj(torch.cat([torch.sigmoid(parts), parts.clamp(-6, 6) / 6], dim=-1))
        states = []
        for block, of_words in zip(self.blocks, self._read_words(words)):
            state = block(state, pair, features.valid, of_words, mask)
            states.append(state)
        normal = self.output_norm(torch.stack(states))  # (S, N, K, D)
        answers = self.output(normal)[..., 0] + self.gate * parts[..., -1]
        presence = None
        if self.presence is not None:
            presence = self.presence(normal[-1], answers[-1], features.valid, words, mask)
        return RelationOutput(answers, parts, mentioned, presence)

    def _read_words(self, words: Tensor) -> list[tuple[Tensor, ...]]:
        """What each block takes from the words (N, T, D), see `RelationBlock.word_layers`: one product for all."""
        layers = [block.word_layers() for block in self.blocks if isinstance(block, RelationBlock)]
        found = iter(joint_linear(words, [layer for own in layers for layer in own]))
        return [tuple(next(found) for _ in own) for own in layers]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(N, K, D) -> (N, heads, K, D / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class TextAttention(nn.Module):
    """Cross-attention of candidates to words."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.output = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, key_value: Tensor, mask: Tensor) -> Tensor:
        """x (N, K, D), what `key_value` makes of the words (N, T, 2 D), mask (N, T) -> (N, K, D)."""
        k, v = (split_heads(part, self.heads) for part in key_value.chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(
            split_heads(self.query(x), self.heads), k, v, attn_mask=mask[:, None, None]
        )
        return self.output(read.transpose(1, 2).flatten(2))


class TextMatch(nn.Module):
    """Soft conjunction: how well each candidate fits all the words that matter, the product over the words of what
    fits, each to the power of how much the word matters. Attention is a mean and cannot say "white and a car"."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.output = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(2 * heads, dim)
        self.importance, self.bias = nn.Linear(dim, heads), nn.Linear(dim, heads)
        nn.init.constant_(self.importance.bias, -1.0)

    def forward(self, x: Tensor, key: Tensor, bias: Tensor, importance: Tensor, mask: Tensor) -> Tensor:
        """x (N, K, D), what the layers of these names make of the words (N, T, ...), mask (N, T) -> (N, K, D)."""
        query, key = split_heads(self.query(x), self.heads), split_heads(key, self.heads)
        fits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + bias.transpose(1, 2)[:, :, None]
        importance = torch.sigmoid(importance) * mask[..., None]
        importance = importance.transpose(1, 2)[:, :, None]  # (N, H, 1, T)
        log_fit = (importance * F.logsigmoid(fits)).sum(-1).transpose(1, 2)  # (N, K, H)
        return self.output(torch.cat([log_fit.exp(), log_fit.clamp(min=-6.0) / 3], dim=-1))


class Comparison(nn.Module):
    """Each candidate looks at all: a mean over some and a number of some, H heads each.

    The score of a pair is state against state, plus the pair's features, plus which of the two has more of a quantity
    that is read off their states (the distance to a third one that an earlier block found), both weighted by the state
    of the candidate that looks.
    """

    def __init__(self, dim: int, heads: int, pair_dim: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        # Of both kinds of heads: query and key, weights of the features of pairs, bias.
        self.query, self.key = nn.Linear(dim, 2 * dim), nn.Linear(dim, 2 * dim)
        self.pair_query = nn.Linear(dim, 2 * heads * pair_dim)
        self.bias = nn.Linear(dim, 2 * heads)
        self.quantity, self.order = nn.Linear(dim, 2 * heads), nn.Linear(dim, 2 * heads)
        self.member = nn.Linear(dim, heads)  # of a counted candidate, whoever counts
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim + heads * pair_dim, dim)
        self.count = nn.Linear(heads * (MAX_COUNT + 2), dim)

    def forward(self, state: Tensor, pair: Tensor, valid: Tensor) -> Tensor:
        """state (N, K, D), pair (N, K, K, E) features, valid (N, K) -> addition to the state."""
        query, key, weight, bias, quantity, order, member, value = joint_linear(
            self.norm(state),
            (self.query, self.key, self.pair_query, self.bias, self.quantity, self.order, self.member, self.value),
        )
        query, key = split_heads(query, 2 * self.heads), split_heads(key, 2 * self.heads)
        score = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # (N, 2H, K, K)
        weight = weight.unflatten(-1, (2 * self.heads, -1))  # (N, K, 2H, E)
        score = score + (weight @ pair.transpose(-1, -2)).transpose(1, 2) / pair.shape[-1] ** 0.5
        quantity = 4 * quantity.transpose(1, 2)
        more = torch.tanh(quantity[:, :, None] - quantity[..., None])  # of the one looked at, (N, 2H, K, K)
        score = score + bias.transpose(1, 2)[..., None] + order.transpose(1, 2)[..., None] * more
        attention, gate = score.chunk(2, dim=1)  # (N, H, K, K)
        there = valid[:, None, None]
        attention = attention.masked_fill(~there, -1e4).softmax(-1)
        mean = (attention @ split_heads(value, self.heads)).transpose(1, 2).flatten(2)
        how = (attention.transpose(1, 2) @ pair).flatten(2)  # (N, K, H E) where what is looked at lies
        counted = torch.sigmoid(gate) * torch.sigmoid(member).transpose(1, 2)[:, :, None] * there
        number = encode_count(counted.sum(-1)).transpose(1, 2).flatten(2)  # (N, K, H (MAX_COUNT + 2))
        return self.output(torch.cat([mean, how], dim=-1)) + self.count(number)


class RelationBlock(nn.Module):
    """Text attention, comparison of candidates and a gated feed-forward network, each residual."""

    def __init__(self, dim: int, heads: int, pair_dim: int, dropout: float):
        super().__init__()
        self.text_attn, self.text_match = TextAttention(dim, heads), TextMatch(dim, 2 * heads)
        self.comparison = Comparison(dim, heads, pair_dim)
        self.text_norm, self.ffn_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ffn_in, self.ffn_out = nn.Linear(dim, 4 * dim), nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def word_layers(self) -> tuple[nn.Linear, ...]:
        """The layers whose input are the words."""
        return self.text_attn.key_value, self.text_match.key, self.text_match.bias, self.text_match.importance

    def forward(self, state: Tensor, pair: Tensor, valid: Tensor, of_words: tuple[Tensor, ...], mask: Tensor) -> Tensor:
        """(N, K, D) -> the same; of_words: what `word_layers` make of the words."""
        x = self.text_norm(state)
        key_value, *matched = of_words
        state = state + self.dropout(self.text_attn(x, key_value, mask) + self.text_match(x, *matched, mask))
        state = state + self.dropout(self.comparison(state, pair, valid))
        gate, value = self.ffn_in(self.ffn_norm(state)).chunk(2, dim=-1)
        return state + self.dropout(self.ffn_out(F.silu(gate) * value))
