"""Patch description networks (PDN): the features of teacher and student.

Each value of a map describes a patch of 33 x 33 pixels; neighbours are 4 pixels apart. All convolutions have stride 1,
two average poolings halve the size. Letters: B images, H x W pixels, h x w cells of a map, C channels.

Source: Batzner et al., EfficientAD, WACV 2024, Tables 6 and 7.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from d2road.utils.errors import ConfigError, DataError
from efficientad.modeling import winograd

# Per layer: kernel, padding if it pads, width (0: the output's), ReLU behind it, pooling behind it.
LAYERS: dict[str, tuple[tuple[int, int, int, bool, bool], ...]] = {
    # A quarter of small's width, for processors: a fifteenth of its work with 96 channels. Not published.
    "narrow": (
        (4, 3, 32, True, True),
        (4, 3, 64, True, True),
        (3, 1, 64, True, False),
        (4, 0, 0, False, False),
    ),
    "small": (
        (4, 3, 128, True, True),
        (4, 3, 256, True, True),
        (3, 1, 256, True, False),
        (4, 0, 0, False, False),
    ),
    "medium": (
        (4, 3, 256, True, True),
        (4, 3, 512, True, True),
        (1, 0, 512, True, False),
        (3, 1, 512, True, False),
        (4, 0, 0, True, False),
        (1, 0, 0, False, False),
    ),
}
# Place in the nn.Sequential of nelson1425/EfficientAD of conv1, conv2, ...; anomalib's names are ours.
NELSON_INDICES = {"narrow": (0, 3, 6, 8), "small": (0, 3, 6, 8), "medium": (0, 3, 6, 8, 10, 12)}
# Cells that an unpadded map lacks on each side of the image: half a patch.
BORDER = 4


class PDN(nn.Module):
    """Patch description network.

    Args:
        size: "narrow", "small" or "medium".
        out_channels: C of the maps.
        padding: zeros around every layer; maps then have a quarter of the image's side, else 8 cells less.
        fewer_products: convolve by `winograd` where that is faster; equal up to rounding.
    Raises:
        ValueError: unknown size.
    """

    shrink = 1  # student and autoencoder of a PDN see the same image

    def __init__(
        self, size: str = "small", out_channels: int = 384, padding: bool = False, fewer_products: bool = True
    ):
        super().__init__()
        if size not in LAYERS:
            raise ConfigError(f"PDN size is {size!r}, expected one of {', '.join(LAYERS)}")
        self.size, self.out_channels, self.padding = size, out_channels, padding
        self.fewer_products = fewer_products
        channels = 3
        for number, (kernel, pad, width, _, _) in enumerate(LAYERS[size], 1):
            conv = nn.Conv2d(channels, width or out_channels, kernel, padding=pad if padding else 0)
            self.add_module(f"conv{number}", conv)
            channels = conv.out_channels

    def forward(self, images: Tensor, part: slice | None = None) -> Tensor:
        """Maps of normalised images.

        Args:
            images: (B, 3, H, W), at least 33 pixels a side without padding.
            part: channels to compute, all if None.
        Returns:
            (B, C, h, w), see `map_size`.
        """
        return self.last(self.body(images), part)

    def map_size(self, images: Tensor) -> tuple[int, int]:
        """Cells (h, w) of the map of images (..., H, W), see `map_size`."""
        return map_size_of(images, self.padding)

    def body(self, x: Tensor, first: int = 1) -> Tensor:
        """All layers but the last one, from layer `first` on."""
        for number, (_, _, _, relu, pool) in list(enumerate(LAYERS[self.size][:-1], 1))[first - 1 :]:
            x = self._convolve(number, x)
            if relu:
                x = F.relu(x, inplace=True)
            if pool:
                # The zeros of the padding count in the mean, as published.
                x = F.avg_pool2d(x, 2, 2, padding=1 if self.padding else 0)
        return x

    def last(self, x: Tensor, part: slice | None = None) -> Tensor:
        """The last layer; with `part` only these of its channels."""
        return self._convolve(len(LAYERS[self.size]), x, part)

    def layer(self, number: int) -> nn.Conv2d:
        """The convolution of a layer, from 1."""
        conv = self.get_submodule(f"conv{number}")
        assert isinstance(conv, nn.Conv2d), "networks that are prepared for inference have others"
        return conv

    def _convolve(self, number: int, x: Tensor, part: slice | None = None) -> Tensor:
        whole = self.get_submodule(f"conv{number}")
        if part is None and not self.fewer_products:
            return whole(x)
        conv = self.layer(number)
        fewer = self.fewer_products and winograd.suits(conv, x)
        if part is None and not fewer:
            return conv(x)
        weight, bias = conv.weight, winograd.bias_of(conv)
        if part is not None:
            weight, bias = weight[part], bias[part]
        if fewer:
            return winograd.conv2d(x, weight, bias, winograd.padding_of(conv))
        return F.conv2d(x, weight, bias, padding=winograd.padding_of(conv))


def map_size(height: int, width: int, padding: bool = False) -> tuple[int, int]:
    """Cells (h, w) of the map of an image of so many pixels, the same for both network sizes.

    Raises:
        ValueError: the image is smaller than a patch.
    """

    def cells(side: int) -> int:
        pad = 1 if padding else 0
        for _ in range(2):
            side = (side + 6 * pad - 3 + 2 * pad) // 2
        return side + 2 * pad - 2 - 3

    size = cells(height), cells(width)
    if min(size) < 1:
        raise DataError(f"an image of {height} x {width} pixels is smaller than a patch of the network, 33 x 33")
    return size


def map_size_of(images: Tensor, padding: bool = False) -> tuple[int, int]:
    """`map_size` of images (..., H, W)."""
    height, width = images.shape[-2:]
    return map_size(height, width, padding)
