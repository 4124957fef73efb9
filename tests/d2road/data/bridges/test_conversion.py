"""The command for all formats: sources, targets, what is refused, and repeated ids of annotations."""

import importlib
import json
from itertools import product

import pytest

from d2road.cli import convert
from d2road.data.bridges import SOURCES, TARGETS, convert_boxes, voc
from d2road.data.bridges.conversion import read_source
from d2road.data.datasets.coco import load_coco
from d2road.utils.errors import DataError
from tests.factories.box_data import GOLDEN, IMAGES, SOURCE, boxes_of, source_boxes, worst_difference

INPUTS = {
    "coco": SOURCE,
    "yolo": f"yolo:{GOLDEN}/datumaro_yolo/data.yaml:train",
    "voc": f"voc:{GOLDEN}/datumaro_voc:train",
    "label-studio": f"label-studio:{GOLDEN}/label_studio/export.json",
    "cvat": f"cvat:{GOLDEN}/datumaro_cvat/train.xml",
}


def test_what_the_parser_says_without_the_library_is_what_it_has():
    assert (
        tuple(SOURCES) == convert.BOX_SOURCES and TARGETS == convert.BOX_TARGETS and voc.CORNERS == convert.VOC_CORNERS
    )


@pytest.mark.parametrize(("source", "target"), product(SOURCES, TARGETS))
def test_every_source_becomes_every_target(source, target, tmp_path, capsys):
    out = tmp_path / ("out" if target in ("yolo", "voc") else "out.json")
    line = ["--source", INPUTS[source], "--to", target, "--output", str(out)]
    assert convert.main(line + ["--images", str(IMAGES)] * (source not in ("coco", "yolo"))) == 0
    lines = capsys.readouterr().out.splitlines()
    content = read_source(INPUTS[source], str(IMAGES))
    assert lines[0].startswith(f"{len(content.images)} images (") and lines[-1].startswith("to use it: ")
    if target == "label-studio":
        found = json.loads(out.read_text())
        assert sum(len(task["predictions"][0]["result"]) for task in found) == len(content.annotations)
        return
    back = read_source(lines[-1].removeprefix("to use it: "))
    ignored = [a for a in content.annotations if target == "yolo" and (a.get("ignore") or a["iscrowd"])]
    assert len(back.annotations) == len(content.annotations) - len(ignored)
    if not ignored:  # the rotated box of Label Studio reaches 12.5 pixels beyond its image
        assert worst_difference(boxes_of(back), boxes_of(content)) < (1e-3 if source != "label-studio" else 15)


@pytest.mark.parametrize("target", ["yolo", "voc"])
def test_real_coco_comes_back(target, shared_dir, tmp_path):
    folder = shared_dir / "data" / "coco_subset"
    source = f"coco:{folder}/instances_val2017.json:{folder}/val2017"
    done = convert_boxes(source, tmp_path / "out", target, split="val", link=True)
    found, expected = read_source(done.usage), read_source(source)
    assert [c["name"] for c in found.categories] == [c["name"] for c in expected.categories]
    assert len(found.images) == len(expected.images)
    assert worst_difference(boxes_of(found), boxes_of(expected)) < 1e-3


@pytest.mark.parametrize("target", ["yolo", "voc", "label-studio"])
@pytest.mark.parametrize("name", ["../other/a.png", "/etc/a.png", "sub/../../a.png"])
def test_names_that_lead_out_of_their_folder_are_refused_whatever_is_written(target, name, tmp_path):
    content = json.loads((GOLDEN / "source" / "coco.json").read_text())
    content["images"][0]["file_name"] = name
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    out = tmp_path / ("tasks.json" if target == "label-studio" else "out")
    with pytest.raises(DataError, match=rf"image {name} is not below .*: name a folder above all images"):
        convert_boxes(f"coco:{path}:{IMAGES}", out, target)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["coco.json"]


def test_written_coco_is_what_the_reader_takes(tmp_path):
    out = tmp_path / "coco.json"
    assert convert.main(["--source", INPUTS["yolo"], str(out)]) == 0
    records = load_coco(str(out), str(GOLDEN / "datumaro_yolo"))
    assert sum(len(record["annotations"]) for record in records) == len(source_boxes())


def test_repeated_ids_of_annotations_are_told_with_a_cure_that_works(tmp_path, capsys):
    content = json.loads((GOLDEN / "source" / "coco.json").read_text())
    for annotation in content["annotations"]:
        annotation["id"] = annotation["image_id"]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"annotation id 1 comes twice.*d2road convert --source coco:FILE:IMAGE_DIR"):
        load_coco(str(path), str(IMAGES))
    assert convert.main(["--source", f"coco:{path}:{IMAGES}", "--output", str(tmp_path / "new.json")]) == 0
    assert "5 annotations numbered anew" in capsys.readouterr().out
    assert sum(len(record["annotations"]) for record in load_coco(str(tmp_path / "new.json"), str(IMAGES))) == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--source", "kitti:a", "--to", "yolo", "--output", "o"], "expected coco:ANNOTATIONS.json:IMAGE_DIR, yolo:"),
        (["--source", "yolo:a:b:c", "--output", "o"], "does not read as yolo:DATA.yaml[:SPLIT]"),
        (["--source", "yolo", "--output", "o"], "does not read as yolo:DATA.yaml[:SPLIT]"),
        (["--source", INPUTS["coco"]], "needs --output, the file to write"),
        (
            ["--source", INPUTS["coco"], "--predictions", "p", "--link", "--output", "o"],
            "--link, --predictions would do",
        ),
        (["--source", INPUTS["yolo"], "--images", "i", "--output", "o"], "--images would do nothing"),
        (["--source", f"cvat:{GOLDEN}/globox_cvat.xml", "--to", "yolo", "--output", "o"], "say by --images"),
        (["--source", INPUTS["coco"], "--output", str(GOLDEN / "README.md")], "is there already"),
        (["--source", INPUTS["coco"], "--to", "label-studio", "--output", "o.xml"], "name a .json file"),
        (["--source", INPUTS["coco"], "--to", "voc", "--split", "../../x", "--output", "o"], "without / and :"),
        (["--source", INPUTS["coco"], "--to", "voc", "--split", "a:b", "--output", "o"], "without / and :"),
    ],
)
def test_lines_that_cannot_be_are_told(line, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert convert.main(line) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch):
    module = importlib.import_module("d2road.data.bridges.conversion")
    monkeypatch.setattr(module.shutil, "copyfile", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert convert.main(["--source", SOURCE, "--to", "yolo", "--output", str(tmp_path / "out")]) == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_images_of_another_size_than_the_file_says_are_refused(tmp_path, capsys):
    content = json.loads((GOLDEN / "source" / "coco.json").read_text())
    content["images"][3].update(width=60, height=30)  # as stored, before EXIF
    (tmp_path / "coco.json").write_text(json.dumps(content))
    line = ["--source", f"coco:{tmp_path}/coco.json:{IMAGES}", "--to", "voc", "--output", str(tmp_path / "out")]
    assert convert.main(line) == 2
    assert "before its EXIF orientation, it has that size" in capsys.readouterr().err
