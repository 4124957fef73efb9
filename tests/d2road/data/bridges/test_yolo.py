"""YOLO's data: files of other programs, every rule of rows and paths, and round trips."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from d2road.data.bridges import convert_boxes
from d2road.data.bridges.conversion import read_source
from d2road.data.bridges.yolo import label_path, read_yolo
from d2road.utils.errors import ConfigError, DataError
from tests.factories.box_data import CLASSES, GOLDEN, IMAGES, SOURCE, boxes_of, copied, source_boxes, worst_difference


def write_yolo(root: Path, rows: str = "0 0.5 0.5 0.25 0.5\n", **data: object) -> Path:
    """data.yaml with one image of 80x40 pixels and its rows."""
    for name in ("images", "labels"):
        (root / name / "train").mkdir(parents=True)
    Image.new("RGB", (80, 40)).save(root / "images" / "train" / "a.png")
    (root / "labels" / "train" / "a.txt").write_text(rows)
    content = {"train": "images/train", "names": ["cat", "dog"], **data}
    (root / "data.yaml").write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return root / "data.yaml"


def test_datumaro_files():
    train = read_yolo(GOLDEN / "datumaro_yolo" / "data.yaml", "train")
    assert [category["name"] for category in train.categories] == CLASSES
    assert worst_difference(boxes_of(train), source_boxes()) < 0.01  # datumaro keeps two decimals
    assert {i["file_name"]: (i["width"], i["height"]) for i in train.images} == {
        "images/train/a.png": (64, 48),
        "images/train/sub/b.png": (100, 40),
        "images/train/turned.jpg": (30, 60),  # as shown
    }
    val = read_yolo(GOLDEN / "datumaro_yolo" / "data.yaml", "val")
    assert len(val.images) == 1 and not val.annotations and not val.notes


@pytest.mark.parametrize(
    "program", ["supervision_yolo/labels", "ultralytics_yolo/labels/coco", "label_studio/yolo/labels"]
)
def test_labels_of_other_programs(program, tmp_path):
    (tmp_path / "images").mkdir()
    for image in IMAGES.rglob("*.*"):
        labels = list((GOLDEN / program).rglob(f"{image.stem}.txt"))
        nested = image.relative_to(IMAGES) if (GOLDEN / program / "sub").is_dir() else Path(image.name)
        for root, source in [("images", image), *(("labels", label) for label in labels)]:
            target = (tmp_path / root / nested).with_suffix(source.suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    classes = CLASSES
    if program.startswith("ultralytics"):  # numbers categories by their ids
        classes = [{2: "car", 6: "traffic light"}.get(index, f"c{index}") for index in range(7)]
    if program.startswith("label_studio"):
        classes = (GOLDEN / "label_studio" / "yolo" / "classes.txt").read_text().split("\n")[:3]
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"train": "images", "names": classes}))
    content = read_yolo(tmp_path / "data.yaml")
    # ultralytics leaves crowds out; supervision writes five decimals.
    crowds = program.startswith("ultralytics")
    expected = [box for box in source_boxes() if not (crowds and box[2][:2] == (40, 20))]
    assert worst_difference(boxes_of(content), expected) < 1e-3
    assert len(content.images) == 4
    without = content.notes["images without a label file: background"]
    assert without == (1 if crowds else 0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2 0.5 0.5 0.1 0.1", "class 2, expected 0 to 1"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5"),
        ("0 0.5 0.5 0.1", "4 values, expected 5"),
        ("0 0.5 0.5 0.1 0.1 0.9", "a score as predictions"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 values"),
        ("0 40 20 10 10", "fractions of the image, 0 to 1"),
        ("0 nan 0.5 0.1 0.1", "fractions of the image"),
        ("0 0.5 0.5 -0.005 0.1", "positive fractions"),
        ("cat 0.5 0.5 0.1 0.1", "no row of numbers"),
    ],
)
def test_a_row_that_is_no_box_is_named(row, said, tmp_path):
    with pytest.raises(DataError, match=r"a\.txt line 2: ") as error:
        read_yolo(write_yolo(tmp_path, f"0 0.5 0.5 0.25 0.5\n{row}\n"))
    assert said in str(error.value)


def test_polygons_keypoints_and_repeated_rows_are_counted(tmp_path):
    polygon = read_yolo(
        write_yolo(tmp_path / "a", "1 0.25 0.5 0.5 0.25 0.75 0.75\n0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n")
    )
    assert [a["bbox"] for a in polygon.annotations] == [[20, 10, 40, 20], [20, 10, 40, 20]]
    assert sorted(polygon.notes.values()) == [1, 1] and "enclosing" in str(polygon.notes)
    points = read_yolo(write_yolo(tmp_path / "b", "0 0.5 0.5 0.5 0.5 0.1 0.1 2\n", kpt_shape=[1, 3]))
    assert [a["bbox"] for a in points.annotations] == [[20, 10, 40, 20]]
    assert points.notes == {"objects whose keypoints are left out": 1}


def test_classes_and_splits_in_every_spelling(tmp_path):
    path = write_yolo(tmp_path / "dict", names={1: "dog", 0: "cat"}, nc=2)
    assert [c["name"] for c in read_yolo(path).categories] == ["cat", "dog"]
    path = write_yolo(tmp_path / "nc", names=None, nc=3)
    assert [c["name"] for c in read_yolo(path).categories] == ["class_0", "class_1", "class_2"]
    for number, train in enumerate((["images/train"], "../images/train", "list.txt", "other.txt")):
        path = write_yolo(tmp_path / str(number), train=train)
        (path.parent / "list.txt").write_text("./images/train/a.png\n")
        (path.parent / "other.txt").write_text(f"{path.parent}/images/train/a.png\n")
        assert len(read_yolo(path, "train").annotations) == 1
    path = write_yolo(tmp_path / "path", path="elsewhere")
    assert len(read_yolo(path).images) == 1  # moved to another machine, next to its images
    path = write_yolo(tmp_path / "two", val="images/train")
    with pytest.raises(ConfigError, match="several splits: name one of train, val"):
        read_yolo(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"names": ["a"], "nc": 2}, "nc is 2, and names has 1"),
        ({"names": {0: "a", 2: "b"}}, "expected 0 to 1"),
        ({"names": ["a", "a"]}, "'a' comes twice"),
        ({"names": None}, "names is None"),
        ({"train": None}, "names no images"),
        ({"train": 3}, "expected a folder"),
        ({"kpt_shape": 17}, "kpt_shape"),
    ],
)
def test_a_wrong_data_yaml_is_told(data, said, tmp_path):
    with pytest.raises(DataError) as error:
        read_yolo(write_yolo(tmp_path, **data))
    assert said in str(error.value)


def test_absent_folders_and_label_files_without_image_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="correct its `path`"):
        read_yolo(write_yolo(tmp_path / "a", train="nowhere"))
    path = write_yolo(tmp_path / "b")
    (path.parent / "labels" / "train" / "gone.txt").write_text("")
    assert list(read_yolo(path).notes.values()) == [1]


def test_the_last_images_of_a_path_becomes_labels():
    assert label_path(Path("/images/x/images/train/a.b.jpg")) == Path("/images/x/labels/train/a.b.txt")
    assert label_path(Path("/x/a.jpg")) == Path("/x/a.txt")


def test_a_round_trip_keeps_boxes_and_numbers_classes_in_order(tmp_path):
    done = convert_boxes(SOURCE, tmp_path / "yolo", "yolo")
    assert any("1 crowds" in line for line in done.lines)
    back = read_source(f"yolo:{tmp_path}/yolo/data.yaml:train")
    expected = [box for box in source_boxes() if box[2][:2] != (40, 20)]
    assert worst_difference(boxes_of(back), expected) < 1e-6
    assert [c["name"] for c in back.categories] == CLASSES and len(back.images) == 4
    assert (tmp_path / "yolo" / "labels" / "train" / "empty.txt").read_text() == ""


def test_splits_are_added_and_nothing_is_replaced(tmp_path):
    out = tmp_path / "yolo"
    convert_boxes(SOURCE, out, "yolo")
    with pytest.raises(ConfigError, match="has a split train already"):
        convert_boxes(SOURCE, out, "yolo")
    convert_boxes(SOURCE, out, "yolo", split="val", link=True)
    assert yaml.safe_load((out / "data.yaml").read_text()) == {
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(CLASSES)),
    }
    assert (out / "images" / "val" / "sub" / "b.png").is_symlink()
    assert sorted(path.name for path in out.iterdir()) == ["data.yaml", "images", "labels"]
    other = json.loads((GOLDEN / "source" / "coco.json").read_text())
    other["categories"][0]["name"] = "lorry"
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match="expected the same in the same order"):
        convert_boxes(f"coco:{tmp_path}/other.json:{IMAGES}", out, "yolo", split="test")
    with pytest.raises(ConfigError, match="expected one of train, val, test"):
        convert_boxes(SOURCE, tmp_path / "new", "yolo", split="good")
    own = copied("datumaro_yolo", tmp_path)
    with pytest.raises(ConfigError, match="was not written here"):
        convert_boxes(SOURCE, own, "yolo", split="test")


def test_boxes_beyond_their_image_are_clipped_and_useless_ones_left_out(tmp_path):
    content = json.loads((GOLDEN / "source" / "coco.json").read_text())
    boxes = [[-5, 10, 20, 10], [70, 10, 5, 5], [5, 5, 0, 5]]
    content["annotations"] = [{"id": i, "image_id": 1, "category_id": 3, "bbox": box} for i, box in enumerate(boxes)]
    (tmp_path / "coco.json").write_text(json.dumps(content))
    done = convert_boxes(f"coco:{tmp_path}/coco.json:{IMAGES}", tmp_path / "yolo", "yolo")
    back = read_source(f"yolo:{tmp_path}/yolo/data.yaml:train")
    assert worst_difference(boxes_of(back), [("a", "car", (0, 10, 15, 20))]) < 1e-6
    said = "\n".join(done.lines)
    assert "1 boxes that reached beyond" in said and "outside the image" in said and "zero area" in said
