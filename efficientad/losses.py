"""Losses of EfficientAD: hard-feature loss of the student, penalty, and those of the autoencoder.

Letters: B images, C channels, h x w cells.
"""

import math

import torch
from torch import Tensor

from d2road.utils.errors import ConfigError


def hard_feature_loss(distance: Tensor, quantile: float = 0.999) -> Tensor:
    """Mean of the squared distances at or above their quantile: equal to `d[d >= torch.quantile(d, q)].mean()`.

    The quantile lies between two neighbours in the sorted order; both are found among the largest few, where sorting
    everything takes many times longer (and torch.quantile long refused more than 2 ** 24 values).

    Args:
        distance: of any shape, values from all images of the batch together.
        quantile: share of the values that is left out, 0 <= quantile < 1.
    Returns:
        A scalar. Equal values at the quantile all count.
    Raises:
        ValueError: quantile out of range.
    """
    if not 0 <= quantile < 1:
        raise ConfigError(f"quantile of the hard-feature loss is {quantile}, expected 0 <= quantile < 1")
    if quantile == 0:
        return distance.mean()
    threshold = upper_quantile(distance.detach(), quantile)
    hard = (distance >= threshold).to(distance.dtype)
    # By a product and not by selecting, so that a GPU need not report how many there are.
    return (distance * hard).sum() / hard.sum()


def upper_quantile(values: Tensor, quantile: float) -> Tensor:
    """torch.quantile (linear interpolation) of all values, of any number, fast for quantiles near 1."""
    count = values.numel()
    rank = quantile * (count - 1)
    below = math.floor(rank)
    largest = values.flatten().topk(count - below, sorted=True).values
    low, high = largest[-1], largest[max(len(largest) - 2, 0)]
    return torch.lerp(low, high, rank - below)


def student_teacher_loss(teacher: Tensor, student: Tensor, quantile: float = 0.999) -> Tensor:
    """Hard-feature loss between normalised teacher and student features (B, C, h, w)."""
    return hard_feature_loss((teacher.float() - student.float()).square(), quantile)


def penalty_loss(student: Tensor) -> Tensor:
    """Mean square of student features of images that have nothing to do with the task: there it should be silent."""
    return student.float().square().mean()


def feature_loss(target: Tensor, prediction: Tensor) -> Tensor:
    """Mean squared difference of features (B, C, h, w): the autoencoder's to the teacher's, the student's to the
    autoencoder's. Both arguments receive gradients, as published: the autoencoder also moves towards the student."""
    return (target.float() - prediction.float()).square().mean()
