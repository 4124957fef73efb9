"""Autoencoders, convolutional or of attention: what the teacher's map should be, from a summary of the whole image.

Letters: B images, H x W pixels, h x w cells of the output map, C its channels, N tokens, D their channels.

conv is the published network. The others replace it by attention among all places of the image: encoder tokens at
1/8 and 1/16 of its size, a summary of `bottleneck` numbers, decoder tokens at 1/4 and 1/2 of the output map. Nothing
leads around the summary, else residuals would copy what is anomalous into the output. Without a bottleneck the tokens
go on to the output directly: an attention module in the autoencoder's place.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.layers.adaptive_pool import adaptive_avg_pool
from d2road.layers.linear_attention import AttentionBlock
from d2road.utils.errors import ConfigError
from d2road.utils.registry import Registry

Size = tuple[int, int]
# Sides of the published decoder's layers: the image's, divided by the first number, less the second. Of 256 pixels
# these are 3, 8, 15, 32, 63 and 127.
DECODER_SIZES = ((64, 1), (32, 0), (16, 1), (8, 0), (4, 1), (2, 1))
SEED_SIDE = 4  # the decoder unfolds the summary into so many tokens a side


def check_min_size(images: Tensor, least: int, kind: str) -> None:
    """Raise ValueError if images (B, 3, H, W) are smaller than an autoencoder takes."""
    height, width = images.shape[-2:]
    if min(height, width) < least:
        raise ConfigError(
            f"the {kind} autoencoder needs images of at least {least} x {least} pixels, got {height} x {width}: "
            "raise INPUT.IMAGE_SIZE" + ("; the attention autoencoders take 128 and more" if least > 128 else "")
        )


class ConvAutoencoder(nn.Module):
    """The published autoencoder, 256 x 256 pixels and more.

    Encoder: five convolutions of stride 2, and one of 8 x 8 pixels that, of an image of 256 pixels, leaves a single
    place. Decoder: bilinear enlargement and convolution, six times, then to the map's size.

    Args:
        out_channels: C.
        bottleneck: channels of the summary; None leaves out the 8 x 8 convolution and enters the decoder where it has
            the encoder's size.
        dropout: in the decoder.
    Source: Batzner et al., EfficientAD, WACV 2024, Table 8; sizes beyond 256 pixels as anomalib.
    """

    kind, min_size = "conv", 256

    def __init__(self, out_channels: int = 384, bottleneck: int | None = 64, dropout: float = 0.2):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        for number, (before, width) in enumerate(((3, 32), (32, 32), (32, 64), (64, 64), (64, 64)), 1):
            self.encoder.add_module(f"enconv{number}", nn.Conv2d(before, width, 4, stride=2, padding=1))
        if bottleneck:
            self.encoder.add_module("enconv6", nn.Conv2d(64, bottleneck, 8))
        self.first = 1 if bottleneck else 3  # decoder layer to enter; the third is the first above 1/32
        for number in range(self.first, 7):
            before = bottleneck if bottleneck and number == 1 else 64
            self.decoder.add_module(f"deconv{number}", nn.Conv2d(before, 64, 4, padding=2))
        self.decoder.add_module("deconv7", nn.Conv2d(64, 64, 3, padding=1))
        self.decoder.add_module("deconv8", nn.Conv2d(64, out_channels, 3, padding=1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor, size: Size) -> Tensor:
        """Normalised images (B, 3, H, W) to a map (B, C, h, w) of `size` (h, w).

        Raises:
            ValueError: images of less than 256 pixels.
        """
        check_min_size(images, self.min_size, self.kind)
        height, width = images.shape[-2:]
        x = images
        for number in range(1, 6):
            x = F.relu(self.encoder.get_submodule(f"enconv{number}")(x))
        if self.first == 1:
            x = self.encoder.get_submodule("enconv6")(x)
        for number in range(self.first, 7):
            shrink, less = DECODER_SIZES[number - 1]
            x = _resize(x, (height // shrink - less, width // shrink - less))
            x = self.dropout(F.relu(self.decoder.get_submodule(f"deconv{number}")(x)))
        x = F.relu(self.decoder.get_submodule("deconv7")(_resize(x, size)))
        return self.decoder.get_submodule("deconv8")(x)


class AttentionAutoencoder(nn.Module):
    """Autoencoder of attention blocks, 128 x 128 pixels and more.

    Args:
        out_channels: C.
        bottleneck: numbers that describe an image of any size, or None for no bottleneck.
        dropout: in the decoder.
        attention: "softmax", "linear", "gated_linear" or "relu_linear", see `d2road.layers.linear_attention`.
        dim, heads: D and attention heads.
    """

    min_size = 128

    def __init__(
        self,
        out_channels: int = 384,
        bottleneck: int | None = 64,
        dropout: float = 0.2,
        *,
        attention: str = "linear",
        dim: int = 64,
        heads: int = 4,
    ):
        super().__init__()
        self.kind = f"{attention}_attention"
        block = partial(AttentionBlock, dim, heads, attention)
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, dim, 4, 2, 1), nn.ReLU()),
            *(nn.Conv2d(dim, dim, 4, 2, 1), nn.ReLU()),
        )
        # Tokens learn from their surroundings where they are.
        self.place = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.fine = nn.ModuleList([block(), block()])
        if bottleneck:
            self.to_coarse = nn.Conv2d(dim, dim, 4, 2, 1)
            self.coarse = nn.ModuleList([block()])
            self.to_summary = nn.Conv2d(dim, dim, 4, 2, 1)
            self.squeeze = nn.Linear(dim * 8 * 8, bottleneck)
            self.unfold = nn.Linear(bottleneck, dim * SEED_SIDE**2)
            self.positions = Positions(dim)
            self.decode_coarse = nn.ModuleList([block(dropout=dropout)])
            self.decode_fine = nn.ModuleList([block(dropout=dropout), block(dropout=dropout)])
        self.smooth = nn.Conv2d(dim, dim, 3, padding=1)
        self.out = nn.Conv2d(dim, out_channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bottleneck = bottleneck

    def forward(self, images: Tensor, size: Size) -> Tensor:
        """Normalised images (B, 3, H, W) to a map (B, C, h, w) of `size` (h, w).

        Raises:
            ValueError: images of less than 128 pixels.
        """
        check_min_size(images, self.min_size, self.kind)
        x = self.stem(images)  # (B, D, H / 8, W / 8)
        x = _on_tokens(self.fine, x + self.place(x))
        if self.bottleneck:
            x = self.decode(self.summarise(x), size)
        x = F.relu(self.smooth(self.dropout(_resize(x, size))))
        return self.out(x)

    def summarise(self, x: Tensor) -> Tensor:
        """Encoder map (B, D, H / 8, W / 8) to the numbers (B, bottleneck) that are all the decoder sees."""
        x = _on_tokens(self.coarse, F.relu(self.to_coarse(x)))
        x = F.relu(self.to_summary(x))  # (B, D, 8, 8) of 256 pixels
        if x.shape[-2:] != (8, 8):
            x = adaptive_avg_pool(x, 8)
        return self.squeeze(x.flatten(1))

    def decode(self, summary: Tensor, size: Size) -> Tensor:
        """A map (B, D, h / 2, w / 2) from the summary."""
        width = self.unfold.out_features // SEED_SIDE**2
        x = self.unfold(summary).view(-1, width, SEED_SIDE, SEED_SIDE)  # (B, D, 4, 4)
        quarter, half = ((math.ceil(size[0] / n), math.ceil(size[1] / n)) for n in (4, 2))
        x = _resize(x, quarter)
        x = _on_tokens(self.decode_coarse, x + self.positions(quarter))
        return _on_tokens(self.decode_fine, _resize(x, half))


class Positions(nn.Module):
    """Learned combinations of sines and cosines of the place in the image, for grids of any size.

    Args:
        dim: D.
        waves: frequencies along an axis: half a period over the image, one, two, four, ...
    """

    frequencies: Tensor

    def __init__(self, dim: int, waves: int = 5):
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(waves), persistent=False)
        self.mix = nn.Linear(4 * waves, dim)

    def forward(self, size: Size) -> Tensor:
        """(1, D, h, w) for a grid of `size` (h, w)."""
        axes = []
        for cells in size:
            place = (torch.arange(cells, device=self.frequencies.device) + 0.5) / cells
            angles = place[:, None] * self.frequencies
            axes.append(torch.cat([angles.sin(), angles.cos()], dim=1))  # (cells, 2 * waves)
        rows = axes[0][:, None].expand(-1, size[1], -1)
        columns = axes[1][None].expand(size[0], -1, -1)
        waves = torch.cat([rows, columns], dim=-1).to(self.mix.weight.dtype)
        return self.mix(waves).permute(2, 0, 1)[None]


def _on_tokens(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """Apply blocks of tokens, one after another, to a map (B, D, h, w)."""
    batch, dim, height, width = x.shape
    tokens = x.flatten(2).transpose(1, 2)  # (B, N, D)
    for block in blocks:
        tokens = block(tokens, (height, width))
    return tokens.transpose(1, 2).reshape(batch, dim, height, width)


def _resize(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class AutoencoderKind:
    """An entry of AUTOENCODERS.

    Args:
        build: called as `build(out_channels, bottleneck, dropout)`, with `dim` and `heads` where it takes attention.
        min_size: the least side of an image that it takes.
        has_attention: whether it has a width and heads.
    """

    build: Callable[..., nn.Module]
    min_size: int
    has_attention: bool = False


AUTOENCODERS = Registry("autoencoder")
AUTOENCODERS.__doc__ = "Autoencoders by name, the values of MODEL.EFFICIENT_AD.AUTOENCODER: `AutoencoderKind`."
AUTOENCODERS.register(AutoencoderKind(ConvAutoencoder, ConvAutoencoder.min_size), name="conv")
for _attention in ("softmax", "linear", "gated_linear", "relu_linear"):
    AUTOENCODERS.register(
        AutoencoderKind(
            partial(AttentionAutoencoder, attention=_attention), AttentionAutoencoder.min_size, has_attention=True
        ),
        name=f"{_attention}_attention",
    )


def build_autoencoder(
    kind: str,
    out_channels: int = 384,
    bottleneck: int | None = 64,
    dropout: float = 0.2,
    dim: int = 64,
    heads: int = 4,
) -> nn.Module:
    """An autoencoder by name; `dim` and `heads` are for those of attention.

    Raises:
        ConfigError: unknown kind; lists the known ones.
    """
    entry: AutoencoderKind = AUTOENCODERS.get(kind)
    options = {"dim": dim, "heads": heads} if entry.has_attention else {}
    return entry.build(out_channels, bottleneck, dropout, **options)
