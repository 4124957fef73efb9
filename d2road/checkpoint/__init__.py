"""Saving and loading: atomic, resumable checkpoints and foreign weights files, never running what is in a file."""

from d2road.checkpoint.checkpointer import Checkpointer, averaged_weights, export_inference_weights
from d2road.checkpoint.weights import load_weights_file

__all__ = ["Checkpointer", "averaged_weights", "export_inference_weights", "load_weights_file"]
