"""Layers in plain PyTorch that more than one system uses."""

from d2road.layers.deform_conv import ModulatedDeformConv
from d2road.layers.linear_attention import AttentionBlock, TokenAttention, elu_plus_one, linear_attention
from d2road.layers.mamba2 import BidirectionalMamba2, GatedRMSNorm, Mamba2
from d2road.layers.pyramid_pooler import PyramidPooler
from d2road.layers.roi_align import assign_levels, multilevel_roi_align
from d2road.layers.state_space import ssd, ssd_reference

__all__ = [
    "AttentionBlock",
    "BidirectionalMamba2",
    "GatedRMSNorm",
    "Mamba2",
    "ModulatedDeformConv",
    "PyramidPooler",
    "TokenAttention",
    "assign_levels",
    "elu_plus_one",
    "linear_attention",
    "multilevel_roi_align",
    "ssd",
    "ssd_reference",
]
