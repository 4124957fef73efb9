"""Mono3DVG: 3D visual grounding of one, several or no objects from one image and a sentence."""

from .config import add_mono3dvg_config

__all__ = ["add_mono3dvg_config"]
