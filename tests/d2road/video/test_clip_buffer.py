"""Clips of the last seconds of a stream."""

import numpy as np
import pytest

from d2road.video import VideoFile
from d2road.video.clip_buffer import ClipBuffer
from d2road.video.frame import Frame


def image(level):
    return np.full((48, 64, 3), level, dtype=np.uint8)


def levels(path):
    return [float(frame.image_bgr.mean()) for frame in VideoFile(path)]


def test_a_buffer_keeps_seconds_and_bytes_in_bounds_and_writes_what_it_has(tmp_path):
    buffer = ClipBuffer(kept_s=2.0)
    for number in range(100):
        buffer.add(Frame(number, number / 10, image(2 * number)))
    assert len(buffer._frames) == 21
    assert buffer.write(0.0, 8.4, tmp_path / "clip.mp4")  # the oldest frame is of 7.9 s
    np.testing.assert_allclose(levels(tmp_path / "clip.mp4"), [2 * number for number in range(79, 85)], atol=9)
    small = ClipBuffer(kept_s=1e9, largest_bytes=5 * buffer._frames[0][1].nbytes)
    for number in range(100):
        small.add(Frame(number, number / 10, image(0)))
    assert 3 <= len(small._frames) <= 6
    assert small._bytes == pytest.approx(sum(packed.nbytes for _, packed in small._frames))
