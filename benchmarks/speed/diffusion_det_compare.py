"""Fast against plain DiffusionDet, in alternating runs, after a check that both give the same."""

import argparse
import copy
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.speed.diffusion_det_inputs import build, random_inputs
from benchmarks.speed.plain_diffusion_det import PlainDiffusionDet, plain_match
from benchmarks.speed.timing import alternate, compare
from d2road.config import make_cfg
from d2road.engine.meta_arch import prepare_for_inference
from d2road.layers import PyramidPooler, multilevel_roi_align
from d2road.utils.rng import seeded_rng
from diffusion_det.matcher import Targets, match_dynamic_k

MATCHER = {"boxes": 500, "objects": 20, "stages": 6, "images": 2, "classes": 80}


def compare_row(args: argparse.Namespace, batch: int, steps: int, boxes: int) -> dict:
    """Fast against plain inference, after making sure that they find the same boxes."""
    cfg, model = build(args, boxes, steps, compat=True)
    model.eval()
    plain = PlainDiffusionDet(model).eval()
    fused = prepare_for_inference(copy.deepcopy(model))
    inputs = random_inputs(args, batch, cfg.MODEL.DiffusionDet.NUM_CLASSES, training=False)
    candidates = {name: repeatable(net, inputs, args.seed) for name, net in
                  {"plain": plain, "unfused": model, "fused": fused}.items()}  # fmt: skip
    found = {name: run() for name, run in candidates.items()}
    shares, boxes_px, scores = zip(*(agreement(found["plain"], found[name]) for name in ("unfused", "fused")))
    if min(shares) < 0.98:  # rounding swaps few objects around a threshold
        raise RuntimeError(f"fast and plain inference have only {min(shares):.1%} of their objects in common")
    seconds = alternate(candidates, args.runs, args.warmup, model.device)
    return {
        "what": "compare",
        "batch": batch,
        "steps": steps,
        "boxes": boxes,
        "same_objects": min(shares),
        "max_box_difference_px": max(boxes_px),
        "max_score_difference": max(scores),
        **compare(seconds, "plain"),
    }


def repeatable(net: nn.Module, inputs: list[dict], seed: int) -> Callable[[], list[dict]]:
    """Inference that draws the same noise in each call: the published code takes it from the global state."""

    @torch.no_grad()
    def run() -> list[dict]:
        with seeded_rng(seed):
            return net(inputs)

    return run


def agreement(expected: list[dict], found: list[dict], limit_px: float = 0.05) -> tuple[float, float, float]:
    """Share of objects that both have, of one class and within `limit_px`; their largest difference in px and score."""
    same = total = 0
    box_px = score = 0.0
    for one, other in zip(expected, found):
        a, b = one["instances"], other["instances"]
        total += max(len(a), len(b))
        if not len(a) or not len(b):
            continue
        apart = (a.pred_boxes.tensor[:, None] - b.pred_boxes.tensor[None]).abs().amax(-1)  # (objects, objects)
        apart = apart.masked_fill(a.pred_classes[:, None] != b.pred_classes[None], torch.inf)
        nearest, partner = apart.min(1)
        both = nearest < limit_px
        same += min(int(both.sum()), len(partner[both].unique()))
        if both.any():
            box_px = max(box_px, float(nearest[both].max()))
            score = max(score, float((a.scores[both] - b.scores[partner[both]]).abs().max()))
    return same / max(total, 1), box_px, score


