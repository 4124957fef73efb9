"""Events of single windows: by their table, by hand, and through the evaluator."""

import json
import math

import pandas as pd
import pytest

from efficientad.evaluation.map_files import read_map
from efficientad.evaluation.window_events import evaluate_windows, read_meta
from tests.factories.anomaly_maps import write_category

COLUMNS = ["window", "recording", "t0", "s0", "kind", "severity", "onset", "end", "vehicle", "density"]
ROWS = [
    ("test/good/000", "r1", 0.0, 0.0, "good", "", None, None, "", 8.0),
    ("test/good/001", "r1", 12.8, 0.0, "good", "", None, None, "", 8.0),
    ("test/good/002", "r2", 0.0, 0.0, "good", "", None, None, "", 30.0),
    ("test/good/003", "r2", 100.0, 512.0, "good", "", None, None, "", 30.0),
    ("test/dent/000", "r3", 0.0, 0.0, "dent", "1", 5.0, 9.0, "a", 8.0),
    ("test/dent/001", "r3", 12.8, 0.0, "dent", "1", 5.0, 9.0, "a", 8.0),
    ("test/dent/002", "r4", 0.0, 0.0, "dent", "2", 5.0, 9.0, "a", 30.0),
    ("test/scratch/000", "r5", 0.0, 0.0, "scratch", "2", 3.0, 4.0, "b", 30.0),
]
SCORES = dict(zip((row[0] for row in ROWS), [3.0, 3.5, 0.0, 0.0, 1.0, 4.0, 1.0, 9.0]))


def write_meta(path, rows=ROWS):
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return path


def test_windows_of_one_event_count_once(tmp_path):
    results = evaluate_windows(read_meta(write_meta(tmp_path / "meta.csv")), SCORES, 2.0, draws=100)
    assert results["events"] == 3 and results["recall"] == pytest.approx(2 / 3)
    assert results["recall_by_kind"] == {"dent": 0.5, "scratch": 1.0}
    assert results["recall_by_severity"] == {"1": 1.0, "2": 0.5}
    assert results["recall_by_density"] == {"free": 1.0, "jam": 0.5}
    # The first two good windows overlap and are one alarm; good windows cover 38.4 + 25.6 + 25.6 s.
    assert results["false_alarms"] == 1 and results["hours"] == pytest.approx(89.6 / 3600)
    assert results["false_alarms_per_hour"] == pytest.approx(3600 / 89.6)
    assert math.isnan(results["delay_s"]["median"])
    assert set(results["intervals"]) >= {"recall", "recall_by_kind", "false_alarms_per_hour"}


def test_windows_without_score_are_left_out_and_unknown_ones_refused(tmp_path):
    meta = read_meta(write_meta(tmp_path / "meta.csv"))
    some = {name: SCORES[name] for name in ("test/good/000", "test/dent/002")}
    assert evaluate_windows(meta, some, 2.0, draws=0)["events"] == 1
    with pytest.raises(ValueError, match=r"1 of 2 scored windows are not in the table, test/x/9 first"):
        evaluate_windows(meta, {"test/good/000": 1.0, "test/x/9": 2.0}, 2.0)


def test_tables_that_cannot_be_used(tmp_path):
    with pytest.raises(FileNotFoundError, match="table of the windows"):
        read_meta(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"window test/good/000 has two rows"):
        read_meta(write_meta(tmp_path / "meta.csv", [*ROWS, ROWS[0]]))
    pd.DataFrame(ROWS, columns=COLUMNS).drop(columns="onset").to_csv(tmp_path / "b.csv")
    with pytest.raises(ValueError, match="lacks the columns onset"):
        read_meta(tmp_path / "b.csv")


def test_evaluator_adds_events_at_the_threshold_of_good_windows(tmp_path):
    from efficientad.data.dataset_layouts import mvtec_ad
    from efficientad.evaluation.evaluator import AnomalyEvaluator

    data, maps = write_category(tmp_path)
    names = sorted(path.relative_to(maps).with_suffix("").as_posix() for path in maps.glob("test/*/*.tiff"))
    rows = [
        (name, f"r{i}", 0.0, 0.0, name.split("/")[1], "1", 5.0 if "good" not in name else None, 9.0, "a", 8.0)
        for i, name in enumerate(names)
    ]
    evaluator = AnomalyEvaluator(
        str(data), str(tmp_path / "out"), draws=50, meta_csv=str(write_meta(tmp_path / "m.csv", rows))
    )
    scores = {}
    for entry in mvtec_ad(data).test():
        name = entry.path.relative_to(data).with_suffix("").as_posix()
        anomaly_map = read_map(maps / f"{name}.tiff")
        scores[name] = anomaly_map.max()
        masks = [str(mask) for mask in entry.masks]
        inputs = {"file_name": str(entry.path), "root": str(data), "defect": entry.defect, "mask_files": masks}
        evaluator.process([inputs], [{"anomaly_map": anomaly_map, "anomaly_threshold": 3.0}])
    flat = evaluator.evaluate()["anomaly"]
    for kind in ("dent", "scratch"):
        own = [score > 3 for name, score in scores.items() if f"/{kind}/" in name]
        assert flat[f"event_recall_{kind}"] == pytest.approx(sum(own) / len(own))
    alarms = sum(score > 3 for name, score in scores.items() if "/good/" in name)
    assert flat["false_alarms_per_hour"] == pytest.approx(alarms / (4 * 25.6 / 3600))
    saved = json.loads((tmp_path / "out" / "anomaly.json").read_text())
    assert saved["events"]["recall"] == flat["event_recall"] and saved["events"]["threshold"] == 3
    evaluator.meta_csv = None
    assert "event_recall" not in evaluator.evaluate()["anomaly"]
