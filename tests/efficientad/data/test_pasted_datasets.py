"""Data sets of pasted defects: which images they hold out, what they write, what they refuse."""

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data import register_by_name
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.image_io import read_image
from efficientad.data.anomaly_datasets import validation_name
from efficientad.data.pasted_datasets import PastedOptions, parse_options
from efficientad.evaluation.evaluator import AnomalyEvaluator
from tests.factories.anomaly_models import write_category


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_category(tmp_path_factory.mktemp("data"), num_train=20, num_test=3)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "sets"))
    yield tmp_path / "sets"
    for name in [name for name in DatasetCatalog.list() if name.startswith("pasted:")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def get(name: str) -> list[dict]:
    register_by_name(name)
    return DatasetCatalog.get(name)


def test_bank_validation_and_test_share_no_image_and_the_real_test_is_not_opened(tiles):
    (tiles / "test").rename(tiles / "hidden")  # not even there
    try:
        name = f"pasted:mvtec:{tiles}?copies=3"
        train, validation, test = get(name), get(validation_name(name)), get(f"{name}:test")
    finally:
        (tiles / "hidden").rename(tiles / "test")
    files = [[d["file_name"] for d in part] for part in (train, validation, test)]
    assert [len(part) for part in files] == [12, 2, 6 + 18]
    assert len(set().union(*files)) == sum(map(len, files))
    good = [d for d in test if d["label"] == 0]
    assert all(Path(d["file_name"]).parent == tiles / "train/good" and not d["mask_files"] for d in good)
    assert {d["label"] for d in (*train, *validation)} == {0}
    assert [d["image_id"] for d in test] == list(range(24)) and {d["split"] for d in test} == {"test"}
    # A pasted image is one of those held out, changed exactly where its mask says.
    bases = [read_image(d["file_name"]) for d in good]
    for entry in test[6:]:
        image, mask = read_image(entry["file_name"]), read_image(entry["mask_files"][0])[..., 0] > 0
        changed = [(image != base).any(2) for base in bases]
        assert sum(np.array_equal(c, mask) for c in changed) == 1 and mask.any()
    assert {d["defect"] for d in test} == {"good", "cut_patch", "cut_scar", "texture", "scratch", "missing", "warp"}


def test_the_same_name_gives_the_same_images_again_and_another_seed_others(tiles, root):
    first = get(f"pasted:mvtec:{tiles}:test")
    before = {Path(d["file_name"]).name: (d["defect"], read_image(d["file_name"])) for d in first if d["label"]}
    written = {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    again = DatasetCatalog.get(f"pasted:mvtec:{tiles}:test")
    assert again == first and {path: path.stat().st_mtime_ns for path in root.rglob("*.png")} == written
    # What an interrupted run has not written is made alike.
    lost = Path(first[-1]["file_name"])
    lost.unlink()
    (lost,) = [d for d in DatasetCatalog.get(f"pasted:mvtec:{tiles}:test") if d["file_name"] == str(lost)]
    kind, image = before[Path(lost["file_name"]).name]
    assert lost["defect"] == kind
    np.testing.assert_array_equal(read_image(lost["file_name"]), image)
    other = get(f"pasted:mvtec:{tiles}?seed=1:test")
    assert {d["file_name"] for d in other if not d["label"]} != {d["file_name"] for d in first if not d["label"]}
    assert not {d["root"] for d in other if d["label"]} & {d["root"] for d in first if d["label"]}


def test_of_many_images_some_can_be_left_out(tiles):
    name = f"pasted:mvtec:{tiles}?images=9&copies=1"
    train, test = get(name), get(f"{name}:test")
    assert len(train) == 6 and [d["label"] for d in test] == [0] * 3 + [1] * 3
    assert not {d["file_name"] for d in train} & {d["file_name"] for d in test}


def test_the_evaluator_measures_pixels_of_pasted_defects(tiles):
    evaluator = AnomalyEvaluator(draws=0, distributed=False)
    for entry in get(f"pasted:mvtec:{tiles}:test"):
        shape = (entry["height"], entry["width"])
        mask = read_image(entry["mask_files"][0])[..., 0] > 0 if entry["label"] else np.zeros(shape, bool)
        evaluator.process([entry], [{"anomaly_map": mask.astype(np.float32)}])
    results = evaluator.evaluate()["anomaly"]
    assert [results[key] for key in ("image_auroc", "pixel_auroc", "aupro")] == pytest.approx([1.0] * 3)


def test_options_of_a_name():
    assert parse_options("", "x") == PastedOptions()
    assert parse_options("seed=3&images=9&held_out=0.25&copies=1&size=0.1-0.2&contrast=5-9", "x") == PastedOptions(
        3, 9, 0.25, 1, (0.1, 0.2), (5, 9)
    )
    for query, message in {
        "sede=1": "did you mean 'seed'",
        "seed=-1": "seed is -1",
        "seed=x": "the text 'x'",
        "copies=1.5": "expected a whole number",
        "held_out=1": "0.01 to 0.9",
        "size=0.1": "LOW-HIGH",
        "size=0.2-0.1": "must not be above",
        "contrast=nan-3": "expected a finite number",
    }.items():
        with pytest.raises(DataError, match=message):
            parse_options(query, "x")


def test_names_that_cannot_be(tiles):
    with pytest.raises(DataError, match="name the training set of it"):
        register_by_name(f"pasted:mvtec:{tiles}:test?seed=1")
    with pytest.raises(ConfigError, match="does not exist"):
        register_by_name("pasted:nothing")
    with pytest.raises(DataError, match="no training set for anomaly detection"):
        register_by_name("pasted:coco:a.json:b")
