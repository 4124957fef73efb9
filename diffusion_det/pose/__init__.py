"""3D pose: heads, decoding, depth fusion, losses, and pose as part of the diffusion state."""
