"""Layers in plain PyTorch that more than one system uses."""

from .roi_align import assign_levels, multilevel_roi_align

__all__ = ["assign_levels", "multilevel_roi_align"]
