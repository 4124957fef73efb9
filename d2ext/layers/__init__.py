"""Layers in plain PyTorch that more than one system uses."""

from .linear_attention import AttentionBlock, TokenAttention, elu_plus_one, linear_attention
from .pyramid_pooler import PyramidPooler
from .roi_align import assign_levels, multilevel_roi_align

__all__ = [
    "AttentionBlock",
    "PyramidPooler",
    "TokenAttention",
    "assign_levels",
    "elu_plus_one",
    "linear_attention",
    "multilevel_roi_align",
]
