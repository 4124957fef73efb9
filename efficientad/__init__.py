"""EfficientAD: anomaly detection by a student and an autoencoder that fail to follow a teacher.

Batzner et al., EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies, WACV 2024.
"""

from . import dataset as _dataset  # noqa: F401  only registration
from . import evaluator as _evaluator  # noqa: F401
from . import mapper as _mapper  # noqa: F401
from .config import add_efficientad_config
from .detector import EfficientAD
from .distill import TeacherDistillation

__all__ = ["EfficientAD", "TeacherDistillation", "add_efficientad_config"]
