"""Configuration of the fusion of anomaly maps."""

from collections.abc import Mapping

from detectron2.config import CfgNode as CN

from d2road.config.defaults import set_default

ANOMALY_FUSION = {
    # Checkpoint of a trained EfficientAD with the keys of MODEL.EFFICIENT_AD; the fused model holds its weights.
    "STUDENT_WEIGHTS": "",
    # Checkpoint of a PatchCore with the keys of MODEL.PATCHCORE; "" makes the bank of DATASETS.TRAIN.
    "BANK_WEIGHTS": "",
    # How the maps become one: their weighted mean, or the largest of those that have a weight.
    "COMBINE": "mean",
    # Of the maps of student, autoencoder and memory bank; 0 leaves a map out. Quantiles and rate of false alarms are
    # those of MODEL.EFFICIENT_AD.CALIBRATION, the smoothing is MODEL.PATCHCORE.BLUR.
    "WEIGHTS": (1.0, 1.0, 1.0),
}


def add_fusion_config(cfg: CN) -> None:
    """Add the keys of the fusion to a config, in place; idempotent."""
    set_default(cfg.MODEL, "ANOMALY_FUSION", CN())
    keys: Mapping[str, object] = ANOMALY_FUSION
    for key, value in keys.items():
        set_default(cfg.MODEL.ANOMALY_FUSION, key, value)
