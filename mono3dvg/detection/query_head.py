"""The alternative to the relation layer: queries, which start at the peaks of the dense head, look at map and words of
each sentence, mend class and box, and say which are meant.

Queries that start anywhere find nothing before many thousand steps. Letters: B images, N sentences, Q queries, D width,
L cells that queries attend to, C classes, M objects, P matched queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from d2road.structures.boxes2d import iou_and_giou
from d2road.structures.camera_batch import SceneGeometry
from d2road.structures.depth_cues import view_boxes
from d2road.structures.tensor_record import TensorRecord
from mono3dvg.detection.box_coding import LOG_SIDE_RANGE, RawBoxes, place_boxes
from mono3dvg.detection.box_coding import decode as decode_boxes
from mono3dvg.detection.candidates import Candidates, cells_to_pixels, compact, with_area
from mono3dvg.detection.dense_head import RawMaps, gather_each, prior_bias
from mono3dvg.detection.detection_losses import Mean, as_they_are, losses_2d, losses_3d
from mono3dvg.detection.objects import Objects, cat_objects, upright_frame


@dataclass
class Proposals(TensorRecord):
    """Where queries start, and what the dense head says there: cells (B, Q), heat (B, Q, C) logits, regression
    (B, Q, R) for `RawBoxes.unpack`, valid (B, Q) False for padding."""

    cells: Tensor
    heat: Tensor
    regression: Tensor
    valid: Tensor

    @staticmethod
    def of(raw: RawMaps, peaks: Candidates) -> "Proposals":
        """The peaks of B images; what queries learn does not reach back."""
        heat, regression = gather_each(raw.heat, peaks.cells), gather_each(raw.regression, peaks.cells)
        return Proposals(peaks.cells, heat.detach(), regression.detach(), peaks.valid)


@dataclass
class RawQueries:
    """Outputs of a decoder stage: cells (N, Q) whose centres the numbers refer to, heat (N, Q, C) and referral (N, Q)
    logits, regression (N, Q, R) for `RawBoxes.unpack`, valid (N, Q) False for padding."""

    cells: Tensor
    heat: Tensor
    referral: Tensor
    regression: Tensor
    valid: Tensor


class QueryStage(nn.Module):
    """Queries look at each other, at the words and at the map around their places."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.among = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.read = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.query, self.key_value, self.output = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        # Each head looks around the place of its query, at a distance and as far as it likes.
        self.aim = nn.Linear(dim, 3 * heads)
        nn.init.zeros_(self.aim.weight)
        angle = torch.arange(heads) * (2 * torch.pi / heads)
        start = torch.stack([angle.cos() * 0.03, angle.sin() * 0.03, torch.full_like(angle, -2.0)], dim=-1)
        self.aim.bias.data = start.flatten()
        self.feed = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))

    def forward(
        self,
        state: Tensor,
        unseen: Tensor,
        where: Tensor,
        places: Tensor,
        words: Tensor,
        unread: Tensor,
        map_: "MapCells",
    ) -> Tensor:
        """state, where (N, Q, D): queries and what tells their places (N, Q, 2) in shares of the image; unseen (N, Q),
        unread (N, T): queries and words that are padding."""
        x = self.norms[0](state)
        state = state + self.among(x + where, x + where, x, key_padding_mask=unseen, need_weights=False)[0]
        x = self.norms[1](state)
        state = state + self.read(x, words, words, key_padding_mask=unread, need_weights=False)[0]
        state = state + self._look(self.norms[2](state) + where, places, map_)
        return state + self.feed(self.norms[3](state))

    def _look(self, x: Tensor, places: Tensor, map_: "MapCells") -> Tensor:
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.key_value(map_.features).chunk(2, dim=-1)
        )
        aim = self.aim(x).unflatten(-1, (self.heads, 3)).transpose(1, 2)  # (N, H, Q, 3)
        center = places[:, None] + aim[..., :2]
        away = (center[..., None, :] - map_.places[:, None, None]).square().sum(-1)  # (N, H, Q, L)
        nearness = -away / (2 * (2 * aim[..., 2:].clamp(-5.0, 1.0)).exp())
        nearness = nearness.masked_fill(~map_.covered[:, None, None], -1e4)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=nearness.to(q.dtype))
        return self.output(seen.transpose(1, 2).flatten(2))


@dataclass
class MapCells:
    """Cells of the fused maps: features (N, L, D), places (N, L, 2) in shares of the image, covered (N, L)."""

    features: Tensor
    places: Tensor
    covered: Tensor


