"""score-stream without any model: rules from a file of good traffic to alarms that name a vehicle."""

import json
import os
import re
import signal

import numpy as np
import pandas as pd
import pytest

from d2road.cli import score_stream
from d2road.traffic.baselines.lasting_rules import DescribedWindows, describe_windows
from d2road.traffic.events import drift, drift_watch, rules_stream
from d2road.traffic.events.alarms import alarm_threshold
from d2road.utils.errors import DataError
from tests.factories.stream_fcd import write_fcd

GRID = ["TIME_SPACE.S_RANGE", "(0, 512)", "TIME_SPACE.STRIDE", "1.0"]


def write_traffic(folder):
    """Traffic in which a vehicle x stands from 60 to 90 s, and the same without it."""
    text = write_fcd(folder / "live.xml")
    good = "\n".join(line for line in text.splitlines() if 'id="x"' not in line)
    for name in ("good.xml", "more.xml"):
        (folder / name).write_text(good + "\n")
    return folder


@pytest.fixture
def files(tmp_path):
    return write_traffic(tmp_path)


def run(files, *words, grid=GRID) -> int:
    return score_stream.main([str(word).format(d=files) for word in (*words, *grid)])


RULES = ("--method", "rules", "--good", "fcd:{d}/good.xml")
BOTH = pytest.mark.parametrize("method", ["rules", "rules_forecast"])
LIVE = ("--input", "fcd:{d}/live.xml")


def test_first_alarm_from_a_file_of_good_traffic(files, capsys):
    assert run(files, *RULES, *LIVE, "--pictures", files / "alarms", "--scores", files / "s.csv") == 0
    out = capsys.readouterr().out
    assert "rules fitted on" in out and "extrapolated from 0.02 h of good traffic to 1 false alarm(s) an hour" in out
    (alarm,) = (line for line in out.splitlines() if line.startswith("ALARM"))
    assert " x " in alarm and " s 300 m " in alarm and alarm.endswith("000001.png")
    assert len(list((files / "alarms").iterdir())) == 1
    scores = pd.read_csv(files / "s.csv")
    alarming = scores[scores["score"] > scores["score"].median()]
    assert alarming["t0"].min() > 60 - 25.6 and alarming["t1"].max() < 90 + 26.6
    assert run(files, *RULES, "--input", "fcd:{d}/more.xml") == 0
    assert "ALARM" not in capsys.readouterr().out


def test_rules_are_fitted_on_all_good_traffic_unless_it_has_to_give_the_threshold(files, capsys):
    counts = []
    for words in ((), ("--threshold", "9")):
        assert run(files, *RULES, *LIVE, *words) == 0
        counts.append(int(re.search(r"rules fitted on (\d+) windows", capsys.readouterr().out)[1]))
    assert counts[0] < 0.6 * counts[1] < counts[1]


def test_a_calibration_holds_the_rules(files, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            "d2road.traffic.events.stream_session.alarm_threshold",
            lambda windows, hours, rate: alarm_threshold(windows, hours, rate, least_hours=0),
        )
        assert run(files, *RULES, "--input", "fcd:{d}/more.xml", "--calibrate", files / "rules.json") == 0
    kept = json.loads((files / "rules.json").read_text())
    assert kept["method"] == "rules" and kept["good"] == [f"fcd:{files}/good.xml"] and kept["rules"]["version"] == 2
    # Nothing is fitted again.
    monkeypatch.setattr(rules_stream, "read_good", None)
    capsys.readouterr()
    assert run(files, "--method", "rules", *LIVE, "--calibration", files / "rules.json") == 0
    assert capsys.readouterr().out.count("ALARM") == 1
    assert run(files, "--config-file", "x.yaml", *LIVE, "--calibration", files / "rules.json") == 2
    del kept["rules"]
    (files / "rules.json").write_text(json.dumps(kept))
    assert run(files, "--method", "rules", *LIVE, "--calibration", files / "rules.json") == 2
    assert "lacks 'rules'" in capsys.readouterr().err


def test_a_road_whose_ends_nobody_tells_is_warned_of(files, caplog):
    for grid, warned in ((GRID, False), (GRID[2:], True)):
        caplog.clear()
        assert run(files, *RULES, *LIVE, grid=grid) == 0
        assert (rules_stream.ENDS_UNKNOWN in caplog.messages) == warned


def take_short_blocks(monkeypatch):
    """Blocks of 2 s instead of 5 minutes, so that two minutes are enough of them."""
    monkeypatch.setattr(
        "d2road.traffic.events.stream_session.alarm_threshold",
        lambda windows, hours, rate: alarm_threshold(windows, hours, rate, least_hours=0),
    )
    for name, value in (("BLOCK_S", 2.0), ("HALF_S", 12.0), ("LEAST_BLOCKS", 10)):
        monkeypatch.setattr(drift, name, value)
    monkeypatch.setattr(drift_watch, "LIMIT", 20.0)


