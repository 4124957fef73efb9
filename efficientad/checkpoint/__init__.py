"""Weights of EfficientAD from files: teachers, and models of other programs."""
