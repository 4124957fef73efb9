"""KITTI's label files and folders."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from d2road.data import register_by_name
from d2road.data.camera_files import read_camera
from d2road.data.datasets.kitti import TYPES, load_kitti, types_of

CAR = "Car 0.00 1 1.85 10 10 30 20 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"


@pytest.fixture
def kitti(tmp_path, write_image):
    """Writes frames {name: label lines or None} and returns the root."""

    def make(frames: dict[str, list[str] | None], inner: str = "training") -> Path:
        base = tmp_path / inner
        for folder in ("image_2", "label_2", "calib"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        for frame, lines in frames.items():
            write_image(base / "image_2" / f"{frame}.png")
            (base / "calib" / f"{frame}.txt").write_text("P2: 1 0 0 0 0 1 0 0 0 0 1 0\n")
            if lines is not None:
                (base / "label_2" / f"{frame}.txt").write_text("\n".join(lines))
        return tmp_path

    return make


def test_real_frames(shared_dir):
    name = f"kitti:{shared_dir}/data/kitti"
    register_by_name(name)
    records = {r["image_id"]: r for r in DatasetCatalog.get(name)}
    assert len(records) == 14
    assert MetadataCatalog.get(name).thing_classes == ["Car", "Pedestrian", "Cyclist"]
    record = records["000001"]  # one truck, one car, one cyclist, four DontCare regions
    assert (record["width"], record["height"]) == (1242, 375)
    assert Path(record["calib_file"]).name == "000001.txt"
    assert [a["type"] for a in record["ignored_annotations"]] == ["Truck"]
    objects = [a for a in record["annotations"] if not a["iscrowd"]]
    assert [(a["type"], a["category_id"]) for a in objects] == [("Car", 0), ("Cyclist", 2)]
    assert objects[0]["bbox"] == [387.63, 181.54, 423.81, 203.12]
    assert objects[0]["bbox_mode"] == BoxMode.XYXY_ABS
    raw = {k: objects[0][k] for k in ("truncated", "occluded", "alpha", "dimensions_hwl", "location", "rotation_y")}
    assert raw == {
        "truncated": 0.0, "occluded": 0, "alpha": 1.85, "dimensions_hwl": [1.67, 1.87, 3.69],
        "location": [-16.53, 2.39, 58.49], "rotation_y": 1.57,
    }  # fmt: skip
    for r in records.values():  # the crops' labels reach beyond their images
        for a in r["annotations"]:
            assert 0 <= a["bbox"][0] < a["bbox"][2] <= r["width"]
            assert 0 <= a["bbox"][1] < a["bbox"][3] <= r["height"]


def test_neighbours_of_a_class_are_crowds(kitti):
    root = kitti({"000000": [CAR.replace("Car", kind) for kind in ("Van", "Person_sitting", "DontCare", "Tram")]})
    (record,) = load_kitti(str(root))
    crowds = [(a["type"], a["category_id"], a["iscrowd"]) for a in record["annotations"]]
    assert crowds == [("Van", 0, 1), ("Person_sitting", 1, 1)] + [("DontCare", c, 1) for c in range(3)]
    assert [a["type"] for a in record["ignored_annotations"]] == ["Tram"]


@pytest.mark.parametrize("inner", ["training", "."])
def test_root_with_and_without_training_folder(kitti, inner):
    assert len(load_kitti(str(kitti({"000000": [CAR], "000001": [CAR]}, inner)))) == 2


def test_split_file_chooses_and_orders(kitti, tmp_path):
    root = kitti({f"00000{i}": [CAR] for i in range(4)})
    split = tmp_path / "val.txt"
    split.write_text("000003\n000001\n")
    name = f"kitti:{root}:{split}"
    register_by_name(name)
    assert [r["image_id"] for r in DatasetCatalog.get(name)] == ["000003", "000001"]
    for content, error, message in (
        ("", ValueError, "is empty"),
        ("000001 000001", ValueError, "names 000001 more than once"),
        ("000009", FileNotFoundError, "000009"),
    ):
        split.write_text(content)
        with pytest.raises(error, match=message):
            load_kitti(str(root), str(split))


def test_a_frame_without_objects_is_data(kitti):
    assert load_kitti(str(kitti({"000000": []})))[0]["annotations"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (CAR.rsplit(" ", 1)[0], "line 2 has 14 fields, expected 15"),
        (CAR.replace("Car", "Boat"), "line 2 has type 'Boat', expected one of Car"),
        (CAR.replace("58.49", "nan"), "line 2: z not finite"),
        (CAR.replace("58.49", "far"), "line 2: could not convert"),
        (CAR.replace("1.87", "0"), r"line 2: height width length are \[1.67, 0.0, 3.69\], expected all above 0"),
        (CAR.replace("1.87", "-1.87"), "line 2: height width length"),
        (CAR.replace("58.49 1.57", "58.49 -10"), "line 2: rotation_y is -10, which stands for unknown"),
        (CAR.replace("58.49", "-8"), r"line 2: the object lies behind the camera \(z -8 m\)"),
    ],
)
def test_rows_that_cannot_be_right(kitti, line, message):
    root = kitti({"000000": [CAR, line]})
    with pytest.raises(ValueError, match=rf"label_2/000000\.txt {message}"):
        load_kitti(str(root))


def test_missing_files_are_named(kitti, tmp_path):
    root = kitti({"000000": [CAR], "000001": None})
    with pytest.raises(FileNotFoundError, match=r"label_2/000001\.txt does not exist"):
        load_kitti(str(root))
    (root / "training/label_2/000001.txt").write_text(CAR)
    (root / "training/calib/000001.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"calib/000001\.txt does not exist"):
        load_kitti(str(root))
    with pytest.raises(FileNotFoundError, match=r"no images in .*nowhere"):
        load_kitti(str(tmp_path / "nowhere"))


def test_boxes_are_clipped_and_useless_ones_dropped(kitti, caplog):
    partly = CAR.replace("10 10 30 20", "-4 10 90 60")
    outside = CAR.replace("10 10 30 20", "70 10 90 20")
    (record,) = load_kitti(str(kitti({"000000": [partly, outside]})))
    assert [a["bbox"] for a in record["annotations"]] == [[0, 10, 64, 48]]
    assert "000000.txt line 2: outside the image" in caplog.text


def test_rows_with_a_2d_box_only_are_marked(kitti):
    rows = [
        CAR,
        CAR.replace("1.67 1.87 3.69 -16.53 2.39 58.49", "0 0 0 0 0 0"),
        CAR.replace("1.67 1.87 3.69 -16.53 2.39 58.49", "-1 -1 -1 -1000 -1000 -1000"),
        CAR.replace("58.49", "-0.5"),  # beside the camera, its front in view
    ]
    (record,) = load_kitti(str(kitti({"000000": rows})))
    assert [a["has_3d"] for a in record["annotations"]] == [True, False, False, False]


@pytest.mark.parametrize(
    ("folder", "text", "message"),
    [
        ("calib", "P2: 1 0 0 0 0 1 0 0 0 0 1", r"calib/000000\.txt line 1: P2 has 11 numbers"),
        ("calib", "P3: 1 0 0 0 0 1 0 0 0 0 1 0", r"calib/000000\.txt has no line 'P2: '"),
        ("denorm", "0 -1 nan 5", r"denorm/000000\.txt line 1: .*not finite"),
    ],
)
def test_wrong_cameras_stop_when_the_data_is_read(kitti, folder, text, message):
    root = kitti({"000000": [CAR]})
    (root / "training" / folder).mkdir(exist_ok=True)
    (root / "training" / folder / "000000.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_kitti(str(root))


def test_own_data_with_own_classes_and_planes(kitti):
    rows = [CAR.replace("Car", kind) for kind in ("lorry", "forklift", "trailer", "DontCare", "van")]
    root = kitti({"000000": rows, "000001": []}, inner=".")
    (root / "classes.txt").write_text("truck lorry van  # both\n\nforklift\n- trailer\n")
    (root / "denorm").mkdir()
    for frame in ("000000", "000001"):
        (root / "denorm" / f"{frame}.txt").write_text("0 -1 0 6")
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "val.txt").write_text("000001\n")
    name = f"kitti:{root}"
    register_by_name(name)
    metadata = MetadataCatalog.get(name)
    assert (metadata.thing_classes, metadata.ry_frame) == (["truck", "forklift"], "camera")
    first, second = DatasetCatalog.get(name)
    found = [(a["type"], a["category_id"], a["iscrowd"]) for a in first["annotations"]]
    assert found == [("lorry", 0, 0), ("forklift", 1, 0), ("DontCare", 0, 1), ("DontCare", 1, 1), ("van", 0, 0)]
    assert [a["type"] for a in first["ignored_annotations"]] == ["trailer"]
    assert read_camera(first).height_m == 6
    register_by_name(f"{name}:val")
    assert [r["image_id"] for r in DatasetCatalog.get(f"{name}:val")] == [second["image_id"]]
    (root / "label_2/000001.txt").write_text(CAR)
    with pytest.raises(ValueError, match=r"000001\.txt line 1 has type 'Car', expected one of lorry, van, forklift"):
        DatasetCatalog.get(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", r"classes\.txt names no class"),
        ("car\ncar van\n", r"classes\.txt line 2: class 'car' comes twice"),
        ("car van\ntruck van\n", r"classes\.txt line 2: type 'van' is on line 1 already"),
        ("car DontCare\n", r"classes\.txt line 1: DontCare regions belong to every class"),
    ],
)
def test_wrong_class_lists(tmp_path, text, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        register_by_name(f"kitti:{tmp_path}")


def test_label_files_without_an_image_are_told(kitti):
    root = kitti({"000000": [CAR], "000001": [CAR]})
    image = root / "training/image_2/000001.png"
    image.unlink()
    with pytest.raises(
        ValueError, match=r"1 label files in .*label_2 have no image in .*image_2, e\.g\. 000001; bring"
    ):
        load_kitti(str(root))
    (root / "val.txt").write_text("000000")
    assert len(load_kitti(str(root), str(root / "val.txt"))) == 1  # a list says what is meant
    image.with_suffix(".bmp").touch()
    with pytest.raises(ValueError, match=r"000001\.bmp is of a kind that is not read: convert it to \.png"):
        load_kitti(str(root))


@pytest.mark.parametrize("second", ["000001.jpg", "000001.PNG"])
def test_two_images_of_one_frame_are_an_error(kitti, write_image, second):
    root = kitti({"000000": [CAR], "000001": [CAR]})
    (root / "training/image_2/000001.png").rename(root / "training/image_2/000001.jpeg")
    write_image(root / "training/image_2" / second)
    with pytest.raises(ValueError, match=rf"two images of frame '000001'.*{second}"):
        load_kitti(str(root))


def test_calibrations_of_neither_image_nor_label_are_warned_of(kitti, caplog):
    root = kitti({"000000": [CAR], "000001": [CAR]})
    for path in ("image_2/000001.png", "label_2/000001.txt"):
        (root / "training" / path).unlink()
    assert len(load_kitti(str(root))) == 1
    assert "1 files in" in caplog.text and "calib have neither image nor label, e.g. 000001" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_that_begin_with_the_mark_of_an_encoding_are_read_whole(kitti, encoding):
    """Labels, calibrations, lists and classes, as Windows' editor and shell write them."""
    root = kitti({"000000": [CAR, CAR.replace("Car", "van")], "000001": [CAR]})
    (root / "classes.txt").write_text("vehicle Car van\n")
    (root / "val.txt").write_text("000000\n000001\n")
    types = types_of(str(root), TYPES)
    plain = load_kitti(str(root), str(root / "val.txt"), types=types)
    for path in root.rglob("*.txt"):
        path.write_text(path.read_text(), encoding=encoding)
    assert load_kitti(str(root), str(root / "val.txt"), types=types_of(str(root), TYPES)) == plain
    assert len(plain[0]["annotations"]) == 2
    for path in (root / "classes.txt", root / "val.txt", root / "training/label_2/000001.txt"):
        content = path.read_bytes()
        path.write_bytes("é".encode("latin-1") + content[2:])
        with pytest.raises(ValueError, match=rf"{path.name} .*UTF-8"):
            load_kitti(str(root), str(root / "val.txt"), types=types_of(str(root), TYPES))
        path.write_bytes(content)
