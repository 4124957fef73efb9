"""U-Net student: a light network that sees far, for a teacher that does.

A PDN sees patches of 33 pixels; the features of a deep extractor tell of several times as much, which no patch can
foresee. Letters: B images, H x W pixels, h x w cells, C channels.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

STRIDE, COARSEST = 4, 16  # pixels a cell of the output, of the coarsest map


class ResidualBlock(nn.Module):
    """A 3 x 3 convolution and one of 1 x 1 beside an identity, without normalisation: batches are of one image."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return x + self.conv2(F.relu(self.conv1(x)))


class UNetStudent(nn.Module):
    """U-Net with maps of strides 4, 8 and 16 and an output of stride 4; the interface is that of a PDN.

    Args:
        out_channels: C.
        dim: channels at stride 4; twice as many at strides 8 and 16.
    Source: Ronneberger et al., U-Net, MICCAI 2015. Differs: maps are added, not concatenated; residual blocks.
    """

    padding = True

    def __init__(self, out_channels: int, dim: int = 48):
        super().__init__()
        self.out_channels, wide = out_channels, 2 * dim
        self.stem = nn.Conv2d(3, dim // 2, 4, 2, 1)
        self.down4, self.down8, self.down16 = (
            nn.Conv2d(before, width, 4, 2, 1) for before, width in ((dim // 2, dim), (dim, wide), (wide, wide))
        )
        self.encode4 = ResidualBlock(dim)
        self.encode8 = nn.Sequential(*(ResidualBlock(wide) for _ in range(2)))
        self.encode16 = nn.Sequential(*(ResidualBlock(wide) for _ in range(3)))
        self.skip8, self.decode8 = nn.Conv2d(wide, wide, 1), ResidualBlock(wide)
        self.narrow = nn.Conv2d(wide, dim, 1)
        self.skip4, self.decode4 = nn.Conv2d(dim, dim, 1), ResidualBlock(dim)
        self.head = nn.Conv2d(dim, out_channels, 1)

    def forward(self, images: Tensor, part: slice | None = None) -> Tensor:
        """Normalised images (B, 3, H, W) to maps (B, C, h, w), sides a quarter, rounded up; `part` of the channels."""
        return self.last(self.body(images), part)

    def body(self, images: Tensor) -> Tensor:
        """All layers but the last one."""
        height, width = images.shape[-2:]
        images = F.pad(images, (0, -width % COARSEST, 0, -height % COARSEST), mode="replicate")
        x4 = self.encode4(F.relu(self.down4(F.relu(self.stem(images)))))
        x8 = self.encode8(F.relu(self.down8(x4)))
        x16 = self.encode16(F.relu(self.down16(x8)))
        x8 = self.decode8(self.skip8(x8) + _doubled(x16))
        x4 = self.decode4(self.skip4(x4) + _doubled(self.narrow(x8)))
        return F.relu(x4)[..., : math.ceil(height / STRIDE), : math.ceil(width / STRIDE)]

    def last(self, x: Tensor, part: slice | None = None) -> Tensor:
        """The last layer; with `part` only these of its channels."""
        if part is None:
            return self.head(x)
        assert self.head.bias is not None
        return F.conv2d(x, self.head.weight[part], self.head.bias[part])


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
