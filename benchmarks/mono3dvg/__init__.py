"""Benchmarks of 3D visual grounding: the toy benchmark and an overfit check on KITTI."""
