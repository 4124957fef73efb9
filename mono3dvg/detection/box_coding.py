"""Between boxes in metres and the numbers that the dense head predicts at a cell of its map; `decode` undoes `encode`.

Letters: P objects of any images, each with its own camera, ground and frame in which it stands upright.

    offset   projected middle of the 3D box, from the centre of the cell, in cells
    bottom   projected bottom centre, from the centre of the cell, in cells
    ltrb     log of the distances of the sides of the 2D box from the centre of the cell, in cells
    depth    of the bottom centre, two ways: "direct", log z = log(fy h / REFERENCE_PX) + r with the mean height h of
             the class; "plane", the ray through the bottom centre meets the ground, z exp(r)
    dims     log ratio of h, w, l to the class mean
    heading  against the ray through the bottom centre, about the upright axis; see d2road.structures.headings
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from d2road.structures import depth_cues
from d2road.structures.camera_batch import MIN_DROP, Cameras, SceneGeometry
from d2road.structures.depth_cues import BoxViews
from d2road.structures.headings import NUM_BINS, decode_heading, encode_heading
from d2road.structures.tensor_record import TensorRecord

BRANCHES = ("direct", "plane")
REFERENCE_PX = 40.0
MIN_SIDE = 0.02  # cells; a cell that lies outside its 2D box (occluded boxes of some data) has no log distance
LOG_SIDE_RANGE = (-4.0, 6.5)
LOG_DEPTH_RANGE = (-2.0, 7.0)  # 0.14 m to 1.1 km
LOG_STD_RANGE = (-4.0, 1.0)  # 2 % to 3 times: a surer head would drown its other losses
_UNUSABLE_VAR = 1e4


@dataclass
class RawBoxes(TensorRecord):
    """What the head says at P cells.

    offset, bottom (P, 2). ltrb (P, 4). depth, log_std (P, 2) by BRANCHES. dims (P, 3). bins, residuals (P, 12).
    """

    offset: Tensor
    bottom: Tensor
    ltrb: Tensor
    depth: Tensor
    log_std: Tensor
    dims: Tensor
    bins: Tensor
    residuals: Tensor

    SIZES = (2, 2, 4, 2, 2, 3, NUM_BINS, NUM_BINS)

    @staticmethod
    def unpack(rows: Tensor) -> "RawBoxes":
        """(P, sum of SIZES) -> fields, in single precision."""
        return RawBoxes(*rows.float().split(RawBoxes.SIZES, dim=-1))


def place_boxes(
    bottom: Tensor, log_depth: Tensor, dims: Tensor, alpha: Tensor, cameras: Cameras, frame: Tensor
) -> Tensor:
    """Rows (P, 7) of boxes from bottom centre (P, 2) in pixels, log depth (P,), h, w, l (P, 3) and alpha (P,)."""
    location, ry = depth_cues.place_boxes(cameras.normalize(bottom), log_depth, alpha, cameras, frame)
    ry = torch.remainder(ry + torch.pi, 2 * torch.pi) - torch.pi
    return torch.cat([location, dims, ry[:, None]], dim=1)


@dataclass
class Decoded:
    """P predicted boxes: boxes_xyxy (P, 4) pixels, bottom (P, 2) pixels, log_depths, vars (P, 2) by BRANCHES,
    usable (P, 2), log_depth, std (P,) fused, dims (P, 3) m, alpha (P,)."""

    boxes_xyxy: Tensor
    bottom: Tensor
    log_depths: Tensor
    vars: Tensor
    usable: Tensor
    log_depth: Tensor
    std: Tensor
    dims: Tensor
    alpha: Tensor


def decode(raw: RawBoxes, cells_px: Tensor, stride: float, prior_hwl: Tensor, scene: SceneGeometry) -> Decoded:
    """Give the head's numbers their meaning.

    Args:
        raw: at P cells.
        cells_px: (P, 2) centres of the cells, pixels of the network input.
        stride: side of a cell, pixels.
        prior_hwl: (P, 3) mean sizes of each row's class, m.
        scene: one camera and ground a row.
    """
    log_sides = raw.ltrb.clamp(*LOG_SIDE_RANGE)
    sides = log_sides.exp() * stride
    bottom = cells_px + raw.bottom * stride
    log_depths, usable, shared = _depths(raw, bottom, prior_hwl, scene)
    own = (2 * raw.log_std.clamp(*LOG_STD_RANGE)).exp()
    own = own if shared is None else own + shared
    weights = torch.where(usable, 1 / own, 1 / _UNUSABLE_VAR)
    total = weights.sum(1)
    return Decoded(
        boxes_xyxy=torch.cat([cells_px - sides[:, :2], cells_px + sides[:, 2:]], dim=1),
        bottom=bottom,
        log_depths=log_depths,
        vars=own,
        usable=usable,
        log_depth=(weights * log_depths).sum(1) / total,
        std=total.rsqrt(),
        dims=depth_cues.decode_dimensions(raw.dims, prior_hwl),
        alpha=decode_heading(raw.bins, raw.residuals),
    )


def decode_rows(
    raw: RawBoxes, cells_px: Tensor, stride: float, prior_hwl: Tensor, scene: SceneGeometry, frame: Tensor
) -> tuple[Decoded, Tensor]:
    """`decode`, and the rows (P, 7) of the boxes that stand upright in frames (P, 3, 3)."""
    found = decode(raw, cells_px, stride, prior_hwl, scene)
    return found, place_boxes(found.bottom, found.log_depth, found.dims, found.alpha, scene.cameras, frame)


def _depths(
    raw: RawBoxes, bottom: Tensor, prior_hwl: Tensor, scene: SceneGeometry
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log depths, whether each way can be used, and variance that uncertain grounds add, if they do: all (P, 2)."""
    xy, ground = scene.cameras.normalize(bottom), scene.ground
    direct = depth_cues.log_depth_from_height(prior_hwl[:, 0], REFERENCE_PX, scene.cameras)
    below = ground.below(xy)
    usable = ground.known & (below > MIN_DROP)
    plane = ground.mean[:, 2] - below.clamp(min=MIN_DROP).log()
    log_depths = (torch.stack([direct, plane], dim=1) + raw.depth).clamp(*LOG_DEPTH_RANGE)
    usable = torch.stack([torch.ones_like(usable), usable], dim=1)
    if ground.exact:
        return log_depths, usable, None
    ground_var = depth_cues.variance_from_ground(ground.depth_jacobian(xy), ground.var)
    return log_depths, usable, torch.stack([torch.zeros_like(ground_var), ground_var], dim=1)


