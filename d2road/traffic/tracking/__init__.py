"""Multi-object tracking on the ground plane, in metres: see docs/tracking.md. It needs neither torch nor a model."""
