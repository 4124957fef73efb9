"""The evaluator on model outputs: figures, files, several processes, and outputs that are wrong."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from PIL import Image
from sklearn.metrics import roc_auc_score

from d2road.cli.eval_anomaly import main
from d2road.evaluation import build_evaluator
from efficientad.config import add_efficientad_config
from efficientad.data.dataset_layouts import mvtec_ad, mvtec_loco
from efficientad.evaluation.evaluator import AnomalyEvaluator, flat_metrics
from efficientad.evaluation.map_files import read_map, write_map
from efficientad.evaluation.mask_files import read_mask
from tests.factories.anomaly_maps import read_all, write_category


def _batches(data, maps, loco=False) -> list[tuple[dict, dict]]:
    """Dataset dicts and outputs as the model gives them."""
    pairs = []
    for entry in (mvtec_loco if loco else mvtec_ad)(data).test():
        anomaly_map = torch.from_numpy(read_map(maps / entry.path.relative_to(data).with_suffix(".tiff")))
        inputs = {
            "file_name": str(entry.path),
            "root": str(data),
            "label": int(entry.defect != "good"),
            "defect": entry.defect,
            "mask_files": [str(mask) for mask in entry.masks],
        }
        pairs.append((inputs, {"anomaly_map": anomaly_map, "anomaly_score": anomaly_map.max()}))
    return pairs


def _run(evaluator: AnomalyEvaluator, pairs) -> dict:
    evaluator.reset()
    for inputs, outputs in pairs:
        evaluator.process([inputs], [outputs])
    return evaluator.evaluate()


def test_metrics_by_sklearn(tmp_path):
    data, maps = write_category(tmp_path)
    results = _run(AnomalyEvaluator(str(data), exact=True, draws=0), _batches(data, maps))["anomaly"]
    everything = read_all(data, maps)
    pixels = np.concatenate([m.ravel() for _, m, _ in everything])
    labels = np.concatenate([mask.ravel() for *_, mask in everything])
    assert results["pixel_auroc"] == pytest.approx(roc_auc_score(labels, pixels), abs=1e-9)
    expected = roc_auc_score([kind != "good" for kind, *_ in everything], [m.max() for _, m, _ in everything])
    assert results["image_auroc"] == pytest.approx(expected, abs=1e-9)
    assert {"image_auroc_dent", "image_auroc_scratch", "aupro", "f1_max", "pixel_f1_max"} < set(results)
    assert not any("auspro" in key or key.endswith("_low") for key in results)


def test_saved_maps_give_the_same_with_the_tool(tmp_path):
    data, maps = write_category(tmp_path, loco=True)
    evaluator = AnomalyEvaluator(str(data), str(tmp_path / "out"), save_maps=".npy", draws=40)
    results = _run(evaluator, _batches(data, maps, loco=True))["anomaly"]
    saved = json.loads((tmp_path / "out" / "anomaly.json").read_text())
    assert 0 < results["auspro_mean@0.05"] == saved["auspro"]["mean"]["0.05"] < 1
    assert results["image_auroc_mean"] == saved["image_auroc_by_type"]["mean"]
    assert results["aupro_low"] <= results["aupro"] <= results["aupro_high"]
    assert [results["aupro_low"], results["aupro_high"]] == saved["intervals"]["aupro"]
    again = tmp_path / "again.json"
    arguments = ["--data", str(data), "--maps", str(tmp_path / "out" / "anomaly_maps"), "--json", str(again)]
    assert main([*arguments, "--streaming", "--bootstrap", "40"]) == 0
    assert json.loads(again.read_text()) == saved


def test_threshold_of_the_model_gives_f1_at_it(tmp_path):
    data, maps = write_category(tmp_path)
    pairs = _batches(data, maps)
    for _, outputs in pairs:
        outputs["anomaly_threshold"] = torch.tensor(3.0)
    results = _run(AnomalyEvaluator(str(data), draws=0), pairs)["anomaly"]
    called = [(outputs["anomaly_score"] > 3).item() for _, outputs in pairs]
    labels = [inputs["label"] for inputs, _ in pairs]
    expected = 2 * np.dot(called, labels) / (sum(called) + sum(labels))
    assert results["f1_at_good_threshold"] == pytest.approx(expected) and results["good_threshold"] == 3
    assert 0 < results["pixel_f1_at_good_threshold"] <= results["pixel_f1_max"]
    for _, outputs in pairs:  # a score of the map and something else: its threshold says nothing of pixels
        outputs["map_score"] = outputs["anomaly_score"]
    combined = _run(AnomalyEvaluator(str(data), draws=0), pairs)["anomaly"]
    assert math.isnan(combined.pop("pixel_f1_at_good_threshold")) and results.items() >= combined.items()
    for _, outputs in pairs:  # unless the model has a threshold of maps apart
        outputs["anomaly_threshold"], outputs["map_threshold"] = torch.tensor(5.0), torch.tensor(3.0)
    apart = _run(AnomalyEvaluator(str(data), draws=0), pairs)["anomaly"]
    assert apart["good_threshold"] == 5
    assert apart["pixel_f1_at_good_threshold"] == results["pixel_f1_at_good_threshold"]


def test_good_images_alone_are_said_to_tell_false_alarms_only(tmp_path, caplog):
    data, maps = write_category(tmp_path)
    pairs = _batches(data, maps)
    _run(AnomalyEvaluator(str(data), draws=0), pairs)
    assert "is anomalous" not in caplog.text
    good = [(inputs, outputs) for inputs, outputs in pairs if not inputs["label"]]
    results = _run(AnomalyEvaluator(str(data), draws=0), good)["anomaly"]
    assert math.isnan(results["image_auroc"])
    assert f"None of the {len(good)} labelled images is anomalous" in caplog.text and "NAME:test" in caplog.text


def test_the_teacher_is_named_beside_the_results(tmp_path, caplog):
    data, maps = write_category(tmp_path)
    pairs = _batches(data, maps)
    evaluator = AnomalyEvaluator(str(data), str(tmp_path), draws=0)
    with caplog.at_level("INFO"):
        plain = _run(evaluator, pairs)
    assert "teacher" not in json.loads((tmp_path / "anomaly.json").read_text()) and "teacher" not in caplog.text
    for _, outputs in pairs:
        outputs["teacher"] = "teacher_small.pth (0123abcd)"
    with caplog.at_level("INFO"):
        results = _run(evaluator, pairs)
    written = json.loads((tmp_path / "anomaly.json").read_text())
    assert written["teacher"] == "teacher_small.pth (0123abcd)" and "teacher_small.pth (0123abcd)" in caplog.text
    assert results == plain and written["image_auroc"] == results["anomaly"]["image_auroc"], "metrics are numbers"
    assert _run(evaluator, _batches(data, maps)) == plain
    assert "teacher" not in json.loads((tmp_path / "anomaly.json").read_text()), "reset forgets it"


def test_score_of_the_model_counts_not_the_maximum(tmp_path):
    data, maps = write_category(tmp_path)
    pairs = _batches(data, maps)
    for inputs, outputs in pairs:
        outputs["anomaly_score"] = torch.tensor(float(inputs["label"]))
    assert _run(AnomalyEvaluator(str(data), draws=0), pairs)["anomaly"]["image_auroc"] == 1


def test_several_processes_measure_what_one_does(tmp_path, monkeypatch):
    data, maps = write_category(tmp_path, loco=True)
    pairs = _batches(data, maps, loco=True)
    whole = _run(AnomalyEvaluator(str(data), draws=20), pairs)
    parts = [AnomalyEvaluator(str(data), draws=20) for _ in range(2)]
    for i, part in enumerate(parts):
        for inputs, outputs in pairs[i::2]:
            part.process([inputs], [outputs])
    sent = []
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    monkeypatch.setattr(comm, "gather", lambda value, dst: sent.append(value) or [])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert parts[1].evaluate() == {}
    monkeypatch.setattr(comm, "gather", lambda value, dst: [value, *sent])
    monkeypatch.setattr(comm, "is_main_process", lambda: True)
    assert parts[0].evaluate()["anomaly"] == pytest.approx(whole["anomaly"], abs=1e-12)


def test_built_from_a_config_for_data_of_type_anomaly(tmp_path):
    data, maps = write_category(tmp_path)
    cfg = get_cfg()
    add_efficientad_config(cfg)
    cfg.TEST.ANOMALY.SAVE_MAPS = ".tiff"
    cfg.TEST.ANOMALY.BOOTSTRAP = 0
    MetadataCatalog.get("thing@evaluator").set(evaluator_type="anomaly", category_root=str(data))
    evaluator = build_evaluator(cfg, "thing@evaluator", str(tmp_path / "out"))
    assert "image_auroc" in _run(evaluator, _batches(data, maps))["anomaly"]
    written = read_map(tmp_path / "out" / "anomaly_maps" / "test" / "dent" / "000.tiff")
    np.testing.assert_array_equal(written, read_map(maps / "test" / "dent" / "000.tiff"))
    cfg.TEST.ANOMALY.SAVE_MAPS = ".png"
    with pytest.raises(ValueError, match=r"maps as '\.png': choose one of \.tiff"):
        build_evaluator(cfg, "thing@evaluator", str(tmp_path))
    MetadataCatalog.pop("thing@evaluator")


def test_data_without_masks_judges_images(tmp_path):
    data, maps = write_category(tmp_path)
    pairs = [({**inputs, "mask_files": []}, outputs) for inputs, outputs in _batches(data, maps)]
    results = _run(AnomalyEvaluator(str(data), draws=20), pairs)["anomaly"]
    assert results["image_auroc"] > 0.5 and math.isnan(results["pixel_auroc"]) and math.isnan(results["aupro_low"])


def test_wrong_outputs_name_the_image(tmp_path):
    data, maps = write_category(tmp_path)
    inputs, outputs = _batches(data, maps)[0]
    evaluator = AnomalyEvaluator(str(data), draws=0)
    broken = outputs["anomaly_map"].clone()
    broken[3, 5] = float("nan")
    with pytest.raises(
        ValueError, match=r"test/dent/000.png has 1 value\(s\) that are not finite, the first at x 5, y 3"
    ):
        evaluator.process([inputs], [{**outputs, "anomaly_map": broken}])
    with pytest.raises(ValueError, match=r"test/dent/000.png is 20x20, but mask .*000_mask.png is 52x40"):
        evaluator.process([inputs], [{**outputs, "anomaly_map": torch.zeros(20, 20)}])
    with pytest.raises(ValueError, match=r"000.png is 52x40, but the image is 60x40"):
        evaluator.process([{**inputs, "height": 40, "width": 60}], [outputs])
    with pytest.raises(ValueError, match="no image to evaluate"):
        evaluator.evaluate()


def test_image_outside_the_folder_and_half_precision(tmp_path):
    evaluator = AnomalyEvaluator(None, str(tmp_path), save_maps=".npy", draws=0)
    inputs = {"file_name": "/elsewhere/a.jpg", "defect": "good", "mask_files": []}
    evaluator.process([inputs], [{"anomaly_map": torch.rand(6, 7, dtype=torch.bfloat16)}])
    assert read_map(tmp_path / "anomaly_maps" / "good" / "a.npy").shape == (6, 7)
    assert math.isnan(evaluator.evaluate()["anomaly"]["image_auroc"])


@pytest.mark.parametrize("suffix", [".tiff", ".tif", ".npy"])
def test_maps_are_written_whole_and_read_back(tmp_path, suffix):
    anomaly_map = np.random.default_rng(0).normal(size=(31, 17)).astype(np.float32)
    write_map(tmp_path / "a" / f"b{suffix}", anomaly_map)
    np.testing.assert_array_equal(read_map(tmp_path / "a" / f"b{suffix}"), anomaly_map)
    assert [path.name for path in (tmp_path / "a").iterdir()] == [f"b{suffix}"]
    with pytest.raises(ValueError, match="that are not finite"):
        write_map(tmp_path / "a" / f"b{suffix}", anomaly_map * np.inf)
    np.testing.assert_array_equal(read_map(tmp_path / "a" / f"b{suffix}"), anomaly_map)
    with pytest.raises(ValueError, match="expected a file with suffix"):
        write_map(tmp_path / "a.png", anomaly_map)


def test_maps_of_doubles_keep_their_digits(tmp_path):
    values = np.random.default_rng(1).normal(size=(5, 6))
    np.save(tmp_path / "a.npy", values)
    assert cv2.imwrite(str(tmp_path / "a.tiff"), values)
    for suffix in (".npy", ".tiff"):
        np.testing.assert_array_equal(read_map(tmp_path / f"a{suffix}"), values)


def test_masks_of_any_image_mode(tmp_path):
    shape = np.zeros((4, 6), np.uint8)
    shape[1, 2] = 255
    grey = Image.fromarray(shape)
    for mode in ("L", "1", "RGB", "RGBA", "LA", "P"):
        grey.convert(mode).save(tmp_path / f"{mode}.png")
        np.testing.assert_array_equal(read_mask(tmp_path / f"{mode}.png") != 0, shape > 0)
    Image.fromarray(shape.astype(np.uint16) * 200).save(tmp_path / "deep.png")
    assert read_mask(tmp_path / "deep.png").max() == 51000


def test_flat_metrics_have_no_levels():
    flat = flat_metrics({"image_auroc": 0.5, "image_auroc_by_type": {"a": 1.0}, "auspro": {"a": {"0.05": 0.25}}})
    assert flat == {"image_auroc": 0.5, "image_auroc_a": 1.0, "auspro_a@0.05": 0.25}
