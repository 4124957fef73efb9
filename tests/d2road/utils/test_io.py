"""Atomic writing and progress lines."""

import json
import os

import pytest

from d2road.utils.io import atomic_write, write_json
from d2road.utils.progress import format_progress, track


def test_the_old_file_survives_a_failure(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path, "w") as file:
        file.write("half")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_round_trips_and_leaves_no_other_file(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, 2.5, None]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert os.listdir(tmp_path) == ["a.json"]


def test_wrong_mode_and_missing_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match="'ab'"), atomic_write(tmp_path / "a", "ab"):
        pass
    with pytest.raises(FileNotFoundError, match="gone"), atomic_write(tmp_path / "gone" / "a"):
        pass


def test_progress_line():
    assert format_progress("x", 120, 500, 8.0) == "x 120/500 24% 15.0/s eta 0:00:25"
    # Frames of an earlier run do not count in the rate.
    assert format_progress("x", 120, 500, 8.0, already_done=100) == "x 120/500 24% 2.5/s eta 0:02:32"
    assert format_progress("x", 0, 0, 0.0).startswith("x 0/0 100%")


def test_track_passes_everything_and_ends_with_a_line():
    lines = []
    assert list(track(range(5), label="n", already_done=3, log=lines.append)) == [0, 1, 2, 3, 4]
    assert lines[-1].startswith("n 8/8 100%")
    with pytest.raises(ValueError, match="total"):
        track(iter(()))
