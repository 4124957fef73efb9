"""Variants of the toy benchmark of 3D pose, which its runs and its tables go by."""

BENCH = "diffusion_toy3d"
CONFIGS = {
    "readout": "configs/diffusion_det/toy_roadside3d/effnet_lite0.yaml",
    "shipped": "configs/diffusion_det/toy_roadside3d/shipped.yaml",
    "state": "configs/diffusion_det/toy_roadside3d/effnet_lite0_state.yaml",
    "state_flow": "configs/diffusion_det/toy_roadside3d/effnet_lite0_state_flow.yaml",
    "nojitter": "configs/diffusion_det/toy_roadside3d/effnet_lite0_nojitter.yaml",
}
STATES = {"state": "B", "state_flow": "B along a flow"}  # pose in the diffusion state, and how tables call it
# Errors of the given planes.
TILTS_DEG = (0.1, 0.25, 0.5, 1.0, 1.67)
