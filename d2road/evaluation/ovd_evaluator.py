"""Open-vocabulary detection by COCO's protocol: AP50 of base and of novel classes."""

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from d2road.evaluation.coco_evaluator import BoxEvaluator
from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY
from d2road.evaluation.metrics.box_ap import BoxPrecision, BoxTruth


class OpenVocabularyEvaluator(BoxEvaluator):
    """COCO's AP of boxes, with AP50 of base, novel and all classes, found together (the generalised setting).

    Which classes are novel is in the metadata of the data set, `novel_classes`.
    """

    def results(self, truth: BoxTruth, precision: BoxPrecision) -> dict[str, float]:
        """Percent by metric, NaN where there is no object."""
        novel = set(MetadataCatalog.get(self.dataset_name).novel_classes)
        places = {
            "base": [k for k, name in enumerate(self.class_names) if name not in novel],
            "novel": [k for k, name in enumerate(self.class_names) if name in novel],
            "all": None,
        }
        split = {f"AP50-{part}": precision.mean(overlap=0.5, categories=chosen) for part, chosen in places.items()}
        return super().results(truth, precision) | split


@EVALUATOR_REGISTRY.register(name="coco_ovd")
def build_open_vocabulary_evaluator(cfg: CfgNode, dataset_name: str, output_dir: str) -> OpenVocabularyEvaluator:
    """AP50 of base and novel classes."""
    return OpenVocabularyEvaluator(dataset_name, output_dir, plots=cfg.TEST.get("PLOTS", False))
