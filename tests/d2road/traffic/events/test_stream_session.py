"""Runs over made-up FCD: alarms, files, growth, interruption and going on, thresholds."""

import json
import os
import signal

import cv2
import pandas as pd
import pytest

from d2road.traffic.events import stream_session
from d2road.traffic.events.alarms import check_windows, merge_alarms
from d2road.traffic.events.stream_options import StreamOptions
from d2road.traffic.events.stream_output import clock
from d2road.traffic.events.stream_session import StreamModel, StreamSession
from tests.factories.stream_fcd import GRID, magenta, write_fcd


def session(tmp_path, score=magenta, **options) -> StreamSession:
    """A run over the file of `write_fcd` at a threshold of 50 pixels."""
    common = {"input": f"fcd:{tmp_path / 'a.xml'}", "config_file": "unused.yaml", "threshold": 50.0}
    return StreamSession(StreamOptions(**{**common, **options}), lambda: StreamModel(GRID, score))


def test_alarm_with_time_position_and_image(tmp_path, capsys):
    write_fcd(tmp_path / "a.xml")
    assert session(tmp_path, pictures=tmp_path / "alarms", scores=tmp_path / "scores.csv").run() == 0
    out = capsys.readouterr().out.splitlines()
    # Windows begin every 12.8 s: the one from 38.4 s sees the vehicle stand from 60 s on, 40 columns of 2 rows.
    alarm = next(line for line in out if line.startswith("ALARM"))
    assert "window 00:00:38.4-00:01:04.0, 0-512 m" in alarm and "t 00:01:00." in alarm
    assert abs(int(alarm.split(" s ")[1].split(" m")[0]) - 298) <= 3
    assert sum(line.startswith("ALARM") for line in out) == sum(line.startswith("OVER") for line in out) == 1
    assert out[-1].startswith("end of the file: 0.0") and "1 alarm(s)" in out[-1] and "times real time" in out[-1]
    image = cv2.imread(str(tmp_path / "alarms" / "000001.png"))
    assert min(image.shape[:2]) > 500
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert scores["t0"].tolist() == pytest.approx([12.8 * i for i in range(len(scores))]) and len(scores) == 10
    assert len(merge_alarms(check_windows(scores), 50)[0]) == 1


def test_interrupted_and_resumed_equals_one_run(tmp_path, capsys, monkeypatch):
    text = write_fcd(tmp_path / "a.xml")
    session(tmp_path, scores=tmp_path / "whole.csv").run()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("ALARM", "OVER"))]

    files = {"scores": tmp_path / "parts.csv", "state": tmp_path / "state.json", "follow": True}
    monkeypatch.setattr(stream_session, "SAVE_EVERY_S", 0.0)
    offsets, got = [], []
    for part in (0.3, 0.55, 0.8, 1.0):
        # The writer gets to `part`, then somebody interrupts.
        (tmp_path / "a.xml").write_text(text[: int(part * len(text))])
        monkeypatch.setattr(
            "d2road.traffic.readers.growing_file.time.sleep", lambda _s: os.kill(os.getpid(), signal.SIGINT)
        )
        assert session(tmp_path, **files).run() == 130
        state = json.loads((tmp_path / "state.json").read_text())
        offsets.append(state["offset"])
        out = capsys.readouterr().out.splitlines()
        assert out[-1].startswith("stopped: ")
        got += [line for line in out if line.startswith(("ALARM", "OVER"))]
    assert offsets == sorted(offsets) and 0 < offsets[-1] < len(text)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "parts.csv"), pd.read_csv(tmp_path / "whole.csv"))
    assert got == lines


def test_a_killed_run_leaves_a_state_that_is_behind_its_scores(tmp_path, monkeypatch):
    write_fcd(tmp_path / "a.xml")
    session(tmp_path, scores=tmp_path / "whole.csv").run()
    monkeypatch.setattr(stream_session, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(stream_session, "CHUNK_S", 5.0)
    files = {"scores": tmp_path / "parts.csv", "state": tmp_path / "state.json"}
    calls = []

    def dies(windows):
        calls.append(len(windows))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return magenta(windows)

    with pytest.raises(KeyboardInterrupt):
        session(tmp_path, dies, **files).run()
    assert 0 < len(pd.read_csv(tmp_path / "parts.csv")) < 10
    session(tmp_path, **files).run()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "parts.csv"), pd.read_csv(tmp_path / "whole.csv"))


def test_state_of_another_stream_is_refused(tmp_path):
    write_fcd(tmp_path / "a.xml")
    state = tmp_path / "state.json"
    session(tmp_path, state=state).run()
    with pytest.raises(ValueError, match=r"left by a run with other weights"):
        session(tmp_path, state=state, weights="w.pth")


def test_threshold_of_good_traffic(tmp_path, capsys, monkeypatch):
    write_fcd(tmp_path / "a.xml")
    good = {"threshold": None, "calibrate": tmp_path / "t.json"}
    with pytest.raises(ValueError, match=r"from 0\.0\d h of good traffic; expected at least 10 h"):
        session(tmp_path, **good).run()
    monkeypatch.setattr(stream_session, "alarm_threshold", lambda windows, hours, rate: (windows["score"].max(), 0))
    session(tmp_path, **good).run()
    found = json.loads((tmp_path / "t.json").read_text())
    assert found["rate"] == 1 and found["windows"] == 10 and found["threshold"] > 100
    assert "ALARM" not in capsys.readouterr().out
    again = session(tmp_path, threshold=None, calibration=tmp_path / "t.json")
    assert again.scorer.threshold == found["threshold"]


def test_user_errors(tmp_path):
    write_fcd(tmp_path / "a.xml")
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ValueError, match="--follow and --state need a file of FCD or CSV"):
        session(tmp_path, input=str(tmp_path / "a.parquet"), follow=True)
    with pytest.raises(ValueError, match="the model has no threshold of its own"):
        session(tmp_path, threshold=None)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00.0"), (3725.26, "01:02:05.3"), (90000, "25:00:00.0"), (-5, "-00:00:05.0")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text
