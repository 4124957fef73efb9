"""Rope3D's arrangements of files and its types."""

import shutil
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.data import register_by_name
from d2road.data.datasets.rope3d import load_rope3d

ROW = "{} 0 1 1.9 10 10 30 20 1.4 0.4 1.6 16.1 -8.1 69.6 2.1"


def _write_labels(base: Path, frame: str, kinds: list[str]) -> None:
    for folder, text in (
        ("label_2", "\n".join(ROW.format(k) for k in kinds)),
        ("calib", "P2: 1 0 0 0 0 1 0 0 0 0 1 0"),
        ("denorm", "0 -0.98 -0.2 7"),
    ):
        (base / folder).mkdir(parents=True, exist_ok=True)
        (base / folder / f"{frame}.txt").write_text(text)


def test_real_frame(shared_dir):
    name = f"rope3d:{shared_dir}/data/rope3d_sample:val"
    register_by_name(name)
    (record,) = DatasetCatalog.get(name)
    assert (record["width"], record["height"]) == (1920, 1080)
    rows = (shared_dir / "data/rope3d_sample/label_2" / f"{record['image_id']}.txt").read_text().splitlines()
    kinds = [row.split()[0] for row in rows]
    kept = [a["type"] for a in record["annotations"]]
    others = [a["type"] for a in record["ignored_annotations"]]
    assert kept == [k for k in kinds if k != "trafficcone" and not k.startswith("unknown")]
    assert sorted(kept + others) == sorted(kinds)
    assert len(kinds) == 48
    classes = MetadataCatalog.get(name).thing_classes
    assert {classes[a["category_id"]] for a in record["annotations"] if a["type"].endswith("cyclist")} == {"cyclist"}
    plane = [float(v) for v in Path(record["denorm_file"]).read_text().split()]
    assert plane[3] == pytest.approx(7.004, abs=1e-3)
    assert Path(record["calib_file"]).read_text().startswith("P2:")


def test_types_merge_to_four_classes(tmp_path, write_image):
    merged = {
        "car": 0, "van": 0, "truck": 1, "bus": 1, "cyclist": 2, "motorcyclist": 2, "tricyclist": 2,
        "pedestrian": 3, "barrow": 3,
    }  # fmt: skip
    _write_labels(tmp_path, "f", [*merged, "unknown_movable", "trafficcone"])
    write_image(tmp_path / "image_2" / "f.jpg")
    (record,) = load_rope3d(str(tmp_path), "train")
    assert {a["type"]: a["category_id"] for a in record["annotations"]} == merged
    assert len(record["ignored_annotations"]) == 2


@pytest.mark.parametrize("release", [False, True])
def test_generated_and_released_arrangement(tmp_path, write_image, release):
    for folder, split, frames in (("training", "train", "abcd"), ("validation", "val", "ef")):
        for frame in frames:
            _write_labels(tmp_path / folder, frame, ["car"])
            images = tmp_path / folder / "image_2"
            if release:
                images = tmp_path / f"{folder}-image_2{frame if split == 'train' else ''}"
            write_image(images / f"{frame}.jpg")
        (tmp_path / folder / f"{split}.txt").write_text("\n".join(reversed(frames)))
    assert [r["image_id"] for r in load_rope3d(str(tmp_path), "train")] == list("dcba")
    assert [r["image_id"] for r in load_rope3d(str(tmp_path), "val")] == list("fe")
    (tmp_path / "training" / "train.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.txt does not exist"):
        load_rope3d(str(tmp_path), "train")


@pytest.mark.parametrize("folder", ["calib", "denorm", "label_2"])
def test_missing_files_are_named(tmp_path, write_image, folder):
    _write_labels(tmp_path, "f", ["car"])
    write_image(tmp_path / "image_2" / "f.jpg")
    shutil.rmtree(tmp_path / folder)
    with pytest.raises(FileNotFoundError, match=rf"{folder}/f\.txt does not exist"):
        load_rope3d(str(tmp_path), "val")


def test_unknown_type_and_split_are_refused(tmp_path, write_image):
    _write_labels(tmp_path, "f", ["car", "Car"])
    write_image(tmp_path / "image_2" / "f.jpg")
    with pytest.raises(ValueError, match=r"f\.txt line 2 has type 'Car'"):
        load_rope3d(str(tmp_path), "val")
    with pytest.raises(ValueError, match="split is 'test', expected train or val"):
        register_by_name(f"rope3d:{tmp_path}:test")


def test_own_classes_and_rows_without_3d(tmp_path, write_image):
    _write_labels(tmp_path, "f", ["tram", "cone"])
    with (tmp_path / "label_2" / "f.txt").open("a") as file:
        file.write("\ntram 0 1 0 10 10 30 20 0 0 0 0 0 0 0")
    write_image(tmp_path / "image_2" / "f.jpg")
    (tmp_path / "classes.txt").write_text("tram\n- cone\n")
    name = f"rope3d:{tmp_path}:val"
    register_by_name(name)
    (record,) = DatasetCatalog.get(name)
    assert (MetadataCatalog.get(name).thing_classes, MetadataCatalog.get(name).ry_frame) == (["tram"], "ground")
    assert [(a["type"], a["has_3d"]) for a in record["annotations"]] == [("tram", True), ("tram", False)]
    assert [a["type"] for a in record["ignored_annotations"]] == ["cone"]


def test_wrong_ground_planes_stop_when_the_data_is_read(tmp_path, write_image):
    _write_labels(tmp_path, "f", ["car"])
    write_image(tmp_path / "image_2" / "f.jpg")
    (tmp_path / "denorm" / "f.txt").write_text("0 -0.98 -0.2")
    with pytest.raises(ValueError, match=r"denorm/f\.txt line 1: .* has 3 numbers, expected 4"):
        load_rope3d(str(tmp_path), "val")
