"""Cameras against the size of their image: real ones and their crops pass, those of another resolution do not."""

import numpy as np
import pytest

from d2road.data.camera_files import read_calib
from d2road.structures import Camera
from d2road.structures.principal_point import camera_size_problem, check_camera_size
from d2road.utils.errors import DataError
from d2road.utils.image_io import image_size

# fx, fy, cx, cy and the image: KITTI, Rope3D, DAIR-V2X-I, nuScenes CAM_FRONT, SUN RGB-D, Objectron (portrait)
REAL = [
    (721.5, 721.5, 609.6, 172.9, 1242, 375),
    (2763.2, 2946.6, 970.6, 550.7, 1920, 1080),
    (2183.4, 2329.3, 940.6, 567.6, 1920, 1080),
    (1266.4, 1266.4, 816.3, 491.5, 1600, 900),
    (529.5, 529.5, 365.0, 265.0, 730, 530),
    (1500.0, 1500.0, 720.0, 935.0, 1440, 1920),
]


def camera(fx, fy, cx, cy) -> Camera:
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))


@pytest.mark.parametrize("real", REAL)
def test_cameras_of_real_data_fit_their_images(real):
    *values, width, height = real
    assert camera_size_problem(camera(*values), width, height) is None


@pytest.mark.parametrize("real", REAL)
@pytest.mark.parametrize("scale", [0.25, 0.5, 0.667, 1.5, 2, 4])
def test_a_camera_of_another_resolution_is_certain_and_named(real, scale):
    *values, width, height = real
    problem = camera_size_problem(camera(*values), round(width * scale), round(height * scale))
    assert problem.certain and "Scale the first two rows of the projection" in problem.text
    # The scale to correct by is told to a few percent: the principal point is not quite the middle.
    told = float(problem.text.split("projection by ")[1].split()[0])
    assert told == pytest.approx(scale, rel=0.1)


def test_a_camera_of_the_turned_image_is_certain():
    problem = camera_size_problem(camera(2763.2, 2946.6, 970.6, 550.7), 1080, 1920)
    assert problem.certain and "turned by 90 degrees" in problem.text


@pytest.mark.parametrize("crop", [(0, 0, 1224, 370), (0, 100, 1242, 375), (100, 80, 1100, 375), (300, 0, 900, 375)])
def test_cameras_moved_with_usual_crops_fit(crop):
    left, top, right, bottom = crop
    moved = camera(721.5, 721.5, 609.6, 172.9).cropped(left, top)
    assert camera_size_problem(moved, right - left, bottom - top) is None


def test_crops_away_from_the_middle_are_warned_of_only(caplog):
    moved = camera(721.5, 721.5, 609.6, 172.9).cropped(700, 0)
    check_camera_size(moved, 542, 375, "calib/000000.txt")
    assert "calib/000000.txt" in caplog.text and "right only for a crop" in caplog.text
    with pytest.raises(DataError, match=r"calib/000000.txt: .*image of about 1219x346"):
        check_camera_size(camera(721.5, 721.5, 609.6, 172.9), 621, 188, "calib/000000.txt")


def test_real_calibration_files_fit_their_images(shared_dir):
    pairs = []
    for folder in (shared_dir / "data/kitti/training", shared_dir / "data/rope3d_sample"):
        pairs += [(folder / "calib" / f"{p.stem}.txt", p) for p in sorted((folder / "image_2").iterdir())]
    assert len(pairs) == 15
    for calib, image in pairs:
        assert camera_size_problem(Camera(read_calib(calib)), *image_size(image)) is None