@pytest.fixture(scope="module", params=["rules", "rules_forecast"])
def calibration(request, tmp_path_factory):
    """A method, and what its calibration by the files holds."""
    folder = write_traffic(tmp_path_factory.mktemp("calibration"))
    words = ("--method", request.param, *RULES[2:], "--input", "fcd:{d}/more.xml", "--calibrate", folder / "rules.json")
    with pytest.MonkeyPatch.context() as patch:
        take_short_blocks(patch)
        assert run(folder, *words) == 0
    return request.param, (folder / "rules.json").read_text()


@pytest.fixture
def calibrated(files, monkeypatch, calibration):
    """Words for rules.json, of short blocks."""
    take_short_blocks(monkeypatch)
    method, content = calibration
    (files / "rules.json").write_text(content)
    return ("--method", method, "--calibration", files / "rules.json")


def test_drift_is_told_and_goes_on_with_the_state(files, capsys, calibrated):
    slow = re.sub(r'speed="([0-9.]+)"', lambda m: f'speed="{0.7 * float(m[1]):.2f}"', (files / "more.xml").read_text())
    (files / "slow.xml").write_text(slow)
    words = (*calibrated, "--input", "fcd:{d}/slow.xml")
    capsys.readouterr()
    assert run(files, *words, "--scores", files / "whole.csv") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("DRIFT"))
    assert "than in the calibration's traffic of the same density" in line and "--calibrate" in line
    whole = pd.read_csv(files / "whole.csv")
    assert 0 < whole["drift"].max() < 1 and (whole["drift"].diff() < 0).any()  # 0 again after the report
    lines = []
    for share in (0.3, 0.5, 0.8, 1.0):
        (files / "slow.xml").write_text(slow[: int(share * len(slow))])
        assert run(files, *words, "--scores", files / "parts.csv", "--state", files / "state.json") == 0
        lines += [one for one in capsys.readouterr().out.splitlines() if one.startswith("DRIFT")]
    assert lines == [line]
    pd.testing.assert_frame_equal(pd.read_csv(files / "parts.csv"), whole)


def test_windows_are_those_of_the_calibration_unless_the_run_has_its_own(files, capsys, caplog, calibrated):
    assert run(files, *calibrated, *LIVE, "--scores", files / "told.csv") == 0
    capsys.readouterr()
    caplog.clear()
    assert run(files, *calibrated, *LIVE, "--scores", files / "taken.csv", grid=()) == 0
    assert f"{' '.join(GRID)}: windows as in the calibration" in capsys.readouterr().out
    assert rules_stream.ENDS_UNKNOWN not in caplog.messages
    pd.testing.assert_frame_equal(pd.read_csv(files / "taken.csv"), pd.read_csv(files / "told.csv"))
    assert run(files, *calibrated, *LIVE, "--scores", files / "own.csv", grid=("TIME_SPACE.STRIDE", "2.0")) == 0
    assert "TIME_SPACE.S_RANGE (0, 512): windows as" in capsys.readouterr().out
    assert set(pd.read_csv(files / "own.csv")["t0"].diff().dropna()) == {2.0}


