"""Data for anomaly detection: each layout, by name and by path, and what is wrong with it."""

import logging
import zipfile

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from d2road.data import register_by_name
from efficientad.data.anomaly_datasets import held_out, load_split, split_name, validation_name
from efficientad.data.dataset_layouts import mvtec_ad

KEYS = ["file_name", "height", "width", "image_id", "split", "label", "defect", "category", "root"]
KEYS += ["mask_files", "ignore_file"]


def get(name: str) -> list[dict]:
    register_by_name(name)
    return DatasetCatalog.get(name)


def draw(path, width=20, height=16, value=90, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height), value if mode == "L" else (value, value, 40)).save(path)


@pytest.fixture
def screws(tmp_path):
    """A category in the layout of MVTec AD: 12 good images, 2 good and 2 scratched ones to test."""
    root = tmp_path / "bolts"
    for i in range(12):
        draw(root / f"train/good/{i:03d}.png")
    for i in range(2):
        draw(root / f"test/good/{i:03d}.png")
        draw(root / f"test/scratch/{i:03d}.png")
        draw(root / f"ground_truth/scratch/{i:03d}_mask.png", mode="L", value=255)
    return root


@pytest.fixture
def folder(tmp_path):
    """Plain folders: 10 good images, 2 bad ones with masks of their stems."""
    root = tmp_path / "mine"
    for i in range(10):
        draw(root / f"good/g{i}.jpg")
    for stem in "ab":
        draw(root / f"bad/{stem}.jpg")
        draw(root / f"masks/{stem}.png", mode="L", value=255)
    return root


def test_mvtec_ad_on_real_files(shared_dir):
    root = shared_dir / "data/mvtec_screw_256/screw"
    train, validation, test = (get(f"mvtec:{root}{s}") for s in ("", ":validation", ":test"))
    assert (len(train), len(validation), len(test)) == (180, 20, 44)
    assert not {d["file_name"] for d in train} & {d["file_name"] for d in validation}
    assert all(set(d) == set(KEYS) for d in (*train, *validation, *test))
    assert all((d["width"], d["height"], d["category"], d["root"]) == (256, 256, "screw", str(root)) for d in test)
    assert sum(d["label"] for d in test) == 23 and not any(d["label"] for d in (*train, *validation))
    for record in test:
        assert (record["label"] == 0) == (record["defect"] == "good") == (record["mask_files"] == [])
        for mask in record["mask_files"]:
            assert f"ground_truth/{record['defect']}" in mask and np.asarray(Image.open(mask)).any()
    assert [d["image_id"] for d in test] == list(range(44))
    assert MetadataCatalog.get(f"mvtec:{root}:test").evaluator_type == "anomaly"


def test_pixels_to_ignore_are_named_where_there_are_some(screws):
    draw(screws / "ignore/scratch/001_ignore.png", mode="L", value=255)
    test = get(f"mvtec:{screws}:test")
    named = {d["file_name"]: d["ignore_file"] for d in test if d["ignore_file"]}
    assert named == {str(screws / "test/scratch/001.png"): str(screws / "ignore/scratch/001_ignore.png")}
    draw(screws / "ignore/scratch/001_ignore.png", 5, 5, mode="L")
    with pytest.raises(ValueError, match=r"mask .*001_ignore.png is 5x5, image .*001.png is 20x16"):
        load_split(mvtec_ad(screws), "test", "bolts")


