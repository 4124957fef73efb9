"""EfficientAD: anomaly detection by a student and an autoencoder that fail to follow a teacher.

Batzner et al., EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies, WACV 2024.
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
from efficientad.inference import heatmap_annotator as _annotator  # noqa: F401

__all__ = ["EfficientAD", "TeacherDistillation", "add_efficientad_config"]
