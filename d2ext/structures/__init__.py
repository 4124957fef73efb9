"""Cameras and boxes in 3D: plain tensors and arrays, no Detectron2."""

from d2ext.structures.boxes3d import Boxes3D
from d2ext.structures.camera import Camera

__all__ = ["Boxes3D", "Camera"]
