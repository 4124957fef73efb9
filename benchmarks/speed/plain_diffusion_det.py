"""DiffusionDet's published inference and matching, written down step by step: what the fast version is timed against.

The layouts are those of the published code: maps channels-first, Detectron2's pooler and frozen batch norm as they
are, pooled pixels first (49, R, C), attention with the sequence first and its weights returned, objects matched in a
Python loop. Letters: B images, N boxes an image, R = B * N, C channels, K classes, M objects.
"""

import copy
import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from detectron2.modeling import detector_postprocess
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_convert, box_iou, generalized_box_iou

MAX_LOG_SCALE = math.log(100000.0 / 16)


class PlainStage(nn.Module):
    """One stage; parameters under the published names."""

    def __init__(self, stage: nn.Module, first: bool):
        super().__init__()
        attention = stage.self_attn
        self.self_attn = nn.MultiheadAttention(attention.embed_dim, attention.num_heads)
        self.self_attn.load_state_dict(attention.state_dict())
        for name, child in stage.named_children():
            if name != "self_attn":
                setattr(self, name, copy.deepcopy(child))
        self.first, self.activation = first, stage.activation

    def forward(self, features: list[Tensor], boxes: Tensor, queries: Tensor | None, pooler: ROIPooler, time: Tensor):
        """boxes (B, N, 4), queries (1, R, C), time (B, 4 C) -> logits, boxes, queries."""
        batch, count = boxes.shape[:2]
        pooled = pooler(features, [Boxes(b) for b in boxes])  # (R, C, 7, 7)
        channels = pooled.shape[1]
        if self.first:
            queries = pooled.view(batch, count, channels, -1).mean(-1)
        pooled = pooled.view(batch * count, channels, -1).permute(2, 0, 1)  # (49, R, C)

        queries = queries.view(batch, count, channels).permute(1, 0, 2)
        attended, _ = self.self_attn(queries, queries, value=queries)
        queries = self.norm1(queries + attended)
        queries = queries.view(count, batch, channels).permute(1, 0, 2).reshape(1, batch * count, channels)
        queries = self.norm2(queries + self._interact(queries, pooled))
        queries = self.norm3(queries + self.linear2(self.activation(self.linear1(queries))))

        feature = queries.transpose(0, 1).reshape(batch * count, -1)
        scale, shift = torch.repeat_interleave(self.block_time_mlp(time), count, dim=0).chunk(2, dim=1)
        feature = feature * (scale + 1) + shift
        logits = self.class_logits(self.cls_module(feature.clone()))
        deltas = self.bboxes_delta(self.reg_module(feature.clone()))
        boxes = move_boxes(deltas, boxes.view(-1, 4))
        return logits.view(batch, count, -1), boxes.view(batch, count, 4), queries

    def _interact(self, queries: Tensor, pooled: Tensor) -> Tensor:
        own = self.inst_interact
        pixels = pooled.permute(1, 0, 2)  # (R, 49, C)
        made = own.dynamic_layer(queries).permute(1, 0, 2)  # (R, 1, 2 C D)
        middle = own.dim * own.dim_dynamic
        x = F.relu(own.norm1(torch.bmm(pixels, made[:, :, :middle].view(-1, own.dim, own.dim_dynamic))))
        x = F.relu(own.norm2(torch.bmm(x, made[:, :, middle:].view(-1, own.dim_dynamic, own.dim))))
        return F.relu(own.norm3(own.out_layer(x.flatten(1))))


def move_boxes(deltas: Tensor, boxes: Tensor) -> Tensor:
    """Detectron2's Box2BoxTransform with weights (2, 2, 1, 1), one coordinate after the other."""
    boxes = boxes.to(deltas.dtype)
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    x, y = boxes[:, 0] + 0.5 * widths, boxes[:, 1] + 0.5 * heights
    dx, dy, dw, dh = deltas[:, 0::4] / 2, deltas[:, 1::4] / 2, deltas[:, 2::4], deltas[:, 3::4]
    x, y = dx * widths[:, None] + x[:, None], dy * heights[:, None] + y[:, None]
    w = torch.exp(torch.clamp(dw, max=MAX_LOG_SCALE)) * widths[:, None]
    h = torch.exp(torch.clamp(dh, max=MAX_LOG_SCALE)) * heights[:, None]
    moved = torch.zeros_like(deltas)
    moved[:, 0::4], moved[:, 1::4] = x - 0.5 * w, y - 0.5 * h
    moved[:, 2::4], moved[:, 3::4] = x + 0.5 * w, y + 0.5 * h
    return moved