class QueryHead(nn.Module):
    """A decoder over fused maps and words.

    Args:
        dim: channels of map and words.
        stages: decoder stages, each supervised.
        pool: side of the squares of cells that are averaged before the queries attend to them.
        stride: side of a cell, pixels.
    """

    def __init__(self, *, dim: int, num_classes: int, stride: float, stages: int = 3, heads: int = 4, pool: int = 2):
        super().__init__()
        self.stride, self.pool, self.num_classes = stride, pool, num_classes
        self.start = nn.Linear(dim + num_classes, dim)
        self.where = nn.Linear(4 * 16, dim)
        self.stages = nn.ModuleList(QueryStage(dim, heads) for _ in range(stages))
        self.norm = nn.LayerNorm(dim)
        # Changes of what the dense head says, and the referral.
        self.output = nn.Linear(dim, num_classes + 1 + sum(RawBoxes.SIZES))
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)
        self.output.bias.data[num_classes] = prior_bias(0.1)

    def forward(
        self, fused: Tensor, words: Tensor, mask: Tensor, sizes_hw: Tensor, proposals: Proposals
    ) -> list[RawQueries]:
        """Outputs of every stage.

        Args:
            fused: (N, D, Hf, Wf), words (N, T, D), mask (N, T) True for words.
            sizes_hw: (N, 2) height and width of the unpadded images, pixels.
            proposals: of the image of each sentence.
        """
        size_wh = sizes_hw.to(fused).flip(-1)
        cells = self._cells(fused, size_wh)
        unread = ~(mask | ~mask.any(1, keepdim=True))
        unseen = ~(proposals.valid | ~proposals.valid.any(1, keepdim=True))
        known = torch.cat([gather_each(fused, proposals.cells), proposals.heat.sigmoid().to(fused)], dim=-1)
        state = self.start(known)
        places = cells_to_pixels(proposals.cells, fused.shape[-1], self.stride).to(fused) / size_wh[:, None]
        where = self.where(sine_code(places))
        outputs, sizes = [], [self.num_classes, 1, sum(RawBoxes.SIZES)]
        for stage in self.stages:
            state = stage(state, unseen, where, places, words, unread, cells)
            heat, referral, regression = self.output(self.norm(state)).split(sizes, dim=-1)
            said = (proposals.heat + heat, referral[..., 0], proposals.regression + regression)
            outputs.append(RawQueries(proposals.cells, *said, proposals.valid))
        return outputs

    def _cells(self, fused: Tensor, size_wh: Tensor) -> MapCells:
        pooled = F.avg_pool2d(fused, self.pool, ceil_mode=True, count_include_pad=False)
        height, width = pooled.shape[2:]
        side = self.stride * self.pool
        u = (torch.arange(width, device=fused.device) + 0.5) * side
        v = (torch.arange(height, device=fused.device) + 0.5) * side
        pixels = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1).flatten(0, 1)
        places = pixels / size_wh[:, None]
        covered = (places < 1 + side / 2 / size_wh[:, None]).all(-1)
        where = self.where(sine_code(places))
        return MapCells(pooled.flatten(2).transpose(1, 2) + where, places, covered)


def sine_code(places: Tensor) -> Tensor:
    """(..., 2) in shares of the image -> (..., 64) sines and cosines."""
    waves = 2 ** torch.linspace(0, 6, 16, device=places.device) * torch.pi
    turned = places[..., None] * waves  # (..., 2, 16)
    return torch.cat([turned.sin(), turned.cos()], dim=-1).flatten(-2)


@dataclass
class Setting:
    """What the numbers of N sentences are about: scene of each sentence's image, sizes_hw (N, 2) of it without padding,
    pixels; map_width and stride of the maps; priors_hwl (C, 3) m; ry_frame, "camera" or "ground"."""

    scene: SceneGeometry
    sizes_hw: Tensor
    map_width: int
    stride: float
    priors_hwl: Tensor
    ry_frame: str

    def centers(self, cells: Tensor) -> Tensor:
        """(...) cells -> (..., 2) pixels."""
        return cells_to_pixels(cells, self.map_width, self.stride)


def decode(raw: RawQueries, setting: Setting, threshold: float = 0.05) -> tuple[Candidates, Tensor]:
    """Candidates of N sentences and the logits (N, K) of being meant, best detected first."""
    count, queries = raw.referral.shape
    probs = raw.heat.float().sigmoid()
    heat, classes = probs.max(-1)
    each = setting.scene[torch.arange(count, device=heat.device).repeat_interleave(queries)]
    decoded = decode_boxes(
        RawBoxes.unpack(raw.regression.flatten(0, 1)), setting.centers(raw.cells.flatten()), setting.stride,
        setting.priors_hwl[classes.flatten()].float(), each,
    )  # fmt: skip
    frame = upright_frame(each, setting.ry_frame)
    rows = place_boxes(decoded.bottom, decoded.log_depth, decoded.dims, decoded.alpha, each.cameras, frame)
    limits = setting.sizes_hw.to(rows).flip(-1).repeat(1, 2)[:, None]
    found = Candidates(
        boxes_xyxy=decoded.boxes_xyxy.unflatten(0, (count, queries)).clamp(min=0).minimum(limits),
        rows=rows.unflatten(0, (count, queries)),
        classes=classes,
        class_probs=probs,
        looks=probs[..., :0],
        heat=heat,
        std=decoded.std.unflatten(0, (count, queries)),
        cells=raw.cells,
        valid=raw.valid & (heat > threshold),
    )
    order = torch.where(raw.valid, heat, -heat.new_ones(())).argsort(dim=1, descending=True)
    found, logits = found.take(order), raw.referral.gather(1, order)
    found = compact(found, found.valid)
    return found, logits[:, : found.valid.shape[1]]


