"""Attention among all tokens at a cost that grows with their number, not with its square.

Letters: B images, M heads, N tokens, D channels of a head (queries and keys), E channels of a head (values).

Softmax attention compares each of N queries with each of N keys. With a positive feature map phi in place of the
exponential of their product, the comparison phi(q) . phi(k) is a plain product, and the sum over the keys can be taken
once for all queries:

    out_i = sum_j phi(q_i).phi(k_j) v_j / sum_j phi(q_i).phi(k_j)  =  phi(q_i) KV / (phi(q_i).Z + eps)
    KV = mean_j phi(k_j) v_j^T,   Z = mean_j phi(k_j)
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.layers.mix_ffn import MixFFN
from d2road.utils.errors import ConfigError

EPS = 1e-6
KINDS = ("softmax", "linear", "gated_linear", "relu_linear")
FeatureMap = Callable[[Tensor], Tensor]


def elu_plus_one(x: Tensor) -> Tensor:
    """The feature map elu(x) + 1, positive, in float32.

    Written as x + 1 above zero and exp(x) below: elu(x) + 1 itself, a small number less than one plus one, rounds to
    exactly zero below x = -17 in float32, and -6 in bfloat16, with a zero gradient.
    """
    x = x.float()
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def relu_features(x: Tensor) -> Tensor:
    """The feature map max(x, 0), in float32: cheap, and exactly zero for pairs that have nothing in common."""
    return x.float().relu()


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None = None,
    eps: float = EPS,
    features: FeatureMap = elu_plus_one,
) -> Tensor:
    """Normalised linear attention, every token on every token.

    Computed in float32 whatever the inputs or an autocast around it are: sums over thousands of tokens overflow 16-bit
    numbers. Means in place of sums leave the result unchanged and keep `eps` comparable between numbers of tokens.

    Args:
        q, k: (B, M, N, D).
        v: (B, M, N, E).
        weight: (B, M, N, 1), non-negative: how much each token has to say; None is 1.
        eps: added to the denominator, which is zero where all features of a query vanish.
        features: phi, non-negative, in float32.
    Returns:
        (B, M, N, E) in the type of `v`.
    Source: Katharopoulos et al., Transformers are RNNs, ICML 2020, Eq. 4 to 7. Differs: means, token weights.
    """
    with torch.autocast(q.device.type, enabled=False):
        q_features, k_features = features(q), features(k)
        if weight is not None:
            k_features = k_features * weight.float()
        k_features = k_features / k.shape[-2]
        summary = k_features.transpose(-1, -2) @ v.float()  # (B, M, D, E)
        total = k_features.sum(-2).unsqueeze(-1)  # (B, M, D, 1)
        out = (q_features @ summary) / (q_features @ total + eps)
    return out.to(v.dtype)


def linear_attention_by_pairs(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weight: Tensor | None = None,
    eps: float = EPS,
    features: FeatureMap = elu_plus_one,
) -> Tensor:
    """The same as `linear_attention` by the N x N table of all pairs: the definition, for comparison."""
    pairs = features(q) @ features(k).transpose(-1, -2)  # (B, M, N, N)
    if weight is not None:
        pairs = pairs * weight.float().transpose(-1, -2)
    pairs = pairs / (pairs.sum(-1, keepdim=True) + eps * k.shape[-2])
    return (pairs @ v.float()).to(v.dtype)


class TokenAttention(nn.Module):
    """Multi-head attention of a set of tokens on itself.

    Args:
        dim: channels of a token.
        heads: must divide `dim`.
        kind: "softmax"; "linear"; "gated_linear": linear, where each token weighs by a sigmoid what it gives to the
            others and by a SiLU what it takes from them (the gate of language models is a decay along the text, which
            tokens of an image, having no order, cannot have); "relu_linear": linear, with ReLU as its feature map.
        eps: see `linear_attention`.
    Raises:
        ConfigError: unknown kind, or heads that do not divide `dim`.
    """

    def __init__(self, dim: int, heads: int = 4, kind: str = "linear", eps: float = EPS):
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"attention kind is {kind!r}, expected one of {', '.join(KINDS)}")
        if heads < 1 or dim % heads:
            raise ConfigError(f"{heads} attention heads do not divide {dim} channels")
        self.heads, self.kind, self.eps = heads, kind, eps
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        if kind == "gated_linear":
            self.give = nn.Linear(dim, heads)
            self.take = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, dim) to tokens (B, N, dim)."""
        batch, count, dim = x.shape
        q, k, v = (
            part.view(batch, count, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )  # (B, M, N, D) each
        if self.kind == "softmax":
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            weight = (
                self.give(x).float().sigmoid().transpose(1, 2).unsqueeze(-1) if self.kind == "gated_linear" else None
            )
            features = relu_features if self.kind == "relu_linear" else elu_plus_one
            mixed = linear_attention(q, k, v, weight, self.eps, features)
        mixed = mixed.transpose(1, 2).reshape(batch, count, dim)
        if self.kind == "gated_linear":
            mixed = mixed * F.silu(self.take(x))
        return self.out(mixed)


class AttentionBlock(nn.Module):
    """Pre-norm transformer block: attention, then two linear layers, each added to its input.

    The block of "relu_linear" is that of SANA: a Mix-FFN in place of the linear layers, without which ReLU attention
    has no sense of place.

    Args:
        dim, heads, kind: see `TokenAttention`.
        mlp_ratio: width of the hidden layer in units of `dim`.
        dropout: on what is added.
    Source: Xie et al., SANA, ICLR 2025 ("relu_linear").
    """

    def __init__(self, dim: int, heads: int = 4, kind: str = "linear", mlp_ratio: int = 2, dropout: float = 0.0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = TokenAttention(dim, heads, kind)
        if kind == "relu_linear":
            self.mix_ffn = MixFFN(dim, mlp_ratio)
        else:
            self.mlp = nn.Sequential(nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Tokens (B, N, dim) to tokens (B, N, dim); `grid` (h, w) is where they lie, which a Mix-FFN asks for.

        Raises:
            ValueError: no grid where there is a Mix-FFN.
        """
        x = x + self.dropout(self.attention(self.norm1(x)))
        tokens = self.norm2(x)
        if self.attention.kind != "relu_linear":
            return x + self.dropout(self.mlp(tokens))
        if grid is None:
            raise ValueError("a block of relu_linear attention needs the grid (h, w) of its tokens")
        return x + self.dropout(self.mix_ffn(tokens, grid))