def test_traffic_incidents_bring_their_table_of_windows(screws, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    with pytest.raises(
        FileNotFoundError, match=r"d2road make-data traffic-incidents --output .*data/traffic_incidents"
    ):
        get("traffic_incidents/motorway")
    (tmp_path / "data/traffic_incidents").mkdir(parents=True)
    screws.rename(tmp_path / "data/traffic_incidents/motorway")
    assert len(get("traffic_incidents/motorway/test")) == 4
    metadata = MetadataCatalog.get("traffic_incidents/motorway/test")
    assert metadata.evaluator_type == "anomaly"
    assert metadata.meta_csv == str(tmp_path / "data/traffic_incidents/meta.csv")
    assert MetadataCatalog.get("toy_loco/fastener_kit").get("meta_csv") is None


def test_mvtec_loco_has_a_mask_for_each_defect(golden_dir, tmp_path):
    with zipfile.ZipFile(golden_dir / "mvtec_loco/data.zip") as archive:
        archive.extractall(tmp_path)
    test = get(f"loco:{tmp_path}/pushpins:test")
    assert {d["defect"] for d in test} == {"good", "logical_anomalies", "structural_anomalies"}
    by_name = {(d["defect"], d["file_name"][-7:]): d["mask_files"] for d in test}
    assert [m[-11:] for m in by_name["logical_anomalies", "001.png"]] == ["001/000.png", "001/001.png"]
    assert by_name["good", "001.png"] == []


def test_loco_validation_is_the_releases_and_training_keeps_all(screws):
    for i in range(3):
        draw(screws / f"validation/good/{i:03d}.png")
    assert len(get(f"loco:{screws}")) == 12
    assert [d["file_name"][-7:] for d in get(f"loco:{screws}:validation")] == ["000.png", "001.png", "002.png"]


def test_held_out_images_are_those_of_the_published_code():
    # nelson1425 divides by torch's random_split with seed 42.
    items = list(range(57))
    generator = torch.Generator().manual_seed(42)
    train, validation = torch.utils.data.random_split(items, [51, 6], generator)
    kept, held = held_out(items, 0.1)
    assert kept == sorted(train) and held == sorted(validation)
    assert [len(part) for part in held_out([1, 2], 0.1)] == [1, 1]


def test_names_below_the_data_root(screws, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(screws.parent.parent / "data"))
    target = screws.parent.parent / "data/mvtec_ad"
    target.mkdir(parents=True)
    screws.rename(target / "bolts")
    names = ("mvtec_ad/bolts", "mvtec_ad/bolts/validation", "mvtec_ad/bolts/test")
    try:
        assert [len(get(name)) for name in names] == [10, 2, 4]
        assert MetadataCatalog.get(names[0]).category_root == str(target / "bolts")
        assert validation_name(names[0]) == names[1]
        assert sorted(map(len, (get("mvtec_ad/bolts/train"), get(names[0])))) == [10, 10]
        with pytest.raises(ValueError, match=r"category 'bolt' does not exist; did you mean 'bolts'"):
            register_by_name("mvtec_ad/bolt")
        with pytest.raises(ValueError, match=r"known are: .*bolts.*bottle.*screw.*zipper"):
            register_by_name("mvtec_ad/xyzzy")
        with pytest.raises(FileNotFoundError, match=r"mvtec_ad/pill does not exist. To get it: download"):
            get("mvtec_ad/pill")
        with pytest.raises(ValueError, match=r"asks for 'valid'; choose one of train, validation, test"):
            register_by_name("mvtec_ad/bolts/valid")
        with pytest.raises(ValueError, match=r"does not read as mvtec_ad/CATEGORY\[/test\|/validation\]"):
            register_by_name("mvtec_ad/bolts/test/more")
        with pytest.raises(FileNotFoundError, match=r"To get it: d2road make-data toy-loco --output .*/toy_loco"):
            get("toy_loco/fastener_kit")
    finally:
        for name in [n for n in DatasetCatalog.list() if n.startswith(("mvtec_ad/", "toy_loco/"))]:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_unknown_names_tell_of_collections():
    with pytest.raises(ValueError, match=r"data by path: .*mvtec:ROOT/CATEGORY.*collections: .*mvtec_loco/CATEGORY"):
        register_by_name("screw")


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("mvtec_ad/screw", "mvtec_ad/screw/test"),
        ("mvtec_ad/screw/validation", "mvtec_ad/screw/test"),
        ("mvtec:a/test", "mvtec:a/test:test"),
        ("visa:a:candle:train", "visa:a:candle:test"),
    ],
)
def test_other_splits_of_the_same_data(name, test):
    assert split_name(name, "test") == test
    assert split_name(test, "train") == name.removesuffix(":train").removesuffix("/validation")


def test_a_data_set_of_own_code_needs_its_validation_named():
    DatasetCatalog.register("efficientad_test_own", list)
    try:
        with pytest.raises(ValueError, match=r"set DATASETS.CALIBRATION"):
            validation_name("efficientad_test_own")
    finally:
        DatasetCatalog.remove("efficientad_test_own")


def test_visa_reads_its_table(tmp_path):
    rows = ["object,split,label,image,mask"]
    for i in range(10):
        rows.append(f"candle,train,normal,candle/Data/Images/Normal/{i:03d}.JPG,")
        draw(tmp_path / f"candle/Data/Images/Normal/{i:03d}.JPG")
    rows.append("candle,test,normal,candle/Data/Images/Normal/000.JPG,")
    rows.append("candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png")
    rows.append("pcb1,test,normal,pcb1/Data/Images/Normal/000.JPG,")
    draw(tmp_path / "candle/Data/Images/Anomaly/000.JPG")
    draw(tmp_path / "candle/Data/Masks/Anomaly/000.png", mode="L", value=3)
    table = tmp_path / "split_csv/1cls.csv"
    table.parent.mkdir()
    table.write_text("\n".join(rows))
    assert [len(get(f"visa:{tmp_path}:candle{s}")) for s in ("", ":validation", ":test")] == [9, 1, 2]
    bad, good = get(f"visa:{tmp_path}:candle:test")
    assert (bad["label"], bad["defect"], bad["category"]) == (1, "bad", "candle")
    assert bad["mask_files"] == [str(tmp_path / "candle/Data/Masks/Anomaly/000.png")] and good["label"] == 0
    with pytest.raises(
        ValueError, match=r"category 'candel' does not exist; did you mean 'candle'\? \(known: candle, pcb1\)"
    ):
        get(f"visa:{tmp_path}:candel")
    table.write_text("\n".join(rows).replace(",candle/Data/Masks/Anomaly/000.png", ","))
    with pytest.raises(ValueError, match="is labelled anomaly but has no mask"):
        DatasetCatalog.get(f"visa:{tmp_path}:candle:test")
    table.write_text("\n".join(rows).replace("object,split", "object,part"))
    with pytest.raises(ValueError, match="lacks the columns split"):
        DatasetCatalog.get(f"visa:{tmp_path}:candle:test")


