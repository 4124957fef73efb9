"""Perception for roadside cameras and driving, on Detectron2: the platform that the systems of this collection share."""

__version__ = "0.2.0"
