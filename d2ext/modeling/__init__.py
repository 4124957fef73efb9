"""Backbones beyond Detectron2's own. Importing this package registers their builders."""

from d2ext.modeling.timm_backbone import TimmBackbone, build_fpn, build_timm_backbone, build_timm_fpn_backbone

__all__ = ["TimmBackbone", "build_fpn", "build_timm_backbone", "build_timm_fpn_backbone"]
