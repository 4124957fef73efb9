"""Images that are missing, broken or of another size are errors that name them."""

import numpy as np
import pytest
from PIL import Image, ImageFile

from d2road.data.input_checks import DroppedBoxes, collected_defects, one_entry, read_image_checked

SIZE = (64, 48)  # width, height


def test_reads_in_the_order_asked_for_and_fills_the_size(tmp_path, write_image):
    path = tmp_path / "a.png"
    write_image(path)
    record = {"file_name": str(path)}
    rgb = read_image_checked(record, "RGB")
    assert (record["width"], record["height"]) == SIZE
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb, np.asarray(Image.open(path)))
    assert np.array_equal(read_image_checked(record, "BGR"), rgb[:, :, ::-1])


def test_grey_and_palette_images_become_colour(tmp_path):
    for mode in ("L", "P", "RGBA"):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, SIZE, 7 if mode != "RGBA" else (7, 7, 7, 255)).save(path)
        assert read_image_checked({"file_name": str(path)}, "RGB").shape == (SIZE[1], SIZE[0], 3)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg \(image_id 5\) does not exist"):
        read_image_checked({"file_name": str(tmp_path / "a.jpg"), "image_id": 5}, "RGB")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_truncated_image_is_named_and_never_filled(tmp_path, suffix, share, monkeypatch, write_image):
    path = tmp_path / f"a{suffix}"
    content = write_image(path).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as some libraries set it
    with pytest.raises(ValueError, match=rf"a{suffix} \(image_id 5\) cannot be read"):
        read_image_checked({"file_name": str(path), "image_id": 5}, "RGB")


def test_another_size_than_annotated_names_both(tmp_path, write_image):
    path = write_image(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg .* is 64x48, its annotation says 48x64"):
        read_image_checked({"file_name": str(path), "width": 48, "height": 64}, "RGB")


def test_exif_orientation_is_applied_before_sizes_are_compared(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its side
    Image.new("RGB", SIZE).save(path, exif=exif)
    image = read_image_checked({"file_name": str(path), "width": SIZE[1], "height": SIZE[0]}, "RGB")
    assert image.shape == (SIZE[0], SIZE[1], 3)


def test_defects_are_collected_only_where_asked_for():
    def load():
        good = []
        for number in range(3):
            with one_entry():
                if number == 1:
                    raise ValueError("the second is broken")
                good.append(number)
        return good

    with pytest.raises(ValueError, match="the second is broken"):
        load()
    with collected_defects() as defects:
        assert load() == [0, 2]
        dropped = DroppedBoxes("labels")
        dropped.keep((5, 5, 5, 9), 64, 48, "line 1")
        dropped.finish()
    assert len(defects) == 2 and "1 of 1 boxes are useless" in defects[1]
    with pytest.raises(ValueError, match="the second is broken"):
        load()
