"""Self-calibration of a fixed roadside camera from what it sees: see docs/calibration.md. No torch, no model."""
