"""The benchmark on traffic, from end to end on tiny data and networks, and its parts by hand."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.efficientad.anomaly_tables import Entry, describe, load_entries
from benchmarks.traffic import event_records
from benchmarks.traffic import traffic_benchmark as bench
from benchmarks.traffic import traffic_streams as streams
from benchmarks.traffic import traffic_tables as tables
from d2road.config import make_cfg
from d2road.config.time_space import window_grid_of
from d2road.synthetic.traffic_incidents.incident_windows import PANELS, VIEWS
from d2road.traffic.baselines import lasting_rules
from d2road.traffic.events.alarms import alarm_threshold
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from efficientad.evaluation.window_events import read_meta
from tests.factories.traffic_data import write_data

RENDERER = TimeSpaceRenderer()
TINY = """
_BASE_: "{base}"
MODEL:
  DEVICE: "cpu"
  EFFICIENT_AD:
    AUTOENCODER: "linear_attention"
    TEACHER: "random"
    ATTENTION_DIM: 16
    ATTENTION_HEADS: 2
INPUT:
  IMAGE_SIZE: (128, 128)
DATALOADER:
  NUM_WORKERS: 0
DATASETS:
  TRAIN: ("mvtec:{data}",)
  TEST: ("mvtec:{data}:test",)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of a made-up data set."""
    return write_data(tmp_path_factory.mktemp("traffic")).parent


def test_recordings_have_their_parts(data):
    found = {part: [r.name for r in streams.read_streams(data, part)] for part in ("fit", "calibrate", "test")}
    assert found["fit"] == ["train_000"] and found["calibrate"] == [f"hours_{i:03d}" for i in range(6)]
    assert found["test"] == ["good_000", "stopped_000", "stopped_001", "hours_006", "hours_007"]
    (fit,) = streams.read_streams(data, "fit")
    assert fit.hours == pytest.approx(330 / 3600) and fit.s_range == (0, 600)
    with pytest.raises(FileNotFoundError, match="make-data traffic-incidents"):
        streams.read_recordings(data / "motorway")


@pytest.mark.parametrize(("s_range", "places"), [((410, 1434), [410, 922]), ((770, 1434), [770, 922]), ((0, 512), [0])])
def test_windows_cover_all_that_is_observed(s_range, places):
    recording = streams.StreamRecording("a", "test", "free", 60.0, s_range, Path("a"))
    grid = streams.grid_of(recording, RENDERER)
    origin, step = grid.s_range[0], grid.step_s
    last = int((grid.s_range[1] - origin - RENDERER.stretch) / step + 1e-6)
    assert [origin + i * step for i in range(last + 1)] == pytest.approx(places)


def stopped_pixels(windows):
    """Standing vehicles are magenta."""
    return [float(np.all(w.image == (255, 0, 255), axis=2).sum()) for w in windows]


def test_events_in_streams(data, monkeypatch):
    monkeypatch.setattr(event_records, "alarm_threshold", partial(alarm_threshold, least_hours=0.0))
    recordings = streams.read_streams(data, "calibrate")
    calibration = streams.score_streams(recordings, stopped_pixels, RENDERER)
    assert len(calibration) == 6 * 3 * 2 and (calibration["score"] == 0).all()
    assert calibration["density"].between(5, 20).all()
    test = streams.score_streams(streams.read_streams(data, "test"), stopped_pixels, RENDERER)
    events = streams.read_events(data, read_meta(data / "meta.csv"))
    metrics, found = event_records.evaluate_streams(
        calibration, sum(recording.hours for recording in recordings), test, events
    )
    assert metrics["recall"] == 1 and metrics["events"] == 2 and metrics["false_alarms"] == 0
    assert metrics["recall_by_density"] == {"free": 1.0} and metrics["calibration"]["hours"] == pytest.approx(0.1)
    # It stands from 22 s on; windows end at 25.6, 38.4, ... s.
    assert found["delay"].tolist() == pytest.approx([3.6, 3.6])


def test_windows_of_images_are_drawn_as_they_were(data):
    import cv2

    windows = streams.windows_by_name(
        data, read_meta(data / "meta.csv"), ["test/stopped/010", "test/good/001"], RENDERER
    )
    for window, name in zip(windows, ("test/stopped/010", "test/good/001")):
        np.testing.assert_array_equal(window.image[:, :, ::-1], cv2.imread(str(data / "motorway" / f"{name}.png")))
    with pytest.raises(ValueError, match="not in the table of windows, test/x first"):
        streams.windows_by_name(data, read_meta(data / "meta.csv"), ["test/x"], RENDERER)


def record(found, kinds=("a", "a", "b", "b")):
    return {"events": {"recording": list("wxyz"), "kind": list(kinds), "found": list(found)}}


def test_difference_of_recalls():
    difference, interval = event_records.recall_difference([record([0, 0, 0, 1])], [record([1, 1, 0, 1])])
    assert difference == 0.5 and interval == [0.5, 0.5]  # all of a, none of b, whatever is drawn
    seeds = [record([1, 0, 0, 1]), record([1, 1, 0, 1])]
    difference, (low, high) = event_records.recall_difference([record([0, 0, 0, 1])], seeds)
    assert difference == pytest.approx(0.375) and low < 0.375 < high
    with pytest.raises(ValueError, match="of other events"):
        event_records.recall_difference([record([1] * 4)], [record([1] * 4, "abab")])


def test_runs_are_compared_within_a_view():
    names = ("rules", "conv", "linear_attention-stacked", "linear_attention-stacked+1a2b3c")
    entries = [Entry("b", "t", name, 1, 0 if name == "rules" else 9, "", name) for name in names]
    found = {key[2]: [e.variant for e in members] for key, members in tables.by_view(entries).items()}
    assert found == {
        "overlay": ["rules", "conv"],
        "stacked": ["rules", "linear_attention", "linear_attention+1a2b3c"],
    }


def test_keys_of_a_view_are_those_its_images_were_drawn_with():
    keys = bench.view_keys("stacked")
    cfg = make_cfg("configs/efficientad/traffic/conv.yaml", [str(key) for key in keys])
    assert cfg.DATASETS.TRAIN == ("traffic_incidents/motorway_stacked",)
    grid = window_grid_of(cfg)
    assert grid.renderer == VIEWS["stacked"] and tuple(grid.lanes) == PANELS


VARIANTS = ["rules", "patch_pca", "patch_pca --view stacked", "linear_attention"]


@pytest.mark.parametrize("words", VARIANTS)
def test_variants_from_end_to_end(data, monkeypatch, repo_dir, words):
    from tests.factories.anomaly_models import narrow_networks

    variant, *view = words.split()
    place = data.parent / "work"
    place.mkdir(exist_ok=True)
    base = repo_dir / "configs" / "efficientad" / "traffic" / "Base.yaml"
    (place / "linear_attention.yaml").write_text(TINY.format(base=base, data=data / "motorway"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(bench, "CONFIGS", ".")
    monkeypatch.setattr("d2road.traffic.events.relative_scores.LEAST", 1)
    stacked = ["TIME_SPACE.LANE_LAYOUT", "stacked", "TIME_SPACE.LANES", "('1', '2')"]
    monkeypatch.setattr(bench, "view_keys", lambda view: stacked)
    monkeypatch.setattr(event_records, "alarm_threshold", partial(alarm_threshold, least_hours=0.0))
    with narrow_networks():
        assert bench.main(["--variant", variant, *view, "--seed", "1", "--steps", "4", "--teacher", "random"]) is None
    name = "-".join([variant, *view[1:]])
    folder = next((place / "benchmarks/results/efficientad_traffic").glob(f"teacher_*/{name}_seed1*"))
    events, final = (json.loads((folder / f"{name}.json").read_text()) for name in ("events", "final"))
    assert len(events["events"]["found"]) == 2 and 0 <= events["metrics"]["recall"] <= 1
    if variant != "linear_attention":
        assert events["metrics"]["recall"] == 1 and final["metrics"]["image_auroc"] == 1
    # All windows have one density, so that nothing changes but the scale of the scores.
    relative, relative_events = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("final_relative", "events_relative")
    )
    for key in ("image_auroc", "image_auroc_by_type"):
        assert relative["metrics"][key] == final["metrics"][key]
    assert relative_events["metrics"]["calibration"]["hours"] == events["metrics"]["calibration"]["hours"]
    assert (final["metrics"]["aupro"] is None) == (variant == "rules")
    page = (place / "benchmarks/results/efficientad_traffic" / "table.md").read_text()
    assert "| kinematic rules |" in page and "Event recall by type" in page
    assert "scores as they are" in page and "scores relative to good traffic of the same density" in page
    if variant == "linear_attention":
        assert "better than every learned baseline" in page and "Simple rules find more events of" in page
        check_stream(data, next((place / "output").glob("**/model_final.pth")), place)
    scores = pd.read_csv(next((place / "output").glob("bench/efficientad_traffic/**/scores_test.csv")))
    assert set(scores["recording"]) == {"good_000", "stopped_000", "stopped_001", "hours_006", "hours_007"}


def test_versions_of_rules_are_compared_on_windows_alone(data, monkeypatch, repo_dir, tmp_path):
    """No teacher, no streams: what rules need is the test windows and good traffic."""
    base = repo_dir / "configs" / "efficientad" / "traffic" / "Base.yaml"
    (tmp_path / "linear_attention.yaml").write_text(TINY.format(base=base, data=data / "motorway"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "CONFIGS", ".")
    monkeypatch.setattr("d2road.traffic.events.relative_scores.LEAST", 1)
    monkeypatch.setattr("d2road.traffic.baselines.lasting_rules.FEWEST", 1)
    fitted = []
    describe = lasting_rules.describe_windows
    monkeypatch.setattr(
        lasting_rules, "describe_windows", lambda some: describe(fitted.append(one) or one for one in some)
    )
    for variant in ("rules", "rules_v2"):
        bench.main(["--variant", variant, "--seed", "1", "--windows"])
        folder = tmp_path / "benchmarks/results/efficientad_traffic" / f"teacher_random/{variant}_seed1"
        assert sorted(path.stem for path in folder.glob("*.json")) == ["final", "final_relative"]
        final = json.loads((folder / "final.json").read_text())
        assert final["metrics"]["image_auroc"] == 1 and final["command"].endswith(
            f"--variant {variant} --windows --seed 1 --teacher random"
        )
    page = (tmp_path / "benchmarks/results/efficientad_traffic/table.md").read_text()
    words = "image AUROC of kinematic rules, second version less that of kinematic rules: +0.000 (+0.000 to +0.000)"
    assert page.count(words) == 2  # by scores as they are, and relative ones
    # The second version is fitted on what it sees in the test: the road beyond the window, while that lasts.
    beyond = [one.table.frame["s"].max() > one.s1 + 20 for one in fitted if one.s0 == 0]
    assert len(beyond) > 20 and all(beyond)


def check_stream(data, weights, place) -> None:
    """score_stream with the trained model gives the scores of the benchmark."""
    from d2road.cli.score_stream import main
    from tests.factories.anomaly_models import narrow_networks

    Trajectories.from_parquet(data / "recordings" / "stopped_000.parquet").frame.to_csv(place / "a.csv", index=False)
    words = ["--input", "csv:a.csv?ordered=1", "--config-file", "linear_attention.yaml", "--weights", str(weights)]
    words += ["--scores", "stream.csv", "--pictures", "alarms", "--threshold=-1000000"]
    with narrow_networks():
        assert main([*words, "TIME_SPACE.S_RANGE", "(0, 600)", "TIME_SPACE.STRIDE_S", "88.0"]) == 0
    found = pd.read_csv("stream.csv")
    bench = pd.read_csv(next((place / "output").glob("**/linear_attention*/scores_test.csv")))
    bench = bench[bench["recording"] == "stopped_000"]
    np.testing.assert_allclose(found["score"], bench["score"], rtol=1e-3, atol=1e-3)
    assert len(list((place / "alarms").glob("*.png"))) == 1


def test_look_at_ngsim_has_parts_that_share_no_sample(shared_dir):
    from benchmarks.traffic import inspect_recordings
    from d2road.traffic.baselines import KinematicRules

    parts = inspect_recordings.read_parts(shared_dir / "data" / "ngsim_i80")
    assert min(len(part) for part in (parts.train, parts.validation, parts.rest)) > 20
    assert parts.train[-1].t1 < parts.validation[0].t0 and parts.validation[-1].t1 < parts.rest[0].t0
    times = [window.table.span for window in (parts.train[-1], parts.validation[0])]
    assert times[0][1] < times[1][0]
    rules = KinematicRules().fit(parts.train + parts.validation)
    chosen = inspect_recordings.highest(parts.rest, rules.scores(parts.rest))
    assert len(chosen) == 10
    begins = sorted(parts.rest[i].t0 for i in chosen)
    assert (np.diff(begins) >= 12.8 - 1e-6).all()
    cells = inspect_recordings.contents(parts.rest[chosen[0]], rules)
    assert len(cells) == 6 and int(cells[0]) > 1


def test_memory_by_quarter_of_a_stream():
    from benchmarks.traffic.stream_benchmark import Memory

    memory = Memory.__new__(Memory)
    memory.samples = [(0.1, 100.0), (1.5, 110.0), (2.9, 120.0), (3.1, 115.0), (4.0, 90.0)]
    assert memory.by_quarter() == [100, 110, 120, 115]


def test_stored_records_are_read_by_their_present_names(repo_dir, monkeypatch):
    monkeypatch.chdir(repo_dir)
    entries = load_entries(bench.BENCH)
    assert len(entries) >= 8 and "Images: 600 train, 100 validation, 300 test." in describe(entries)
