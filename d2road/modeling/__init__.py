"""Backbones beyond Detectron2's own, and fusing for inference. Importing this package registers the builders.

Its ResNets need none: ``build_resnet_backbone`` and ``build_resnet_fpn_backbone`` are Detectron2's.
"""

from d2road.modeling.backbone.dla import DLA34, build_dla34_backbone, build_dla34_fpn_backbone
from d2road.modeling.backbone.dla_neck import (
    AggregationBackbone,
    AggregationPyramid,
    IterativeAggregation,
    build_dla34_aggregation_backbone,
)
from d2road.modeling.backbone.swin import build_swintransformer_backbone, build_swintransformer_fpn_backbone
from d2road.modeling.backbone.timm_backbone import TimmBackbone, build_fpn, build_timm_backbone, build_timm_fpn_backbone
from d2road.modeling.backbone.vit import build_vit_fpn_backbone
from d2road.modeling.fuse import fuse_for_inference

__all__ = [
    "DLA34",
    "AggregationBackbone",
    "AggregationPyramid",
    "IterativeAggregation",
    "TimmBackbone",
    "build_dla34_aggregation_backbone",
    "build_dla34_backbone",
    "build_dla34_fpn_backbone",
    "build_fpn",
    "build_swintransformer_backbone",
    "build_swintransformer_fpn_backbone",
    "build_timm_backbone",
    "build_timm_fpn_backbone",
    "build_vit_fpn_backbone",
    "fuse_for_inference",
]
