"""The command line of KITTI's evaluation: both ways to start it, its JSON, and input that is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.speed.speed_kitti_eval import write_frames
from d2road.cli.eval_kitti import main


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """gt and pred of four frames."""
    write_frames(tmp_path, frames=4, objects=30, detections=50)
    return tmp_path


def _arguments(folder: Path, *more: str) -> list[str]:
    return ["--gt", str(folder / "gt"), "--pred", str(folder / "pred"), "--json", str(folder / "ap.json"), *more]


def _run(folder: Path, *more: str) -> dict:
    assert main(_arguments(folder, *more)) == 0
    return json.loads((folder / "ap.json").read_text())


def _edit(path: Path, column: int, value: str) -> None:
    """Put another word into the second line."""
    lines = path.read_text().splitlines()
    words = lines[1].split()
    words[column : column + 1] = [value] if value else []
    lines[1] = " ".join(words)
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("start", [["d2road.cli", "eval-kitti"], ["d2road.cli.eval_kitti"]])
def test_starts_as_verb_and_as_module(folders, repo_dir, start):
    command = [sys.executable, "-W", "ignore", "-m", *start, *_arguments(folders)]
    done = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True, check=True)
    assert "moderate" in done.stdout and "fewer than 41 objects" in done.stderr
    results = json.loads((folders / "ap.json").read_text())
    assert list(results) == ["car", "pedestrian", "cyclist"]
    for metrics in results.values():
        assert set(metrics) == {"bbox", "aos", "bev", "3d"}
        for curves in metrics.values():
            assert {key: len(values) for key, values in curves.items()} == {"R40": 3, "R11": 3}
    assert 0 < results["car"]["bbox"]["R40"][2] <= 100


def test_classes_and_further_thresholds(folders, capsys):
    results = _run(folders, "--classes", "Car,VAN", "cyclist", "--iou", "Car=0.5,cyclist=0.25", "car=0.3")
    assert list(results) == ["car", "van", "cyclist"]
    assert {"3d", "3d@0.5", "bev@0.5", "bbox@0.3", "aos@0.3"} <= set(results["car"])
    assert "3d@0.25" in results["cyclist"] and "3d@0.25" not in results["van"]
    plain = _run(folders)
    assert plain["car"] == {key: value for key, value in results["car"].items() if "@" not in key}
    assert "3d@0.5" not in capsys.readouterr().out.splitlines()[-1]


def test_frames_of_a_split_need_predictions(folders, capsys):
    (folders / "val.txt").write_text("000003\n000001\n")
    whole = _run(folders, "--split", str(folders / "val.txt"))
    (folders / "pred" / "000003.txt").unlink()
    assert main(_arguments(folders, "--split", str(folders / "val.txt"))) == 2
    said = capsys.readouterr().err
    assert "000003.txt does not exist" in said and "--missing-as-empty" in said
    fewer = _run(folders, "--split", str(folders / "val.txt"), "--missing-as-empty")
    (folders / "pred" / "000003.txt").touch()
    assert _run(folders, "--split", str(folders / "val.txt")) == fewer != whole


def test_without_a_split_the_predicted_frames_count(folders, caplog):
    (folders / "pred" / "000000.txt").unlink()
    left = _run(folders)
    assert "1 label files have no prediction file" in caplog.text
    (folders / "val.txt").write_text("000001 000002 000003")
    assert _run(folders, "--split", str(folders / "val.txt")) == left


@pytest.mark.parametrize(
    ("kind", "column", "value", "message"),
    [
        ("gt", 14, "", r"gt/000002.txt line 2 has 14 fields, expected 15: type truncated"),
        ("pred", 15, "", r"pred/000002.txt line 2 has 15 fields: .* score.* missing"),
        ("pred", 7, "", r"pred/000002.txt line 2 has 15 fields"),
        ("gt", 13, "nan", r"gt/000002.txt line 2: z is nan, expected a finite number"),
        ("pred", 15, "inf", r"pred/000002.txt line 2: score is inf"),
        ("pred", 5, "x", r"pred/000002.txt line 2: could not convert string to float: 'x'"),
        ("gt", 9, "0", r"gt/000002.txt line 2: dimensions h w l are .* 0 .*, expected positive"),
        ("gt", 10, "-1", r"gt/000002.txt line 2: dimensions"),
        ("pred", 8, "-1", r"pred/000002.txt line 2: dimensions h w l are -1 .*-1000"),
    ],
)
def test_wrong_rows_are_named_by_file_and_line(folders, capsys, kind, column, value, message):
    _edit(folders / kind / "000002.txt", column, value)
    assert main(_arguments(folders)) == 2
    said = capsys.readouterr().err
    assert re.search(message, said), said
    assert not (folders / "ap.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "carr"], "type 'carr' does not exist; did you mean 'car'"),
        (["--iou", "car:0.5"], "does not read as CLASS=IOU"),
        (["--iou", "car=1.5"], "between 0 and 1"),
        (["--classes", "car", "--iou", "cyclist=0.5"], "cyclist is not evaluated"),
        (["--split", "nowhere.txt"], "nowhere.txt does not exist"),
    ],
)
def test_wrong_options(folders, capsys, arguments, message):
    assert main(_arguments(folders, *arguments)) == 2
    assert message in capsys.readouterr().err


def test_missing_and_empty_folders_and_labels(folders, capsys):
    (folders / "none").mkdir()
    assert main(["--gt", str(folders / "gt"), "--pred", str(folders / "nowhere")]) == 2
    assert main(["--gt", str(folders / "gt"), "--pred", str(folders / "none")]) == 2
    (folders / "gt" / "000001.txt").unlink()
    assert main(_arguments(folders)) == 2
    said = capsys.readouterr().err
    for message in ("nowhere is not a folder", "holds no *.txt", "label file", "000001.txt does not exist"):
        assert message in said


def test_empty_files_are_frames_without_objects(folders):
    for kind in ("gt", "pred"):
        for path in (folders / kind).iterdir():
            path.write_text("\n")
    results = _run(folders)
    assert results["car"]["3d"] == {"R40": [None] * 3, "R11": [None] * 3}
