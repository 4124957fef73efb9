"""Raw maps of images, tile by tile, by the trained networks or by those that are prepared for inference."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from efficientad.inference.quantization import prepare_networks
from efficientad.inference.tiling import Boxes, Tiling, cut_in_batches
from efficientad.modeling.networks import Networks
from efficientad.modeling.puad import channel_means


class MapNetworks(Protocol):
    """What gives raw maps: trained, fused or quantized networks."""

    def raw_maps(self, images: Tensor) -> Tensor:
        """Squared differences (B, 2, h, w) of normalised images (B, 3, H, W)."""


@dataclass(frozen=True)
class RawMaps:
    """What the networks say of one image, before any calibration.

    Attributes:
        tiles: (T, 2, h, w) squared differences, student and teacher, student and autoencoder; T is 1 of a whole image.
        boxes: the tiles in the network input.
        size: height and width of the network input.
        means: (C,) mean features of the student, with PUAD.
    """

    tiles: Tensor
    boxes: Boxes
    size: tuple[int, int]
    means: Tensor | None = None


class RawMapInference:
    """Raw maps of batches of images of one size.

    Prepared networks repeat the weights of the trained ones. They must be no part of a detector's state dict, so this
    object that holds them is no nn.Module.

    Args:
        tiling: of the images.
        precision: see `quantization`; other than fp32 it always takes prepared networks.
        with_means: mean features of the student too, which prepared networks do not keep: there are none then.

    Attributes:
        prepared: the networks of `prepare`, or None.
    """

    def __init__(self, tiling: Tiling, precision: str = "fp32", with_means: bool = False):
        self.tiling, self.precision, self.with_means = tiling, precision, with_means
        self.prepared: MapNetworks | None = None

    def prepare(self, networks: Networks, ranges: Tensor | None, precision: str = "") -> None:
        """Fuse or quantize the networks for their present weights; arguments and errors as of `prepare_networks`.

        Args:
            precision: "" for that of this object.
        """
        if not self.with_means:
            self.prepared = prepare_networks(networks, precision or self.precision, ranges)

    def forget(self) -> None:
        """Give up prepared networks: the weights have changed, or will."""
        self.prepared = None

    def __call__(self, networks: Networks, ranges: Tensor | None, images: Tensor) -> Iterator[RawMaps]:
        """Raw maps of each normalised image (B, 3, H, W), whole images in one go, others a few tiles at a time."""
        if self.precision != "fp32" and self.prepared is None:
            self.prepare(networks, ranges)
        boxes, size = self.tiling.boxes(images[0]), (images.shape[-2], images.shape[-1])
        if len(boxes) == 1:
            maps, means = self._of(networks, images)
            for i in range(len(images)):
                yield RawMaps(maps[i : i + 1], boxes, size, None if means is None else means[i])
            return
        for image in images:
            parts = [self._of(networks, tiles) for tiles in cut_in_batches(image, boxes)]
            means = torch.cat([mean for _, mean in parts if mean is not None]).mean(0) if self._gives_means else None
            yield RawMaps(torch.cat([maps for maps, _ in parts]), boxes, size, means)

    @property
    def _gives_means(self) -> bool:
        return self.with_means and self.prepared is None

    def _of(self, networks: Networks, images: Tensor) -> tuple[Tensor, Tensor | None]:
        images = images.contiguous(memory_format=torch.channels_last)
        if self.prepared is not None:
            return self.prepared.raw_maps(images), None
        features = networks.features(images)
        return networks.maps_of(features), channel_means(features.student) if self._gives_means else None
