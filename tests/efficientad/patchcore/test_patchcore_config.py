"""Keys of PatchCore: all that is wrong at once, and what follows from others."""

from pathlib import Path

import pytest

from d2road.config import validate
from d2road.config.setup import finalize
from d2road.engine import check_start
from efficientad.patchcore import patchcore_config
from tests.factories.bank_models import bank_cfg

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "efficientad"
WRONG = {
    "MODEL.PATCHCORE.FEATURES": "resnet", "MODEL.PATCHCORE.NEIGHBOURHOOD": 2, "MODEL.PATCHCORE.BANK_SIZE": 0,
    "MODEL.PATCHCORE.CANDIDATES": -1, "MODEL.PATCHCORE.CORESET": "best", "MODEL.PATCHCORE.PRECISION": "bf16",
    "MODEL.PATCHCORE.SEARCH": "int8", "MODEL.PATCHCORE.REWEIGHT_NEIGHBOURS": 0, "MODEL.PATCHCORE.BLUR": -1.0,
    "MODEL.PATCHCORE.CALIBRATION.METHOD": "jackknife", "MODEL.PATCHCORE.CALIBRATION.FALSE_POSITIVE_RATE": 1.0,
    "INPUT.IMAGE_SIZE": (32, 256), "INPUT.FORMAT": "BGR", "SOLVER.MAX_ITER": 2, "MODEL_EMA.ENABLED": True,
}  # fmt: skip


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ValueError) as told:
        validate(bank_cfg(*[item for pair in WRONG.items() for item in pair]))
    missing = [key for key in WRONG if key not in str(told.value)]
    assert not missing and f"{len(WRONG)}." in str(told.value)


@pytest.mark.parametrize("key", WRONG)
def test_each_is_wrong_by_itself(key):
    validate(bank_cfg())
    with pytest.raises(ValueError, match=key.rpartition(".")[2]):
        validate(bank_cfg(key, WRONG[key]))


def test_any_number_of_processes_may_share_the_images(monkeypatch):
    monkeypatch.setattr(patchcore_config.comm, "get_world_size", lambda: 3)
    cfg = bank_cfg()
    assert not finalize(cfg) and cfg.SOLVER.IMS_PER_BATCH == 3


def test_weights_that_a_fit_needs_are_asked_for_before_it_starts(tmp_path):
    cfg = bank_cfg("MODEL.PATCHCORE.FEATURES", "wide_resnet101", "OUTPUT_DIR", tmp_path)
    with pytest.raises(ValueError, match="wide_resnet101 needs a file"):
        check_start(cfg)
    (tmp_path / "bank.pth").write_bytes(b"")
    cfg.MODEL.WEIGHTS = str(tmp_path / "bank.pth")  # which brings its extractor along
    check_start(cfg)
