"""Registry of evaluators, by the `evaluator_type` of a data set."""

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from d2road.evaluation.class_matching import with_classes_of_data
from d2road.utils.errors import ConfigError
from d2road.utils.registry import Registry

EVALUATOR_REGISTRY = Registry("evaluator")
EVALUATOR_REGISTRY.__doc__ = """
Evaluators, by the `evaluator_type` in the metadata of a data set. Called as `evaluator(cfg, dataset_name, output_dir)`.
"""


def build_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """The evaluator of a registered data set, which takes classes as MODEL.CLASS_NAMES numbers them.

    Args:
        output_dir: predictions are written here; created if it is missing.
    Raises:
        ValueError: the data set has no evaluator_type, or one that is not registered, or a class that the model does
            not know.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type")
    if kind is None:
        raise ConfigError(
            f"data set '{dataset_name}' has no evaluator_type in its metadata; set "
            f"MetadataCatalog.get('{dataset_name}').evaluator_type to one of {', '.join(EVALUATOR_REGISTRY.names())}"
        )
    evaluator = EVALUATOR_REGISTRY.get(kind)(cfg, dataset_name, output_dir)
    return with_classes_of_data(evaluator, dataset_name, cfg.MODEL.get("CLASS_NAMES", ()))
