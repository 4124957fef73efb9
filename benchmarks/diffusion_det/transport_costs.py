"""Arithmetic of DiffusionDet's decoder: multiply-adds of its matrix products by boxes and steps.

Letters: N boxes, C channels, D of the dynamic convolution, F of the feed-forward network, P pooled side.
"""

from diffusion_det.head import DynamicHead, Stage


def decoder_multiply_adds(head: DynamicHead, boxes: int, steps: int) -> int:
    """Multiply-adds of one image; RoIAlign, norms and whatever works number by number are left out."""
    time = sum(layer.weight.numel() for layer in head.time_mlp if hasattr(layer, "weight"))
    stages = [_stage_multiply_adds(stage, boxes, head.pooled_side) for stage in head.head_series]
    return steps * (time + sum(stages))


def _stage_multiply_adds(stage: Stage, boxes: int, pooled_side: int) -> int:
    dim, dynamic, pixels = stage.inst_interact.dim, stage.inst_interact.dim_dynamic, pooled_side**2
    attention = boxes * 4 * dim**2 + 2 * boxes**2 * dim
    interaction = boxes * (2 * dim**2 * dynamic + 2 * pixels * dim * dynamic + pixels * dim**2)
    linear = [stage.linear1, stage.linear2, stage.class_logits, stage.bboxes_delta]
    linear += [
        layer for tower in (stage.cls_module, stage.reg_module) for layer in tower if hasattr(layer, "in_features")
    ]
    modulation = stage.block_time_mlp[1].weight.numel()
    return attention + interaction + boxes * sum(layer.weight.numel() for layer in linear) + modulation
