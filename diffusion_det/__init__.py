"""DiffusionDet: object detection as denoising diffusion over boxes.

Chen et al., DiffusionDet: Diffusion Model for Object Detection, ICCV 2023.
"""

from diffusion_det import mapper as _mapper  # noqa: F401  only registration
from diffusion_det.config import add_diffusion_det_config
from diffusion_det.detector import DiffusionDet

__all__ = ["DiffusionDet", "add_diffusion_det_config"]
