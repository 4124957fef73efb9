"""Transformer decoder with queries (DETR), the alternative to the relation layer.

Queries start at the peaks of the dense head, attend to map and words of each sentence, refine class and box, and say
which are meant.

Queries that start anywhere find nothing before many thousand steps. Letters: B images, N sentences, Q queries, D width,
L cells that queries attend to, C classes, M objects, P matched queries.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.structures.camera_batch import SceneGeometry, upright_frame
from d2road.structures.tensor_record import TensorRecord
from mono3dvg.detection.box_coding import RawBoxes, decode_rows
from mono3dvg.detection.candidates import Candidates
from mono3dvg.detection.dense_head import RawMaps, cells_to_pixels, compact, gather_each, prior_bias


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
    """Decoder layer: self-attention of queries, cross-attention to words, and to the map around their places."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.text_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.query, self.key_value, self.output = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        # Each head looks around the place of its query, at a distance and as far as it likes.
        self.offset_head = nn.Linear(dim, 3 * heads)
        nn.init.zeros_(self.offset_head.weight)
        angle = torch.arange(heads) * (2 * torch.pi / heads)
        start = torch.stack([angle.cos() * 0.03, angle.sin() * 0.03, torch.full_like(angle, -2.0)], dim=-1)
        self.offset_head.bias.data = start.flatten()
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))

    def forward(
        self,
        state: Tensor,
        query_padding: Tensor,
        where: Tensor,
        places: Tensor,
        words: Tensor,
        text_padding: Tensor,
        map_: "MapCells",
    ) -> Tensor:
        """state, where (N, Q, D): queries and the encoding of their places (N, Q, 2) in shares of the image;
        query_padding (N, Q), text_padding (N, T): queries and words that are padding."""
        x = self.norms[0](state)
        state = state + self.self_attn(x + where, x + where, x, key_padding_mask=query_padding, need_weights=False)[0]
        x = self.norms[1](state)
        state = state + self.text_attn(x, words, words, key_padding_mask=text_padding, need_weights=False)[0]
        state = state + self._map_attention(self.norms[2](state) + where, places, map_)
        return state + self.ffn(self.norms[3](state))

    def _map_attention(self, x: Tensor, places: Tensor, map_: "MapCells") -> Tensor:
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.key_value(map_.features).chunk(2, dim=-1)
        )
        offsets = self.offset_head(x).unflatten(-1, (self.heads, 3)).transpose(1, 2)  # (N, H, Q, 3)
        center = places[:, None] + offsets[..., :2]
        away = (center[..., None, :] - map_.places[:, None, None]).square().sum(-1)  # (N, H, Q, L)
        nearness = -away / (2 * (2 * offsets[..., 2:].clamp(-5.0, 1.0)).exp())
        nearness = nearness.masked_fill(~map_.covered[:, None, None], -1e4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=nearness.to(q.dtype))
        return self.output(attended.transpose(1, 2).flatten(2))


@dataclass
class MapCells:
    """Cells of the fused maps: features (N, L, D), places (N, L, 2) in shares of the image, covered (N, L)."""

    features: Tensor
    places: Tensor
    covered: Tensor


class QueryHead(nn.Module):
    """Transformer decoder over fused maps and words, with refined boxes and referral of every stage.

    Args:
        dim: channels of map and words.
        stages: decoder stages, each supervised.
        pool: side of the squares of cells that are averaged before the queries attend to them.
        stride: side of a cell, pixels.
    """

    def __init__(self, *, dim: int, num_classes: int, stride: float, stages: int = 3, heads: int = 4, pool: int = 2):
        super().__init__()
        self.stride, self.pool, self.num_classes = stride, pool, num_classes
        self.input_proj = nn.Linear(dim + num_classes, dim)
        self.pos_proj = nn.Linear(4 * 16, dim)
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
        text_padding = ~(mask | ~mask.any(1, keepdim=True))
        query_padding = ~(proposals.valid | ~proposals.valid.any(1, keepdim=True))
        known = torch.cat([gather_each(fused, proposals.cells), proposals.heat.sigmoid().to(fused)], dim=-1)
        state = self.input_proj(known)
        places = cells_to_pixels(proposals.cells, fused.shape[-1], self.stride).to(fused) / size_wh[:, None]
        where = self.pos_proj(sine_positional_encoding(places))
        outputs, sizes = [], [self.num_classes, 1, sum(RawBoxes.SIZES)]
        for stage in self.stages:
            state = stage(state, query_padding, where, places, words, text_padding, cells)
            heat, referral, regression = self.output(self.norm(state)).split(sizes, dim=-1)
            predicted = (proposals.heat + heat, referral[..., 0], proposals.regression + regression)
            outputs.append(RawQueries(proposals.cells, *predicted, proposals.valid))
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
        where = self.pos_proj(sine_positional_encoding(places))
        return MapCells(pooled.flatten(2).transpose(1, 2) + where, places, covered)


def sine_positional_encoding(places: Tensor) -> Tensor:
    """Sine positional encoding: (..., 2) in shares of the image -> (..., 64) sines and cosines."""
    waves = 2 ** torch.linspace(0, 6, 16, device=places.device) * torch.pi
    turned = places[..., None] * waves  # (..., 2, 16)
    return torch.cat([turned.sin(), turned.cos()], dim=-1).flatten(-2)


@dataclass
class DecodeContext:
    """What decoding the queries of N sentences needs: scene of each sentence's image, sizes_hw (N, 2) of it without
    padding, pixels; map_width and stride of the maps; priors_hwl (C, 3) m; ry_frame, "camera" or "ground"."""

    scene: SceneGeometry
    sizes_hw: Tensor
    map_width: int
    stride: float
    priors_hwl: Tensor
    ry_frame: str

    def centers(self, cells: Tensor) -> Tensor:
        """(...) cells -> (..., 2) pixels."""
        return cells_to_pixels(cells, self.map_width, self.stride)


def decode_queries(raw: RawQueries, context: DecodeContext, threshold: float = 0.05) -> tuple[Candidates, Tensor]:
    """Candidates of N sentences and the logits (N, K) of being meant, best detected first."""
    count, queries = raw.referral.shape
    probs = raw.heat.float().sigmoid()
    heat, classes = probs.max(-1)
    each = context.scene[torch.arange(count, device=heat.device).repeat_interleave(queries)]
    decoded, rows = decode_rows(
        RawBoxes.unpack(raw.regression.flatten(0, 1)), context.centers(raw.cells.flatten()), context.stride,
        context.priors_hwl[classes.flatten()].float(), each, upright_frame(each, context.ry_frame),
    )  # fmt: skip
    limits = context.sizes_hw.to(rows).flip(-1).repeat(1, 2)[:, None]
    found = Candidates(
        boxes_xyxy=decoded.boxes_xyxy.unflatten(0, (count, queries)).clamp(min=0).minimum(limits),
        rows=rows.unflatten(0, (count, queries)),
        classes=classes,
        class_probs=probs,
        attributes=probs[..., :0],
        heat=heat,
        std=decoded.std.unflatten(0, (count, queries)),
        cells=raw.cells,
        valid=raw.valid & (heat > threshold),
    )
    order = torch.where(raw.valid, heat, -heat.new_ones(())).argsort(dim=1, descending=True)
    found, logits = found.take(order), raw.referral.gather(1, order)
    found = compact(found, found.valid.cpu())
    return found, logits[:, : found.valid.shape[1]]
