"""Hand-made relation features: geometry of candidates, of pairs of them, and orders among them.

With `color_features` they are what the relation layer knows beside fused image features and words. Two tables,
`UNARY_FEATURES` and `PAIRWISE_FEATURES`, name each with its scale and its function; a feature is function / scale,
through tanh where the table says so, and the lengths follow from the tables.

Some scales mirror the generator of sentences (`mono3dvg.language`), which decides what a sentence means by thresholds
of its own: a feature that turns at a threshold lets few sentences suffice to learn the word. They are

    longer_than_large      6.5 m, the middle of `SMALL_TO_M` and `LARGE_FROM_M`
    image_sides            the middles of the limits of "left", "middle" and "right" of `place`: 0.39 and 0.61
    right_of_middle, right_of_box, left_of_box
                           0.02 of the image's width, the margin of `rank` by side and about that of left_of, right_of
    box_gap                3 m, the middle of the limits 2.5 m and 4 m of next_to
    deviation, deviation_seen
                           3 m, about the lane's width within which something is behind or in front
    deviation_ratio, deviation_ratio_seen
                           the tangent of the angle off that line, which "behind" and "in front" bound at 0.5
    lateral_lanes          1.5 m, about half a lane

and the margins in `compute_orders`. On sentences that people wrote these limits are guesses; the other scales only
bring numbers to about 1. Letters: B images, K candidates, F unary features, G pairwise features, R keys of an order,
C classes, L attributes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from d2road.structures.camera_batch import SceneGeometry, upright_frame
from d2road.structures.tensor_record import TensorRecord
from d2road.utils.uploads import upload
from mono3dvg.detection.candidates import Candidates
from mono3dvg.language.logical_forms import RANK_KEYS
from mono3dvg.relation.color_features import NUM_COLOR_FEATURES, color_features

_DISTANCES_M = (6.0, 8.0, 10.0, 12.5, 15.0, 18.0, 21.0, 25.0, 30.0, 36.0, 43.0, 52.0, 62.0, 75.0, 90.0)
_IMAGE_SIDES = (0.25, 0.39, 0.5, 0.61, 0.75)  # shares of the width
_MAX_PAIRWISE = 4.0


@dataclass
class RelationFeatures(TensorRecord):
    """Features of candidates: unary (B, K, F + C + L), with the C class probabilities and the L attributes at the end;
    pairwise (B, K, K, G): pairwise[:, i, j] is how j lies to i.

    precedes (B, K, K, R): from 0 to 1 whether j comes before i in the order of each of `RANK_KEYS`. offset_m
    (B, K, K, 2): from i to j over the ground; distance_m (B, K) from the camera; valid (B, K).
    """

    unary: Tensor
    pairwise: Tensor
    precedes: Tensor
    offset_m: Tensor
    distance_m: Tensor
    valid: Tensor


@dataclass
class CandidateGeometry:
    """What unary features are functions of.

    position, heading, ray (B, K, 2): over the ground, x to the right and z ahead, m; unit vectors. distance (B, K) m.
    dims (B, K, 3): h, w, l, m. box (B, K, 4): xyxy in shares of the image. heat, std (B, K): of the detection.
    """

    position: Tensor
    heading: Tensor
    ray: Tensor
    distance: Tensor
    dims: Tensor
    box: Tensor
    heat: Tensor
    std: Tensor

    @cached_property
    def u(self) -> Tensor:
        """(B, K) middle of the box from left to right, share of the image."""
        return (self.box[..., 0] + self.box[..., 2]) / 2

    @cached_property
    def v(self) -> Tensor:
        """(B, K) middle of the box from top to bottom."""
        return (self.box[..., 1] + self.box[..., 3]) / 2

    @cached_property
    def heading_to_right(self) -> Tensor:
        """(B, K) sine of the heading against the line of sight."""
        return cross(self.heading, self.ray)


class PairGeometry:
    """What pairwise features are functions of: candidate j (third axis) as it lies to i (second axis), all (B, K, K).

    `along` and `aside`: how far j lies along and beside the line of sight through i, to either side, `ratio` how much
    farther beside than along it; `along_seen`, `aside_seen` and `ratio_seen`: i and the line of sight through j.
    """

    def __init__(self, one: CandidateGeometry, offset: Tensor):
        self.offset, self.distance_ground = offset, offset.norm(dim=-1)
        ray = one.ray[:, :, None]  # of i
        self.along, self.aside = (offset * ray).sum(-1), cross(offset, ray).abs()
        self.ratio = self.aside / self.along.abs().clamp(min=0.5)
        self.along_seen, self.aside_seen, self.ratio_seen = (
            of_i.transpose(1, 2) for of_i in (self.along, self.aside, self.ratio)
        )
        self.farther = difference(one.distance)
        self.right = difference(one.u)
        self.past_right = one.box[:, None, :, 0] - one.u[:, :, None]  # left side of j past the middle of i
        self.past_left = one.u[:, :, None] - one.box[:, None, :, 2]
        self.longer, self.taller = difference(one.dims[..., 2]), difference(one.dims[..., 0])
        length, width = (one.dims[:, None, :, a] + one.dims[:, :, None, a] for a in (2, 1))
        self.reach = length / 4 + width / 4
        self.direction = offset / self.distance_ground.clamp(min=0.1)[..., None]
        # By how many lanes j drives beside i, and whether it goes the same way.
        self.lateral = cross(one.heading[:, :, None], offset)
        self.same_heading = (one.heading[:, :, None] * one.heading[:, None]).sum(-1)
        self.self_pair = torch.eye(offset.shape[1], device=offset.device).expand_as(self.distance_ground)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """(...) cross product of vectors (..., 2) over the ground."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def difference(values: Tensor) -> Tensor:
    """(B, K) -> (B, K, K): the value of j (third axis) less that of i."""
    return values[:, None] - values[:, :, None]


