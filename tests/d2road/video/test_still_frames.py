"""Single frames of a video: those at the times asked for, by what they show."""

import pytest

from d2road.video.still_frames import frames_at
from tests.factories.videos import write_video

TIMES = [i / 10 for i in range(80)]


def test_frames_are_those_of_the_times_also_across_key_frames(tmp_path):
    write_video(tmp_path / "clip.mp4", TIMES, (160, 96))
    found = list(frames_at(tmp_path / "clip.mp4", [0.0, 0.55, 6.3, 99.0]))
    assert [t for t, _ in found] == pytest.approx([0.0, 0.6, 6.3], abs=1e-3), "none behind the end"
    assert all(image.shape == (96, 160, 3) for _, image in found)


def test_no_video_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(frames_at(tmp_path / "none.mp4", [0.0]))
