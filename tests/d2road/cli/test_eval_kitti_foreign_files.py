"""KITTI's evaluation on label and prediction files as other programs and editors write them.

The rows are those of the golden files, changed by hand into what exporters write for the unknown: which fields those
are is said by KITTI's development kit and by nuScenes' exporter, whose files need their data sets.
"""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from d2road.cli.eval_kitti import main


@pytest.fixture(scope="module")
def golden_files(golden_dir: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kitti_eval")
    for name in ("label_2", "pred"):
        with zipfile.ZipFile(golden_dir / "kitti_eval" / f"{name}.zip") as archive:
            archive.extractall(folder / name)
    return folder


@pytest.fixture
def files(golden_files, tmp_path) -> Path:
    """Folders label_2 and pred to change."""
    for name in ("label_2", "pred"):
        shutil.copytree(golden_files / name, tmp_path / name)
    return tmp_path


def run(folder: Path, *more: str) -> dict:
    arguments = ["--gt", str(folder / "label_2"), "--pred", str(folder / "pred"), "--json", str(folder / "ap.json")]
    assert main([*arguments, *more]) == 0
    return json.loads((folder / "ap.json").read_text())


def edit(folder: Path, change) -> int:
    """Change the words of each row by `change(words, number)`; returns how many rows it gave other words for."""
    changed = 0
    for path in sorted(folder.glob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines()]
        new = [change(list(row), number) for number, row in enumerate(rows)]
        changed += sum(a != b for a, b in zip(rows, new))
        path.write_text("".join(" ".join(row) + "\n" for row in new))
    return changed


def without_3d(convention: str):
    """A change of rows of a type into one with a 2D box only."""

    def change(words: list[str], kind: str) -> list[str]:
        return [*words[:8], *convention.split(), *words[15:]] if words[0] == kind else words

    return change


CONVENTIONS = ("0 0 0 0 0 0 0", "-1 -1 -1 -1000 -1000 -1000 -10")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("kinds", [("label_2",), ("pred",), ("label_2", "pred")])
def test_the_mark_of_an_encoding_hides_no_object(golden_files, files, encoding, kinds):
    for kind in kinds:
        for path in (files / kind).glob("*.txt"):
            path.write_text(path.read_text(), encoding=encoding)
    marked = run(files)
    shutil.copytree(golden_files, files / "plain")
    assert marked == run(files / "plain")


@pytest.mark.parametrize("kind", ["label_2", "pred"])
def test_another_encoding_is_refused_with_the_name_of_the_file(files, capsys, kind):
    path = sorted((files / kind).glob("*.txt"))[1]
    path.write_bytes("V\xe9hicule ".encode("latin-1") + path.read_bytes())
    assert main(["--gt", str(files / "label_2"), "--pred", str(files / "pred")]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and "UTF-8" in said and "Traceback" not in said


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_labels_with_a_2d_box_only_count_in_the_image_alone(golden_files, files, convention):
    """Every second car: bev and 3d are those of files without these rows; the image's are unchanged."""
    whole = run(files)
    shutil.copytree(golden_files, files / "fewer")
    flat = without_3d(convention)
    assert edit(files / "label_2", lambda words, i: flat(words, "Car") if i % 2 else words) > 50
    for path in (files / "fewer" / "label_2").glob("*.txt"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for i, line in enumerate(lines) if not (i % 2 and line.startswith("Car "))))
    mixed, fewer = run(files), run(files / "fewer")
    assert mixed["car"]["bbox"] == whole["car"]["bbox"]
    assert mixed["car"]["bev"] == fewer["car"]["bev"] != whole["car"]["bev"]
    assert mixed["car"]["3d"] == fewer["car"]["3d"] != whole["car"]["3d"]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_class_detected_in_2d_only_has_no_3d_measure_beside_one_in_3d(files, convention):
    whole = run(files)
    flat = without_3d(convention)
    assert edit(files / "pred", lambda words, _: flat(words, "Pedestrian")) > 20
    results = run(files)
    assert results["car"] == whole["car"]
    assert results["pedestrian"]["bbox"] == whole["pedestrian"]["bbox"]
    for metric in ("bev", "3d"):
        assert results["pedestrian"][metric] == {"R40": [None] * 3, "R11": [None] * 3}


@pytest.mark.parametrize(("kind", "box"), [("label_2", "0 0 0 0"), ("label_2", "-1 -1 -1 -1"), ("pred", "-1 -1 -1 -1")])
def test_objects_without_a_2d_box_are_told_to_count_nowhere(files, caplog, kind, box):
    edit(files / kind, lambda words, _: [*words[:4], *box.split(), *words[8:]])
    results = run(files)
    assert results["car"]["3d"]["R40"] == results["car"]["bbox"]["R40"] == [None] * 3
    what = "labels" if kind == "label_2" else "predictions"
    assert f"{what} have no 2D box" in caplog.text and "height" in caplog.text


def test_no_orientation_similarity_against_labels_of_unknown_alpha(files, caplog):
    whole = run(files)
    edit(files / "label_2", lambda words, _: [*words[:3], "-10" if words[0] == "Car" else words[3], *words[4:]])
    results = run(files)
    assert results["car"]["aos"] == {"R40": [None] * 3, "R11": [None] * 3}
    assert {**results["car"], "aos": 0} == {**whole["car"], "aos": 0}
    assert results["pedestrian"] == whole["pedestrian"]
    assert "labels have alpha -10 (unknown)" in caplog.text


def test_unknown_occlusion_of_labels_is_told(files, caplog):
    edit(files / "label_2", lambda words, _: [words[0], "-1", "-1", *words[3:]])
    run(files)
    assert "occluded and truncated -1 (unknown)" in caplog.text


def test_types_that_exist_on_one_side_only_are_no_table_of_zeros(files, capsys):
    edit(files / "pred", lambda words, _: ["Vehicle", *words[1:]])
    arguments = ["--gt", str(files / "label_2"), "--pred", str(files / "pred"), "--json", str(files / "ap.json")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "'vehicle' (" in said and "'car' (" in said and "--classes" in said
    assert not (files / "ap.json").exists()


def test_labels_of_other_types_than_the_evaluated_are_refused(files, capsys):
    for kind in ("label_2", "pred"):
        edit(files / kind, lambda words, _: ["excavator", *words[1:]])
    assert main(["--gt", str(files / "label_2"), "--pred", str(files / "pred")]) == 2
    assert "none of the" in capsys.readouterr().err
    assert run(files, "--classes", "excavator")["excavator"]["bbox"]["R40"][0] > 0


def test_some_predictions_of_an_unknown_type_are_counted_in_a_warning(files, caplog):
    changed = edit(files / "pred", lambda words, i: ["Vehicle", *words[1:]] if i == 0 else words)
    run(files)
    assert f"{changed} predictions are of types that no label has ('vehicle' ({changed}))" in caplog.text


def test_labels_as_their_own_predictions_are_told_the_best_that_few_objects_allow(shared_dir, tmp_path, caplog):
    """KITTI's own 14 frames: 22.50, 42.50, 47.50 for cars is all that this protocol can give."""
    labels = shared_dir / "data" / "kitti" / "training" / "label_2"
    (tmp_path / "pred").mkdir()
    for path in labels.glob("*.txt"):
        rows = [f"{line} 1.0\n" for line in path.read_text().splitlines() if not line.startswith("DontCare")]
        (tmp_path / "pred" / path.name).write_text("".join(rows))
    (tmp_path / "label_2").symlink_to(labels)
    results = run(tmp_path)
    assert results["car"]["3d"]["R40"] == [22.5, 42.5, 47.5]
    assert "labels themselves" in caplog.text
    for best in ("car easy 10 (at most 22.50)", "car moderate 18 (at most 42.50)", "car hard 20 (at most 47.50)"):
        assert best in caplog.text


def in_degrees(words: list[str], column: int) -> list[str]:
    return [*words[:column], f"{float(words[column]) * 57.29578:.2f}", *words[column + 1 :]]


@pytest.mark.parametrize("kind", ["label_2", "pred"])
@pytest.mark.parametrize("column", [3, 14])
def test_angles_in_degrees_are_refused(files, capsys, kind, column):
    edit(files / kind, lambda words, _: in_degrees(words, column) if words[0] != "DontCare" else words)
    assert main(["--gt", str(files / "label_2"), "--pred", str(files / "pred")]) == 2
    said = capsys.readouterr().err
    assert ("labels" if kind == "label_2" else "predictions") + ": " in said and "radians" in said


def test_exchanged_width_and_length_of_one_side_are_warned_of(files, caplog):
    edit(files / "pred", lambda words, _: [*words[:9], words[10], words[9], *words[11:]])
    run(files)
    assert "predictions: " in caplog.text and "vehicles are wider than long" in caplog.text
    assert "labels: " not in caplog.text
