"""Lists of KITTI's frames."""

import os

import pytest

from d2road.data.datasets.kitti import load_kitti
from d2road.data.datasets.kitti_lists import write_kitti_lists

CAR = "Car 0.00 1 1.85 10 10 30 20 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"


@pytest.fixture
def root(tmp_path):
    from PIL import Image

    base = tmp_path / "kitti" / "training"
    for folder in ("image_2", "label_2", "calib"):
        (base / folder).mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (64, 48)).save(base / "image_2" / f"{i:06d}.png")
        (base / "label_2" / f"{i:06d}.txt").write_text(CAR)
        (base / "calib" / f"{i:06d}.txt").write_text("P2: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    return base.parent


def test_given_lists_are_checked_and_written(root, tmp_path, repo_dir, warm_process):
    train, val = tmp_path / "a.txt", tmp_path / "b.txt"
    train.write_text("000004\n000001\n")
    val.write_text("000002\n")
    options = {"--root": root, "--train": train, "--val": val}
    words = [str(word) for pair in options.items() for word in pair]
    done = warm_process.run([str(repo_dir / "datasets" / "prepare_kitti.py"), *words], os.environ)
    assert done.returncode == 0, done.stderr
    assert "train.txt: 2 frames" in done.stdout and "not the usual 3712 and 3769" in done.stdout
    names = [r["image_id"] for r in load_kitti(str(root), str(root / "ImageSets/train.txt"))]
    assert names == ["000004", "000001"]


def test_lists_that_do_not_fit_are_refused(root, tmp_path):
    train, val = tmp_path / "a.txt", tmp_path / "b.txt"
    for first, second, message in (
        ("000001", "000001 000002", "1 frames in common, e.g. 000001"),
        ("000001", "000002 000009", r"b\.txt: 1 of 2 frames have no file in .*image_2, e\.g\. 000009"),
        ("", "000001", "is empty"),
    ):
        train.write_text(first)
        val.write_text(second)
        with pytest.raises(ValueError, match=message):
            write_kitti_lists(root, train, val, None, 0.5)
    (root / "training/calib/000002.txt").unlink()
    train.write_text("000001")
    val.write_text("000002")
    with pytest.raises(ValueError, match=r"no file in .*calib, e\.g\. 000002"):
        write_kitti_lists(root, train, val, None, 0.5)
    with pytest.raises(ValueError, match="cannot be computed from the data"):
        write_kitti_lists(root, None, None, None, 0.5)
    with pytest.raises(ValueError, match="leaves one list empty"):
        write_kitti_lists(root, None, None, 0, 0.01)
    assert not (root / "ImageSets").exists()
    # At random: under other names, disjoint, complete, repeatable.
    write_kitti_lists(root, None, None, 3, 0.5)
    lists = [(root / f"ImageSets/random3_{s}.txt").read_text().split() for s in ("train", "val")]
    assert sorted(lists[0] + lists[1]) == [f"{i:06d}" for i in range(6)] and len(lists[0]) == 3
    write_kitti_lists(root, None, None, 3, 0.5)
    assert (root / "ImageSets/random3_val.txt").read_text().split() == lists[1]