def test_plain_folders_hold_out_what_they_lack(folder):
    train, validation, test = (get(f"folder:{folder}{s}") for s in ("", ":validation", ":test"))
    good = [{d["file_name"] for d in part if not d["label"]} for part in (train, validation, test)]
    assert [len(part) for part in good] == [7, 1, 2] and len(set.union(*good)) == 10
    assert {d["file_name"][-5:]: d["mask_files"] for d in test if d["label"]} == {
        f"{s}.jpg"[-5:]: [str(folder / f"masks/{s}.png")] for s in "ab"
    }


def test_plain_folders_with_every_part_and_kinds_of_defects(folder):
    draw(folder / "normal_test/t.jpg")
    draw(folder / "good_validation/v.jpg")
    draw(folder / "bad/dent/c.jpg")
    draw(folder / "masks/dent/c_mask.png", mode="L", value=1)
    train, validation, test = (get(f"folder:{folder}{s}") for s in ("", ":validation", ":test"))
    assert (len(train), len(validation)) == (10, 1)
    assert [(d["defect"], d["label"]) for d in test] == [("good", 0), ("bad", 1), ("bad", 1), ("dent", 1)]
    assert test[-1]["mask_files"] == [str(folder / "masks/dent/c_mask.png")]


def test_plain_folder_of_good_images_alone(folder):
    assert len(get(f"folder:{folder / 'good'}")) == 9
    with pytest.raises(FileNotFoundError, match=r"good/bad does not exist: it holds the anomalous images"):
        get(f"folder:{folder / 'good'}:test")


def test_plain_folder_masks_match_by_stem_or_not_at_all(folder):
    (folder / "masks/b.png").rename(folder / "masks/b2.png")
    name = f"folder:{folder}:test"
    with pytest.raises(FileNotFoundError, match=r"bad/b\.jpg has no mask: expected one file .*masks/b\.png"):
        get(name)
    draw(folder / "masks/b.png", mode="L")
    draw(folder / "masks/b_mask.png", mode="L")
    with pytest.raises(FileNotFoundError, match=r"has several masks, b\.png, b_mask\.png"):
        DatasetCatalog.get(name)
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    (folder / "masks").rmdir()
    assert [d["mask_files"] for d in DatasetCatalog.get(name) if d["label"]] == [[], []]
    draw(folder / "bad/b.png")
    with pytest.raises(ValueError, match=r"b\.jpg and b\.png differ in their suffix alone"):
        DatasetCatalog.get(name)


def test_missing_category_lists_those_that_are_there(screws):
    with pytest.raises(FileNotFoundError, match=r"images to train on\) does not exist; .* holds the folders bolts"):
        get(f"mvtec:{screws.parent}/bolt")


def test_missing_mask(screws):
    (screws / "ground_truth/scratch/001_mask.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"scratch/001\.png has no mask: expected .*scratch/001_mask\.png"):
        get(f"mvtec:{screws}:test")
    with pytest.raises(FileNotFoundError, match=r"has no mask: expected .*ground_truth/scratch/000/000\.png"):
        get(f"loco:{screws}:test")


def test_masks_of_another_size(screws):
    draw(screws / "ground_truth/scratch/001_mask.png", width=10, mode="L")
    with pytest.raises(ValueError, match=r"001_mask\.png is 10x16, image .*001\.png is 20x16"):
        get(f"mvtec:{screws}:test")


def test_one_training_image(screws):
    for path in sorted((screws / "train/good").iterdir())[1:]:
        path.unlink()
    with pytest.raises(ValueError, match=r"there is 1 good image \(.*000\.png\): at least 2 are needed"):
        get(f"mvtec:{screws}")


def test_few_training_images_are_warned_about(screws, caplog):
    for path in sorted((screws / "train/good").iterdir())[1:]:
        path.unlink()
    draw(screws / "validation/good/000.png")
    with caplog.at_level(logging.WARNING):
        assert len(load_split(mvtec_ad(screws), "train", "bolts")) == 1
    assert "only 1 good image(s) to train on" in caplog.text


def test_no_validation_image(screws):
    (screws / "validation/good").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"validation/good \(images to calibrate with\) holds no image .* nothing"):
        get(f"loco:{screws}:validation")


def test_broken_image(screws):
    (screws / "test/good/000.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"good/000\.png cannot be read as an image"):
        get(f"mvtec:{screws}:test")


def test_size_of_a_turned_image_is_as_it_is_seen(screws):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (20, 16)).save(screws / "test/good/000.png", exif=exif)
    first = next(d for d in get(f"mvtec:{screws}:test") if d["file_name"].endswith("good/000.png"))
    assert (first["width"], first["height"]) == (16, 20)
