"""Every N-th frame keeps its index and time."""

import pytest

from d2road.engine.stored_frames import StoredFrames
from d2road.utils.errors import ConfigError
from d2road.video.strided_source import StridedSource


def test_every_third_frame_keeps_its_index_and_time():
    times = {k: 0.1 * k + 0.01 * (k % 2) for k in range(8)}
    with StridedSource(StoredFrames("clip", times), 3) as source:
        frames = list(source)
    assert [(frame.index, frame.t) for frame in frames] == [(k, times[k]) for k in (0, 3, 6)]
    assert source.claimed == 3 and source.fps == pytest.approx(StoredFrames("clip", times).fps / 3)


def test_a_stream_is_refused_as_its_newest_frame_is_taken_anyway():
    source = StoredFrames("camera", {0: 0.0})
    source.is_live = True
    with pytest.raises(ConfigError, match="camera is live"):
        StridedSource(source, 2)
