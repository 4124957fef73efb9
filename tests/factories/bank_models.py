"""A config of a small PatchCore, and models fitted to the tiny data set of `anomaly_models`."""

from pathlib import Path

import torch
from detectron2.modeling import build_model

from d2road.config import make_cfg
from d2road.config.setup import finalize
from efficientad.patchcore.patchcore_detector import PatchCore
from tests.factories.anomaly_models import SIDE, write_category

BASE = Path(__file__).resolve().parents[2] / "configs" / "efficientad" / "Base-PatchCore.yaml"

PUBLISHED = ["MODEL.PATCHCORE.REWEIGHT_NEIGHBOURS", 9, "MODEL.PATCHCORE.BLUR", 4.0]


def bank_cfg(*pairs):
    """A config of a small PatchCore, with KEY, VALUE pairs merged."""
    keys = ["MODEL.DEVICE", "cpu", "SEED", 3, "INPUT.IMAGE_SIZE", f"({SIDE}, {SIDE})", "DATALOADER.NUM_WORKERS", 0]
    cfg = make_cfg(str(BASE), [*keys, "MODEL.PATCHCORE.BANK_SIZE", 400, *PUBLISHED])
    cfg.merge_from_list([str(pair) if isinstance(pair, Path) else pair for pair in pairs])
    return cfg


def bank_data(root: Path, num_train: int = 8) -> tuple[str, str]:
    """Names of training and test data of a new category below a folder."""
    category = write_category(root, num_train=num_train)
    return f"mvtec:{category}", f"mvtec:{category}:test"


def fitted(root: Path, *pairs) -> PatchCore:
    """A model fitted to a new category below a folder, in eval mode."""
    cfg = bank_cfg("DATASETS.TRAIN", (bank_data(root)[0],), *pairs)
    assert not finalize(cfg)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        model.fit(cfg)
    return model
