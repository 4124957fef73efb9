"""Pixels that are to be ignored: out of every metric of pixels, and nothing else changes."""

import json

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from d2road.cli.eval_anomaly import main
from efficientad.data.dataset_layouts import mvtec_ad
from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.evaluation.evaluator import AnomalyEvaluator
from efficientad.evaluation.image_scores import score_image
from efficientad.evaluation.map_files import read_map
from efficientad.evaluation.mask_files import read_mask
from tests.factories.anomaly_maps import read_all, write_category


def run(data, maps, ignore_files=None, exact=True) -> dict:
    evaluator = AnomalyEvaluator(str(data), exact=exact, draws=0)
    for entry in mvtec_ad(data).test():
        name = entry.path.relative_to(data).with_suffix("").as_posix()
        inputs = {
            "file_name": str(entry.path),
            "root": str(data),
            "defect": entry.defect,
            "mask_files": [str(mask) for mask in entry.masks],
        }
        if ignore_files is not None and name in ignore_files:
            inputs["ignore_file"] = str(ignore_files[name])
        evaluator.process([inputs], [{"anomaly_map": torch.from_numpy(read_map(maps / f"{name}.tiff"))}])
    return evaluator.evaluate()["anomaly"]


def write_ignore_masks(data, maps, seed=0) -> dict:
    """A band of every map, one that begins inside the defect where there is one."""
    rng, files = np.random.default_rng(seed), {}
    for path in sorted(maps.glob("test/*/*.tiff")):
        ignore = np.zeros(read_map(path).shape, dtype=np.uint8)
        y = rng.integers(0, 30)
        ignore[y : y + 10, 10:] = 255
        name = path.relative_to(maps).with_suffix("").as_posix()
        files[name] = data / "ignore" / f"{name.replace('/', '_')}.png"
        files[name].parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(files[name]), ignore)
    return files


@pytest.mark.parametrize("exact", [True, False])
def test_pixel_auroc_without_the_ignored_pixels_by_sklearn(tmp_path, exact):
    data, maps = write_category(tmp_path)
    files = write_ignore_masks(data, maps)
    scores, labels = [], []
    everything = read_all(data, maps)
    for (_, anomaly_map, truth), (_, file) in zip(everything, sorted(files.items())):
        kept = (read_mask(file) == 0) | truth
        scores.append(anomaly_map[kept])
        labels.append(truth[kept])
    plain, ignoring = run(data, maps, exact=exact), run(data, maps, files, exact=exact)
    expected = roc_auc_score(np.concatenate(labels), np.concatenate(scores))
    assert ignoring["pixel_auroc"] == pytest.approx(expected, abs=1e-9 if exact else 1e-3)
    assert ignoring["pixel_auroc"] != plain["pixel_auroc"] and ignoring["aupro"] != plain["aupro"]
    assert ignoring["image_auroc"] == plain["image_auroc"]


def test_the_tool_ignores_what_the_evaluator_ignores(tmp_path):
    data, maps = write_category(tmp_path)
    files = write_ignore_masks(data, maps)
    for name, file in files.items():
        target = data / "ignore" / f"{name.removeprefix('test/')}_ignore.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
        files[name] = target
    found = tmp_path / "found.json"
    assert main(["--data", str(data), "--maps", str(maps), "--json", str(found), "--exact"]) == 0
    expected, results = run(data, maps, files), json.loads(found.read_text())
    assert results["pixel_auroc"] == pytest.approx(expected["pixel_auroc"], abs=1e-9)
    assert results["aupro"] == pytest.approx(expected["aupro"], abs=1e-9) != run(data, maps)["aupro"]


def test_an_empty_ignore_mask_changes_nothing(tmp_path):
    data, maps = write_category(tmp_path)
    files = write_ignore_masks(data, maps)
    for file in files.values():
        cv2.imwrite(str(file), np.zeros_like(read_mask(file)))
    assert run(data, maps, files) == pytest.approx(run(data, maps), nan_ok=True, abs=0)


def test_false_positives_beside_the_defect_are_forgiven_only_where_ignored():
    truth = np.zeros((20, 20), bool)
    truth[5:8, 5:8] = True
    queue = np.zeros((20, 20), np.uint8)
    queue[8:, 5:8] = 1
    anomaly_map = np.where(queue, 2.0, truth * 1.0)  # the queue scores higher than the defect
    good = score_image("good", "good", np.zeros((20, 20)))
    with_ignore = evaluate([good, score_image("a", "stop", anomaly_map, truth, ignore=queue)])
    assert with_ignore["pixel_auroc"] == 1 and with_ignore["aupro"] == 1
    without = evaluate([good, score_image("a", "stop", anomaly_map, truth)])
    assert without["pixel_auroc"] == pytest.approx(1 - queue.sum() / (800 - 9))


def test_a_image_that_is_ignored_whole_still_counts_as_an_image():
    hidden = score_image("b", "good", np.ones((4, 5)), ignore=np.ones((4, 5), np.uint8))
    assert hidden.score == 1 and len(hidden.negatives) == 0
    with pytest.raises(ValueError, match="b: map is 5x4, its ignore mask 4x4"):
        score_image("b", "good", np.ones((4, 5)), ignore=np.ones((4, 4), np.uint8))
