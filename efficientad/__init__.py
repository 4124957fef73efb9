"""EfficientAD: anomaly detection by a student and an autoencoder that fail to follow a teacher.

Batzner et al., EfficientAD: Accurate Visual Anomaly Detection at Millisecond-Level Latencies, WACV 2024.
"""

from .config import add_efficientad_config

__all__ = ["add_efficientad_config"]
