"""The command line of anomaly evaluation: both ways to start it, its JSON, oracles, and input that is wrong."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.config import get_cfg
from sklearn.metrics import precision_recall_curve, roc_auc_score

from benchmarks.speed.speed_anomaly_eval import largest_difference
from benchmarks.speed.speed_anomaly_eval import write_category as benchmark_category
from d2road.cli.eval_anomaly import main
from efficientad.config import add_efficientad_config, check
from tests.factories.anomaly_maps import read_all, write_category
from tests.factories.exit_code import exit_code

KEYS = ["image_auroc", "image_auroc_by_type", "pixel_auroc", "aupro", "aupro@0.05", "auspro", "f1_max",
        "pixel_f1_max"]  # fmt: skip
LIMITS = ["0.01", "0.05", "0.1", "0.3", "1.0"]


def _arguments(data: Path, maps: Path, *more: str) -> list[str]:
    return ["--data", str(data), "--maps", str(maps), "--json", str(data / "out.json"), *more]


def _run(data: Path, maps: Path, *more: str) -> dict:
    assert main(_arguments(data, maps, *more)) == 0
    return json.loads((data / "out.json").read_text())


def _fails(data: Path, maps: Path, message: str, capsys, *more: str) -> None:
    capsys.readouterr()
    assert exit_code(main, _arguments(data, maps, *more)) == 2
    said = capsys.readouterr().err
    assert "error: " in said and re.search(message, said), said
    assert not (data / "out.json").exists()


@pytest.mark.parametrize("start", [["d2road.cli", "eval-anomaly"], ["d2road.cli.eval_anomaly"]])
def test_starts_as_verb_and_as_module(tmp_path, repo_dir, start):
    data, maps = write_category(tmp_path, loco=True)
    command = [sys.executable, "-W", "ignore", "-m", *start, *_arguments(data, maps)]
    done = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True, check=True)
    assert "auspro mean 0.05" in done.stdout and "12 images, 4 of them good; every pixel" in done.stderr
    results = json.loads((data / "out.json").read_text())
    assert list(results) == KEYS
    assert {kind: list(row) for kind, row in results["auspro"].items()} == dict.fromkeys(
        ["logical_anomalies", "structural_anomalies", "mean"], LIMITS
    )


@pytest.mark.parametrize("mode", ["--exact", "--streaming"])
def test_equals_the_official_program(tmp_path, golden_dir, mode):
    for name in ("data", "maps"):
        with zipfile.ZipFile(golden_dir / "mvtec_loco" / f"{name}.zip") as archive:
            archive.extractall(tmp_path / name)
    expected = json.loads((golden_dir / "mvtec_loco" / "metrics.json").read_text())
    results = _run(tmp_path / "data" / "pushpins", tmp_path / "maps" / "pushpins", mode)
    for kind, areas in expected["localization"]["auc_spro"].items():
        assert results["auspro"][kind] == pytest.approx(areas, abs=1e-4)
    assert results["image_auroc_by_type"] == pytest.approx(expected["classification"]["auc_roc"], abs=1e-9)


def test_exact_mode_equals_sklearn(tmp_path):
    data, maps = write_category(tmp_path)
    results = _run(data, maps, "--exact")
    everything = read_all(data, maps)
    pixels = np.concatenate([m.ravel() for _, m, _ in everything])
    labels = np.concatenate([mask.ravel() for *_, mask in everything])
    for key, truth, scores in (
        ("pixel", labels, pixels),
        ("image", [kind != "good" for kind, *_ in everything], [m.max() for _, m, _ in everything]),
    ):
        assert results[f"{key}_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
        precision, recall, _ = precision_recall_curve(truth, scores)
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
        assert results["f1_max" if key == "image" else "pixel_f1_max"] == pytest.approx(best, abs=1e-9)
    assert results["auspro"] is None and set(results["image_auroc_by_type"]) == {"dent", "scratch"}


def test_where_maps_may_be_and_as_what(tmp_path, caplog):
    data, maps = write_category(tmp_path, loco=True)
    expected = _run(data, maps)
    for place in (maps.parent, maps / "test"):
        assert _run(data, place) == expected
    for path in maps.rglob("*.tiff"):
        np.save(path.with_suffix(".npy"), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[None])
        path.unlink()
    np.save(maps / "test" / "good" / "more.npy", np.zeros((2, 2)))
    assert _run(data, maps) == expected
    assert "1 maps in" in caplog.text and "belong to no test image" in caplog.text


def test_own_images_and_visa(tmp_path):
    data, maps = write_category(tmp_path, images=3)
    expected = _run(data, maps)
    own, visa = tmp_path / "own", tmp_path / "visa"
    rows = ["object,split,label,image,mask"]
    for kind in ("good", "dent", "scratch"):
        for path in sorted((data / "test" / kind).iterdir()):
            anomaly_map, mask = maps / "test" / kind / f"{path.stem}.tiff", data / "ground_truth" / kind
            part = "good_test" if kind == "good" else f"bad/{kind}"
            _copy(path, own / part / path.name)
            _copy(anomaly_map, tmp_path / "own_maps" / part / anomaly_map.name)
            image = f"thing/Data/Images/{kind}/{path.name}"
            _copy(path, visa / image)
            _copy(anomaly_map, tmp_path / "visa_maps" / image.replace(".png", ".tiff"))
            if kind != "good":
                _copy(mask / f"{path.stem}_mask.png", own / "masks" / kind / path.name)
                _copy(mask / f"{path.stem}_mask.png", visa / "thing" / "Data" / "Masks" / kind / path.name)
            label = ("normal", "") if kind == "good" else ("anomaly", f"thing/Data/Masks/{kind}/{path.name}")
            rows.append(f"thing,test,{label[0]},{image},{label[1]}")
    assert _run(own, tmp_path / "own_maps") == expected
    (visa / "split_csv").mkdir()
    (visa / "split_csv" / "1cls.csv").write_text("\n".join(rows) + "\n")
    results = _run(visa / "thing", tmp_path / "visa_maps")
    assert results.pop("image_auroc_by_type") == {"bad": pytest.approx(expected.pop("image_auroc"))}
    assert results["aupro"] == pytest.approx(expected["aupro"])


def test_btad_and_real_iad(tmp_path):
    data, maps = write_category(tmp_path, images=3)
    expected = _run(data, maps)
    btad, pcb = tmp_path / "btad" / "01", tmp_path / "real_iad" / "realiad_256" / "pcb"
    (tmp_path / "real_iad" / "realiad_1024" / "pcb").mkdir(parents=True)  # finer, but not the one that is named
    test = []
    for kind in ("good", "dent", "scratch"):
        for path in sorted((data / "test" / kind).iterdir()):
            anomaly_map, name = maps / "test" / kind / f"{path.stem}.tiff", f"{kind}_{path.stem}"
            of_btad, of_real = ("ok", "OK/S0001") if kind == "good" else ("ko", f"NG/{kind}/S0001")
            row = {"image_path": f"{of_real}/{name}.jpg", "mask_path": None, "anomaly_class": "OK"}
            _copy(path, btad / "test" / of_btad / f"{name}.bmp")
            _copy(path, pcb / row["image_path"])
            _copy(anomaly_map, tmp_path / "btad_maps" / "test" / of_btad / f"{name}.tiff")
            _copy(anomaly_map, tmp_path / "real_maps" / of_real / f"{name}.tiff")
            if kind != "good":
                mask = data / "ground_truth" / kind / f"{path.stem}_mask.png"
                row |= {"mask_path": f"{of_real}/{name}.png", "anomaly_class": kind}
                _copy(mask, btad / "ground_truth" / "ko" / f"{name}.png")
                _copy(mask, pcb / row["mask_path"])
            test.append(row)
    lists = tmp_path / "real_iad" / "realiad_jsons" / "realiad_jsons"
    lists.mkdir(parents=True)
    content = {"meta": {"prefix": "pcb/", "normal_class": "OK"}, "train": [], "test": test}
    (lists / "pcb.json").write_text(json.dumps(content))
    assert _run(pcb, tmp_path / "real_maps") == expected
    results = _run(btad, tmp_path / "btad_maps")
    assert results.pop("image_auroc_by_type") == {"ko": pytest.approx(expected.pop("image_auroc"))}
    assert results["aupro"] == pytest.approx(expected["aupro"])


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def test_thresholds_and_intervals_add_keys(tmp_path):
    data, maps = write_category(tmp_path)
    good = tmp_path / "validation"
    for i in range(20):
        good.mkdir(exist_ok=True)
        np.save(good / f"{i}.npy", np.full((3, 3), i / 5))
    results = _run(data, maps, "--good-maps", str(good), "--fpr", "0.1", "--bootstrap", "30")
    assert list(results) == [
        *KEYS, "good_threshold", "f1_at_good_threshold", "pixel_f1_at_good_threshold", "intervals",
    ]  # fmt: skip
    assert results["good_threshold"] == pytest.approx(3.6)
    assert results["intervals"]["auspro"] is None and set(results["intervals"]) == set(KEYS)
    low, high = results["intervals"]["image_auroc_by_type"]["dent"]
    assert low <= results["image_auroc_by_type"]["dent"] <= high
    fixed = _run(data, maps, "--threshold", "3.6")
    assert fixed["f1_at_good_threshold"] == results["f1_at_good_threshold"] <= fixed["f1_max"]


def test_maps_that_are_wrong_are_named(tmp_path, capsys):
    data, maps = write_category(tmp_path)
    path = maps / "test" / "dent" / "002.tiff"
    content = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    path.unlink()
    _fails(
        data, maps, r"1 of 12 test images have no anomaly map, test/dent/002 first: expected .*dent/002\.tiff", capsys
    )
    cv2.imwrite(str(path), content[:, :-1])
    _fails(data, maps, r"dent/002\.tiff is 51x40, but its image .*dent/002\.png is 52x40", capsys)
    content[4, 7] = np.nan
    cv2.imwrite(str(path), content)
    _fails(data, maps, r"dent/002\.tiff has 1 value\(s\) that are not finite, the first at x 7, y 4", capsys)
    path.write_bytes(b"II*")
    _fails(data, maps, r"dent/002\.tiff cannot be read as TIFF", capsys)
    path.unlink()
    path.with_suffix(".npy").write_bytes(b"\x93NUMPY")
    _fails(data, maps, r"dent/002\.npy cannot be read", capsys)
    np.save(path.with_suffix(".npy"), np.array([{}], dtype=object))
    _fails(data, maps, r"dent/002\.npy cannot be read: .*allow_pickle", capsys)
    np.save(path.with_suffix(".npy"), np.zeros((2, 40, 52)))
    _fails(data, maps, r"dent/002\.npy is not an anomaly map: float64 \(2, 40, 52\)", capsys)
    cv2.imwrite(str(path), np.zeros((40, 52), np.float32))
    _fails(data, maps, r"002\.tiff and .*002\.npy are maps of one image", capsys)


def test_masks_that_are_wrong_are_named(tmp_path, capsys):
    data, maps = write_category(tmp_path)
    path = data / "ground_truth" / "scratch" / "001_mask.png"
    cv2.imwrite(str(path), np.full((20, 26), 255, np.uint8))
    _fails(data, maps, r"scratch/001\.tiff is 52x40, but mask .*001_mask\.png is 26x20", capsys)
    path.write_bytes(b"no image")
    _fails(data, maps, r"001_mask\.png cannot be read as an image", capsys)
    path.unlink()
    _fails(data, maps, r"test/scratch/001\.png has no mask: expected .*001_mask\.png", capsys)


def test_defects_that_are_wrong_are_named(tmp_path, capsys, caplog):
    data, maps = write_category(tmp_path, loco=True)
    path = data / "ground_truth" / "logical_anomalies" / "001" / "001.png"
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), mask // 254 * 7)
    _fails(data, maps, r"logical_anomalies/001/001\.png has the value 7, which defects_config\.json lacks", capsys)
    cv2.imwrite(str(path), mask * 0)
    _fails(data, maps, r"logical_anomalies/001/001\.png has no pixel of a defect", capsys)
    cv2.imwrite(str(path), mask)
    (data / "defects_config.json").write_text("[{}]")
    _fails(data, maps, r"defects_config\.json, entry 0 lacks defect_name", capsys)
    (data / "defects_config.json").unlink()
    assert _run(data, maps)["auspro"] is None
    assert "defects_config.json does not exist: sPRO is left out" in caplog.text


def test_folders_and_options_that_are_wrong(tmp_path, capsys):
    data, maps = write_category(tmp_path)
    _fails(data, tmp_path / "nowhere", "--maps .*nowhere is not a folder", capsys)
    assert main(["--data", str(data.parent), "--maps", str(maps)]) == 2
    said = capsys.readouterr().err
    assert "expected one category's folder" in said and "name one of thing" in said
    _fails(data, maps, "--threshold: 'nan' is the number nan", capsys, "--threshold", "nan")
    _fails(data, maps, "holds no maps", capsys, "--good-maps", str(data / "ground_truth"))
    _fails(data, maps, "--fpr: '2' is 2, expected 0 to 1", capsys, "--good-maps", str(maps), "--fpr", "2")
    _fails(data, maps, "interval from 1 draws", capsys, "--bootstrap", "1")


def test_made_up_category_of_the_benchmark(tmp_path):
    data, maps = benchmark_category(tmp_path, images=6, size=128)
    exact, streaming = _run(data, maps, "--exact"), _run(data, maps, "--streaming")
    assert largest_difference(exact, streaming) < 1e-3
    assert 0.5 < exact["auspro"]["mean"]["1.0"] < 1
    assert largest_difference({"a": {"b": 1.0, "c": None}}, {"a": {"b": 0.5, "c": None}}) == 0.5


def test_wrong_keys_are_found_before_training():
    cfg = get_cfg()
    add_efficientad_config(cfg)
    cfg.TEST.ANOMALY.SAVE_MAPS = "png"
    cfg.TEST.ANOMALY.BOOTSTRAP = 1
    problems = "\n".join(check(cfg))
    assert "TEST.ANOMALY.SAVE_MAPS is 'png': choose .tiff" in problems and "TEST.ANOMALY.BOOTSTRAP is 1" in problems


def test_real_category(shared_dir, tmp_path):
    data = shared_dir / "data" / "mvtec_screw_256" / "screw"
    if not data.is_dir():
        pytest.skip(f"{data} is not there")
    for path in sorted((data / "test").glob("*/*.png")):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32)
        target = tmp_path / path.relative_to(data).with_suffix(".npy")
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, np.abs(grey - np.median(grey)))
    exact, streaming = tmp_path / "exact.json", tmp_path / "streaming.json"
    for mode, path in (("--exact", exact), ("--streaming", streaming)):
        assert main(["--data", str(data), "--maps", str(tmp_path), "--json", str(path), mode]) == 0
    a, b = json.loads(exact.read_text()), json.loads(streaming.read_text())
    assert len(a["image_auroc_by_type"]) == 5 and 0 < a["aupro"] < 1
    for key in ("image_auroc", "pixel_auroc", "aupro", "f1_max", "pixel_f1_max"):
        assert b[key] == pytest.approx(a[key], abs=1e-4)
