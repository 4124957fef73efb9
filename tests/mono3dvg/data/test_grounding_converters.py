"""Published layouts, synthesised file by file, and the data sets of the project as grounding data."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2road.cli.convert import main
from d2road.data.camera_files import read_calib
from mono3dvg.data.grounding_converters import convert_mono3drefer, convert_monomulti3d, flat_records, parse_row
from mono3dvg.schema import GroundingData, read_grounding
from mono3dvg.schema_checks import schema_problems
from tests.factories.grounding_files import box

CALIB = "".join(f"P{i}: 700 0 480 0 0 700 270 0 0 0 1 0\n" for i in range(4)) + "R0_rect: 1 0 0 0 1 0 0 0 1\n"
DENORM = "0 -0.97 -0.24 6.5\n"


def _row(kind: str, row: list, *extra) -> list:
    """15 KITTI fields (and more) of a box x, y, z, h, w, l, ry."""
    x, y, z, h, w, l, ry = row  # noqa: E741
    u, v = 480 + 700 * x / z, 270 + 700 * y / z
    return [
        kind,
        0.0,
        0,
        0.1,
        round(u - 40, 2),
        round(v - 40, 2),
        round(u + 40, 2),
        round(v, 2),
        h,
        w,
        l,
        x,
        y,
        z,
        ry,
        *extra,
    ]


def _frame(root: Path, name: str, image_dir: str, suffix: str = ".png") -> None:
    for folder in (image_dir, "calib", "denorm"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (960, 540)).save(root / image_dir / f"{name}{suffix}")
    (root / "calib" / f"{name}.txt").write_text(CALIB)
    (root / "denorm" / f"{name}.txt").write_text(DENORM)


CAR, FAR, WALKER = box(2, 20), box(-3, 45, 1.5), box(5, 15, 0, [1.7, 0.6, 0.6])


def _mono3drefer(root: Path) -> Path:
    """Two test images, three objects with two sentences each, and one training image."""
    records = []
    for name, key, kind, row in (
        ("000007", 24605, "Car", CAR), ("000007", 24606, "Pedestrian", WALKER), ("000031", 24607, "Car", FAR),
        ("000099", 11, "Car", CAR),
    ):  # fmt: skip
        for number in range(2):
            records.append(
                {
                    "im_name": name,
                    "instanceID": key,
                    "ann_id": number,
                    "objectName": kind.lower(),
                    "description": f"The {kind.lower()} of sentence {number}.",
                    "label_2": str(_row(kind, row)),
                }
            )
        _frame(root, name, "images")
    (root / "Mono3DRefer.json").write_text(json.dumps(records))
    (root / "Mono3DRefer_test_image.txt").write_text("000007\n000031\n")
    (root / "Mono3DRefer_train_image.txt").write_text("000099\n")
    return root


def test_mono3drefer(tmp_path):
    raw = convert_mono3drefer(_mono3drefer(tmp_path), "test")
    assert schema_problems(raw) == []
    data = GroundingData(raw)
    assert [len(raw[k]) for k in ("images", "annotations", "expressions")] == [2, 3, 6]
    e = data.expressions["24606-1"]
    assert (e.image_id, e.target_ids, e.kind, e.group) == ("000007", (24606,), "single", "st_wo_d")
    assert e.legacy == {"instanceID": 24606, "ann_id": 1} and e.text == "The pedestrian of sentence 1."
    np.testing.assert_allclose(data.target_rows(e), [WALKER])
    assert data.images["000031"].file_name == "000031.png" and data.categories[0] == "pedestrian"
    assert len(convert_mono3drefer(tmp_path, "train")["expressions"]) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[1].update(label_2=str(_row("Car", FAR))), "record 1: instanceID 24605 has another label"),
        (lambda r: r[0].update(label_2="['Car', 0, 0]"), "record 0: row .* expected type truncated"),
        (lambda r: r[2].update(objectName="spaceship"), "record 2: objectName 'spaceship'"),
        (lambda r: r[3].pop("description"), "record 3: expected an object with 'description'"),
        (lambda r: r[0].update(label_2=str(_row("Car", box(0, -20)))), "behind the camera"),
    ],
)
def test_wrong_records_of_mono3drefer(tmp_path, change, message):
    root = _mono3drefer(tmp_path)
    records = json.loads((root / "Mono3DRefer.json").read_text())
    change(records)
    (root / "Mono3DRefer.json").write_text(json.dumps(records))
    with pytest.raises(ValueError, match=message):
        convert_mono3drefer(root, "test")


def test_calibrations_of_mono3drefer_are_read(tmp_path, shared_dir):
    with zipfile.ZipFile(shared_dir / "data" / "mono3drefer" / "calib.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".txt")]
        assert len(names) == 2025
        for name in names[::200]:
            assert read_calib(archive.extract(name, tmp_path))[0, 0] > 600


def _rope(root: Path, nested: bool, as_text: bool) -> dict[str, Path]:
    rows = [_row("car", CAR, "white"), _row("car", FAR, "red"), _row("pedestrian", WALKER, "black")]
    meant = [[0], [0, 1], []]
    shown = [str(row) if as_text else row for row in rows]
    records = []
    for name in ("a_obstacle", "b_obstacle"):
        _frame(root, name, "image_2", ".jpg")
        records.append(
            [
                {
                    "ann_id": number,
                    "image_file_name": f"{name}.jpg",
                    "public_description": f"sentence {number}",
                    "public_properties": ["objectname : car", "distance : 20-30"],
                    "label_3": [shown[i] for i in targets],
                }
                for number, targets in enumerate(meant)
            ]
        )
        (root / "label_2").mkdir(exist_ok=True)
        flags = [[str(int(i in t)) for t in meant] for i in range(3)]
        lines = [" ".join(map(str, [*row, *f])) for row, f in zip(rows, flags)]
        (root / "label_2" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    content = records if nested else [r for part in records for r in part]
    (root / "train.json").write_text(json.dumps(content))
    (root / "test").mkdir(exist_ok=True)
    test = {"public_description": ["sentence 0", "sentence 1", "sentence 2"], "test_data": shown}
    (root / "test" / "a_obstacle.json").write_text(json.dumps(test))
    return {"images": root / "image_2", "calib": root / "calib", "denorm": root / "denorm", "labels": root / "label_2"}


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("as_text", [True, False])
def test_monomulti3d(tmp_path, nested, as_text):
    folders = _rope(tmp_path, nested, as_text)
    raw = convert_monomulti3d(tmp_path / "train.json", **folders)
    assert schema_problems(raw) == []
    data = GroundingData(raw)
    assert data.ry_frame == "ground" and data.images["a_obstacle"].ground_plane is not None
    assert [e.kind for e in data.expressions.values()] == ["single", "multi", "zero"] * 2
    assert len(data.objects) == 6
    first = data.expressions[0]
    assert data.objects[first.target_ids[0]].attributes == {"color": "white"} and first.distractors
    assert first.legacy["properties"] == {"objectname": "car", "distance": "20-30"}
    np.testing.assert_allclose(data.target_rows(data.expressions[1]), [CAR, FAR])
    # Without label files the objects are those that some sentence means.
    del folders["labels"]
    assert len(convert_monomulti3d(tmp_path / "train.json", **folders)["annotations"]) == 4


def test_monomulti3d_test_files(tmp_path):
    folders = _rope(tmp_path, True, True)
    raw = convert_monomulti3d(tmp_path / "test", **folders)
    assert schema_problems(raw) == [] and [len(e["target_ids"]) for e in raw["expressions"]] == [1, 2, 0]
    del folders["labels"]
    with pytest.raises(ValueError, match="nothing says which rows are meant: give the label files by --labels"):
        convert_monomulti3d(tmp_path / "test", **folders)


def test_rows_in_every_writing():
    row = _row("car", CAR, "white")
    for value in (row, str(row), [str(row)], " ".join(map(str, row)), "[" + ", ".join(map(str, row)) + "]"):
        parsed = parse_row(value, "here")
        assert parsed["type"] == "car" and parsed["extra"] == ["white"] and parsed["location"] == CAR[:3]
    assert flat_records([[1, 2], [3]]) == flat_records([1, 2, 3]) == [1, 2, 3] and flat_records({"a": 1}) == [{"a": 1}]
    with pytest.raises(ValueError, match=r"here: row 3, expected a list"):
        parse_row(3, "here")


def _kitti(root: Path) -> Path:
    for number, rows in enumerate(([_row("Car", CAR), _row("Van", FAR), _row("Tram", box(9, 60))], [_row("Car", FAR)])):
        _frame(root, f"00000{number}", "image_2")
        (root / "label_2").mkdir(exist_ok=True)
        dont_care = "DontCare -1 -1 -10 10 10 60 60 -1 -1 -1 -1000 -1000 -1000 -10"
        lines = [*(" ".join(map(str, row)) for row in rows), dont_care]
        (root / "label_2" / f"00000{number}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_tool_converts_every_source(tmp_path, capsys):
    out = tmp_path / "out" / "grounding.json"
    root = _mono3drefer(tmp_path / "refer")
    assert main(["--source", f"mono3drefer:{root}:test", "--out", str(out)]) == 0
    assert f"to use it: grounding:{out}:{root}/images" in capsys.readouterr().out
    rope = _rope(tmp_path / "rope", True, True)
    options = [word for name, folder in rope.items() for word in (f"--{name}", str(folder))]
    assert main(["--source", f"monomulti3d:{tmp_path}/rope/train.json", "--out", str(out), *options]) == 0
    assert len(read_grounding(out).expressions) == 6
    root = _kitti(tmp_path / "kitti")
    assert main(["--source", f"kitti:{root}", "--out", str(out)]) == 0
    data = read_grounding(out)
    # Vans and trams are what they are; regions that nobody labelled are no objects.
    assert sorted(data.categories[o.category_id] for o in data.objects.values()) == ["car", "car", "tram", "van"]
    assert data.ry_frame == "camera" and data.images["000000"].ground_plane is not None
    assert not any(o.ignore for o in data.objects.values())


def test_tool_says_what_is_missing(tmp_path, capsys):
    for source, message in (
        ("mono3drefer:somewhere", "does not read as mono3drefer:ROOT"),
        ("monomulti3d:x.json", "monomulti3d needs --images and --calib"),
        ("nothing_train", "say where its images are by --images"),
    ):
        assert main(["--source", source, "--out", str(tmp_path / "x.json")]) == 2
        assert message in capsys.readouterr().err
