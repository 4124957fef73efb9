"""Depth fusion: one depth out of several branches, some of which share an error.

Model of one image with P objects: the J branches measure y_i = zeta_i 1 + S_i g + e_i, with zeta_i the log depth of
object i, e_i independent with the predicted variances, and g ~ N(0, G) the error of the ground plane (s0, s1, log H),
the same for all objects. Treating g as private to each object (`fuse`) wastes what the objects say together: where the
direct depths of twenty cars all exceed their plane depths in one pattern, the plane is wrong (`ground_error`).
"""

import torch
from torch import Tensor

from diffusion_det.pose.pose_decoding import Pose
from diffusion_det.pose.pose_head import BRANCHES

# A branch that cannot be used enters with this variance: it then has no weight unless it is the only one.
UNUSABLE_VAR = 1e4
HUBER = 2.0  # deviations beyond which an object's disagreement counts linearly
ITERATIONS = 3


def fuse(pose: Pose, ground_var: Tensor) -> tuple[Tensor, Tensor]:
    """Best linear unbiased combination of each object's branches by itself.

    Args:
        ground_var: (P, 3) variances of s0, s1, log H.
    Returns:
        log depth (P,) and its variance (P,).
    Source: Gauss-Markov: with covariance C the weights are C^-1 1 / (1' C^-1 1).
    """
    covariance = torch.diag_embed(_own_var(pose)) + (pose.shared * ground_var[:, None]) @ pose.shared.transpose(1, 2)
    # Ways that cannot be used have Jacobians without meaning.
    both = pose.usable[:, :, None] & pose.usable[:, None, :]
    eye = torch.eye(covariance.shape[-1], dtype=torch.bool, device=covariance.device)
    covariance = torch.where(both | eye, covariance, torch.zeros_like(covariance))
    ones = torch.ones_like(pose.log_depth)
    # Positive definite: there is nothing to check, for which an accelerator would wait.
    weights = torch.linalg.solve_ex(covariance.double(), ones.double()).result.to(ones.dtype)  # (P, J)
    total = weights.sum(1)
    return (weights * pose.log_depth).sum(1) / total, 1 / total


def _own_var(pose: Pose) -> Tensor:
    return torch.where(pose.usable, pose.var, torch.full_like(pose.var, UNUSABLE_VAR))


def _split(pose: Pose, common: float) -> tuple[Tensor, Tensor]:
    """What each branch suffers from errors that all objects share (P, J, 3 or 4), and its own variance (P, J).

    With `common` above 0, that share of a direct depth's variance is one error of the whole image, since all are
    predicted from the same image: a fourth column, of unit variance.
    """
    shared = torch.where(pose.usable[..., None], pose.shared, torch.zeros_like(pose.shared))
    own = _own_var(pose)
    if common == 0:
        return shared, own
    is_direct = torch.zeros_like(own)
    is_direct[:, BRANCHES.index("direct")] = 1
    column = is_direct * (common * own).sqrt()
    return torch.cat([shared, column[..., None]], dim=-1), own * (1 - common * is_direct)


def ground_error(pose: Pose, ground_var: Tensor, object_weights: Tensor, common: float = 0.0) -> tuple[Tensor, Tensor]:
    """The error of one image's ground that its objects agree on.

    Args:
        pose: P objects of the one image.
        ground_var: (3,) variances of s0, s1, log H before the objects are taken into account.
        object_weights: (P,) weight of each object, 0..1 (its score): a false alarm should not move the ground.
        common: share of the variance of direct depths that is one error of the whole image.
    Returns:
        mean (3,) and covariance (3, 3) of the error, given the objects; with `common` above 0 a fourth number, the
        common error of the direct depths in deviations. The depths of the branches lose `shared @ mean`.
    Source: Bayesian linear regression with the depths integrated out, reweighted (Huber) against outliers.
    """
    S, own = (part.double() for part in _split(pose, common))
    inverse = 1 / own  # (P, J)
    size = S.shape[-1]
    prior = torch.diag(torch.cat([ground_var.double(), ground_var.new_ones(size - 3).double()]))
    y = pose.log_depth.double()
    # Projection that removes the unknown depth of each object: W = D - D 1 1' D / (1' D 1).
    W = torch.diag_embed(inverse) - inverse[:, :, None] * inverse[:, None, :] / inverse.sum(1)[:, None, None]
    StW = S.transpose(1, 2) @ W  # (P, 3 or 4, J)
    eye = torch.eye(size, dtype=torch.float64, device=S.device)
    weight, mean, covariance = object_weights.double(), torch.zeros(size, dtype=torch.float64, device=S.device), prior
    for _ in range(ITERATIONS if len(y) else 0):
        information = (weight[:, None, None] * (StW @ S)).sum(0)
        evidence = (weight[:, None] * (StW @ y[..., None])[..., 0]).sum(0)
        # = (prior^-1 + information)^-1, prior may be 0
        covariance = prior @ torch.linalg.inv_ex(eye + information @ prior).inverse
        mean = covariance @ evidence
        rest = y - S @ mean
        deviation = (rest[:, None, :] @ W @ rest[..., None])[:, 0, 0].clamp(min=1e-12).sqrt()
        weight = object_weights.double() * (HUBER / deviation).clamp(max=1)
    return mean.to(ground_var.dtype), covariance.to(ground_var.dtype)


def fuse_image(
    pose: Pose, ground_var: Tensor, object_weights: Tensor, common: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Depths of one image's objects after its ground has been corrected by all of them.

    Args: as in `ground_error`.
    Returns:
        log depth (P,), variance (P,) including what remains unknown of the ground, mean error of the ground (3,).
    """
    mean, covariance = ground_error(pose, ground_var, object_weights, common)
    S, own = _split(pose, common)
    inverse = 1 / own
    weights = inverse / inverse.sum(1, keepdim=True)
    log_depth = (weights * (pose.log_depth - S @ mean)).sum(1)
    lever = (weights[..., None] * S).sum(1)  # (P, 3) how the fused depth follows the ground
    return log_depth, 1 / inverse.sum(1) + ((lever @ covariance) * lever).sum(1), mean[:3]
