"""Layers in plain PyTorch that more than one system uses."""

from .pyramid_pooler import PyramidPooler
from .roi_align import assign_levels, multilevel_roi_align

__all__ = ["PyramidPooler", "assign_levels", "multilevel_roi_align"]
