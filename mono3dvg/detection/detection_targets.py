"""What the dense heads shall say, from labels.

Letters: B images, N sentences, C classes, P objects of all images that are not to be ignored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from d2road.structures.camera_batch import SceneGeometry, upright_frame
from d2road.structures.depth_cues import BoxViews, view_boxes
from d2road.utils.uploads import upload, upload_together
from mono3dvg.detection.labelled_candidates import home_cells
from mono3dvg.detection.objects import Objects, cat_objects
from mono3dvg.language.form_parts import PARTS
from mono3dvg.language.kleene import MAYBE

# A Gaussian reaches from its middle to about half way to the sides of the 2D box: at 0.54 / 6 of a side per deviation.
SIGMA_SHARE = 0.09
MIN_SIGMA = 1 / 3  # cells


@dataclass
class DenseTargets:
    """heat (B, C, Hf, Wf): 1 at the cells of objects, Gaussian around them. weight (B, Hf, Wf): 0 in ignored regions.
    gaussians (P, Hf, Wf) of the P objects. These are where the network is; all else stays with the host.

    Of the P objects: objects, image (P,), position (P,) among the objects of their image, cells (P,) and views. owns
    (P,): False where a nearer object is predicted at the same cell. has_middle (P,): the 3D box has an image point of
    its middle.
    """

    heat: Tensor
    weight: Tensor
    objects: Objects
    image: Tensor
    position: Tensor
    cells: Tensor
    views: BoxViews
    gaussians: Tensor
    owns: Tensor
    has_middle: Tensor


@torch.no_grad()
def dense_targets(
    objects: Sequence[Objects],
    scene: SceneGeometry,
    num_classes: int,
    map_hw: tuple[int, int],
    stride: float,
    ry_frame: str,
) -> DenseTargets:
    """Targets of `DenseHead` for B images.

    Args:
        objects: of each image, pixels of the network input; on the host, whom this does not keep waiting then.
        scene: camera and ground of each image, where the maps are wanted.
        map_hw: height and width of the map; stride: side of a cell in pixels.
        ry_frame: of the annotations, "camera" or "ground".
    """
    device, scene = scene.cameras.K.device, scene.on_host()
    joined, image, position = cat_objects(objects, scene.cameras.K.device)
    kept = ~joined.ignore
    weight = torch.ones(len(objects), *map_hw)
    for box, b in zip((joined.boxes_xyxy[~kept] / stride).tolist(), image[~kept].tolist()):
        x1, y1, x2, y2 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
        weight[b, max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 0
    joined, image, position = joined[kept], image[kept], position[kept]
    each = scene[image]
    views = view_boxes(joined.rows, each.cameras, upright_frame(scene, ry_frame)[image])
    has_middle = views.in_front & joined.has_3d
    cells = home_cells(joined, views.middle, has_middle, map_hw, stride)
    gaussians = draw_gaussians(cells, joined.boxes_xyxy, map_hw, stride, device)
    heat = torch.zeros(len(objects) * num_classes, *map_hw, device=device)
    layer = upload(image * num_classes + joined.classes, device)[:, None, None].expand_as(gaussians)
    heat = heat.scatter_reduce(0, layer, gaussians, "amax")
    return DenseTargets(
        heat=heat.unflatten(0, (len(objects), num_classes)),
        weight=upload(weight, device),
        objects=joined,
        image=image,
        position=position,
        cells=cells,
        views=views,
        gaussians=gaussians,
        owns=nearest_of_cell(image * map_hw[0] * map_hw[1] + cells, joined, views),
        has_middle=has_middle,
    )


def draw_gaussians(
    cells: Tensor, boxes_xyxy: Tensor, map_hw: tuple[int, int], stride: float, device: torch.device
) -> Tensor:
    """(P, Hf, Wf) bells on a device, 1 at their cell, as wide and high as the 2D boxes ask for.

    Source: Zhou et al., Objects as Points, 2019; elliptic as in Liu et al., Training-Time-Friendly Network, AAAI 2020.
    """
    height, width = map_hw
    sigma = ((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / stride * SIGMA_SHARE).clamp(min=MIN_SIGMA)
    column, row = cells % width, torch.div(cells, width, rounding_mode="floor")
    across = torch.arange(width, device=cells.device) - column[:, None]
    down = torch.arange(height, device=cells.device) - row[:, None]
    bell_x = torch.exp(-(across**2) / (2 * sigma[:, :1] ** 2))
    bell_y = torch.exp(-(down**2) / (2 * sigma[:, 1:] ** 2))
    bell_x, bell_y = upload_together((bell_x, bell_y), device)
    return bell_y[:, :, None] * bell_x[:, None, :]


def nearest_of_cell(keys: Tensor, objects: Objects, views: BoxViews) -> Tensor:
    """(P,) whether no other object with the same key (P,) is nearer: a cell can describe one object only."""
    # Without 3D box the lower edge of the 2D box must do: the lower, the nearer; all of them behind those with one.
    behind = torch.where(objects.has_3d, views.log_depth, 1e3 - 1e-2 * objects.boxes_xyxy[:, 3])
    order = torch.argsort(behind, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    same = keys[:, None] == keys
    return ~(same & (ranks[None, :] < ranks[:, None])).any(1)


def refer_targets(dense: DenseTargets, meant: Sequence[Tensor], images: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Targets of `ReferHead`.

    Args:
        meant: for each of N sentences the positions of its targets among the objects of its image, on the host.
        images: image of each sentence.
    Returns:
        target (N, Hf, Wf): Gaussians of the objects that are meant; others (N, Hf, Wf): of those that are not.
    """
    rows: list[list[int]] = [[] for _ in range(2 * len(meant))]
    places = list(zip(dense.image.tolist(), dense.position.tolist()))
    for n, (positions, b) in enumerate(zip(meant, images)):
        wanted = set(positions.tolist())
        for index, (image, position) in enumerate(places):
            if image == b:
                rows[2 * n + (position not in wanted)].append(index)
    return highest_of_rows(dense.gaussians, rows).unflatten(0, (-1, 2)).unbind(1)


