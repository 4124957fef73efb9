"""Baselines that EfficientAD on time-space images has to beat: rules, isolation forest, principal components.

All are fitted on windows of good traffic alone and give a score for a window, so that one evaluation serves them all.
"""

from d2road.traffic.baselines.baseline import Baseline, MappingBaseline
from d2road.traffic.baselines.forest import VehicleForest
from d2road.traffic.baselines.pca import ImagePca, PatchPca
from d2road.traffic.baselines.rules import KinematicRules

__all__ = ["BASELINES", "Baseline", "ImagePca", "KinematicRules", "MappingBaseline", "PatchPca", "VehicleForest"]

BASELINES: dict[str, type[Baseline]] = {
    "rules": KinematicRules,
    "isolation_forest": VehicleForest,
    "pca": ImagePca,
    "patch_pca": PatchPca,
}