def constants(values: tuple[float, ...], beside: Tensor) -> Tensor:
    """Numbers (V,) of the type of a tensor and on its device."""
    return upload(torch.tensor(values, dtype=beside.dtype), beside.device)


class Feature(NamedTuple):
    """A hand-made feature: function(geometry) / scale, through tanh if it is `bounded`; of several columns if `width`
    says so."""

    name: str
    scale: float
    function: Callable[..., Tensor]
    bounded: bool = False
    width: int = 1


UNARY_FEATURES = (
    Feature("heading_along", 1.0, lambda g: (g.heading * g.ray).sum(-1)),
    Feature("heading_to_right", 1.0, lambda g: g.heading_to_right),
    Feature("log_distance", 2.0, lambda g: g.distance.log() - 3),
    Feature("distance", 50.0, lambda g: g.distance),
    Feature("x", 20.0, lambda g: g.position[..., 0]),
    Feature("z", 50.0, lambda g: g.position[..., 1]),
    Feature("u", 0.5, lambda g: g.u - 0.5),
    Feature("v", 0.5, lambda g: g.v - 0.5),
    Feature("box_width", 0.25, lambda g: g.box[..., 2] - g.box[..., 0]),
    Feature("box_height", 0.25, lambda g: g.box[..., 3] - g.box[..., 1]),
    Feature("log_dims", 1.0, lambda g: g.dims.log(), width=3),
    Feature("heat", 1.0, lambda g: g.heat),
    Feature("depth_std", 1.0, lambda g: g.std),
    Feature("longer_than_large", 1.0, lambda g: g.dims[..., 2] - 6.5, bounded=True),
    Feature("crossing_speed", 20.0, lambda g: g.heading_to_right * g.distance.clamp(max=100)),
    # About as finely as people tell distances apart, in proportion.
    Feature(
        "distance_steps", 0.1, lambda g: (g.distance[..., None] / constants(_DISTANCES_M, g.distance)).log(),
        bounded=True, width=len(_DISTANCES_M),
    ),
    Feature(
        "image_sides", 0.05, lambda g: g.u[..., None] - constants(_IMAGE_SIDES, g.u), bounded=True,
        width=len(_IMAGE_SIDES),
    ),
)  # fmt: skip

PAIRWISE_FEATURES = (
    Feature("right_of_middle", 0.02, lambda p: p.right, bounded=True),
    Feature("right_coarse", 0.2, lambda p: p.right, bounded=True),
    Feature("right_of_box", 0.02, lambda p: p.past_right, bounded=True),
    Feature("left_of_box", 0.02, lambda p: p.past_left, bounded=True),
    Feature("farther", 1.0, lambda p: p.farther, bounded=True),
    Feature("farther_coarse", 10.0, lambda p: p.farther, bounded=True),
    Feature("longer", 1.0, lambda p: p.longer, bounded=True),
    Feature("taller", 0.4, lambda p: p.taller, bounded=True),
    Feature("box_gap", 2.0, lambda p: p.distance_ground - p.reach - 3, bounded=True),
    Feature("apart_near", 5.0, lambda p: p.distance_ground, bounded=True),
    Feature("apart_far", 25.0, lambda p: p.distance_ground, bounded=True),
    Feature("log_apart", 2.0, lambda p: (p.distance_ground + 1).log() - 2),
    Feature("behind", 3.0, lambda p: p.along, bounded=True),
    Feature("deviation", 3.0, lambda p: p.aside, bounded=True),
    Feature("deviation_ratio", 1.0, lambda p: p.ratio, bounded=True),
    Feature("in_front", 3.0, lambda p: p.along_seen, bounded=True),
    Feature("deviation_seen", 3.0, lambda p: p.aside_seen, bounded=True),
    Feature("deviation_ratio_seen", 1.0, lambda p: p.ratio_seen, bounded=True),
    Feature("direction", 1.0, lambda p: p.direction, width=2),
    Feature("offset", 20.0, lambda p: p.offset, width=2),
    Feature("is_itself", 1.0, lambda p: p.self_pair),
    Feature("lateral_lanes", 1.5, lambda p: p.lateral, bounded=True),
    Feature("lateral_coarse", 6.0, lambda p: p.lateral, bounded=True),
    Feature("same_heading", 1.0, lambda p: p.same_heading),
)

