"""Evaluation of 3D visual grounding: predictions, overlaps, metrics, protocol."""
