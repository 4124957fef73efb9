"""Frozen feature extractor as a teacher: student and autoencoder learn what PatchCore compares.

Letters: B images, H x W pixels, h x w cells of a map, C channels.
"""

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efficientad.modeling.feature_extractors import FeatureExtractor
from efficientad.modeling.patch_embedding import embed_patches, pad_to_stride

SHRINK = 2  # student and autoencoder see the image at half its size, as in the published distillation
STRIDE = 8  # pixels of the image a cell
SMALLEST = 64  # pixels a side of the image that tells how many channels there are


class ExtractorTeacher(nn.Module):
    """Patch embeddings of a frozen extractor, in the place of a PDN.

    The extractor sees the whole image, student and autoencoder see it at half its size: so there is a cell for 8 pixels
    of the image, as published distillations have it.

    Args:
        extractor: of features.
        neighbourhood: cells a side that are averaged around each, see `embed_patches`.
        pixel_mean, pixel_std: that its images are normalised by; it undoes that and takes the extractor's own.
        cache_bytes: of features that `recurring` keeps.
    """

    padding, shrink = True, SHRINK
    size = ""  # it is no PDN of a size
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        extractor: FeatureExtractor,
        neighbourhood: int = 3,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        cache_bytes: int = 0,
    ):
        super().__init__()
        self.extractor, self.neighbourhood = extractor, neighbourhood
        self.cache = FeatureCache(cache_bytes)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (pixel_mean, pixel_std))
        self.register_buffer("scale", std / extractor.std, persistent=False)
        self.register_buffer("shift", (mean - extractor.mean) / extractor.std, persistent=False)
        side = SMALLEST + -SMALLEST % extractor.stride
        self.out_channels = sum(layer.shape[1] for layer in extractor.maps(torch.zeros(1, 3, side, side)))

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, C, h, w) of normalised images (B, 3, H, W), see `map_size`."""
        pixels = pad_to_stride(images * self.scale + self.shift, self.extractor.stride)
        embedding = embed_patches(self.extractor.maps(pixels), self.neighbourhood)
        height, width = self.map_size(images)
        if self.extractor.layers[0] == f"s{STRIDE}":
            return embedding[..., :height, :width]
        whole = [math.ceil(side / STRIDE) for side in pixels.shape[-2:]]
        return F.interpolate(embedding, size=whole, mode="bilinear", align_corners=False)[..., :height, :width]

    def recurring(self, images: Tensor) -> Tensor:
        """As `forward`, one by one, of images that come again; on a CPU they are described once."""
        if images.device.type != "cpu":
            return self(images)
        return torch.cat([self.cache.get(image[None], self) for image in images])

    def map_size(self, images: Tensor) -> tuple[int, int]:
        """Cells (h, w) of the map of images (..., H, W): an eighth, rounded up."""
        height, width = images.shape[-2:]
        return math.ceil(height / STRIDE), math.ceil(width / STRIDE)


class FeatureCache:
    """Features of images, each computed once while there is room; rounded to half precision, where they fit into it.

    Args:
        most_bytes: what is kept at most; features that come later are computed again and again.
    """

    def __init__(self, most_bytes: int):
        self.most_bytes, self.held_bytes = most_bytes, 0
        self.features: dict[bytes, Tensor] = {}

    def __deepcopy__(self, memo: object) -> "FeatureCache":
        return FeatureCache(self.most_bytes)  # copies of a model are not trained

    def get(self, image: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """`compute(image)`, rounded, or what it was for the same pixels."""
        if not self.most_bytes:
            return compute(image)
        key = blake2b(image.contiguous().numpy().tobytes() + repr(tuple(image.shape)).encode()).digest()
        if key in self.features:
            return self.features[key].float()
        found = compute(image)
        half = found.half()
        found = half if torch.isfinite(half).all() else found
        size = found.numel() * found.element_size()
        if self.held_bytes + size <= self.most_bytes:
            self.held_bytes += size
            self.features[key] = found
        return found.float()
