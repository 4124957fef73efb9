"""Perception for roadside cameras and driving, on Detectron2: the platform below its systems."""

__version__ = "0.2.0"
