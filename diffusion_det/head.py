"""DiffusionDet's decoder (detection head): RoIAlign, self-attention among boxes, dynamic convolution, towers.

Letters: B images, N boxes an image, C channels, K classes, S stages, P pooled side (7).

    features, boxes, t  ->  S x [ pool -> attend -> interact -> feed forward -> modulate by t -> class, box ]

Parameter names follow the published DiffusionDet so that its checkpoints load.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2road.layers import PyramidPooler
from d2road.utils.registry import Registry

# Decoders of DiffusionDet, chosen by MODEL.DiffusionDet.HEAD. Built with keyword arguments (see DynamicHead), called as
# DiffusionHead says; `denoising_step` is needed only where pose is read off them.
DIFFUSION_HEAD_REGISTRY = Registry("MODEL.DiffusionDet.HEAD")

# Largest log-scale step of a side: a 16 px box may grow to 100,000 px at once, as in Detectron2's Box2BoxTransform.
MAX_LOG_SCALE = math.log(100000.0 / 16)
CENTER_WEIGHT = 2.0  # that of log-scales is 1
# Layers of a stage that are never computed in half precision: what they give is the answer.
FINAL_LAYERS = ("class_logits", "bboxes_delta")


class TimeEmbedding(nn.Module):
    """Sinusoidal time embedding of the noise level, cosine after sine."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, t: Tensor) -> Tensor:
        """t (B,) -> (B, dim) float32."""
        half = self.dim // 2
        step = math.log(10000) / (half - 1)
        angle = t[:, None] * torch.exp(torch.arange(half, device=t.device) * -step)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class DynamicConv(nn.Module):
    """Dynamic convolution: two matrix products over the pooled pixels of a box, weights generated from its own feature.

    Source: Sun et al., Sparse R-CNN, CVPR 2021, section 3.2.
    """

    def __init__(self, dim: int, dim_dynamic: int, pooled_side: int):
        super().__init__()
        self.dim, self.dim_dynamic = dim, dim_dynamic
        self.dynamic_layer = nn.Linear(dim, 2 * dim * dim_dynamic)
        self.norm1 = nn.LayerNorm(dim_dynamic)
        self.norm2 = nn.LayerNorm(dim)
        self.out_layer = nn.Linear(dim * pooled_side**2, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, pooled: Tensor) -> Tensor:
        """queries (R, C), pooled (R, P * P, C) -> (R, C)."""
        # Each half is made when it is used: together they would not stay in the processor's cache.
        layer = self.dynamic_layer
        (weight1, weight2), (bias1, bias2) = layer.weight.chunk(2), layer.bias.chunk(2)
        x = torch.bmm(pooled, F.linear(queries, weight1, bias1).view(-1, self.dim, self.dim_dynamic))  # (R, P * P, D)
        x = F.relu(self.norm1(x), inplace=True)
        x = torch.bmm(x, F.linear(queries, weight2, bias2).view(-1, self.dim_dynamic, self.dim))  # (R, P * P, C)
        x = F.relu(self.norm2(x), inplace=True)
        return F.relu(self.norm3(self.out_layer(x.flatten(1))))


