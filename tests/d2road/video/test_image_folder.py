"""Folders of images with their times."""

import cv2
import pytest

from d2road.utils.errors import ConfigError, DataError
from d2road.video import open_source
from tests.factories.videos import number_of, shade


def folder(path, names, times=None, files=False):
    path.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        cv2.imwrite(str(path / name), shade(index))
    if times is not None:
        first = names if files else range(len(names))
        rows = [f"{name},{t}" for name, t in zip(first, times)]
        (path / "frames.csv").write_text("\n".join(["file,t" if files else "frame,t", *rows]) + "\n")
    return str(path)


def test_images_come_in_natural_order_with_the_times_of_their_file(tmp_path):
    path = folder(tmp_path / "a", ["f2.png", "f9.png", "f10.png"], [100.0, 100.5, 103.0])
    frames = list(open_source(path))
    assert [number_of(frame.image_bgr) for frame in frames] == [0, 1, 2]
    assert [frame.t for frame in frames] == pytest.approx([0, 0.5, 3])


def test_times_may_be_named_by_file_in_any_order_and_for_more_images_than_there_are(tmp_path):
    path = folder(tmp_path / "a", ["b.png", "a.png", "c.png"], [0.4, 0.1, 0.9], files=True)
    (tmp_path / "a" / "c.png").unlink()
    frames = list(open_source(path))
    assert [(number_of(frame.image_bgr), frame.t) for frame in frames] == [(1, 0.0), (0, pytest.approx(0.3))]


def test_without_times_a_rate_is_asked_for_and_taken(tmp_path):
    path = folder(tmp_path / "a", ["1.png", "2.png"])
    with pytest.raises(ConfigError, match=r"nothing tells when .* --fps N"):
        open_source(path)
    assert [frame.t for frame in open_source(path, fps=4)] == [0, 0.25]


def test_an_image_that_cannot_be_read_is_a_dropped_frame_and_told(tmp_path):
    path = folder(tmp_path / "a", ["1.png", "2.png", "3.png"], [0, 1, 2])
    (tmp_path / "a" / "2.png").write_bytes(b"no image")
    source = open_source(path)
    assert [(frame.index, frame.t) for frame in source] == [(0, 0.0), (2, 2.0)]
    assert "1 images cannot be read" in source.problems()[0] and "2.png" in source.problems()[0]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0, 1], "2 lines for 3 images"),
        ([0, 2, 1], r"t 1 of 3.png does not rise above 2 of 2.png"),
        ([0, "x", 1], "line 3: t is 'x', expected seconds"),
        ([0, "nan", 1], "expected seconds"),
    ],
)
def test_times_that_cannot_be_are_refused(tmp_path, times, words):
    path = folder(tmp_path / "a", ["1.png", "2.png", "3.png"], times)
    with pytest.raises(DataError, match=words):
        open_source(path)


def test_a_folder_with_a_video_alone_says_to_give_the_video(tmp_path):
    (tmp_path / "video.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds no images .* did you mean .*video.mp4\?"):
        open_source(str(tmp_path))
