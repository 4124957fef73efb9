"""Mahalanobis distance of a student's errors: what is unusual is told from what the student never learns.

A student leaves errors on good images too, along directions of the features that are hard to foresee. Their covariance
weighs each direction by how much it tells. Only the places of the largest errors count, as there are things there and
no empty background.

    S = mean of e e^T over these places of good images        d(e) = e^T (S + r tr(S) / C  I)^-1 e / C

Letters: B images, C channels, h x w cells, e an error (C,), r the ridge.

Source: the distance is that of Defard et al., PaDiM, ICPR 2021, there of features and a Gaussian a place. Differs: of
the errors of a student, one Gaussian for all places, without a mean.
"""

import math

import torch
from torch import Tensor

from d2road.utils.errors import DataError

RIDGE = 0.002  # r: share of the mean variance, so that directions without any do not count without bound
SHARE = 0.05  # of the places of each image, those of the largest errors


class ErrorCovariance:
    """Covariance of errors about zero, from images in turn.

    Args:
        share: of the places of each image that count, those of the largest errors.
    """

    def __init__(self, share: float = SHARE) -> None:
        self.share, self.count = share, 0
        self.products = torch.zeros(0, 0, dtype=torch.float64)  # (C, C)

    def update(self, errors: Tensor) -> None:
        """Take in errors (B, C, h, w)."""
        for image in errors.detach().float().flatten(2):  # (C, h * w)
            largest = image.square().sum(0).topk(math.ceil(self.share * image.shape[1])).indices
            vectors, part = image[:, largest], ErrorCovariance()
            part.count, part.products = vectors.shape[1], (vectors @ vectors.T).cpu().double()
            self.merge(part)

    def merge(self, other: "ErrorCovariance") -> None:
        """Take in what another has seen."""
        if other.count:
            self.products = self.products + other.products if self.count else other.products.clone()
            self.count += other.count

    def whitening(self, ridge: float = RIDGE) -> Tensor:
        """W (C, C), float32, with |W e|^2 = e^T (S + r tr(S) / C  I)^-1 e.

        Raises:
            DataError: no image, or errors that are not finite or all zero.
        """
        if not self.count:
            raise DataError("errors of the student: there is no image; name good ones in DATASETS.TRAIN")
        covariance = self.products / self.count
        mean = covariance.diagonal().mean()
        if not torch.isfinite(covariance).all() or mean <= 0:
            raise DataError(
                f"errors of the student: their mean square is {float(mean):g}, expected a positive number; the weights "
                "are damaged, train them again"
            )
        covariance += ridge * mean * torch.eye(len(covariance), dtype=covariance.dtype)
        lower = torch.linalg.cholesky(covariance)
        return torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False).float()


def mahalanobis_map(errors: Tensor, whitening: Tensor) -> Tensor:
    """Squared Mahalanobis distances over C, (B, h, w), of errors (B, C, h, w)."""
    return torch.einsum("dc,bchw->bdhw", whitening, errors).square_().mean(1)
