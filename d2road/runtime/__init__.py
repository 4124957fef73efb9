"""Light runtime: predictions of an exported file with numpy, onnxruntime and Pillow alone, without torch.

runtime.py    Runtime: loads a file, groups images, runs them
grounding.py  with tokenizers beside: objects that sentences mean
anomaly.py    of each task of `d2road.export.graph.TASKS` a module: model inputs, and results from outputs
"""

from d2road.runtime.runtime import Runtime

__all__ = ["Runtime"]
