"""Blocks of the relation layer: candidates read words and compare themselves with each other.

Letters: N sentences, K candidates, T words, D width, H heads, E facts of a pair.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_COUNT = 10


def encode_count(count: Tensor) -> Tensor:
    """(...,) numbers -> (..., MAX_COUNT + 2): hats over 0 to MAX_COUNT and beyond; "exactly three" is one of them."""
    at = torch.arange(MAX_COUNT + 1, device=count.device, dtype=count.dtype)
    hats = (1 - (count[..., None] - at).abs()).clamp(min=0)
    return torch.cat([hats, (count[..., None] - MAX_COUNT).clamp(min=0, max=1)], dim=-1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(N, K, D) -> (N, heads, K, D / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class WordAttention(nn.Module):
    """Each candidate reads the words."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.output = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """x (N, K, D), words (N, T, D), mask (N, T) -> (N, K, D)."""
        k, v = (split_heads(part, self.heads) for part in self.key_value(words).chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(
            split_heads(self.query(x), self.heads), k, v, attn_mask=mask[:, None, None]
        )
        return self.output(read.transpose(1, 2).flatten(2))


class WordMatch(nn.Module):
    """How well each candidate fits all the words that matter, a soft "and": the product over the words of what fits,
    each to the power of how much the word matters. Attention is a mean and cannot say "white and a car"."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.output = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(2 * heads, dim)
        self.matter, self.bias = nn.Linear(dim, heads), nn.Linear(dim, heads)
        nn.init.constant_(self.matter.bias, -1.0)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """x (N, K, D), words (N, T, D), mask (N, T) -> (N, K, D)."""
        query, key = split_heads(self.query(x), self.heads), split_heads(self.key(words), self.heads)
        fits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + self.bias(words).transpose(1, 2)[:, :, None]
        matter = (torch.sigmoid(self.matter(words)) * mask[..., None]).transpose(1, 2)[:, :, None]  # (N, H, 1, T)
        log_fit = (matter * F.logsigmoid(fits)).sum(-1).transpose(1, 2)  # (N, K, H)
        return self.output(torch.cat([log_fit.exp(), log_fit.clamp(min=-6.0) / 3], dim=-1))


class Comparison(nn.Module):
    """Each candidate looks at all: a mean over some and a number of some, H heads each.

    The score of a pair is state against state, plus the pair's facts, plus which of the two has more of a quantity that
    is read off their states (the distance to a third one that an earlier block found), both weighted by the state of
    the candidate that looks.
    """

    def __init__(self, dim: int, heads: int, pair_dim: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        # Of both kinds of heads: query and key, weights of the facts, bias.
        self.query, self.key = nn.Linear(dim, 2 * dim), nn.Linear(dim, 2 * dim)
        self.fact_query = nn.Linear(dim, 2 * heads * pair_dim)
        self.bias = nn.Linear(dim, 2 * heads)
        self.quantity, self.order = nn.Linear(dim, 2 * heads), nn.Linear(dim, 2 * heads)
        self.member = nn.Linear(dim, heads)  # of a counted candidate, whoever counts
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim + heads * pair_dim, dim)
        self.count = nn.Linear(heads * (MAX_COUNT + 2), dim)

    def forward(self, state: Tensor, pair: Tensor, valid: Tensor) -> Tensor:
        """state (N, K, D), pair (N, K, K, E) facts, valid (N, K) -> addition to the state."""
        x = self.norm(state)
        query, key = split_heads(self.query(x), 2 * self.heads), split_heads(self.key(x), 2 * self.heads)
        score = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # (N, 2H, K, K)
        weight = self.fact_query(x).unflatten(-1, (2 * self.heads, -1))  # (N, K, 2H, E)
        score = score + (weight @ pair.transpose(-1, -2)).transpose(1, 2) / pair.shape[-1] ** 0.5
        quantity = 4 * self.quantity(x).transpose(1, 2)
        more = torch.tanh(quantity[:, :, None] - quantity[..., None])  # of the one looked at, (N, 2H, K, K)
        score = score + self.bias(x).transpose(1, 2)[..., None] + self.order(x).transpose(1, 2)[..., None] * more
        look, gate = score.chunk(2, dim=1)  # (N, H, K, K)
        there = valid[:, None, None]
        look = look.masked_fill(~there, -1e4).softmax(-1)
        seen = (look @ split_heads(self.value(x), self.heads)).transpose(1, 2).flatten(2)
        how = (look.transpose(1, 2) @ pair).flatten(2)  # (N, K, H E) where what is looked at lies
        counted = torch.sigmoid(gate) * torch.sigmoid(self.member(x)).transpose(1, 2)[:, :, None] * there
        number = encode_count(counted.sum(-1)).transpose(1, 2).flatten(2)  # (N, K, H (MAX_COUNT + 2))
        return self.output(torch.cat([seen, how], dim=-1)) + self.count(number)


class RelationBlock(nn.Module):
    """Read the words, compare, think."""

    def __init__(self, dim: int, heads: int, pair_dim: int, dropout: float):
        super().__init__()
        self.read, self.match = WordAttention(dim, heads), WordMatch(dim, 2 * heads)
        self.compare = Comparison(dim, heads, pair_dim)
        self.before_words, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.enter, self.leave = nn.Linear(dim, 4 * dim), nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: Tensor, pair: Tensor, valid: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """(N, K, D) -> the same."""
        x = self.before_words(state)
        state = state + self.dropout(self.read(x, words, mask) + self.match(x, words, mask))
        state = state + self.dropout(self.compare(state, pair, valid))
        gate, value = self.enter(self.norm(state)).chunk(2, dim=-1)
        return state + self.dropout(self.leave(F.silu(gate) * value))