def highest_of_rows(maps: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """For each list of indices into maps (P, Hf, Wf), from 0 on, the highest value at each place: (len(rows), Hf, Wf).

    0 for an empty list.
    """
    if maps.device.type == "cpu":
        empty = maps.new_zeros(maps.shape[1:])
        return torch.stack([maps[list(row)].amax(0) if row else empty for row in rows])
    # Few launches there: all at once, filled up with a map of zeros.
    most, count = max([len(row) for row in rows] + [1]), len(maps)
    index = torch.tensor([[*row, *[count] * (most - len(row))] for row in rows])
    return torch.cat([maps, maps.new_zeros(1, *maps.shape[1:])])[upload(index, maps.device)].amax(1)


def pad_positions(meant: Sequence[Tensor], device: torch.device) -> Tensor:
    """Positions (T_n,) of N sentences side by side, (N, T) on a device, filled up with -1; T is 1 at least."""
    padded = pad_sequence([F.pad(positions, (0, 1), value=-1) for positions in meant], True, -1)
    return upload(padded, device)


def relation_targets(matched: Tensor, meant: Sequence[Tensor], image_of: Tensor) -> Tensor:
    """(N, K) whether each candidate of a sentence is meant.

    Args:
        matched: (B, K) position of the object that a candidate is, below 0 for none.
        meant: as for `refer_targets`; image_of: (N,) image of each sentence.
    """
    own = matched[image_of]
    if not len(meant):
        return own >= 0
    wanted = pad_positions(meant, own.device)
    return (own[:, :, None] == wanted[:, None]).any(2) & (own >= 0)


def part_targets(matched: Tensor, parts: Sequence[Tensor | None], image_of: Tensor) -> Tensor:
    """(N, K, P) int8 what the parts of each sentence say of its candidates; MAYBE where that is not known.

    Args:
        parts: (P, M) of each sentence over the objects of its image, or None.
        matched, image_of: as for `relation_targets`; padding may be of any position.
    """
    most = max([known.shape[1] for known in parts if known is not None] + [1])
    table = torch.full((len(parts), most + 1, len(PARTS)), int(MAYBE), dtype=torch.int8)
    for row, known in zip(table, parts):
        if known is not None:
            row[: known.shape[1]] = known.to(row).T
    own = matched[image_of]
    own = torch.where((own >= 0) & (own < most), own, most)  # the last says MAYBE of all
    return upload(table, matched.device).gather(1, own[..., None].expand(-1, -1, len(PARTS)))
