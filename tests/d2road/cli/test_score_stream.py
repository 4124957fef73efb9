"""The command line of score-stream; runs over a stream are tested with `d2road.traffic.events.stream_session`."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from d2road.cli import score_stream
from d2road.traffic.events import stream_session
from d2road.traffic.events.stream_session import StreamModel
from tests.factories.stream_fcd import GRID, magenta, write_fcd

WORDS = ["--input", "fcd:a.xml", "--config-file", "x.yaml"]


def options(*words):
    return score_stream.options_of(score_stream.build_parser().parse_args([*WORDS, *map(str, words)]))


def test_options_are_those_of_the_run():
    found = options("TIME_SPACE.STRIDE", 6.4, "--weights", "w.pth", "--state", "s.json", "--follow", "SEED", 3)
    assert (found.input, found.config_file, found.weights) == ("fcd:a.xml", "x.yaml", "w.pth")
    # The weights are named once, so that states and thresholds of earlier runs stay valid.
    assert found.about()["opts"] == ["TIME_SPACE.STRIDE", "6.4", "SEED", "3"]
    assert found.follow and found.state == Path("s.json") and found.batch == 4 and found.rate == 1
    assert found.threshold is None and found.calibration is None and found.scores is None and found.pictures is None
    assert options("--weights", "w.pth", "MODEL.WEIGHTS", "w.pth").opts == ("MODEL.WEIGHTS", "w.pth")


def test_one_source_of_the_threshold(capsys):
    with pytest.raises(SystemExit) as error:
        options("--threshold", 1, "--calibrate", "t.json")
    assert error.value.code == 2 and "not allowed with" in capsys.readouterr().err


def test_user_errors(tmp_path, capsys):
    assert score_stream.main(["--input", str(tmp_path / "none.xml"), "--config-file", "x"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_from_end_to_end(tmp_path, monkeypatch, capsys):
    write_fcd(tmp_path / "a.xml")
    monkeypatch.setattr(score_stream, "load_model", lambda options: StreamModel(GRID, magenta, 50.0))
    monkeypatch.setattr(stream_session, "alarm_threshold", lambda windows, hours, rate: (windows["score"].max(), 0))
    words = ["--input", f"fcd:{tmp_path / 'a.xml'}", "--config-file", "x"]
    assert score_stream.main([*words, "--calibrate", str(tmp_path / "t.json"), "--rate", "2"]) == 0
    assert json.loads((tmp_path / "t.json").read_text())["rate"] == 2
    capsys.readouterr()
    assert score_stream.main(words) == 0
    out = capsys.readouterr().out
    assert "threshold 50 is the model's own" in out and out.count("ALARM") == out.count("OVER") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_order_also_while_the_model_is_loaded(tmp_path, monkeypatch, number, code):
    write_fcd(tmp_path / "a.xml", 60)
    words = ["--input", f"fcd:{tmp_path / 'a.xml'}", "--config-file", "x", "--follow", "--state"]

    def kill(*_):
        if threading.current_thread() is not threading.main_thread():
            return None  # time.sleep is everybody's
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # as `timeout` does: to the process and to its group
        return StreamModel(GRID, magenta, 50.0)

    monkeypatch.setattr(score_stream, "load_model", kill)
    assert score_stream.main([*words, str(tmp_path / "early.json")]) == code
    assert json.loads((tmp_path / "early.json").read_text())["next_t0"] is None
    monkeypatch.setattr(score_stream, "load_model", lambda options: StreamModel(GRID, magenta, 50.0))
    monkeypatch.setattr("d2road.traffic.readers.growing_file.time.sleep", kill)
    assert score_stream.main([*words, str(tmp_path / "late.json")]) == code
    assert json.loads((tmp_path / "late.json").read_text())["next_t0"] > 10


@pytest.mark.parametrize(
    "words", [("--threshold", "nan"), ("--threshold", "inf"), ("--batch", "-1"), ("--batch", "1.5"), ("--rate", "0")]
)
def test_numbers_are_finite_and_in_range(words, capsys):
    with pytest.raises(SystemExit) as error:
        options(*words)
    assert error.value.code == 2 and words[0] in capsys.readouterr().err