def matcher_row(args: argparse.Namespace) -> dict:
    """The matcher over all stages, images and objects at once against a loop over them."""
    device = torch.device(make_cfg(args.config_file, args.opts).MODEL.DEVICE)
    logits, boxes, gt, labels, whwh = matcher_scene(args.seed, device)
    targets = Targets.pad(gt, labels, whwh).repeat(len(logits))

    def loop() -> torch.Tensor:
        return torch.stack([plain_match(a[i], b[i], gt[i], labels[i], whwh[i])
                            for a, b in zip(logits, boxes) for i in range(len(gt))])  # fmt: skip

    def vectorised() -> torch.Tensor:
        return match_dynamic_k(logits.flatten(0, 1), boxes.flatten(0, 1), targets, as_published=True)

    if not torch.equal(loop(), vectorised()):
        raise RuntimeError("the matchers differ")
    seconds = alternate({"plain": loop, "vectorised": vectorised}, args.runs, args.warmup, device)
    return {"what": "matcher", **MATCHER, **compare(seconds, "plain")}


def matcher_scene(seed: int, device: torch.device) -> tuple:
    """Predictions around objects: logits (S, B, N, K), boxes (S, B, N, 4), objects, classes, sizes (B, 4)."""
    generator = torch.Generator().manual_seed(seed)
    stages, images, count, objects = (MATCHER[name] for name in ("stages", "images", "boxes", "objects"))
    corners = torch.rand(images, objects, 2, generator=generator) * torch.tensor([480.0, 360.0])
    gt = torch.cat([corners, corners + 20 + 100 * torch.rand(images, objects, 2, generator=generator)], dim=2)
    near = gt[:, torch.randint(objects, (count,), generator=generator)]  # (B, N, 4)
    boxes = near + 15 * torch.randn(stages, images, count, 4, generator=generator)
    boxes = torch.cat([boxes[..., :2], torch.maximum(boxes[..., 2:], boxes[..., :2] + 1)], dim=-1)
    logits = torch.randn(stages, images, count, MATCHER["classes"], generator=generator) - 3
    labels = torch.randint(MATCHER["classes"], (images, objects), generator=generator)
    whwh = torch.tensor([[640.0, 480.0, 640.0, 480.0]]).repeat(images, 1)
    return logits.to(device), boxes.to(device), list(gt.to(device)), list(labels.to(device)), whwh.to(device)


def pooler_row(args: argparse.Namespace, batch: int, boxes: int) -> dict:
    """Pooling forward and backward, with torchvision's kernel level by level against a table of pixels."""
    cfg = make_cfg(args.config_file, args.opts)
    device, side = torch.device(cfg.MODEL.DEVICE), cfg.MODEL.ROI_BOX_HEAD
    options = (side.POOLER_RESOLUTION, side.POOLER_SAMPLING_RATIO, cfg.MODEL.DiffusionDet.POOLER_CANONICAL_SIZE)
    strides = [2 ** int(name[1:]) for name in cfg.MODEL.ROI_HEADS.IN_FEATURES]  # p2, p3, ...
    height, width = args.size
    generator = torch.Generator().manual_seed(args.seed)
    maps = [
        torch.randn(batch, cfg.MODEL.FPN.OUT_CHANNELS, -(-height // s), -(-width // s), generator=generator)
        for s in strides
    ]
    maps = [m.to(device, memory_format=torch.channels_last).requires_grad_() for m in maps]
    corners = torch.rand(batch, boxes, 2, generator=generator) * torch.tensor([width * 0.9, height * 0.9])
    sides = 8 + torch.rand(batch, boxes, 2, generator=generator) * torch.tensor([width * 0.4, height * 0.4])
    rois = torch.cat([corners, corners + sides], dim=2).to(device)

    def plain() -> torch.Tensor:
        pooled = multilevel_roi_align(maps, rois, strides, *options)
        torch.autograd.grad(pooled.sum(), maps)
        return pooled

    def table() -> torch.Tensor:
        pooled = PyramidPooler(maps, strides, *options)(rois)
        torch.autograd.grad(pooled.sum(), maps)
        return pooled

    if not torch.allclose(plain(), table(), atol=1e-3):
        raise RuntimeError("the poolers differ")
    seconds = alternate({"plain": plain, "table": table}, args.runs, args.warmup, device)
    return {"what": "pooler", "batch": batch, "boxes": boxes, **compare(seconds, "plain")}
