"""What benchmarks of anomaly detection record of a test: each figure at the threshold that belongs to it."""

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from benchmarks.efficientad.anomaly_results import judge, run_test
from benchmarks.efficientad.anomaly_tables import SEG_F1, Entry
from benchmarks.efficientad.baseline_detector import BaselineDetector
from d2road.config import default_argument_parser, setup_cfg
from efficientad.conformal import decision_threshold
from tests.factories.anomaly_models import SIDE, write_category


class Darkness(BaselineDetector):
    """How dark a pixel is; the score of an image, as PatchCore's, is no value of its map."""

    def detect(self, entry: dict) -> tuple[torch.Tensor, torch.Tensor]:
        anomaly_map = 255 - entry["image"].float().mean(0)
        return anomaly_map, 10 * anomaly_map.max()


@pytest.fixture
def cfg(tmp_path, repo_dir):
    root = write_category(tmp_path, num_train=10)
    opts = ["MODEL.DEVICE", "cpu", "INPUT.IMAGE_SIZE", f"({SIDE}, {SIDE})", "DATALOADER.NUM_WORKERS", "0"]
    opts += ["DATASETS.TRAIN", f"('mvtec:{root}',)", "DATASETS.TEST", f"('mvtec:{root}:test',)"]
    config = str(repo_dir / "configs/efficientad/Base-PatchCore.yaml")
    return setup_cfg(default_argument_parser().parse_args(["--config-file", config, *opts])), root


def test_pixels_are_judged_at_the_threshold_of_maps(cfg):
    cfg, root = cfg
    detector = Darkness()
    detector.take_threshold(cfg, 0.01)
    assert detector.threshold == pytest.approx(10 * detector.map_threshold, rel=1e-6)
    tested = run_test(cfg, detector)
    assert (tested.threshold, tested.map_threshold) == pytest.approx((detector.threshold, detector.map_threshold))
    truth, marked = [], []
    for path in sorted((root / "test").glob("*/*.png")):
        mask = root / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        truth.append(cv2.imread(str(mask), 0) > 0 if mask.is_file() else np.zeros((SIDE, SIDE), bool))
        dark = 255 - cv2.imread(str(path)).astype(np.float32).mean(2)
        marked.append(dark > detector.map_threshold)
    metrics = judge(tested)[0]
    expected = f1_score(np.concatenate(truth).ravel(), np.concatenate(marked).ravel())
    assert 0.5 < metrics[SEG_F1] == pytest.approx(expected, abs=1e-3)  # of scores' threshold it would be 0
    assert metrics["good_threshold"] == pytest.approx(detector.threshold)


def test_the_threshold_of_maps_is_that_of_good_validation_images(cfg):
    detector = Darkness()
    detector.take_threshold(cfg[0], 0.01)
    largest = max(
        float(255 - cv2.imread(str(path)).astype(np.float32).mean(2).min())
        for path in sorted((cfg[1] / "train/good").glob("*.png"))
    )
    assert detector.map_threshold <= decision_threshold([largest], 0.01)


@pytest.mark.parametrize("about", [{}, {"map_threshold": 3.0}])
def test_tables_leave_out_pixels_at_the_threshold_of_scores(about):
    entry = Entry("bench", "teacher", "patchcore", 1, 0, "screw", "run")
    entry.__dict__["record"] = {"metrics": {SEG_F1: 0.5, "aupro": 0.9}, **about}
    assert (SEG_F1 in entry.metrics) == bool(about) and entry.metrics["aupro"] == 0.9
