"""Calibration and ground-plane files, and the camera of a dataset dict."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from d2road.data import register_by_name
from d2road.data.camera_files import read_calib, read_camera, read_denorm

P2 = "P2: 700.5 0 600 45.5 0 710 180 -0.25 0 0 1 0.005"


def test_the_line_p2_is_read_among_others(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text(f"P0: 1 0 0 0 0 1 0 0 0 0 1 0\n\n{P2}\nR0_rect: 1 0 0 0 1 0 0 0 1\n")
    expected = [[700.5, 0, 600, 45.5], [0, 710, 180, -0.25], [0, 0, 1, 0.005]]
    np.testing.assert_array_equal(read_calib(path), expected)
    assert read_calib(path, "P0")[0, 0] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"c\.txt has no line 'P2: ' with 12 numbers"),
        ("P3: 1 2 3", r"c\.txt has no line 'P2: '"),
        ("\nP2: 1 0 0 0 0 1 0 0 0 0 1", r"c\.txt line 2: P2 has 11 numbers, expected 12"),
        (P2.replace("710", "nan"), r"c\.txt line 1: P2 is not finite"),
        (P2.replace("710", "7l0"), r"c\.txt line 1: P2: could not convert"),
        (P2.replace("710", "0"), r"c\.txt line 1: P2 is no projection"),
        (P2.replace("0 0 1 0.005", "0 0 2 0.005"), r"c\.txt line 1: P2 is no projection"),
    ],
)
def test_wrong_calibrations_name_file_and_line(tmp_path, text, message):
    (tmp_path / "c.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_calib(tmp_path / "c.txt")


@pytest.mark.parametrize("factor", [1, -1, 3, -0.2])
def test_ground_planes_of_any_scale_and_sign_become_the_same(tmp_path, factor):
    plane = np.array([0.02, -0.96, -0.28, 6.5])
    (tmp_path / "d.txt").write_text(" ".join(map(str, plane * factor)))
    np.testing.assert_allclose(read_denorm(tmp_path / "d.txt"), plane / np.linalg.norm(plane[:3]), atol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", r"d\.txt is empty, expected one line with four numbers"),
        ("0 -1 0", r"d\.txt line 1: the ground plane a b c d has 3 numbers, expected 4"),
        ("0 -1 0 inf", r"d\.txt line 1: .* not finite"),
        ("0 0 0 5", r"d\.txt line 1: .* normal"),
        ("0 -1 0 -5", r"d\.txt line 1: the camera lies 5 m below this ground plane"),
    ],
)
def test_wrong_ground_planes_name_file_and_line(tmp_path, text, message):
    (tmp_path / "d.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_denorm(tmp_path / "d.txt")


def test_camera_of_a_dataset_dict(tmp_path):
    (tmp_path / "c.txt").write_text(P2)
    (tmp_path / "d.txt").write_text("0 -2 0 12")
    record = {"file_name": "a.png", "calib_file": str(tmp_path / "c.txt")}
    assert read_camera(record).ground is None
    camera = read_camera({**record, "denorm_file": str(tmp_path / "d.txt")})
    assert camera.height_m == 6
    ready = read_camera({"camera": {"P": camera.P.tolist(), "ground": camera.ground.tolist()}})
    np.testing.assert_array_equal(ready.P, camera.P)
    np.testing.assert_array_equal(ready.ground, camera.ground)
    assert read_camera({"camera": {"P": camera.K.tolist()}}).ground is None


def test_missing_or_wrong_cameras_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png has no calibration"):
        read_camera({"file_name": "a.png"})
    with pytest.raises(ValueError, match=r"a\.png: its `camera` is wrong"):
        read_camera({"file_name": "a.png", "camera": {"P": [[1, 2], [3, 4]]}})
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist"):
        read_camera({"calib_file": str(tmp_path / "nowhere.txt")})
    with pytest.raises(FileNotFoundError, match=r"ground plane file .*nowhere\.txt"):
        read_denorm(tmp_path / "nowhere.txt")


def test_real_files(shared_dir):
    kitti, rope3d = f"kitti:{shared_dir}/data/kitti", f"rope3d:{shared_dir}/data/rope3d_sample:val"
    for name in (kitti, rope3d):
        register_by_name(name)
    camera = read_camera(DatasetCatalog.get(kitti)[0])
    assert camera.P[0, 3] == pytest.approx(45.75831)
    assert camera.ground is None
    camera = read_camera(DatasetCatalog.get(rope3d)[0])
    assert (camera.K[0, 0], camera.K[1, 1]) == (2763.176803, 2946.604873)
    assert camera.height_m == pytest.approx(7.00438, abs=1e-4)
