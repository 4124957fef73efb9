"""Choosing the keys of PatchCore on pasted defects: what is measured, what is chosen, records, no look at the test."""

import shutil
from dataclasses import replace

import pytest
from detectron2.modeling import build_model

from benchmarks.common import records
from benchmarks.efficientad import patchcore_selection as selection
from benchmarks.efficientad.anomaly_results import run_test
from benchmarks.efficientad.patchcore_selection import FeatureCache, Setting, choose, measure, select, setting_cfg
from d2road.config import make_cfg
from efficientad.evaluation.anomaly_protocol import evaluate
from tests.factories.anomaly_models import write_category

SMALL = Setting(image_size=128, bank_size=200)


@pytest.fixture(scope="module")
def place(tmp_path_factory, repo_dir):
    """A working folder with training images alone."""
    folder = tmp_path_factory.mktemp("selection")
    shutil.rmtree(write_category(folder, num_train=16) / "test")
    shutil.copytree(repo_dir / "configs", folder / "configs")
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("DETECTRON2_DATASETS", "sets")
    return place


def test_a_setting_is_measured_as_patchcore_itself_with_these_keys(here):
    cache, data = FeatureCache(), "pasted:mvtec:tiles"
    for setting in (SMALL, replace(SMALL, layers=("s16",), neighbourhood=1, blur=2.0)):
        found = measure(setting, data, 1, cache)
        cfg = setting_cfg(setting, data, 1)
        model = build_model(cfg).eval()
        model.fit(cfg)
        expected = evaluate(run_test(cfg, model).images)
        for key in ("image_auroc", "aupro", "pixel_auroc"):
            assert found[key] == pytest.approx(expected[key], abs=1e-6)
    assert len(cache.maps) == 9 + 2 + 15  # training, validation and test images, each embedded once for both settings


def test_a_costlier_value_has_to_be_better_by_more_than_noise():
    assert choose([0.80, 0.804, 0.79]) == 0
    assert choose([0.80, 0.806, 0.807]) == 1
    assert choose([0.80, 0.804, 0.809]) == 2  # better than the cheapest, which is the best before it
    assert choose([0.5]) == 0


def test_stages_go_on_from_the_best_and_end_where_records_end():
    worth = {(256, 3): 0.5, (384, 3): 0.7, (384, 1): 0.71, (384, 5): 0.6}
    asked = []

    def metrics_of(setting):
        asked.append((setting.image_size, setting.neighbourhood))
        value = worth.get(asked[-1])
        return None if value is None else [{"image_auroc": value, "aupro": value}]

    stages = {"image_size": (256, 384), "neighbourhood": (1, 3, 5), "blur": (4.0, 8.0)}
    found = select(metrics_of, stages)
    assert [stage.settings[stage.chosen].image_size for stage in found] == [384, 384, 384]
    assert found[1].settings[found[1].chosen].neighbourhood == 1
    assert select(metrics_of, {"image_size": (256, 512)}) == []


def test_records_are_kept_and_become_a_table(here, monkeypatch, capsys):
    stages = {"image_size": (64, 128), "layers": (("s16",), ("s8", "s16"))}
    monkeypatch.setattr(selection, "STAGES", stages)
    monkeypatch.setattr(selection, "Setting", lambda: SMALL)
    selection.main(["--data", "mvtec:tiles?copies=1"])
    first = capsys.readouterr().out
    assert first.count("image_auroc") == 3  # one of the four settings is asked for twice
    found = sorted(records.RESULTS.glob("patchcore_selection/tiles_seed0/*.json"))
    assert len(found) == 3
    record = records.read_record("patchcore_selection", f"tiles_seed0/{found[0].stem}")
    assert record["data"] == "pasted:mvtec:tiles?copies=1"
    assert (record["train_images"], record["test_images"]) == (9, 10)
    make_cfg(record["config"]["file"], record["config"]["keys"].replace(", ", ",").split(" "))  # they can be read again
    page = (records.RESULTS / "patchcore_selection/table.md").read_text()
    assert "## image_size" in page and "## layers" in page and "s8+s16" in page and "## Chosen" in page
    monkeypatch.setattr(selection, "measure", None)
    selection.main(["--data", "mvtec:tiles?copies=1"])
    assert "image_auroc" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        selection.main([])
