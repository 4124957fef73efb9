"""EfficientAD and PatchCore: anomaly detection on images of good products, over the same data, metrics and heat maps.

EfficientAD, by a student and an autoencoder that fail to follow a teacher: Batzner et al., EfficientAD: Accurate Visual
Anomaly Detection at Millisecond-Level Latencies, WACV 2024. PatchCore, by nearest neighbours among pretrained features:
Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022; its package is `patchcore`. The package
`fusion` combines the maps of both.
"""

from typing import TYPE_CHECKING

from d2road.utils.lazy_package import lazy_package

if TYPE_CHECKING:
    from efficientad.config import add_efficientad_config
    from efficientad.detector import EfficientAD
    from efficientad.distillation.distill import TeacherDistillation
    from efficientad.fusion.fusion_detector import AnomalyFusion
    from efficientad.patchcore.patchcore_detector import PatchCore

__all__ = ["AnomalyFusion", "EfficientAD", "PatchCore", "TeacherDistillation", "add_efficientad_config"]

_MODELS = {
    "AnomalyFusion": "fusion.fusion_detector",
    "EfficientAD": "detector",
    "PatchCore": "patchcore.patchcore_detector",
    "TeacherDistillation": "distillation.distill",
}
_COMPONENTS = (
    "calibration",
    "data.anomaly_datasets",
    "data.btad_real_iad_datasets",
    "data.mapper",
    "data.pasted_datasets",
    *_MODELS.values(),
    "evaluation.evaluator",
    "inference.heatmap_annotator",
)
__getattr__ = lazy_package(__name__, {"add_efficientad_config": "config", **_MODELS}, _COMPONENTS)
