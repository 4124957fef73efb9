"""Data sets by path: a name that says the format and where the data is, so that own data needs no code.

    coco:ANNOTATIONS.json:IMAGE_DIR      kitti:ROOT[:SPLIT]      rope3d:ROOT:train|val
    omni3d:ANNOTATIONS.json:IMAGE_DIR    dair:ROOT[:SPLIT]

Paths are relative to the working directory and contain no colon. Families are for collections of many data sets below
DETECTRON2_DATASETS, named by their parts, such as mvtec_ad/screw/test. Systems add formats and families of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from detectron2.data import DatasetCatalog

from d2road.utils.aliases import present_dataset
from d2road.utils.errors import ConfigError
from d2road.utils.registry import Registry, unknown_name


@dataclass(frozen=True)
class DatasetFormat:
    """How to register a data set of one format.

    Args:
        syntax: of its names, for messages.
        register: called as `register(name, *arguments)`; must be quick, the data is read when it is first used.
        num_arguments: fewest and most arguments after the format or family.
    """

    syntax: str
    register: Callable[..., None]
    num_arguments: tuple[int, int]


DATASET_FORMATS = Registry("data set format")
DATASET_FORMATS.__doc__ = "Formats of path-named data sets: format -> `DatasetFormat`."
DATASET_FAMILIES = Registry("data set family")
DATASET_FAMILIES.__doc__ = "Collections with names like family/part/part: family -> `DatasetFormat` of the parts."


def register_by_name(name: str) -> None:
    """Make a data set name usable: known ones stay as they are, path names are registered. Idempotent.

    Raises:
        ValueError: neither a registered name nor one that a format or a family reads.
    """
    if name in DatasetCatalog:
        return
    kind, colon, rest = present_dataset(name).partition(":")
    family, slash, parts = name.partition("/")
    if colon:
        data_format, arguments = DATASET_FORMATS.get(kind), rest.split(":")
    elif slash and family in DATASET_FAMILIES:
        data_format, arguments = DATASET_FAMILIES.get(family), parts.split("/")
    else:
        syntaxes = ", ".join(DATASET_FORMATS.get(kind).syntax for kind in DATASET_FORMATS.names())
        families = ", ".join(DATASET_FAMILIES.get(family).syntax for family in DATASET_FAMILIES.names())
        known = [n for n in DatasetCatalog.list() if ":" not in n and "/" not in n]
        raise ConfigError(
            f"{unknown_name('data set', name, known)}; data by path: {syntaxes}"
            + (f"; collections: {families}" if families else "")
        )
    fewest, most = data_format.num_arguments
    if not fewest <= len(arguments) <= most or not all(arguments):
        raise ConfigError(f"data set name {name!r} does not read as {data_format.syntax} (paths contain no colon)")
    data_format.register(name, *arguments)
