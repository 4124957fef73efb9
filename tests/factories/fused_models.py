"""A config of a small fusion of anomaly maps: narrow networks with a random teacher, and a small bank."""

from pathlib import Path

from d2road.config import make_cfg
from tests.factories.anomaly_models import SIDE

BASE = Path(__file__).resolve().parents[2] / "configs" / "efficientad" / "Base-Fusion.yaml"


def fusion_cfg(*pairs):
    """The config, with KEY, VALUE pairs merged."""
    keys = ["MODEL.DEVICE", "cpu", "SEED", 3, "INPUT.IMAGE_SIZE", f"({SIDE}, {SIDE})", "DATALOADER.NUM_WORKERS", 0]
    node = "MODEL.EFFICIENT_AD."
    keys += [node + "TEACHER", "random", node + "OUT_CHANNELS", 8, node + "ATTENTION_DIM", 16]
    keys += [node + "ATTENTION_HEADS", 2, "MODEL.PATCHCORE.BANK_SIZE", 300, "TEST.ANOMALY.BOOTSTRAP", 0]
    keys += ["MODEL.ANOMALY_FUSION.WEIGHTS", "(1.0, 1.0, 1.0)"]
    cfg = make_cfg(str(BASE), keys)
    cfg.merge_from_list(list(pairs))
    return cfg