NUM_UNARY_FEATURES = sum(feature.width for feature in UNARY_FEATURES) + NUM_COLOR_FEATURES
NUM_PAIRWISE_FEATURES = sum(feature.width for feature in PAIRWISE_FEATURES)


def evaluate_features(table: tuple[Feature, ...], geometry: CandidateGeometry | PairGeometry) -> Tensor:
    """All features of a table, one after the other along a last axis."""
    columns = [(feature.function(geometry), feature.width) for feature in table]
    values = torch.cat([value if width > 1 else value[..., None] for value, width in columns], dim=-1)
    scale = constants(tuple(feature.scale for feature in table for _ in range(feature.width)), values)
    bounded = torch.tensor([feature.bounded for feature in table for _ in range(feature.width)])
    scaled = values / scale
    return torch.where(upload(bounded, values.device), torch.tanh(scaled), scaled)


def column_of(table: tuple[Feature, ...], name: str) -> int:
    """Where a feature's (first) column is.

    Raises:
        KeyError: the table has no feature of this name.
    """
    start = 0
    for feature in table:
        if feature.name == name:
            return start
        start += feature.width
    raise KeyError(name)


@torch.no_grad()
def compute_relation_features(
    found: Candidates,
    scene: SceneGeometry,
    sizes_hw: Tensor,
    ry_frame: str,
    images: Tensor | None = None,
    image_of: Tensor | None = None,
) -> RelationFeatures:
    """Relation features of the candidates of B images, once for all sentences.

    Positions are over the ground, x to the right and z ahead of the camera, from the point below it; without a plane
    they are the camera's. All is centred and scaled to about 1, and bounded: padding and wild predictions do no harm.

    Args:
        scene: camera and ground of each image.
        sizes_hw: (B, 2) height and width of the unpadded images, pixels.
        ry_frame: of the annotations, "camera" or "ground".
        images: (B, 3, H, W) colours from 0 to 1; None if there are no pixels, where all colour features are 0.
        image_of: (B,) the one of `images` that each row of the candidates is of; None where row b is of image b.
    """
    level = scene.ground.frame()  # (B, 3, 3)
    rows = found.rows.float()
    position = (rows[..., :3] @ level[..., ::2]).clamp(-500.0, 500.0)
    turned, upright = torch.stack([rows[..., 6].cos(), -rows[..., 6].sin()], dim=-1), upright_frame(scene, ry_frame)
    if upright is not level:
        turned = turned @ (upright.transpose(1, 2) @ level)[:, ::2, ::2]
    heading = F.normalize(turned, dim=-1)
    distance = position.norm(dim=-1).clamp(min=1e-3)
    size = sizes_hw.to(rows).flip(-1).repeat(1, 2)[:, None]  # (B, 1, 4) w h w h
    geometry = CandidateGeometry(
        position=position,
        heading=heading,
        ray=position / distance[..., None],
        distance=distance,
        dims=rows[..., 3:6].clamp(0.1, 40.0),
        box=(found.boxes_xyxy.float() / size).clamp(-0.5, 1.5),
        heat=found.heat.float(),
        std=found.std.float(),
    )
    if images is None:
        colors = rows.new_zeros(*rows.shape[:2], NUM_COLOR_FEATURES)
    else:
        colors = color_features(found.boxes_xyxy, images, image_of)
    # 1 or -1 where an attribute is known, 0 where nothing is known of it.
    traits = [found.class_probs.float()]
    if found.attributes.shape[-1]:  # a graph takes a width of 0 for one that is to be kept
        traits.append(2 * found.attributes.float() - 1)
    offset = position[:, None] - position[:, :, None]  # (B, K, K, 2), from i to j
    return RelationFeatures(
        unary=torch.cat([evaluate_features(UNARY_FEATURES, geometry), colors, *traits], dim=-1),
        pairwise=evaluate_features(PAIRWISE_FEATURES, PairGeometry(geometry, offset)).clamp(
            -_MAX_PAIRWISE, _MAX_PAIRWISE
        ),
        precedes=compute_orders(geometry),
        offset_m=offset,
        distance_m=distance,
        valid=found.valid,
    )


def compute_orders(one: CandidateGeometry) -> Tensor:
    """(B, K, K, R) soft order by each of `RANK_KEYS`; as sharp as differences that people see."""
    values = torch.stack([one.distance, one.u, -one.dims[..., 2], -one.dims[..., 0]], dim=-1)  # (B, K, 4)
    # A quarter of what people see, which is where the logistic function is 4 times as far.
    grown, fixed = constants((0.0025, 0.0, 0.0, 0.0), values), constants((0.075, 0.002, 0.1, 0.0375), values)
    margins = one.distance[..., None] * grown + fixed
    # Whether the value of j (third axis) is less than that of i.
    apart = (values[:, :, None] - values[:, None]) / (margins[:, :, None] + margins[:, None])
    near, left, long, tall = torch.sigmoid(apart).unbind(-1)
    more = {"near": near, "left": left, "long": long, "tall": tall, "far": 1 - near, "right": 1 - left}
    return torch.stack([more[key] for key in RANK_KEYS], dim=-1)
