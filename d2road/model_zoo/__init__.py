"""Model zoo: weights that are shipped with the package, by name, each checked against its SHA-256.

Their address is `d2road://NAME`, such as `MODEL.WEIGHTS d2road://diffusion_det_toy.pth`; it works wherever Detectron2's
path manager reads a file. What each was trained on, and how, is in the README of this folder.
"""

from d2road.model_zoo.shipped_weights import PREFIX, SHIPPED, shipped_class_names, shipped_file

__all__ = ["PREFIX", "SHIPPED", "shipped_class_names", "shipped_file"]
