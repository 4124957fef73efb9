"""DiffusionDet: object detection as denoising diffusion over boxes.

Chen et al., DiffusionDet: Diffusion Model for Object Detection, ICCV 2023.
"""

from typing import TYPE_CHECKING

from d2road.utils.lazy_package import lazy_package

if TYPE_CHECKING:
    from diffusion_det.config import add_diffusion_det_config
    from diffusion_det.detector import DiffusionDet

__all__ = ["DiffusionDet", "add_diffusion_det_config"]

__getattr__ = lazy_package(
    __name__, {"DiffusionDet": "detector", "add_diffusion_det_config": "config"}, components=("mapper", "detector")
)
