"""anomalib's own models as rows: trained by its Engine in its own environment, scored as ours are."""

import json

import pytest

from tests.factories.anomaly_models import write_category
from tests.factories.peers import ROOT, run_peer

pytestmark = pytest.mark.slow

PROGRAM = '''
"""Arguments: the project's folder, a category, a file for the scores of its test images by model."""
import json
import sys

sys.path.insert(0, sys.argv[1])
from benchmarks.efficientad import anomalib_models
from d2road.config import make_cfg
from efficientad.data.image_iteration import DatasetImages, images_of

anomalib_models.CORESET_RATIO, anomalib_models.PADIM_CHANNELS = 0.1, 20
config = sys.argv[1] + "/configs/efficientad/Base-PatchCore.yaml"
train, test = (f"('mvtec:{sys.argv[2]}{split}',)" for split in ("", ":test"))
cfg = make_cfg(config, ["DATASETS.TRAIN", train, "DATASETS.TEST", test, "INPUT.IMAGE_SIZE", (128, 128), "SEED", 1])
found = {}
for variant in anomalib_models.ANOMALIB_MODELS:
    detector = anomalib_models.train_anomalib(cfg, variant)
    for entry in images_of(DatasetImages(cfg, cfg.DATASETS.TEST), "test"):
        (output,) = detector([entry])
        assert output["anomaly_map"].shape == (entry["height"], entry["width"])
        own = detector.model.model(detector.model.pre_processor(entry["image"][None] / 255))
        assert output["anomaly_score"] == own.pred_score and output["anomaly_threshold"] == detector.threshold
        found.setdefault(variant, {})[entry["file_name"]] = float(output["anomaly_score"])
json.dump(found, open(sys.argv[3], "w"))
'''


def test_models_of_anomalib_are_trained_and_scored(tmp_path):
    category = write_category(tmp_path, num_train=10)
    run_peer("anomalib", PROGRAM, ROOT, category, tmp_path / "scores.json", timeout=300)
    found = json.loads((tmp_path / "scores.json").read_text())
    assert list(found) == ["anomalib_patchcore", "anomalib_padim"]
    for scores in found.values():
        blots = [score for name, score in scores.items() if "blot" in name]
        good = [score for name, score in scores.items() if "good" in name]
        assert len(blots) == len(good) == 3 and min(blots) > max(good)
