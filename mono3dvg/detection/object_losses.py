"""Losses of the boxes that the head predicts at single cells, all of them from one table of errors.

What does not depend on predictions is computed beforehand (`BoxTruth`), by the host where it knows the cells: the
accelerator is left with a few operations on whole rows of `RawBoxes`. Letters: P objects.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.structures import depth_cues
from d2road.structures.boxes2d import with_area
from d2road.structures.camera_batch import MIN_DROP, SceneGeometry
from d2road.structures.depth_cues import BoxViews
from d2road.structures.headings import NUM_BINS
from d2road.structures.tensor_record import TensorRecord
from d2road.utils.uploads import upload
from mono3dvg.detection.box_coding import (
    LOG_DEPTH_RANGE,
    LOG_SIDE_RANGE,
    LOG_STD_RANGE,
    REFERENCE_PX,
    RawBoxes,
    encode,
)
from mono3dvg.detection.objects import Objects

NAMES = ("box2d", "giou", "offset", "depth", "dims", "heading")
IN_2D = NAMES[:2]  # of all objects, the others of those with a 3D box
NEAR_CELLS = 4.0
# Columns of the table of errors: those of `RawBoxes`, log probabilities of the bins, both ways to depth, overlap.
_POINTS = 4
_LOSS_OF = (
    *("offset",) * 4, *("box2d",) * 4, *("depth",) * 4, *("dims",) * 3, *("heading",) * 3 * NUM_BINS, *("depth",) * 2,
    "giou",
)  # fmt: skip
_GROUPS = torch.tensor([[float(name == of) for of in _LOSS_OF] for name in NAMES])  # (6, 54)


@dataclass
class BoxTruth(TensorRecord):
    """What the predictions at P cells are compared with.

    rows (P, 39): what a perfect head says, 0 where it is not asked. weights (P, 54): of each column in its loss. sides
    (P, 4): of the 2D box, from the centre of the cell, in cells, area (P,) of it. log_depth (P, 1). Of the two ways to
    depth, (P, 2) each: log_scale, the logarithm of what the correction is applied to, without the drop below the
    horizon; drop, its value at the middle of the cell, and known, whether there is such a way; slope (P, 2, 2), its
    change with the predicted bottom centre. The direct way has a drop of 1.
    """

    rows: Tensor
    weights: Tensor
    sides: Tensor
    area: Tensor
    log_depth: Tensor
    log_scale: Tensor
    slope: Tensor
    drop: Tensor
    known: Tensor


@torch.no_grad()
def box_truth(
    objects: Objects,
    views: BoxViews,
    has_middle: Tensor,
    cells_px: Tensor,
    stride: float,
    priors_hwl: Tensor,
    scene: SceneGeometry,
) -> BoxTruth:
    """Truth of P objects, each seen as `views` say and predicted at a place (P, 2) in pixels, wherever these are.

    Args:
        has_middle: (P,) the 3D box has an image point of its middle.
        priors_hwl: (C, 3) m. scene: camera and ground of each object.
    """
    boxes = with_area(objects.boxes_xyxy)
    prior = priors_hwl[objects.classes].float()
    wanted = encode(objects.boxes_xyxy, views, objects.rows[:, 3:6], cells_px, stride, prior, scene)
    solid, placed = objects.has_3d[:, None], (objects.has_3d & has_middle)[:, None]
    points = torch.cat([wanted.offset, wanted.bottom], dim=1)
    near = 1 / (points.abs() / NEAR_CELLS).clamp(min=1)  # far from its cell a point is known only in proportion
    at_bin, one, none = solid * wanted.bins, torch.ones_like(near), torch.zeros_like(near)
    # What an object without 3D box has there may be no number: it is not asked, not multiplied by 0.
    ask = [placed.expand(-1, 4), one > 0, none > 0, solid.expand(-1, 3), at_bin.new_zeros(at_bin.shape) > 0, at_bin > 0]
    rows = torch.cat([points, *(getattr(wanted, name) for name in ("ltrb", "depth", "log_std", "dims", "bins"))], dim=1)
    asked, rows = torch.cat(ask, dim=1), torch.cat([rows, wanted.residuals], dim=1)
    counted = torch.cat([asked, at_bin > 0, placed.expand(-1, 2), one[:, :1] > 0], dim=1)
    factors = torch.cat([near, torch.ones_like(rows[:, 4:]), -torch.ones_like(at_bin), one[:, :3]], dim=1)
    ground, K_inv = scene.ground, scene.cameras.K_inv
    axes, tilt = K_inv[:, :2, :2] * stride, ground.mean[:, 1:2]
    fall = axes[:, 1] - tilt * axes[:, 0]  # (P, 2)
    level = torch.ones_like(fall[:, 0])
    sides = torch.cat([cells_px - boxes[:, :2], boxes[:, 2:] - cells_px], dim=1) / stride
    return BoxTruth(
        rows=torch.where(asked, rows, 0.0),
        weights=torch.where(counted, factors, 0.0),
        sides=sides,
        area=(sides[:, :2] + sides[:, 2:]).prod(1),
        log_depth=torch.where(solid, views.log_depth[:, None], 0.0),
        log_scale=torch.stack(
            [depth_cues.log_depth_from_height(prior[:, 0], REFERENCE_PX, scene.cameras), ground.mean[:, 2]], dim=1
        ),
        slope=torch.stack([torch.zeros_like(fall), fall], dim=1),
        drop=torch.stack([level, ground.below(scene.cameras.normalize(cells_px))], dim=1),
        known=torch.stack([level > 0, ground.known], dim=1),
    )


def object_losses(predicted: Tensor, truth: BoxTruth) -> Tensor:
    """Sums over P objects of the losses `NAMES` of predictions (P, 39), rows of `RawBoxes`.

    box2d, dims and the residual of heading are absolute errors, offset too within `NEAR_CELLS`, from there on the
    logarithm; giou the loss of Rezatofighi et al., 2019; heading also the cross entropy of the bins; depth the
    negative log likelihood of a Laplace distribution, of each way that can be used.
    """
    rows = predicted.float()
    raw = RawBoxes.unpack(rows)
    error = (rows - truth.rows).abs()
    columns = [
        reduce_far(error[:, :_POINTS]), error[:, _POINTS:], raw.bins.log_softmax(-1), depth_nll(raw, truth),
        giou_loss(raw.ltrb, truth)[:, None],
    ]  # fmt: skip
    return upload(_GROUPS, rows.device).mv((torch.cat(columns, dim=1) * truth.weights).sum(0))


def reduce_far(error: Tensor, near: float = NEAR_CELLS) -> Tensor:
    """Absolute errors; from `near` on they grow by their logarithm.

    The middle of a truncated object may lie tens of cells away, where a cell more or less is nothing.
    """
    return error.clamp(max=near) + near * (error.clamp(min=near) / near).log()


def depth_nll(raw: RawBoxes, truth: BoxTruth) -> Tensor:
    """Negative log likelihood (P, 2) of the true log depth, Laplace; 0 for ways that cannot be used."""
    drop = torch.baddbmm(truth.drop[..., None], truth.slope, raw.bottom[..., None])[..., 0]
    usable = (drop > MIN_DROP) & truth.known
    log_depths = (truth.log_scale + raw.depth - drop.clamp(min=MIN_DROP).log()).clamp(*LOG_DEPTH_RANGE)
    log_std = raw.log_std.clamp(*LOG_STD_RANGE)
    nll = 2**0.5 * (log_depths - truth.log_depth).abs() * (-log_std).exp() + log_std
    return torch.where(usable, nll, 0.0)


def giou_loss(ltrb: Tensor, truth: BoxTruth) -> Tensor:
    """(P,) of boxes from the logarithms (P, 4) of the distances of their sides from the centre of the cell."""
    sides = ltrb.clamp(*LOG_SIDE_RANGE).exp()
    beyond = F.relu(sides - truth.sides)  # by which the predicted side lies farther out than the true one
    # Of what both cover, of what covers both, and of the prediction.
    extents = torch.stack([sides - beyond, truth.sides + beyond, sides])
    width, height = (extents[..., :2] + extents[..., 2:]).clamp(min=0).unbind(-1)  # (3, P)
    both, hull, own = (width * height).unbind()
    union = own + truth.area - both
    return 2 - both / union - union / hull
