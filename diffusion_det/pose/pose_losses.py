"""Pose losses: disentangled corner errors, depth likelihoods, heading and quality, on the matches of the boxes.

Letters: S stages, B images, N boxes, M objects (padded), P matched boxes of all stages and images in one list.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.structures import aligned_iou_3d
from d2road.structures.camera_batch import Cameras, Grounds
from d2road.structures.depth_cues import (
    MAX_LOG_RATIO,
    encode_dimensions,
    place_boxes,
    variance_from_ground,
    view_boxes,
)
from d2road.structures.headings import heading_loss
from d2road.structures.tensor_record import TensorRecord
from diffusion_det.pose.pose_decoding import Pose, decode
from diffusion_det.pose.pose_fusion import fuse
from diffusion_det.pose.pose_head import RawPose

MAX_OFFSET = 3.0  # bottoms farther out of the 2D box than this (in its sides) are of objects mostly outside the image
LEVER_LIMIT = 5.0  # depth errors of objects farther than so many of their own sizes do not weigh more


@dataclass
class PoseTargets:
    """Objects of B images: boxes3d (B, M, 7) as KITTI rows with ry about the ground normal, valid (B, M)."""

    boxes3d: Tensor
    valid: Tensor

    @staticmethod
    def pad(boxes3d: list[Tensor], valid: list[Tensor]) -> "PoseTargets":
        """Bring (M_i, 7) rows and (M_i,) flags of the images to one shape."""
        most = max([len(v) for v in valid] + [1])
        rows = [F.pad(b.float(), (0, 0, 0, most - len(b))) for b in boxes3d]
        return PoseTargets(torch.stack(rows), torch.stack([F.pad(v, (0, most - len(v))) for v in valid]))


@dataclass
class ProjectedLabels:
    """How P labelled objects show in the images of their cameras, in the coding of the pose head.

    xy (P, 2): normalised image point of the bottom centre. bottom, center (P, 2): projected bottom centre and middle as
    offsets from a 2D box, as in `RawPose`. log_depth (P,), dims (P, 3), alpha (P,) in the true ground's frame.
    in_front (P,): False where bottom centre or middle lie beside or behind the camera and so have no image point.
    """

    xy: Tensor
    bottom: Tensor
    center: Tensor
    log_depth: Tensor
    dims: Tensor
    alpha: Tensor
    in_front: Tensor


@dataclass
class PoseOutputs(TensorRecord):
    """What the pose head gives for P matched boxes of all stages and images.

    rows (P, R) for `RawPose.unpack`, boxes_xyxy (P, 4) that they refer to, stage (P,), cameras and estimated grounds.
    """

    rows: Tensor
    boxes_xyxy: Tensor
    stage: Tensor
    cameras: Cameras
    grounds: Grounds


@dataclass
class MatchedLabels(TensorRecord):
    """Objects of P matched boxes: classes (P,), boxes3d (P, 7), true grounds, in whose frames headings are learned."""

    classes: Tensor
    boxes3d: Tensor
    grounds: Grounds


def project_labels(boxes3d: Tensor, boxes_xyxy: Tensor, cameras: Cameras, true: Grounds) -> ProjectedLabels:
    """Labels (P, 7) with the 2D boxes (P, 4) that offsets refer to, one camera and true ground a row."""
    views = view_boxes(boxes3d, cameras, true.frame())
    bottom, center = _offsets(boxes_xyxy, views.bottom, views.middle)
    return ProjectedLabels(views.xy, bottom, center, views.log_depth, boxes3d[:, 3:6], views.alpha, views.in_front)


class PoseCriterion(nn.Module):
    """Pose criterion: disentangled corner errors, likelihood of each depth branch, heading, quality.

    Args:
        weights: factor of each loss by the names xy, z, dims, depth, heading, quality, ground.
        priors_hwl: (K, 3) class means, m.
    """

    priors_hwl: Tensor

    def __init__(self, weights: dict[str, float], priors_hwl: Tensor, num_classes: int):
        super().__init__()
        self.weights, self.num_classes = dict(weights), num_classes
        self.register_buffer("priors_hwl", priors_hwl, persistent=False)

    def forward(self, outputs: PoseOutputs, labels: MatchedLabels, number: Tensor) -> dict[str, Tensor]:
        """Weighted losses by name; stages before the last carry the suffix _0, _1, ...

        Args:
            outputs, labels: of the same P boxes.
            number: (S,) matched boxes, that each stage's sums are divided by.
        """
        cameras, estimated, true, boxes3d = outputs.cameras, outputs.grounds, labels.grounds, labels.boxes3d
        raw = RawPose.unpack(outputs.rows, self.num_classes)
        pose = decode(raw, outputs.boxes_xyxy, labels.classes, self.priors_hwl, cameras, estimated)
        truth = project_labels(boxes3d, outputs.boxes_xyxy, cameras, true)
        near_box = (truth.bottom.abs() < MAX_OFFSET).all(1) & (truth.center.abs() < MAX_OFFSET).all(1)
        inside = (truth.in_front & near_box).float()
        diagonal = truth.dims.norm(dim=1)
        lever = (truth.log_depth.exp() / diagonal).clamp(max=LEVER_LIMIT)
        log_depth, _ = fuse(pose, estimated.var)

        offset = (raw.bottom - truth.bottom).abs().sum(1) + (raw.center - truth.center).abs().sum(1)
        overlap = self._overlap(pose, log_depth, boxes3d, cameras, estimated, true.frame())
        losses = {
            "xy": inside * (offset + lever * (pose.xy - truth.xy).abs().sum(1)),
            "z": inside * lever * (log_depth - truth.log_depth).abs(),
            "dims": (pose.dims - truth.dims).abs().sum(1) / (2 * diagonal) + _log_ratio_error(pose.dims, truth.dims),
            "depth": inside * self._depth(pose, estimated, truth.log_depth),
            "heading": heading_loss(raw.bins, raw.residuals, truth.alpha),
            "quality": F.binary_cross_entropy_with_logits(raw.quality, overlap.clamp(0, 1), reduction="none"),
        }
        zeros = outputs.rows.new_zeros(len(number))
        suffixes = [f"_{i}" for i in range(len(number) - 1)] + [""]
        return {
            f"loss_pose_{name}{suffix}": self.weights[name] * value
            for name, values in losses.items()
            for suffix, value in zip(suffixes, (zeros.index_add(0, outputs.stage, values) / number).unbind())
        }

    def _depth(self, pose: Pose, estimated: Grounds, log_z: Tensor) -> Tensor:
        """Negative log likelihood (Laplace) of each branch, summed over those that can be used.

        What the ground may be off by belongs to the deviation, so that a branch learns its own error only.
        """
        shared = variance_from_ground(pose.shared.detach(), estimated.var[:, None])  # (P, J)
        std = (pose.var + shared).sqrt()
        nll = 2**0.5 * (pose.log_depth - log_z[:, None]).abs() / std + std.log()
        return torch.where(pose.usable, nll, torch.zeros_like(nll)).sum(1)

    @torch.no_grad()
    def _overlap(
        self, pose: Pose, log_depth: Tensor, boxes3d: Tensor, cameras: Cameras, estimated: Grounds, frame: Tensor
    ) -> Tensor:
        """(P,) 3D IoU of the decoded boxes with their objects, in the true ground frame."""
        location, ry = place_boxes(pose.xy, log_depth, pose.alpha, cameras, estimated.frame())
        turn = frame.transpose(1, 2)
        found, wanted = (turn @ location[..., None])[..., 0], (turn @ boxes3d[:, :3, None])[..., 0]
        # Numbers that overflowed show in the other losses, which the trainer judges.
        rows = torch.cat([found, pose.dims, ry[:, None]], dim=1).nan_to_num(0.0, 0.0, 0.0)
        return aligned_iou_3d(rows, torch.cat([wanted, boxes3d[:, 3:]], dim=1)).to(boxes3d.dtype)

    def ground(self, predicted: Grounds, true: Grounds) -> Tensor:
        """Negative log likelihood (Laplace) of the predicted planes, mean over the images that have one."""
        std = predicted.var.sqrt()
        nll = (2**0.5 * (predicted.mean - true.mean).abs() / std + std.log()).sum(1)
        return self.weights["ground"] * (nll * true.known).sum() / true.known.sum().clamp(min=1)


def _offsets(boxes_xyxy: Tensor, bottom: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Projected points (P, 2) pixels as the offsets of `RawPose`."""
    x1, y1, x2, y2 = boxes_xyxy.unbind(-1)
    wh = torch.stack([x2 - x1, y2 - y1], dim=-1).clamp(min=1)
    foot, center = torch.stack([(x1 + x2) / 2, y2], dim=-1), torch.stack([(x1 + x2) / 2, (y1 + y2) / 2], dim=-1)
    return (bottom - foot) / wh, (middle - center) / wh


def _log_ratio_error(dims: Tensor, wanted: Tensor) -> Tensor:
    """(P,) sum of absolute log ratios."""
    return encode_dimensions(dims, wanted).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).abs().sum(1)
