"""Model zoo: weights and other fitted models that are shipped with the package, by name, each with its SHA-256.

Their address is `zoo:NAME`, such as `MODEL.WEIGHTS zoo:diffusion_det_toy`; it works wherever Detectron2's path manager
reads a file (`path_handler`: registered where Detectron2 is imported first, and by `d2road.checkpoint`; the rest needs
neither torch nor Detectron2). `d2road zoo list` and MODEL_ZOO.md say what there is, what each was trained on, and how
good it is.
"""

import sys

from d2road.model_zoo.catalogue import Entry, find_entry, find_entry_by_prefix, read_catalogue, shipped_entries
from d2road.model_zoo.shipped_files import checked_file, fetch_hint, require_shipped, shipped_class_names, shipped_file

__all__ = [
    "Entry", "checked_file", "fetch_hint", "find_entry", "find_entry_by_prefix", "read_catalogue", "require_shipped",
    "shipped_class_names", "shipped_entries", "shipped_file",
]  # fmt: skip

if "detectron2" in sys.modules:
    import d2road.model_zoo.path_handler  # noqa: F401  registers it
