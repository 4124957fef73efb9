"""PUAD: Mahalanobis distance of an image's mean features from those of good images, to add to the score of its map.

Maps find what looks wrong somewhere; images whose parts all look right may still be a wrong image, which the mean
over all places tells.

Source: Sugawara and Imamura, PUAD: Frustratingly Simple Method for Robust Anomaly Detection, ICIP 2024.
Letters: N images, C channels.
"""

import torch
from torch import Tensor, nn

from d2road.utils.errors import DataError

FEW = 2


class Puad(nn.Module):
    """Mahalanobis distance of channel means, and the sum of two standardised scores.

    Args:
        channels: C.

    Buffers (saved with the weights): mean (C,), precision (C, C) of good training images; image_stats, map_stats
    (2,): mean and standard deviation of the two scores on good validation images.
    """

    mean: Tensor
    precision: Tensor
    image_stats: Tensor
    map_stats: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("precision", torch.eye(channels))
        self.register_buffer("image_stats", torch.tensor([0.0, 1.0]))
        self.register_buffer("map_stats", torch.tensor([0.0, 1.0]))

    @torch.no_grad()
    def fit(self, means: Tensor) -> None:
        """Take in channel means (N, C) of good training images.

        Raises:
            ValueError: fewer than two images, or means without any variation.
        """
        if len(means) < FEW:
            raise DataError(f"PUAD: {len(means)} training image(s); a covariance needs at least {FEW}, and many more")
        covariance = ledoit_wolf(means.double())
        if not torch.isfinite(covariance).all() or covariance.diagonal().sum() <= 0:
            raise DataError("PUAD: the mean features of all training images are equal; switch it off or check them")
        self.mean.copy_(means.double().mean(0))
        self.precision.copy_(torch.linalg.pinv(covariance, hermitian=True))

    @torch.no_grad()
    def standardise(self, image_scores: Tensor, map_scores: Tensor) -> None:
        """Take in both scores (N,) of good validation images.

        Raises:
            ValueError: fewer than two images, or equal scores.
        """
        for stats, scores, name in (
            (self.image_stats, image_scores, "distances"),
            (self.map_stats, map_scores, "maximums of the maps"),
        ):
            if len(scores) < FEW or not scores.std() > 0:
                raise DataError(
                    f"PUAD: the {name} of {len(scores)} good validation image(s) do not differ, so they cannot be "
                    "standardised: name more images in DATASETS.CALIBRATION, or set PUAD.ENABLED False"
                )
            stats.copy_(torch.stack([scores.mean(), scores.std()]))

    def distance(self, means: Tensor) -> Tensor:
        """Mahalanobis distances (N,) of channel means (N, C)."""
        offset = (means.float() - self.mean).double()
        return (offset @ self.precision.double() * offset).sum(1).clamp(min=0).sqrt().float()

    def combine(self, image_scores: Tensor, map_scores: Tensor) -> Tensor:
        """Sum of the standardised scores (N,)."""
        of_image = (image_scores - self.image_stats[0]) / self.image_stats[1]
        return of_image + (map_scores - self.map_stats[0]) / self.map_stats[1]


def channel_means(features: Tensor) -> Tensor:
    """Means (B, C) over all places of features (B, C, h, w)."""
    return features.float().mean((2, 3))


def ledoit_wolf(samples: Tensor) -> Tensor:
    """Covariance (C, C) of samples (N, C), shrunk towards a multiple of the identity by as much as is best on average.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004.
    """
    count, channels = samples.shape
    centred = samples - samples.mean(0)
    covariance = centred.T @ centred / count
    scale = covariance.diagonal().mean()
    identity = torch.eye(channels, dtype=samples.dtype, device=samples.device)
    spread = (covariance - scale * identity).square().sum()
    # Mean over the samples of |x x^T - S|^2, without their outer products.
    noise = (centred.square().sum(1).square().sum() / count - covariance.square().sum()) / count
    share = 0.0 if spread == 0 else float((noise.clamp(min=0) / spread).clamp(max=1))
    return (1 - share) * covariance + share * scale * identity
