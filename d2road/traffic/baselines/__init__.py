"""Baselines that EfficientAD on time-space images has to beat: rules, forecasts, isolation forest, PCA.

All are fitted on windows of good traffic alone and give a score for a window, so that one evaluation serves them all.
"""

from d2road.traffic.baselines.baseline import Baseline, MappingBaseline
from d2road.traffic.baselines.forest import VehicleForest
from d2road.traffic.baselines.lasting_rules import LastingRules
from d2road.traffic.baselines.pca import ImagePca, PatchPca
from d2road.traffic.baselines.rules import KinematicRules
from d2road.traffic.baselines.track_surprise import CameraSurprise, TrackSurprise

__all__ = [
    "BASELINES",
    "Baseline",
    "CameraSurprise",
    "ImagePca",
    "KinematicRules",
    "LastingRules",
    "MappingBaseline",
    "PatchPca",
    "TrackSurprise",
    "VehicleForest",
]

# "rules" is the first version, by which records name it; `d2road score-stream --method rules` is the second.
BASELINES: dict[str, type[Baseline]] = {
    "rules": KinematicRules,
    "rules_v2": LastingRules,
    "rules_forecast": TrackSurprise,
    "rules_camera": CameraSurprise,
    "isolation_forest": VehicleForest,
    "pca": ImagePca,
    "patch_pca": PatchPca,
}
