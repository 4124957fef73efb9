"""Uploads: images read as on the command line, limits, and cameras."""

import numpy as np
import pytest
from PIL import Image

from d2road.data.roadside_camera_files import write_camera
from d2road.utils.errors import ConfigError, DataError
from d2road.web.uploads import UploadLimits, camera_of_request, number_or_none, whole_number
from tests.factories.tracked_video import small_camera

LIMITS = UploadLimits()
P2 = "P2: 100 0 40 0 0 100 30 0 0 0 1 0\n"


def saved(path, image, **options):
    image.save(path, **options)
    return path


def test_sixteen_bit_grey_is_scaled_and_not_cut_off(tmp_path):
    values = np.array([[0, 32896, 65535]], np.uint16)  # 257 times 0, 128, 255
    path = saved(tmp_path / "a.png", Image.fromarray(values))
    assert LIMITS.read_image(path)[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_transparency_is_dropped_and_channels_are_bgr(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("RGBA", (2, 1), (200, 30, 10, 0)))
    assert LIMITS.read_image(path)[0, 0].tolist() == [10, 30, 200]


def test_cmyk_becomes_rgb(tmp_path):
    path = saved(tmp_path / "a.tif", Image.new("CMYK", (2, 1), (0, 255, 255, 0)))
    assert LIMITS.read_image(path)[0, 0].tolist() == [0, 0, 255]


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    image = Image.new("RGB", (4, 2), (0, 0, 0))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    pixels = LIMITS.read_image(saved(tmp_path / "a.png", image, exif=exif))
    assert pixels.shape == (4, 2, 3) and pixels[0, 1].tolist() == [255] * 3 and pixels.sum() == 3 * 255


def test_limits_are_of_bytes_pixels_and_number(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("RGB", (40, 30)))
    with pytest.raises(DataError, match=r"a\.png has 0\.0 MB, at most 0\.0 MB"):
        UploadLimits(max_bytes=10).read_image(path)
    with pytest.raises(DataError, match=r"a\.png has 40x30 pixels, at most 0\.0011 million"):
        UploadLimits(max_pixels=1100).read_image(path)
    assert UploadLimits(max_pixels=1200).read_image(path).shape == (30, 40, 3)
    for count in (0, 3):
        with pytest.raises(DataError, match=f"{count} images, expected 1 to 2"):
            UploadLimits(max_files=2).check_count(count)
    with pytest.raises(ConfigError):
        UploadLimits(max_bytes=0)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_malformed_image_is_named_without_its_folder(content, tmp_path):
    path = tmp_path / "street.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^street\.png cannot be read as an image") as error:
        LIMITS.read_image(path)
    assert str(tmp_path) not in str(error.value)


def test_a_moving_image_is_refused(tmp_path):
    path = tmp_path / "a.gif"
    Image.new("L", (4, 4)).save(path, save_all=True, append_images=[Image.new("L", (4, 4), 255)])
    with pytest.raises(DataError, match=r"^a\.gif holds 2 frames"):
        LIMITS.read_image(path)


def test_a_camera_comes_from_a_file_or_a_focal_length(tmp_path):
    image = np.zeros((60, 80, 3), np.uint8)
    calib, denorm = tmp_path / "c.txt", tmp_path / "d.txt"
    calib.write_text(P2)
    denorm.write_text("0 -1 0 6\n")
    assert camera_of_request(image) is None
    by_file, by_focal = camera_of_request(image, calib, denorm), camera_of_request(image, focal_px=100)
    assert np.array_equal(by_file.P, by_focal.P) and by_file.height_m == 6 and by_focal.ground is None


def test_a_camera_of_a_video_is_one_of_its_images(tmp_path):
    path, camera = tmp_path / "camera.yaml", small_camera((80, 48))
    write_camera(path, camera)
    found = camera_of_request(np.zeros((48, 80, 3), np.uint8), path)
    assert np.array_equal(found.P, camera.pinhole.P) and np.array_equal(found.ground, camera.ground)
    with pytest.raises(DataError, match=r"^calibration camera\.yaml: .*made for 80x48"):
        camera_of_request(np.zeros((60, 80, 3), np.uint8), path)
    with pytest.raises(ConfigError, match="has the ground plane already"):
        camera_of_request(np.zeros((48, 80, 3), np.uint8), path, denorm=tmp_path / "d.txt")
    write_camera(path, small_camera((80, 48), distortion=-0.1))
    with pytest.raises(DataError, match=r"^camera\.yaml: the lens distorts"):
        camera_of_request(np.zeros((48, 80, 3), np.uint8), path)


def test_cameras_that_cannot_be(tmp_path):
    image = np.zeros((60, 80, 3), np.uint8)
    calib = tmp_path / "c.txt"
    calib.write_text("P2: 1 2 3\n")
    with pytest.raises(DataError, match=r"^c\.txt line 1: P2 has 3 numbers"):
        camera_of_request(image, calib)
    with pytest.raises(ConfigError, match="give one of them"):
        camera_of_request(image, calib, focal_px=100)
    with pytest.raises(ConfigError, match="without a camera"):
        camera_of_request(image, denorm=calib)
    for focal in (0, -5, float("nan"), 1e9):
        with pytest.raises(DataError, match="focal length is"):
            camera_of_request(image, focal_px=focal)


def test_a_field_of_a_number_may_be_empty():
    assert number_or_none(" ", "x") is None is number_or_none(None, "x") and number_or_none(" 1.5e2 ", "x") == 150
    for text in ("a", "nan", "1e999", "1,5"):
        with pytest.raises(DataError, match=f"the score is '{text}', expected a number"):
            number_or_none(text, "the score")


@pytest.mark.parametrize(
    ("value", "words"), [(None, "Steps is empty"), (0, "Steps is 0"), (float("nan"), "Steps is nan")]
)
def test_an_emptied_slider_is_told_by_its_name(value, words):
    with pytest.raises(DataError, match=f"{words}, expected a number from 1 on"):
        whole_number(value, "Steps", 16)
    assert whole_number(4.0, "Steps", 16) == 4 and whole_number(99, "Steps", 16) == 16
