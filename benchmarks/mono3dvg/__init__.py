"""Benchmarks of 3D visual grounding: the toy benchmark, written sentences, and an overfit check on KITTI."""
