"""Mix-FFN: the feed-forward part of a transformer block that mixes each token with its neighbours in the image."""

import torch.nn.functional as F
from torch import Tensor, nn


class MixFFN(nn.Module):
    """Gated Mix-FFN: an inverted residual with a depthwise convolution and a gate, on the tokens of an image.

    A token is widened to two halves, both are convolved with their 3 x 3 neighbourhood, one half gates the other. It
    gives linear attention, which weighs all places of an image alike, the sense of what is near.

    Args:
        dim: D, channels of a token.
        ratio: width of the hidden layer in units of `dim`.
    Source: Xie et al., SANA, ICLR 2025, section 2.2. Differs: no residual, which the block around it adds.
    """

    def __init__(self, dim: int, ratio: float = 2.5):
        super().__init__()
        hidden = round(dim * ratio)
        self.widen = nn.Conv2d(dim, 2 * hidden, 1)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden)
        self.narrow = nn.Conv2d(hidden, dim, 1, bias=False)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (B, N, D) of a grid (h, w), row by row, to tokens (B, N, D).

        Raises:
            ValueError: h times w is not N.
        """
        batch, count, dim = tokens.shape
        if grid[0] * grid[1] != count:
            raise ValueError(f"{count} tokens are no grid of {grid[0]} x {grid[1]}")
        x = tokens.transpose(1, 2).reshape(batch, dim, *grid)  # (B, D, h, w)
        values, gates = self.depthwise(F.silu(self.widen(x))).chunk(2, dim=1)
        return self.narrow(values * F.silu(gates)).flatten(2).transpose(1, 2)  # (B, N, D)
