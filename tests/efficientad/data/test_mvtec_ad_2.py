"""MVTec AD 2 as released, its upload format, and layouts of other releases given as own images."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from d2road.cli.eval_anomaly import main
from d2road.data import register_by_name
from d2road.utils.errors import DataError
from efficientad.evaluation.evaluator import AnomalyEvaluator
from efficientad.evaluation.map_files import read_map, write_map, write_upload

SIDE = 40
COUNTS = {"train/good": 4, "validation/good": 2, "test_public/good": 5, "test_public/bad": 3, "test_private": 2}


@pytest.fixture
def can(tmp_path) -> Path:
    """The layout of the release, drawn here: the images themselves may not be shipped."""
    root = tmp_path / "data" / "can"
    for folder, count in COUNTS.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            name = f"{number:03d}_{'regular' if number % 2 == 0 else 'overexposed'}"
            cv2.imwrite(str(root / folder / f"{name}.png"), np.full((SIDE, SIDE), 90 + number, np.uint8))
            if folder.endswith("bad"):
                mask = np.zeros((SIDE, SIDE), np.uint8)
                mask[10:20, 10 + number : 25] = 255
                truth = root / "test_public" / "ground_truth" / "bad"
                truth.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(truth / f"{name}_mask.png"), mask)
    return root


def records(name: str) -> list[dict]:
    register_by_name(name)
    return DatasetCatalog.get(name)


def maps_of(can: Path) -> dict[str, np.ndarray]:
    """A map of each public test image, higher inside the mask."""
    rng, maps = np.random.default_rng(0), {}
    for path in sorted((can / "test_public").glob("[gb]*d/*.png")):
        mask = can / "test_public" / "ground_truth" / "bad" / f"{path.stem}_mask.png"
        shift = cv2.imread(str(mask), 0) / 255 if mask.is_file() and path.parent.name == "bad" else 0
        name = path.relative_to(can).with_suffix("").as_posix()
        maps[name] = (rng.random((SIDE, SIDE)) + shift).astype(np.float32)
    return maps


def test_every_image_of_the_release_and_its_mask_is_used(can, tmp_path):
    assert [len(records(f"mvtec_ad_2:{can}{split}")) for split in ("", ":validation", ":test")] == [4, 2, 8]
    test = records(f"mvtec_ad_2:{can}:test")
    assert sum(r["label"] for r in test) == 3 and all(len(r["mask_files"]) == r["label"] for r in test)
    private = records(f"mvtec_ad_2:{can}:test_private")
    assert [r["label"] for r in private] == [-1, -1] and private[0]["defect"] == "unlabelled"


@pytest.mark.parametrize("given", ["can", "can/test_public"])
def test_saved_maps_are_judged_on_all_images(can, tmp_path, given):
    results = []
    for number, write in enumerate((True, False)):
        for name, values in maps_of(can).items():
            folder = tmp_path / f"maps{number}"
            if write:
                write_map(folder / f"{name}.tiff", values.astype(np.float16).astype(np.float32))
            else:
                write_upload(folder, "can", name, values, 1.2)
        out = tmp_path / f"{number}.json"
        line = ["--data", str(can.parent / given), "--maps", str(folder), "--workers", "1", "--json", str(out)]
        assert main([*line]) == 0
        results.append(out.read_text())
    assert results[0] == results[1] and '"aupro": null' not in results[0]
    painted = cv2.imread(str(tmp_path / "maps1/anomaly_images_thresholded/can/test_public/bad/000_regular.png"), -1)
    assert set(np.unique(painted)) == {0, 255} and painted.dtype == np.uint8


@pytest.mark.parametrize("name", ["plain", "zlib", "big_endian"])
def test_maps_of_half_floats_of_another_program_are_read_exactly(repo_dir, name):
    folder = repo_dir / "tests" / "golden" / "mvtec_ad_2_maps"
    np.testing.assert_array_equal(read_map(folder / f"{name}.tiff"), np.load(folder / "map.npy"))


def test_a_map_that_cannot_be_unpacked_is_refused(repo_dir, tmp_path):
    folder = repo_dir / "tests" / "golden" / "mvtec_ad_2_maps"
    with pytest.raises(DataError, match=r"predictor\.tiff cannot be read as TIFF"):
        read_map(folder / "predictor.tiff")
    with pytest.raises(DataError, match="16-bit float"):
        write_upload(tmp_path, "can", "a", np.full((4, 4), 1e6))


def test_maps_of_images_without_labels_are_written_for_the_server(can, tmp_path):
    evaluator = AnomalyEvaluator(str(can), str(tmp_path / "out"), save_maps="mvtec_ad_2", draws=0)
    for record in records(f"mvtec_ad_2:{can}:test_private"):
        output = {"anomaly_map": np.ones((SIDE, SIDE)), "anomaly_score": 1.0, "anomaly_threshold": 0.5}
        evaluator.process([record], [output])
    assert evaluator.evaluate() == {}
    out = tmp_path / "out"
    assert (out / "images.csv").is_file()  # beside what the server takes
    written = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*") if p.parent != out)
    names = ("000_regular", "001_overexposed")
    assert written == [f"anomaly_images/can/test_private/{n}.tiff" for n in names] + [
        f"anomaly_images_thresholded/can/test_private/{n}.png" for n in names
    ]


def category(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(root / folder / f"{number}.png"), np.zeros((8, 8), np.uint8))
    return root


@pytest.mark.parametrize(
    ("folders", "given", "said"),
    [
        (["train/good", "test/good", "test/bad", "ground_truth/bad"], "test", r"MVTec AD: name it mvtec:.*root"),
        (["train/good", "test/good", "ground_truth/bad/000"], "", r"MVTec LOCO: name it loco:.*root"),
        (["train/ok", "test/ok", "test/ko"], "", "BTAD"),
        (["OK/S1", "NG/dent/S1"], "", "Real-IAD"),
        (
            ["train/good", "test_public/good", "test_public/bad"],
            "test_public",
            r"MVTec AD 2: name it mvtec_ad_2:.*root",
        ),
        (["candle/Data/Images/Normal", "split_csv/1cls.csv"], "candle", r"VisA: name it visa:.*root:candle"),
    ],
)
def test_a_release_given_as_own_images_is_named(tmp_path, folders, given, said):
    root = category(tmp_path / "root", *folders)
    table = root / "split_csv" / "1cls.csv"
    if table.is_dir():
        shutil.rmtree(table)
        table.write_text("object,split,label,image,mask\n")
    with pytest.raises(DataError, match=f"no folder of own images, it has the layout of {said}"):
        records(f"folder:{root / given}")


def test_the_older_layout_is_not_taken_for_the_newer(can):
    with pytest.raises(DataError, match=f"name it mvtec_ad_2:{can}"):
        records(f"mvtec:{can}")


def test_what_is_named_as_an_image_but_is_no_file_is_refused(can):
    link = can / "train" / "good" / "900.png"
    link.symlink_to(can / "moved.png")
    with pytest.raises(DataError, match=r"900\.png is named as an image but is no file"):
        records(f"mvtec_ad_2:{can}")


def test_own_masks_in_a_folder_ground_truth_are_seen(tmp_path):
    root = category(tmp_path / "own", "good", "bad", "ground_truth")
    assert [len(r["mask_files"]) for r in records(f"folder:{root}:test") if r["label"]] == [1, 1, 1]


def test_images_in_folders_inside_good_are_counted(tmp_path, caplog):
    root = category(tmp_path / "own", "good", "good/camera2")
    assert len(records(f"folder:{root}")) == 2  # one calibrates
    assert "3 images in folders inside" in caplog.text