def tower(dim: int, depth: int) -> nn.Sequential:
    """`depth` times linear without bias, layer norm, ReLU."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(dim, dim, bias=False), nn.LayerNorm(dim), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class StageOptions:
    """Sizes of a decoder stage.

    Args:
        dim: C; dim_feedforward: hidden width of the feed-forward network; dim_dynamic: of the dynamic convolution.
        activation: of the feed-forward network, a function of torch.nn.functional by name.
        num_cls, num_reg: layers of the class and the box tower.
        pooled_side: P, of the map that is pooled for a box.
    """

    dim: int = 256
    dim_feedforward: int = 2048
    num_attention_heads: int = 8
    dropout: float = 0.0
    activation: str = "relu"
    num_cls: int = 1
    num_reg: int = 3
    dim_dynamic: int = 64
    pooled_side: int = 7


class Stage(nn.Module):
    """Decoder stage: one denoising of all boxes of all images."""

    def __init__(self, num_outputs: int, options: StageOptions):
        super().__init__()
        dim, dropout = options.dim, options.dropout
        self.self_attn = nn.MultiheadAttention(dim, options.num_attention_heads, dropout=dropout, batch_first=True)
        self.inst_interact = DynamicConv(dim, options.dim_dynamic, options.pooled_side)
        self.linear1 = nn.Linear(dim, options.dim_feedforward)
        self.linear2 = nn.Linear(options.dim_feedforward, dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.activation: Callable[[Tensor], Tensor] = getattr(F, options.activation)
        self.block_time_mlp = nn.Sequential(nn.SiLU(), nn.Linear(dim * 4, dim * 2))
        self.cls_module = tower(dim, options.num_cls)
        self.reg_module = tower(dim, options.num_reg)
        self.class_logits = nn.Linear(dim, num_outputs)
        self.bboxes_delta = nn.Linear(dim, 4)

    def forward(
        self, pooled: Tensor, boxes_xyxy: Tensor, queries: Tensor | None, time: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Move boxes and classify them by the features under them.

        Args:
            pooled: (B * N, P * P, C).
            boxes_xyxy: (B, N, 4) pixels.
            queries: (B, N, C) of the stage before; None in the first, which takes the mean of the pooled map.
            time: (B, 4 * C) embedded noise level.
            condition: (B, N, C) condition embedding added to the queries that the first stage makes.
        Returns:
            logits (B, N, K), boxes (B, N, 4), queries (B, N, C) before and features (B, N, C) after modulation by time.
        """
        batch, count = boxes_xyxy.shape[:2]
        if queries is None:
            queries = pooled.mean(1).view(batch, count, -1)
            queries = queries if condition is None else queries + condition
        attended = self.self_attn(queries, queries, queries, need_weights=False)[0]
        x = self.norm1(queries + self.dropout(attended)).flatten(0, 1)  # (B * N, C)
        x = self.norm2(x + self.dropout(self.inst_interact(x, pooled)))
        x = self.norm3(x + self.dropout(self.linear2(self.dropout(self.activation(self.linear1(x))))))

        queries = x.view(batch, count, -1)
        scale, shift = self.block_time_mlp(time)[:, None].chunk(2, dim=-1)  # (B, 1, C) each
        feature = queries * (scale + 1) + shift
        towers, dtype = (self.cls_module(feature), self.reg_module(feature)), self.bboxes_delta.weight.dtype
        with torch.autocast(feature.device.type, enabled=False):
            logits, deltas = self.class_logits(towers[0].to(dtype)), self.bboxes_delta(towers[1].to(dtype))
        return logits, apply_deltas(deltas, boxes_xyxy), queries, feature


class DecoderOutput(NamedTuple):
    """Predictions of all decoder stages: logits (S, B, N, K), boxes_xyxy (S, B, N, 4), features modulated by time
    (S, B, N, C) and, if asked for, the maps that each stage pooled (S, B, N, P * P * C)."""

    logits: Tensor
    boxes_xyxy: Tensor
    features: Tensor
    pooled: Tensor | None = None

    def detach(self) -> "DecoderOutput":
        """The same numbers without their history."""
        pooled = None if self.pooled is None else self.pooled.detach()
        return DecoderOutput(self.logits.detach(), self.boxes_xyxy.detach(), self.features.detach(), pooled)


