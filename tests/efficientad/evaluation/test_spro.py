"""sPRO against the official program's recorded output and against counting at every threshold."""

import json
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.evaluation.bootstrap_intervals import bootstrap
from efficientad.evaluation.image_scores import score_image
from efficientad.evaluation.spro import MAX_FPRS, Defect, DefectType, defect_scores, make_defect, read_defects_config
from efficientad.evaluation.weighted_scores import pool

ENTRY = {"defect_name": "gap", "pixel_value": 255, "saturation_threshold": 400, "relative_saturation": False}


@pytest.fixture(scope="module")
def golden(golden_dir: Path, tmp_path_factory) -> Path:
    """The recorded data and maps, unpacked."""
    folder = tmp_path_factory.mktemp("loco")
    for name in ("data", "maps"):
        with zipfile.ZipFile(golden_dir / "mvtec_loco" / f"{name}.zip") as archive:
            archive.extractall(folder / name)
    return folder


def _images(folder: Path, exact: bool) -> list:
    data, maps = folder / "data" / "pushpins", folder / "maps" / "pushpins" / "test"
    types, images = read_defects_config(data / "defects_config.json"), []
    for path in sorted(maps.glob("*/*.tiff")):
        kind, anomaly_map = path.parent.name, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        files = sorted((data / "ground_truth" / kind / path.stem).glob("*.png"))
        defects = [make_defect(cv2.imread(str(f), cv2.IMREAD_UNCHANGED), types, f.name) for f in files]
        mask = np.any([d.mask for d in defects], axis=0) if defects else None
        images.append(score_image(f"{kind}/{path.stem}", kind, anomaly_map, mask, defects, exact=exact))
    return images


@pytest.mark.parametrize("exact", [True, False])
def test_equals_the_official_program(golden, golden_dir, exact):
    expected = json.loads((golden_dir / "mvtec_loco" / "metrics.json").read_text())
    results = evaluate(_images(golden, exact), spro=True)
    official = expected["localization"]["auc_spro"]
    assert results["auspro"].keys() == official.keys()
    for kind, areas in official.items():
        assert results["auspro"][kind] == pytest.approx(areas, abs=1e-4)
    assert results["image_auroc_by_type"] == pytest.approx(expected["classification"]["auc_roc"], abs=1e-12)


def test_intervals_of_spro(golden):
    images = _images(golden, exact=False)
    results, intervals = evaluate(images, spro=True), bootstrap(images, spro=True, draws=100)
    for kind, areas in results["auspro"].items():
        for limit, area in areas.items():
            low, high = intervals["auspro"][kind][limit]
            assert low < area < high
    assert intervals["image_auroc_by_type"]["logical_anomalies"] == [1, 1]


def _counted_spro(maps, defects, limit: float) -> float:
    """Threshold after threshold, as the formula reads."""
    masks = np.stack([np.any([d.mask for d in ds], axis=0) if ds else np.zeros(maps[0].shape, bool) for ds in defects])
    x, y = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        found = maps >= threshold
        x.append((found & ~masks).sum() / (~masks).sum())
        shares = [min((found[i] & d.mask).sum() / d.saturation, 1) for i, ds in enumerate(defects) for d in ds]
        y.append(np.mean(shares))
    x, y = np.array(x), np.array(y)
    inside = x <= limit
    end = np.interp(limit, x, y) if limit not in x else y[inside][-1]
    return np.trapezoid(np.append(y[inside], end), np.append(x[inside], limit)) / limit


@pytest.mark.parametrize("levels", [12, 10_000])
def test_equals_counting_with_ties_overlapping_defects_and_odd_saturations(levels):
    rng, shape = np.random.default_rng(levels), (24, 30)
    maps = rng.integers(0, levels, (5, *shape)).astype(np.float32)
    defects: list[list[Defect]] = [[], []]
    for saturation in (1, 7.5, 40):
        first, second = np.zeros(shape, bool), np.zeros(shape, bool)
        first[3:12, 4:15], second[8:20, 10:25] = True, True
        defects.append([Defect(first, saturation), Defect(second, float(second.sum()))])
    images = []
    for i, (anomaly_map, ds) in enumerate(zip(maps, defects)):
        mask = np.any([d.mask for d in ds], axis=0) if ds else None
        images.append(score_image(str(i), "odd" if ds else "good", anomaly_map, mask, ds, exact=True))
    areas = evaluate(images, spro=True)["auspro"]["odd"]
    for limit in MAX_FPRS:
        assert areas[str(limit)] == pytest.approx(_counted_spro(maps, defects, limit), abs=1e-12)


def test_found_share_of_a_defect_saturates():
    anomaly_map, mask = np.arange(100.0).reshape(10, 10), np.zeros((10, 10), bool)
    mask[5:7] = True  # scores 50 to 69
    for saturation in (4, 4.5, 20):
        weighted = pool(defect_scores(anomaly_map, [Defect(mask, saturation)], bins=None))
        for threshold, found in ((69, 1), (67, 3), (66, 4), (65, 5), (50, 20)):
            share = weighted.weights[weighted.scores >= threshold].sum()
            assert share == pytest.approx(min(found / saturation, 1))


@pytest.mark.parametrize(
    ("defect_type", "area", "expected"),
    [
        (DefectType("a", 400, False), 1000, 400),
        (DefectType("a", 400, False), 300, 300),
        (DefectType("a", 0.5, True), 301, 150),  # rounded down
        (DefectType("a", 1.0, True), 301, 301),
        (DefectType("a", 0.1, True), 5, 1),  # never no pixel at all
    ],
)
def test_saturation_area(defect_type, area, expected):
    assert defect_type.saturation_area(area) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not JSON"),
        ("{}", "holds a dict, expected a list"),
        ([{"defect_name": "gap"}], "entry 0 lacks pixel_value, saturation_threshold, relative_saturation"),
        ([3], "entry 0 lacks defect_name"),
        ([ENTRY, ENTRY], "entry 1: pixel value 255 belongs to 'gap' already"),
        ([{**ENTRY, "pixel_value": 0}], "pixel_value is 0, expected a positive integer"),
        ([{**ENTRY, "saturation_threshold": -1}], "saturation_threshold is -1, expected a positive number of pixels"),
        ([{**ENTRY, "relative_saturation": True}], "is 400, expected above 0 and at most 1"),
    ],
)
def test_wrong_configs_are_named(tmp_path, content, message):
    path = tmp_path / "defects_config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_defects_config(path)
    assert str(path) in str(error.value)


def test_missing_config(tmp_path):
    with pytest.raises(FileNotFoundError, match="sPRO needs the saturation thresholds"):
        read_defects_config(tmp_path / "defects_config.json")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0], "no pixel of a defect"),
        ([0, 255, 254], r"several values, \[254, 255\]"),
        ([0, 7], "value 7, which defects"),
    ],
)
def test_masks_that_show_no_single_known_defect(values, message):
    types = {255: DefectType("gap", 400, False), 254: DefectType("more", 0.5, True)}
    with pytest.raises(ValueError, match=f"mask gt/000.png has .*{message}"):
        make_defect(np.array([values]), types, "gt/000.png")
