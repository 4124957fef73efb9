"""Benchmarks of DiffusionDet: toy roadside views in 2D and 3D, overfit checks."""