@torch.no_grad()
def match_queries(raw: RawQueries, objects: Sequence[Objects], setting: Setting) -> list[tuple]:
    """Hungarian matching of queries to all objects of each sentence's image, whether meant or not.

    Returns:
        for each sentence the queries and the objects of the pairs, index tensors.
    Source: Carion et al., End-to-End Object Detection with Transformers, ECCV 2020; focal class cost of Zhu et al.,
    Deformable DETR, ICLR 2021; weights 2, 5, 2.
    """
    said = RawBoxes.unpack(raw.regression)
    sides = said.ltrb.clamp(*LOG_SIDE_RANGE).exp() * setting.stride
    places = setting.centers(raw.cells)
    boxes = torch.cat([places - sides[..., :2], places + sides[..., 2:]], dim=-1)
    size = setting.sizes_hw.to(boxes).flip(-1).repeat(1, 2)
    pairs = []
    for n, labels in enumerate(objects):
        prob = raw.heat[n].float().sigmoid()[:, labels.classes]  # (Q, M)
        cost = 0.25 * (1 - prob) ** 2 * -prob.clamp(min=1e-8).log() - 0.75 * prob**2 * -(1 - prob).clamp(min=1e-8).log()
        cost = 2 * cost + 5 * torch.cdist(boxes[n] / size[n], labels.boxes_xyxy.float() / size[n], p=1)
        cost = cost - 2 * iou_and_giou(with_area(boxes[n])[:, None], with_area(labels.boxes_xyxy.float())[None])[1]
        there = torch.where(raw.valid[n])[0]
        rows, columns = linear_sum_assignment(cost[there].nan_to_num(1e4, 1e4, -1e4).cpu().numpy())
        rows, columns = (torch.as_tensor(part, device=boxes.device) for part in (rows, columns))
        pairs.append((there[rows], columns))
    return pairs


def query_losses(
    outputs: Sequence[RawQueries],
    objects: Sequence[Objects],
    meant: Sequence[Tensor],
    setting: Setting,
    mean: Mean = as_they_are,
) -> dict[str, Tensor]:
    """Losses by name, summed over the stages: heat, refer, box2d, giou, offset, depth, dims, heading.

    Args:
        objects: of each sentence's image, none to be ignored; meant: positions of the targets among them.
    """
    totals: dict[str, Tensor] = {}
    for raw in outputs:
        for name, value in _stage_losses(raw, objects, meant, setting, mean).items():
            totals[name] = totals.get(name, 0) + value
    return totals


def _stage_losses(
    raw: RawQueries, objects: Sequence[Objects], meant: Sequence[Tensor], setting: Setting, mean: Mean
) -> dict[str, Tensor]:
    pairs = match_queries(raw, objects, setting)
    query = torch.cat([rows for rows, _ in pairs])
    labels, sentence, _ = cat_objects([labels[columns] for labels, (_, columns) in zip(objects, pairs)])
    wanted = torch.cat([torch.isin(columns, m.to(columns)) for m, (_, columns) in zip(meant, pairs)])
    each = setting.scene[sentence]
    views = view_boxes(labels.rows, each.cameras, upright_frame(each, setting.ry_frame))
    said = RawBoxes.unpack(raw.regression[sentence, query])
    places = setting.centers(raw.cells[sentence, query])
    has_3d = labels.has_3d
    numbers = mean(torch.stack([has_3d.new_tensor(len(has_3d), dtype=torch.float32), has_3d.sum().float()]))
    numbers = numbers.clamp(min=1)
    heat = torch.zeros_like(raw.heat, dtype=torch.float32)
    heat[sentence, query, labels.classes] = 1
    refer = torch.zeros_like(raw.referral, dtype=torch.float32)
    refer[sentence, query] = wanted.float()
    in_2d = losses_2d(said, places, labels.boxes_xyxy, setting.stride)
    in_3d = losses_3d(
        said[has_3d], places[has_3d], labels[has_3d], views[has_3d], each[has_3d], setting.stride, setting.priors_hwl
    )
    return {
        "heat": (_focal(raw.heat, heat) * raw.valid[..., None]).sum() / numbers[0],
        "refer": (_focal(raw.referral, refer) * raw.valid).sum() / numbers[0],
        **{name: value.sum() / numbers[0] for name, value in in_2d.items()},
        **{name: value.sum() / numbers[1] for name, value in in_3d.items()},
    }


def _focal(logits: Tensor, targets: Tensor, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss of each logit. Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 5."""
    logits = logits.float()
    miss = (logits.sigmoid() - targets).abs()
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * miss**gamma * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
