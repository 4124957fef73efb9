"""Registry of mappers, which make model inputs of dataset dicts."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.modeling import META_ARCH_REGISTRY

from d2road.utils.registry import Registry

MAPPER_REGISTRY = Registry("mapper")
MAPPER_REGISTRY.__doc__ = """
What turns a dataset dict into a model input. Called as `mapper(cfg, is_train)`, it returns a callable
`dataset_dict -> dict`, which must not change its argument and draws from numpy's global random state only.
"""


@runtime_checkable
class HasDefaultMapper(Protocol):
    """A meta-architecture that names the mapper which makes its inputs (see `d2road.engine.meta_arch`)."""

    default_mapper: str


@runtime_checkable
class ChecksTrainingData(Protocol):
    """A mapper that knows what data must hold so that something can be learned from it."""

    def check_training_data(self, names: str, dicts: Sequence[dict]) -> None:
        """Raise DataError for data that teaches nothing; `names` are those of DATASETS.TRAIN. Before the first step."""


@MAPPER_REGISTRY.register(name="DatasetMapper")
def build_detectron2_mapper(cfg: CfgNode, is_train: bool) -> DatasetMapper:
    """Detectron2's own mapper, for its own meta-architectures."""
    return DatasetMapper(cfg, is_train)


def mapper_name(cfg: CfgNode) -> str:
    """INPUT.MAPPER, or what the meta-architecture names as its `default_mapper`, or Detectron2's."""
    if cfg.INPUT.MAPPER:
        return cfg.INPUT.MAPPER
    name = cfg.MODEL.META_ARCHITECTURE
    architecture = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    return architecture.default_mapper if isinstance(architecture, HasDefaultMapper) else "DatasetMapper"


def build_mapper(cfg: CfgNode, is_train: bool) -> Callable[[dict], Any]:
    """The mapper of a config.

    Raises:
        ValueError: INPUT.MAPPER is not registered.
    """
    return MAPPER_REGISTRY.get(mapper_name(cfg))(cfg, is_train)
