"""Fusion of a sentence with image features: variants by name, and the neck that applies them in stages."""

from mono3dvg.fusion import cross_attention as _cross_attention  # noqa: F401  only registration
from mono3dvg.fusion import cross_modal_ssd as _cross_modal_ssd  # noqa: F401
from mono3dvg.fusion import mamba_fusion as _mamba_fusion  # noqa: F401