class PlainDiffusionDet(nn.Module):
    """Inference with the weights of a DiffusionDet of this project that is in OFFICIAL_COMPAT and not fused.

    Args:
        model: a copy of its weights is taken; sigmoid (focal) classes and suppression switched on.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.backbone = copy.deepcopy(model.backbone).to(memory_format=torch.contiguous_format)
        self.in_features, head = model.in_features, model.head
        self.time_mlp = copy.deepcopy(head.time_mlp)
        self.stages = nn.ModuleList(PlainStage(stage, i == 0) for i, stage in enumerate(head.head_series))
        self.pooler = ROIPooler(head.pooled_side, [1 / s for s in head.strides], head.sampling_ratio, "ROIAlignV2")
        self.pixel_mean, self.pixel_std = model.pixel_mean, model.pixel_std
        self.alphas_cumprod = model.schedule.alphas_cumprod
        self.count, self.steps, self.scale = model.test_num_proposals, model.sample_step, model.prior.scale

    def head(self, features: list[Tensor], boxes: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (S, B, N, K) and boxes (S, B, N, 4) of all stages."""
        time, queries = self.time_mlp(t), None
        all_logits, all_boxes = [], []
        for stage in self.stages:
            logits, boxes, queries = stage(features, boxes, queries, self.pooler, time)
            all_logits.append(logits)
            all_boxes.append(boxes)
            boxes = boxes.detach()
        return torch.stack(all_logits), torch.stack(all_boxes)

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """As the detector's, with noise from the global random state; several steps take one image."""
        images = [(x["image"].to(self.pixel_mean.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        images = ImageList.from_tensors(images, self.backbone.size_divisibility)
        maps = self.backbone(images.tensor)
        sizes = torch.tensor([[w, h, w, h] for h, w in images.image_sizes], device=self.pixel_mean.device).float()
        results = self.sample([maps[name] for name in self.in_features], sizes)
        answers = []
        for i, (size, x) in enumerate(zip(images.image_sizes, batched_inputs)):
            boxes, scores, labels = (torch.cat([step[i][part] for step in results]) for part in range(3))
            keep = batched_nms(boxes, scores, labels, 0.5)
            found = Instances(size, pred_boxes=Boxes(boxes[keep]), scores=scores[keep], pred_classes=labels[keep])
            found = detector_postprocess(found, x.get("height", size[0]), x.get("width", size[1]))
            answers.append({"instances": found})
        return answers

    def sample(self, features: list[Tensor], whwh: Tensor) -> list[list[tuple[Tensor, Tensor, Tensor]]]:
        """Boxes, scores and classes per step and image, by DDIM with eta 1; of several steps the last is not used."""
        batch, scale = len(whwh), self.scale
        times = list(reversed(torch.linspace(-1, len(self.alphas_cumprod) - 1, self.steps + 1).int().tolist()))
        x = torch.randn(batch, self.count, 4, device=whwh.device)
        results = []
        for now, then in pairwise(times):
            unit = (torch.clamp(x, -scale, scale) / scale + 1) / 2
            noisy = box_convert(unit, "cxcywh", "xyxy") * whwh[:, None]
            logits, boxes = self.head(features, noisy, torch.full((batch,), now, device=whwh.device))
            logits, boxes = logits[-1], boxes[-1]
            if then >= 0 or self.steps == 1:
                results.append([self._best(a, b) for a, b in zip(logits, boxes)])
            if then < 0:
                break
            x0 = (box_convert(boxes / whwh[:, None], "xyxy", "cxcywh") * 2 - 1) * scale
            x0 = torch.clamp(x0, -scale, scale)
            alpha, alpha_next = self.alphas_cumprod[now], self.alphas_cumprod[then]
            noise = ((1 / alpha).sqrt() * x.double() - x0) / (1 / alpha - 1).sqrt()
            keep = logits[0].sigmoid().max(-1).values > 0.5
            x, x0, noise = x[:, keep], x0[:, keep], noise[:, keep]
            sigma = ((1 - alpha / alpha_next) * (1 - alpha_next) / (1 - alpha)).sqrt()
            x = x0 * alpha_next.sqrt() + (1 - alpha_next - sigma**2).sqrt() * noise + sigma * torch.randn_like(x)
            x = torch.cat([x, torch.randn(1, self.count - int(keep.sum()), 4, device=x.device)], dim=1)
        return results

    def _best(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        classes = logits.shape[1]
        scores, chosen = logits.sigmoid().flatten().topk(self.count, sorted=False)
        labels = torch.arange(classes, device=logits.device).repeat(self.count)[chosen]
        return boxes.view(-1, 1, 4).repeat(1, classes, 1).view(-1, 4)[chosen], scores, labels


@torch.no_grad()
def plain_match(logits: Tensor, boxes: Tensor, gt: Tensor, labels: Tensor, whwh: Tensor) -> Tensor:
    """Dynamic-k assignment of one stage of one image, an object at a time: (N, K), (N, 4), (M, 4), (M,) -> (N,)."""
    prob = logits.sigmoid()
    negative = 0.75 * prob**2 * -(1 - prob + 1e-8).log()
    positive = 0.25 * (1 - prob) ** 2 * -(prob + 1e-8).log()
    overlap = box_iou(boxes, gt)
    centers, gt_cxcywh = box_convert(boxes, "xyxy", "cxcywh")[:, None, :2], box_convert(gt, "xyxy", "cxcywh")
    inside = ((centers > gt[:, :2]) & (centers < gt[:, 2:])).all(-1)
    near = ((centers - gt_cxcywh[:, :2]).abs() < 2.5 * gt_cxcywh[:, 2:]).all(-1)
    cost = 5 * torch.cdist(boxes / whwh, gt / whwh, p=1) + 2 * (positive - negative)[:, labels]
    cost = cost - 2 * generalized_box_iou(boxes, gt) + 100.0 * ~(inside & near)
    cost[~(inside | near).any(1)] += 10000.0

    matching = torch.zeros_like(cost)
    wanted = overlap.topk(5, dim=0).values.sum(0).int().clamp(min=1)
    for j in range(len(gt)):
        matching[cost[:, j].topk(int(wanted[j]), largest=False).indices, j] = 1
    disputed = matching.sum(1) > 1
    _leave_cheapest(matching, cost, disputed)
    while (matching.sum(0) == 0).any():
        cost[matching.sum(1) > 0] += 100000.0
        for j in torch.nonzero(matching.sum(0) == 0).flatten():
            matching[cost[:, j].argmin(), j] = 1
        if (matching.sum(1) > 1).any():
            _leave_cheapest(matching, cost, disputed)
    return torch.where(matching.sum(1) > 0, matching.argmax(1), -1)


def _leave_cheapest(matching: Tensor, cost: Tensor, rows: Tensor) -> None:
    if rows.any():
        best = cost[rows].argmin(1)
        matching[rows] = 0
        matching[rows, best] = 1