def test_calibrations_and_scores_of_earlier_versions_know_no_drift(files, capsys, calibrated):
    kept = json.loads((files / "rules.json").read_text())
    old = {name: value for name, value in kept.items() if name != "drift"}
    (files / "rules.json").write_text(json.dumps(old))
    whole = (files / "live.xml").read_text()
    (files / "live.xml").write_text(whole[: len(whole) // 2])
    words = (*calibrated, *LIVE, "--state", files / "state.json", "--scores", files / "s.csv")
    capsys.readouterr()
    assert run(files, *words) == 0
    assert "drift is not watched" in capsys.readouterr().out
    (files / "rules.json").write_text(json.dumps(kept))
    (files / "live.xml").write_text(whole)
    assert run(files, *words) == 0 and "not watched" not in capsys.readouterr().out
    scores = pd.read_csv(files / "s.csv")
    assert "drift" not in scores and scores["score"].notna().all()
    (files / "rules.json").write_text(json.dumps({**kept, "drift": {"version": 1}}))
    assert run(files, *calibrated, *LIVE) == 2
    assert "lacks 'quantities'" in capsys.readouterr().err


@BOTH
def test_a_state_goes_on_with_the_rules_that_it_was_left_by(files, capsys, method):
    whole = (files / "live.xml").read_text()
    (files / "live.xml").write_text(whole[: len(whole) // 3])
    rules = ("--method", method, *RULES[2:])
    words = (*rules, *LIVE, "--threshold", "5", "--state", files / "state.json", "--scores", files / "parts.csv")
    assert run(files, *words) == 0
    (files / "live.xml").write_text(whole)
    state = (files / "state.json").read_text()
    assert run(files, *words) == 0
    assert capsys.readouterr().out.count("ALARM") == 1
    assert run(files, *rules, *LIVE, "--threshold", "5", "--scores", files / "whole.csv") == 0
    pd.testing.assert_frame_equal(pd.read_csv(files / "parts.csv"), pd.read_csv(files / "whole.csv"))
    (files / "state.json").write_text(state)
    (files / "good.xml").write_text((files / "good.xml").read_text().replace('speed="25"', 'speed="26"'))
    capsys.readouterr()
    assert run(files, *words) == 2
    assert "left by a run with other rules" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (LIVE, "--method model needs --config-file"),
        (("--method", "rules", *LIVE), "--method rules needs good traffic to be fitted on, --good INPUT"),
        (("--method", "rules_forecast", *LIVE), "--method rules_forecast needs good traffic to be fitted on"),
        ((*RULES, *LIVE, "--weights", "w.pth"), "--method rules has no weights"),
        ((*RULES, "--input", RULES[-1], "--calibrate", "{d}/c.json"), "which the rules are fitted on"),
        ((*RULES, *LIVE, "--calibration", "c.json"), "holds its rules already: leave --good away"),
        (("--method", "model", "--config-file", "x", "--good", "g", *LIVE), "--good is what rules are fitted on"),
        (("--good", "fcd:{d}/none.xml", *LIVE), "none.xml does not exist"),
        ((*RULES, *LIVE, "TIME_SPACE.LANE_LAYOUT", "per_lane"), "set TIME_SPACE.LANE_LAYOUT to overlay or stacked"),
        ((*RULES, *LIVE, "TIME_SPACE.LANES", "('7',)"), "no window holds a vehicle"),
    ],
)
def test_user_errors_tell_the_cure(files, capsys, words, text):
    assert run(files, *words) == 2
    assert text in capsys.readouterr().err


def test_hours_are_those_of_the_clock_whatever_the_carriageways(files):
    both = pd.DataFrame({"recording": "a", "t0": 0.0, "t1": 7200.0, "s0": 0.0, "s1": 512.0, "direction": [1, -1]})
    good = rules_stream.GoodTraffic(both, DescribedWindows(np.zeros((2, 10)), np.ones(2)))
    assert good.hours == 2.0 and good.part(np.zeros(2, dtype=bool)).hours == 0.0


def test_a_signal_ends_it_while_rules_are_fitted(files, monkeypatch):
    def kill(windows):
        os.kill(os.getpid(), signal.SIGTERM)
        return describe_windows(windows)

    monkeypatch.setattr(rules_stream.LastingRules, "describe", staticmethod(kill))
    assert run(files, *RULES, *LIVE, "--state", files / "state.json") == 143
    assert not (files / "state.json").exists()


def test_too_little_good_traffic_is_refused(files, capsys):
    assert run(files, *RULES, *LIVE, grid=GRID[:2]) == 2
    assert "good windows with vehicles; expected at least 40" in capsys.readouterr().err


def test_ten_held_out_hours_count_their_alarms(files, monkeypatch):
    """The threshold is the one of `alarm_threshold` on the windows that the rules have not seen."""
    from d2road.config import make_cfg
    from d2road.config.time_space import window_grid_of

    grid = window_grid_of(make_cfg("", GRID))
    specs = [f"fcd:{files}/good.xml", f"fcd:{files}/more.xml"]
    fit, held_out = rules_stream.read_good(specs[:1], grid).split()
    assert fit.places["t1"].max() <= held_out.places["t0"].min() and len(fit.places) >= 40
    fit, held_out = rules_stream.read_good(specs, grid).split()
    assert set(fit.places["recording"]) == {"1/good"} and set(held_out.places["recording"]) == {"2/more"}
    rules = rules_stream.LastingRules().fit_described(fit.described)
    few = held_out.part(np.arange(len(held_out.places)) < 19)
    with pytest.raises(DataError, match=r"19 windows of good traffic are left for a threshold, expected 20 or more"):
        rules_stream.threshold_of(rules, few, rate=1.0)
    monkeypatch.setattr(rules_stream, "LEAST_HOURS", 0.01)
    monkeypatch.setattr(
        rules_stream, "alarm_threshold", lambda w, hours, rate: alarm_threshold(w, hours, rate, least_hours=0)
    )
    threshold, note = rules_stream.threshold_of(rules, held_out, rate=1.0)
    scores = rules.scores_described(held_out.described)
    assert threshold == scores.max() and "0 alarm(s) in 0.0" in note.format(threshold)
