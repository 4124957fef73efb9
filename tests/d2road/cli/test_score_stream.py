"""score_stream on made-up FCD: alarms, files, growth, interruption and going on, thresholds."""

import json
import os
import signal

import cv2
import numpy as np
import pandas as pd
import pytest

from d2road.cli import stream_session
from d2road.cli.score_stream import main, parser
from d2road.cli.stream_output import clock
from d2road.cli.stream_session import Session
from d2road.traffic.events.alarms import check_windows, merge_alarms
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.window_grid import WindowGrid

DURATION_S = 150
GRID = WindowGrid(TimeSpaceRenderer(), s_range=(0, 512))
STOPPED = range(60, 90)  # s at which a vehicle stands at 300 m


def write_fcd(path, seconds=DURATION_S, end=True) -> str:
    """Vehicles every 3 s at 25 m/s on 600 m, 2 Hz; returns the text."""
    lines = ["<fcd-export>"]
    for step in range(2 * seconds):
        t = step / 2
        lines.append(f'  <timestep time="{t:.2f}">')
        for number in range(int(t // 3) + 1):
            s = 25 * (t - 3 * number)
            if s < 600:
                lines.append(
                    f'    <vehicle id="v{number}" x="{s}" y="0" type="car" speed="25" pos="{s:.2f}" lane="m_0"/>'
                )
        if int(t) in STOPPED:
            lines.append('    <vehicle id="x" x="0" y="0" type="car" speed="0" pos="300.00" lane="m_0"/>')
        lines.append("  </timestep>")
    text = "\n".join([*lines, "</fcd-export>" if end else "", ""])
    path.write_text(text)
    return text


def magenta(windows):
    """Standing vehicles are magenta: their pixels as a map, their number as the score."""
    heat = [np.all(w.image == (255, 0, 255), axis=2).astype(np.float32) for w in windows]
    return [(float(h.sum()), h) for h in heat]


def args_for(tmp_path, *more):
    common = ["--config-file", "unused.yaml", "--threshold", "50"]
    return parser().parse_args(["--input", f"fcd:{tmp_path / 'a.xml'}", *common, *map(str, more)])


def test_alarm_with_time_position_and_image(tmp_path, capsys):
    write_fcd(tmp_path / "a.xml")
    args = args_for(tmp_path, "--pictures", tmp_path / "alarms", "--scores", tmp_path / "scores.csv")
    assert Session(args, GRID, magenta).run() == 0
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
    Session(args_for(tmp_path, "--scores", tmp_path / "whole.csv"), GRID, magenta).run()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("ALARM", "OVER"))]

    files = ("--scores", tmp_path / "parts.csv", "--state", tmp_path / "state.json", "--follow")
    monkeypatch.setattr(stream_session, "SAVE_EVERY_S", 0.0)
    offsets, got = [], []
    for part in (0.3, 0.55, 0.8, 1.0):
        # The writer gets to `part`, then somebody interrupts.
        (tmp_path / "a.xml").write_text(text[: int(part * len(text))])
        monkeypatch.setattr(
            "d2road.traffic.readers.tail_reader.time.sleep", lambda _s: os.kill(os.getpid(), signal.SIGINT)
        )
        session = Session(args_for(tmp_path, *files), GRID, magenta)
        assert session.run() == 0
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
    Session(args_for(tmp_path, "--scores", tmp_path / "whole.csv"), GRID, magenta).run()
    monkeypatch.setattr(stream_session, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(stream_session, "CHUNK_S", 5.0)
    files = ("--scores", tmp_path / "parts.csv", "--state", tmp_path / "state.json")
    calls = []

    def dies(windows):
        calls.append(len(windows))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return magenta(windows)

    with pytest.raises(KeyboardInterrupt):
        Session(args_for(tmp_path, *files), GRID, dies).run()
    assert 0 < len(pd.read_csv(tmp_path / "parts.csv")) < 10
    Session(args_for(tmp_path, *files), GRID, magenta).run()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "parts.csv"), pd.read_csv(tmp_path / "whole.csv"))


def test_state_of_another_stream_is_refused(tmp_path):
    write_fcd(tmp_path / "a.xml")
    state = tmp_path / "state.json"
    Session(args_for(tmp_path, "--state", state), GRID, magenta).run()
    with pytest.raises(ValueError, match=r"left by a run with other weights"):
        Session(args_for(tmp_path, "--state", state, "--weights", "w.pth"), GRID, magenta)
    state.write_text("{")
    with pytest.raises(ValueError, match="no state of a stream"):
        Session(args_for(tmp_path, "--state", state), GRID, magenta)


def test_threshold_of_good_traffic(tmp_path, capsys, monkeypatch):
    write_fcd(tmp_path / "a.xml")
    common = ["--input", f"fcd:{tmp_path / 'a.xml'}", "--config-file", "x", "--calibrate"]
    args = parser().parse_args([*common, str(tmp_path / "t.json")])
    with pytest.raises(ValueError, match=r"from 0\.0\d h of good traffic; expected at least 10 h"):
        Session(args, GRID, magenta).run()
    monkeypatch.setattr(stream_session, "alarm_threshold", lambda windows, hours, rate: (windows["score"].max(), 0))
    Session(args, GRID, magenta).run()
    found = json.loads((tmp_path / "t.json").read_text())
    assert found["rate"] == 1 and found["windows"] == 10 and found["threshold"] > 100
    assert "ALARM" not in capsys.readouterr().out
    again = parser().parse_args([*common[:-1], "--calibration", str(tmp_path / "t.json")])
    assert Session(again, GRID, magenta).scorer.threshold == found["threshold"]


def test_user_errors(tmp_path):
    write_fcd(tmp_path / "a.xml")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        main(["--input", str(tmp_path / "none.xml"), "--config-file", "x"])
    (tmp_path / "a.parquet").touch()
    args = parser().parse_args(["--input", str(tmp_path / "a.parquet"), "--config-file", "x", "--follow"])
    with pytest.raises(ValueError, match="--follow and --state need a file of FCD or CSV"):
        Session(args, GRID, magenta)
    args = parser().parse_args(["--input", f"fcd:{tmp_path / 'a.xml'}", "--config-file", "x"])
    with pytest.raises(ValueError, match="the model has no threshold of its own"):
        Session(args, GRID, magenta)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00.0"), (3725.26, "01:02:05.3"), (90000, "25:00:00.0"), (-5, "-00:00:05.0")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text
