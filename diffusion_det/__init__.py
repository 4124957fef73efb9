"""DiffusionDet: object detection as denoising diffusion over boxes."""