def apply_deltas(deltas: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Shift and scale boxes by (dx, dy, dw, dh); the result may leave the image.

    Args:
        deltas: (..., 4) in units of the box sides, the first two times CENTER_WEIGHT; the last two are log-scales.
        boxes_xyxy: (..., 4).
    """
    deltas = deltas.to(boxes_xyxy.dtype)  # in mixed precision only the step is rounded, not the position
    wh = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    center = boxes_xyxy[..., :2] + 0.5 * wh
    center = deltas[..., :2] / CENTER_WEIGHT * wh + center
    half = 0.5 * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SCALE)) * wh
    return torch.cat([center - half, center + half], dim=-1)


class DiffusionHead(nn.Module):
    """Base of decoders: predicts clean boxes from noisy ones."""

    def forward(
        self, features: Sequence[Tensor], boxes_xyxy: Tensor, t: Tensor, queries: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict clean boxes and classes from boxes at noise level t.

        Args:
            features: one (B, C, H/stride, W/stride) map per stride.
            boxes_xyxy: (B, N, 4) pixels of the padded input (image origin at its top left).
            t: (B,) noise levels.
            queries: see `denoising_step`.
        Returns:
            logits (S, B, N, K), boxes_xyxy (S, B, N, 4).
        """
        outputs = self.denoising_step(features, boxes_xyxy, t, queries=queries)
        return outputs.logits, outputs.boxes_xyxy

    def denoising_step(
        self,
        features: Sequence[Tensor],
        boxes_xyxy: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep_pooled: bool = False,
        queries: Tensor | None = None,
    ) -> DecoderOutput:
        """As `forward`, with what further heads read from.

        Args:
            condition: (B, N, C) condition embedding, added to the queries of the first stage.
            keep_pooled: return the pooled maps too.
            queries: (B, N, C) of the first stage, learned; None makes them of the pooled maps.
        """
        raise NotImplementedError


@DIFFUSION_HEAD_REGISTRY.register()
class DynamicHead(DiffusionHead):
    """The published decoder: S stages, each fed with the detached boxes of the one before.

    Args:
        strides: strides of the feature maps, finest first.
        num_outputs: K class scores a box (K + 1 for softmax).
        num_stages: S; stage: sizes of each.
        canonical_size: pixels of the box side that pools from stride 16.
        prior_prob: class probability to start from (focal loss); None leaves the class bias alone.
        bias_by_shape: initialise as the published code does, which fills every parameter whose last dimension is K or
            K + 1 with the class prior. With 3 or 4 classes that hits the box regressor; kept for parity only.
    """

    def __init__(
        self,
        *,
        strides: Sequence[int],
        num_outputs: int,
        num_classes: int,
        num_stages: int = 6,
        stage: StageOptions | None = None,
        sampling_ratio: int = 2,
        canonical_size: float = 224.0,
        prior_prob: float | None = 0.01,
        bias_by_shape: bool = False,
    ):
        super().__init__()
        stage = stage or StageOptions()
        dim = stage.dim
        self.strides, self.pooled_side = tuple(strides), stage.pooled_side
        self.sampling_ratio, self.canonical_size = sampling_ratio, canonical_size
        self.time_mlp = nn.Sequential(
            TimeEmbedding(dim), nn.Linear(dim, dim * 4), nn.GELU(), nn.Linear(dim * 4, dim * 4)
        )
        self.head_series = nn.ModuleList(Stage(num_outputs, stage) for _ in range(num_stages))
        self.reset_parameters(num_classes, prior_prob, bias_by_shape)

    def reset_parameters(self, num_classes: int, prior_prob: float | None, bias_by_shape: bool) -> None:
        """Xavier for matrices; the class bias starts at the prior probability, the box regressor at "no change"."""
        bias = None if prior_prob is None else -math.log((1 - prior_prob) / prior_prob)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            if bias_by_shape and bias is not None and parameter.shape[-1] in (num_classes, num_classes + 1):
                nn.init.constant_(parameter, bias)
        if bias_by_shape:
            return
        for stage in self.head_series:
            assert isinstance(stage, Stage)
            nn.init.zeros_(stage.bboxes_delta.bias)
            if bias is not None:
                nn.init.constant_(stage.class_logits.bias, bias)

    def denoising_step(
        self,
        features: Sequence[Tensor],
        boxes_xyxy: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep_pooled: bool = False,
        queries: Tensor | None = None,
    ) -> DecoderOutput:
        """As DiffusionHead's."""
        dtype = next(self.time_mlp.parameters()).dtype
        time = self.time_mlp[1:](self.time_mlp[0](t).to(dtype))
        pool = PyramidPooler(features, self.strides, self.pooled_side, self.sampling_ratio, self.canonical_size)
        boxes = boxes_xyxy.to(dtype)
        outputs = []
        for stage in self.head_series:
            pooled = pool(boxes)
            logits, boxes, queries, feature = stage(pooled, boxes, queries, time, condition)
            outputs.append((logits, boxes, feature, *([pooled.view(*boxes.shape[:2], -1)] if keep_pooled else [])))
            boxes = boxes.detach()
        return DecoderOutput(*(torch.stack(parts) for parts in zip(*outputs)))
