"""Animated images as videos, against FFmpeg's decoding of the same files by PyAV."""

import av
import numpy as np
import pytest
from PIL import Image

from d2road.utils.errors import DataError
from d2road.video import VideoFile, is_animation

SHOWN_MS = [50, 120, 0, 10, 20, 300]  # what says nothing is shown for 100 ms
TIMES = [0.0, 0.05, 0.17, 0.27, 0.28, 0.3]


def drawn(count=6, size_wh=(64, 48)):
    """A square that moves over stripes: frames differ in a part, of which alone a GIF stores them."""
    images = []
    for index in range(count):
        image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        image[::8] = (200, 30, 90)
        image[20:32, 6 * index : 6 * index + 10] = (10, 220, 40 * (index % 3))
        images.append(Image.fromarray(image))
    return images


def write(path, images, **options):
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


@pytest.mark.parametrize("disposal", [0, 1, 2])
def test_frames_and_times_of_a_gif_are_those_of_ffmpeg(tmp_path, disposal):
    path = write(tmp_path / "a.gif", drawn(), duration=SHOWN_MS, disposal=disposal)
    with av.open(str(path)) as container:
        expected = [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
    with VideoFile(path) as video:
        frames = list(video)
    assert [frame.t for frame in frames] == pytest.approx(TIMES)
    assert [t - expected[0][0] for t, _ in expected] == pytest.approx(TIMES)
    for frame, (_, image) in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.image_bgr, image)
    assert video.fps == pytest.approx(20) and video.claimed == 6 and video.problems() == []


def test_a_webp_gives_what_was_drawn(tmp_path):
    images = drawn(4)
    path = write(tmp_path / "a.webp", images, duration=40, lossless=True)
    with VideoFile(path) as video:
        frames = list(video)
    assert [frame.t for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12])
    for frame, image in zip(frames, images, strict=True):
        np.testing.assert_array_equal(frame.image_bgr[:, :, ::-1], np.asarray(image))


def test_a_gif_that_is_cut_off_gives_what_is_there_and_says_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 40, 50, 3), dtype=np.uint8)
    path = write(tmp_path / "a.gif", [Image.fromarray(one) for one in noise], duration=50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    with VideoFile(path) as video:
        frames = list(video)
    assert 2 <= len(frames) < 6
    assert f"only {len(frames)} of {video.claimed} frames can be decoded: is it cut off?" in video.problems()[0]
    with pytest.raises(DataError, match="is it cut off"):
        video.raise_if_cut_off()


def test_one_image_pages_and_broken_files_are_no_animations(tmp_path):
    images = drawn(2)
    assert is_animation(write(tmp_path / "a.GIF", images, format="GIF"))
    for name in ("one.gif", "one.webp"):
        images[0].save(tmp_path / name)
    write(tmp_path / "pages.tif", images)
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    (tmp_path / "empty.webp").write_bytes(b"")
    for name in ("one.gif", "one.webp", "pages.tif", "broken.gif", "empty.webp", "none.gif"):
        assert not is_animation(tmp_path / name), name
