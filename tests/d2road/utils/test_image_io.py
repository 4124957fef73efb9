"""Images are read as they are meant to be seen, and written whole or not at all."""

import cv2
import numpy as np
import pytest
from PIL import Image

from d2road.data.input_checks import read_image_checked
from d2road.utils.image_io import read_image, write_image

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize("bgr", [False, True])
def test_channels_keep_their_order(tmp_path, bgr):
    write_image(tmp_path / "a.png", IMAGE, bgr=bgr)
    assert np.array_equal(read_image(tmp_path / "a.png", bgr=bgr), IMAGE)
    with_opencv = cv2.imread(str(tmp_path / "a.png"))
    assert np.array_equal(with_opencv if bgr else with_opencv[:, :, ::-1], IMAGE)
    read = read_image(tmp_path / "a.png", bgr=not bgr)
    read[0] = 0  # a copy of its own that can be drawn on
    assert read.flags["C_CONTIGUOUS"]


def test_exif_orientation_and_other_modes(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its side
    Image.fromarray(IMAGE).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(IMAGE, -1))
    Image.new("L", (60, 40), 7).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == 7).all() and read_image(tmp_path / "grey.png").shape == (40, 60, 3)


def test_sixteen_bits_and_floats_span_the_range_of_eight(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.array([[0, 257, 65535], [32896, 128, 129]], np.uint16))
    assert read_image(tmp_path / "deep.png")[..., 2].tolist() == [[0, 1, 255], [128, 0, 1]]
    record = {"file_name": str(tmp_path / "deep.png")}
    assert read_image_checked(record, "BGR")[..., 0].tolist() == [[0, 1, 255], [128, 0, 1]]
    cv2.imwrite(str(tmp_path / "float.tiff"), np.array([[0, 0.5, 1]], np.float32))
    assert read_image(tmp_path / "float.tiff")[0, :, 0].tolist() == [0, 128, 255]
    cv2.imwrite(str(tmp_path / "nan.tiff"), np.array([[0, np.nan]], np.float32))
    with pytest.raises(ValueError, match=r"nan\.tiff has 1 pixel\(s\) that are NaN"):
        read_image(tmp_path / "nan.tiff")


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png does not exist"):
        read_image(tmp_path / "none.png")
    write_image(tmp_path / "a.jpg", IMAGE)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:900])
    (tmp_path / "text.png").write_text("hello")
    for name in ("cut.jpg", "text.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image"):
            read_image(tmp_path / name)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"suffix '\.nonsense'; use \.jpg or \.png"):
        write_image(tmp_path / "a.nonsense", IMAGE)
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8, got \(40, 60, 3\) float64"):
        write_image(tmp_path / "a.png", IMAGE / 255.0)
    assert not list(tmp_path.iterdir())
