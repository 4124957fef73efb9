"""score-stream by rules with a learned forecast: scores of a growing file, its calibration, and what is refused."""

import hashlib
import json
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from d2road.cli import score_stream
from d2road.config import make_cfg
from d2road.config.time_space import window_grid_of
from d2road.model_zoo import catalogue
from d2road.model_zoo.catalogue import Entry
from d2road.traffic.baselines import TrackSurprise
from d2road.traffic.baselines.vehicle_rarity import WindowVehicles
from d2road.traffic.events import rules_stream
from d2road.traffic.events.alarms import alarm_threshold
from d2road.traffic.readers import open_trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from tests.factories.traffic_windows import drive, traffic, vehicle

KEYS = ["TIME_SPACE.S_RANGE", "(0, 512)", "TIME_SPACE.STRIDE", "4.0"]
METHOD = ("--method", "rules_forecast")


def write_csv(path, *frames: pd.DataFrame) -> None:
    columns = ["t", "vehicle", "s", "speed", "lane", "length"]
    pd.concat(frames)[columns].sort_values("t", kind="stable").to_csv(path, index=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Good traffic, other good traffic, and traffic in which x crawls; the calibration of the first two."""
    root = tmp_path_factory.mktemp("forecast")
    write_csv(root / "good.csv", traffic(0, 360.0))
    write_csv(root / "more.csv", traffic(1, 120.0))
    t, s, speed = drive([40, 90], [9, 9], start=0)
    write_csv(root / "live.csv", traffic(2, 120.0), vehicle("x", t[s < 590], s[s < 590], speed[s < 590], 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "d2road.traffic.events.stream_session.alarm_threshold",
            lambda windows, hours, rate: alarm_threshold(windows, hours, rate, least_hours=0),
        )
        assert run(root, *METHOD, "--good", source("good"), "--input", source("more"), "--calibrate", "{d}/c.json") == 0
    return root


def source(name: str) -> str:
    return f"csv:{{d}}/{name}.csv?ordered=1"


def run(files, *words) -> int:
    return score_stream.main([str(word).format(d=files) for word in (*words, *KEYS)])


def windows_of(files, name: str) -> list[TrafficWindow]:
    """Those of a whole file, at once."""
    grid = window_grid_of(make_cfg("", KEYS))
    chunks = open_trajectories(source(name).format(d=files)).chunks()
    return [TrafficWindow.unrendered(one, grid.renderer) for one in grid.over(chunks)]


def calibrated(files) -> TrackSurprise:
    return TrackSurprise.from_json(json.loads((files / "c.json").read_text())["rules"], "file")


def test_scores_of_a_stream_are_those_of_the_whole_file(files, tmp_path, capsys):
    live = (files / "live.csv").read_text()
    words = ("--input", f"csv:{tmp_path}/live.csv?ordered=1", "--state", tmp_path / "state.json")
    words = (*METHOD, *words, "--scores", tmp_path / "s.csv", "--calibration", "{d}/c.json", "--batch", "3")
    for end in ("\n33.0,", "\n70.1,", "\n75.0,", None):  # whole instants
        (tmp_path / "live.csv").write_text(live[: live.index(end) + 1] if end else live)
        assert run(files, *words) == 0
    streamed = pd.read_csv(tmp_path / "s.csv", float_precision="round_trip")
    windows = windows_of(files, "live")
    assert streamed["t0"].tolist() == [window.t0 for window in windows] and len(windows) > 20
    whole = calibrated(files).scores(windows)
    assert np.array_equal(streamed["score"], whole) and len(set(whole)) > 15
    (alarm,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("ALARM"))
    first = windows[np.flatnonzero(whole > json.loads((files / "c.json").read_text())["threshold"])[0]]
    assert str(calibrated(files).explain(first)) in alarm


def test_a_calibration_is_what_fitting_the_windows_gives(files):
    kept = json.loads((files / "c.json").read_text())
    assert kept["method"] == "rules_forecast" and kept["good"] == [source("good").format(d=files)]
    assert TrackSurprise().fit(windows_of(files, "good")).digest() == calibrated(files).digest()
    assert kept["threshold"] == calibrated(files).scores(windows_of(files, "more")).max()


def test_neither_fitting_nor_scikit_learn_is_needed_with_a_calibration(files, monkeypatch, capsys):
    monkeypatch.setattr(rules_stream, "read_good", None)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    assert run(files, *METHOD, "--input", source("live"), "--calibration", "{d}/c.json") == 0
    assert capsys.readouterr().out.count("ALARM") == 1
    with pytest.raises(ValueError, match="fitted by scikit-learn, which is not installed"):
        TrackSurprise().fit(windows_of(files, "good"))


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (("rules",), None, "'rules' is null, expected an object"),
        (("method",), "rules", "is of --method rules, this run of --method rules_forecast: give the same"),
        (("rules", "version"), 2, "rules with a forecast of version 2 for 11 features and 15 kinds of evidence"),
        (("rules", "kinds"), ["close"], "of version 1 for 11 features and 1 kinds of evidence, expected version 1"),
        (("rules", "added"), ["luck"], "'added' has ['luck'], expected some of wrong_way"),
        (("rules", "added"), [], "'added' has nothing"),
        (("rules", "forecast", "mean", "sizes"), [3], "'mean' has "),
        (("rules", "forecast", "scale"), [], "'scale' is a list"),
        (("rules", "forecast", "changing"), 0.5, "'change' is null, expected an object"),
        (("rules", "forecast", "changing"), 2, "'changing' is 2, expected 0 to 1"),
        (("rules", "forecast", "following", "drivers"), [[30, 1, 2, 1, 2]], "has 1 drivers, expected those of short"),
        (("rules", "forecast", "following", "drivers"), [[30, 1, 2, 1, 99]] * 2, "parameter is 99, expected 0.5 to 6"),
        (("rules", "rarity", "windows"), [[1.0] * 16] * 39, "39 good windows with vehicles; expected at least 40"),
        (("rules", "rarity", "windows"), [[-1.0] * 16] * 40, "'windows' has a value of -1, expected 0 or more"),
        (("rules", "rarity", "windows"), [[1.0] * 15], "has 15 values, expected 16"),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_calibration_is_refused(files, tmp_path, capsys, place, value, text):
    kept = part = json.loads((files / "c.json").read_text())
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    (tmp_path / "c.json").write_text(json.dumps(kept))
    assert run(files, *METHOD, "--input", source("live"), "--calibration", tmp_path / "c.json") == 2
    error = capsys.readouterr().err
    assert text in error and f"calibration {tmp_path}/c.json" in error
    assert "--calibrate" in error or place == ("method",)


def test_rules_refuse_a_calibration_with_a_forecast(files, capsys):
    assert run(files, "--method", "rules", "--input", source("live"), "--calibration", "{d}/c.json") == 2
    assert "is of --method rules_forecast, this run of --method rules" in capsys.readouterr().err


def test_described_windows_are_chosen_one_by_one(files):
    windows = windows_of(files, "more")
    twice = [one for window in windows[:4] for one in (window, window)]  # two places of one time
    described = TrackSurprise.describe(twice)
    assert len(described) == 8 and len(described.groups) == 4
    keep = np.array([1, 1, 0, 1, 0, 0, 1, 0], dtype=bool)
    part = described.part(keep)
    assert [len(places) for _, places in part.groups] == [2, 1, 1] and len(described.part(~keep)) == 4
    surprise = calibrated(files)
    assert np.array_equal(surprise.scores_described(part), surprise.scores(twice)[keep])
    assert isinstance(part.groups[0][0].vehicles(surprise.forecaster, part.groups[0][1])[0], WindowVehicles)


@pytest.mark.parametrize("option", ["--weights", "--calibration"])
def test_rules_of_the_model_zoo_are_their_calibration(files, option, monkeypatch, capsys):
    digest = hashlib.sha256((files / "c.json").read_bytes()).hexdigest()
    about = {"system": "", "title": "", "use": "", "config": "", "metrics": (), "data": "", "licence": ""}
    entry = Entry(name="crawl", file="c.json", sha256=digest, storage="json", **about)
    monkeypatch.setattr(catalogue, "FOLDER", files)
    monkeypatch.setattr(catalogue, "read_catalogue", lambda: {"crawl": entry, "net": replace(entry, storage="half")})
    live = ("--input", source("live"), "--scores")
    assert run(files, option, "zoo:crawl", *live, "{d}/zoo.csv") == 0
    assert run(files, *METHOD, "--calibration", "{d}/c.json", *live, "{d}/file.csv") == 0
    assert (files / "zoo.csv").read_text() == (files / "file.csv").read_text()
    assert run(files, option, "zoo:crowl", *live, "{d}/zoo.csv") == 2
    assert "did you mean 'crawl'" in capsys.readouterr().err
    assert run(files, option, "zoo:net", *live, "{d}/zoo.csv") == 2
    assert ("--config-file" if option == "--weights" else "no calibration") in capsys.readouterr().err
    both = ("--weights", "zoo:crawl", "--calibration", "{d}/c.json")
    assert run(files, *both, *live, "{d}/zoo.csv") == 2
    assert "two calibrations" in capsys.readouterr().err
    for weights in ("other.pth", "zoo:net"):  # a network beside it does not hide the address
        assert run(files, "--weights", weights, "--calibration", "zoo:net", *live, "{d}/zoo.csv") == 2
        assert "zoo:net is no calibration" in capsys.readouterr().err
    if option == "--weights":  # the shipped rules with a threshold of one's own
        lenient = partial(alarm_threshold, least_hours=0)
        monkeypatch.setattr("d2road.traffic.events.stream_session.alarm_threshold", lenient)
        assert run(files, option, "zoo:crawl", "--input", source("live"), "--calibrate", "{d}/own.json") == 0
        own, shipped = (json.loads((files / name).read_text()) for name in ("own.json", "c.json"))
        assert own["rules"] == shipped["rules"] and own["threshold"] != shipped["threshold"]
        assert run(files, option, "zoo:crawl", "--input", source("live"), "--threshold", "1e9") == 0
        assert "ALARM" not in capsys.readouterr().out, "a threshold that is given wins"
        assert run(files, option, "zoo:crawl", "--input", source("live")) == 0
        assert "ALARM" in capsys.readouterr().out
    else:
        assert run(files, option, "d2road://crawl", *live, "{d}/folded.csv") == 0  # which Path would fold
        assert (files / "folded.csv").read_text() == (files / "file.csv").read_text()
