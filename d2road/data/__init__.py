"""Mappers, data sets by name and by path, loaders. With it, Detectron2's catalogue has the data sets."""

from typing import TYPE_CHECKING

from d2road.utils.lazy_package import lazy_package

if TYPE_CHECKING:
    from d2road.data.build import build_test_loader, build_train_loader
    from d2road.data.catalog import class_names_of, register_lazily
    from d2road.data.class_names import class_count_problems, num_classes_of
    from d2road.data.dataset_formats import DATASET_FAMILIES, DATASET_FORMATS, DatasetFormat, register_by_name
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

_MODULES = {
    "DATASET_FAMILIES": "dataset_formats",
    "DATASET_FORMATS": "dataset_formats",
    "MAPPER_REGISTRY": "mapper_registry",
    "DatasetFormat": "dataset_formats",
    "build_mapper": "mapper_registry",
    "build_test_loader": "build",
    "build_train_loader": "build",
    "class_count_problems": "class_names",
    "class_names_of": "catalog",
    "num_classes_of": "class_names",
    "register_by_name": "dataset_formats",
    "register_lazily": "catalog",
}
__getattr__ = lazy_package(__name__, _MODULES, components=("datasets.builtin",))
