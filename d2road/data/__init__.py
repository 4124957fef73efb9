"""Mappers, data sets by name and by path, loaders. Importing this package registers the data sets."""

from d2road.data.build import build_test_loader, build_train_loader
from d2road.data.catalog import class_names_of, register_lazily
from d2road.data.class_names import class_count_problems, num_classes_of
from d2road.data.dataset_formats import DATASET_FAMILIES, DATASET_FORMATS, DatasetFormat, register_by_name
from d2road.data.datasets import builtin as _builtin  # noqa: F401  only registration
from d2road.data.mapper_registry import MAPPER_REGISTRY, build_mapper

__all__ = [
    "DATASET_FAMILIES",
    "DATASET_FORMATS",
    "MAPPER_REGISTRY",
    "DatasetFormat",
    "build_mapper",
    "build_test_loader",
    "build_train_loader",
    "class_count_problems",
    "class_names_of",
    "num_classes_of",
    "register_by_name",
    "register_lazily",
]