def encode(
    boxes_xyxy: Tensor,
    views: BoxViews,
    dims: Tensor,
    cells_px: Tensor,
    stride: float,
    prior_hwl: Tensor,
    scene: SceneGeometry,
) -> RawBoxes:
    """What a perfect head says: inverse of `decode`; deviations and bin logits are those of certainty.

    Args:
        boxes_xyxy: (P, 4), views and dims (P, 3) of the true boxes.
        cells_px, stride, prior_hwl, scene: as for `decode`.
    """
    sides = torch.cat([cells_px - boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - cells_px], dim=1) / stride
    xy = scene.cameras.normalize(views.bottom)
    corrections = [
        views.log_depth - depth_cues.log_depth_from_height(prior_hwl[:, 0], REFERENCE_PX, scene.cameras),
        views.log_depth - depth_cues.log_depth_on_ground(xy, scene.ground),
    ]
    bins, residual = encode_heading(views.alpha)
    return RawBoxes(
        offset=(views.middle - cells_px) / stride,
        bottom=(views.bottom - cells_px) / stride,
        ltrb=sides.clamp(min=MIN_SIDE).log(),
        depth=torch.stack(corrections, dim=1),
        log_std=torch.full_like(sides[:, :2], LOG_STD_RANGE[0]),
        dims=depth_cues.encode_dimensions(dims, prior_hwl),
        bins=torch.nn.functional.one_hot(bins, NUM_BINS).to(dims.dtype),
        residuals=residual[:, None].expand(-1, NUM_BINS),
    )
