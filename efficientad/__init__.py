"""EfficientAD and PatchCore: anomaly detection on images of good products, over the same data, metrics and heat maps.

EfficientAD, by a student and an autoencoder that fail to follow a teacher: Batzner et al., EfficientAD: Accurate Visual
Anomaly Detection at Millisecond-Level Latencies, WACV 2024. PatchCore, by nearest neighbours among pretrained features:
Roth et al., Towards Total Recall in Industrial Anomaly Detection, CVPR 2022; its package is `patchcore`. The package
`fusion` combines the maps of both.
"""

from efficientad import calibration as _calibration  # noqa: F401  only registration
from efficientad.config import add_efficientad_config
from efficientad.data import anomaly_datasets as _datasets  # noqa: F401  only registration
from efficientad.data import btad_real_iad as _more_datasets  # noqa: F401
from efficientad.data import mapper as _mapper  # noqa: F401
from efficientad.data import pasted_datasets as _pasted  # noqa: F401
from efficientad.detector import EfficientAD
from efficientad.distillation.distill import TeacherDistillation
from efficientad.evaluation import evaluator as _evaluator  # noqa: F401
from efficientad.fusion.fusion_detector import AnomalyFusion
from efficientad.inference import heatmap_annotator as _annotator  # noqa: F401
from efficientad.patchcore.patchcore_detector import PatchCore

__all__ = ["AnomalyFusion", "EfficientAD", "PatchCore", "TeacherDistillation", "add_efficientad_config"]
