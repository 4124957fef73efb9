"""Model zoo: weights and other fitted models that are shipped with the package, by name, each with its SHA-256.

Their address is `zoo:NAME`, such as `MODEL.WEIGHTS zoo:diffusion_det_toy`; it works wherever Detectron2's path manager
reads a file. `d2road zoo list` and MODEL_ZOO.md say what there is, what each was trained on, and how good it is.
"""

from d2road.model_zoo.catalogue import Entry, find_entry, find_entry_by_prefix, read_catalogue, shipped_entries
from d2road.model_zoo.shipped_files import checked_file, fetch_hint, require_shipped, shipped_class_names, shipped_file

__all__ = [
    "Entry", "checked_file", "fetch_hint", "find_entry", "find_entry_by_prefix", "read_catalogue", "require_shipped",
    "shipped_class_names", "shipped_entries", "shipped_file",
]  # fmt: skip
