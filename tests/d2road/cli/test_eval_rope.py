import json
import subprocess
import sys
import zipfile

import pytest

from d2road.cli.eval_rope import main
from tests.factories.rope_folder import rope_arguments, write_rope_folder

SCORES = {"ACS", "AOS", "AAS", "AGS", "S"}


@pytest.fixture
def folders(tmp_path):
    write_rope_folder(tmp_path)
    return tmp_path


def test_json_as_documented(folders, capsys):
    out = folders / "out" / "rope.json"
    assert main(rope_arguments(folders, "--json", str(out))) == 0
    results = json.loads(out.read_text())
    assert list(results) == ["car", "big_vehicle", "cyclist", "pedestrian"]
    for scores in results.values():
        assert set(scores) == SCORES | {"matched", "by_range", "AP", "Rope"}
        assert list(scores["by_range"]) == ["0-30", "30-60", "60-90", "90-120"]
        assert all(set(part) == SCORES | {"matched"} for part in scores["by_range"].values())
        assert set(scores["AP"]) == set(scores["Rope"]) == {"0.5", "0.7"}
    car, cyclist = results["car"], results["cyclist"]
    assert car["matched"] == 1 and car["S"] == pytest.approx(1)
    assert car["by_range"]["30-60"]["matched"] == 1 and car["by_range"]["0-30"]["S"] is None
    assert car["Rope"]["0.5"] == pytest.approx(0.8 * car["AP"]["0.5"] + 20)
    assert cyclist == cyclist | {"matched": 0, "S": None, "AP": {"0.5": None, "0.7": None}}
    printed = capsys.readouterr().out
    assert "1 frames, 1 labels, 1 predictions, mode compat" in printed and "90-120" in printed


def test_empty_files_are_no_error(folders):
    for name in ("label_2", "pred"):
        (folders / name / "000000.txt").write_text("")
    assert main(rope_arguments(folders)) == 0


@pytest.mark.parametrize("mode", ["compat", "true"])
def test_missing_predictions(folders, capsys, mode):
    (folders / "pred" / "000000.txt").unlink()
    assert main(rope_arguments(folders, "--mode", mode)) == 2
    assert "--missing-as-empty" in capsys.readouterr().err
    assert main(rope_arguments(folders, "--mode", mode, "--missing-as-empty")) == 0


def test_missing_ground_plane(folders, capsys):
    (folders / "denorm" / "000000.txt").unlink()
    assert main(rope_arguments(folders)) == 2
    assert "denorm/000000.txt does not exist" in capsys.readouterr().err


def test_as_a_command_on_the_golden_frames(golden_dir, repo_dir, tmp_path):
    source = golden_dir / "rope_score"
    with zipfile.ZipFile(source / "data.zip") as archive:
        archive.extractall(tmp_path)
    line = [
        sys.executable,
        "-m",
        "d2road.cli.eval_rope",
        *rope_arguments(tmp_path, "--json", str(tmp_path / "rope.json")),
    ]
    subprocess.run(line, cwd=repo_dir, check=True, capture_output=True)
    results = json.loads((tmp_path / "rope.json").read_text())
    for name, scores in json.loads((source / "expected.json").read_text())["scores"].items():
        assert results[name]["matched"] == scores["matched"]
        assert results[name]["S"] == pytest.approx(scores["S"], abs=0.00051)
