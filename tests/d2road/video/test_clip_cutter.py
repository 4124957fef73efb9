"""Clips that are cut out of a video."""

import av
import pytest

from d2road.utils.errors import DataError
from d2road.video import VideoFile, video_file
from d2road.video.clip_cutter import cut_clip
from d2road.video.still_frames import frames_at
from tests.factories.videos import number_of, write_video

TIMES = [0.0, 0.1, 0.3, 0.4, 0.5, 0.9, 1.0, 1.1, 1.5]


@pytest.mark.parametrize("reader", ["av", "opencv"])
@pytest.mark.parametrize("late_s", [0.0, 7.0])
def test_a_clip_has_the_frames_between_two_times_as_far_apart_as_they_were(tmp_path, monkeypatch, reader, late_s):
    if reader == "opencv":
        monkeypatch.setattr(video_file, "has_av", lambda: False)
    whole = write_video(tmp_path / "whole.mkv", [late_s + t for t in TIMES])
    assert cut_clip(whole, 0.29, 1.05, tmp_path / "clip.mp4") == 5
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = [(frame.time, number_of(frame.to_ndarray(format="bgr24"))) for frame in container.decode(video=0)]
    assert [number for _, number in frames] == [2, 3, 4, 5, 6]
    assert [t for t, _ in frames] == pytest.approx([0, 0.1, 0.2, 0.6, 0.7], abs=2e-3)


def test_what_is_beyond_the_video_is_left_out_and_nothing_is_no_clip(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", TIMES)
    assert cut_clip(whole, -5, 0.35, tmp_path / "clip.mp4") == 3
    with pytest.raises(DataError, match="has no frame from 20 to 30 s"):
        cut_clip(whole, 20, 30, tmp_path / "none.mp4")
    with pytest.raises(DataError, match="expected an end after the start"):
        cut_clip(whole, 2, 1, tmp_path / "none.mp4")
    assert not (tmp_path / "none.mp4").exists()


def test_times_of_a_clip_are_those_of_the_video_where_it_begins_between_key_frames(tmp_path):
    """As a recording of a stream does: what comes before its first key frame cannot be decoded."""
    whole = write_video(tmp_path / "whole.ts", [i / 10 for i in range(30)])
    with av.open(str(whole)) as container:
        cut = [packet.pos for packet in container.demux(video=0) if packet.size][2]
    (tmp_path / "late.ts").write_bytes(whole.read_bytes()[: 3 * 188] + whole.read_bytes()[cut:])  # the tables are first
    frames = list(VideoFile(tmp_path / "late.ts"))
    wanted = [number_of(frame.image_bgr) for frame in frames if 0.95 < frame.t < 1.55]
    assert len(wanted) == 6
    cut_clip(tmp_path / "late.ts", 0.95, 1.55, tmp_path / "clip.mp4")
    assert [t for t, _ in frames_at(tmp_path / "late.ts", [0.95])] == pytest.approx([1.0], abs=1e-3)
    assert [number_of(frame.image_bgr) for frame in VideoFile(tmp_path / "clip.mp4")] == wanted


def test_a_video_without_times_has_those_of_its_rate_in_its_clips_too(tmp_path):
    whole = write_video(tmp_path / "plain.h264", [i / 25 for i in range(20)])
    assert cut_clip(whole, 0.19, 0.41, tmp_path / "clip.mp4") == 6
    assert [number_of(frame.image_bgr) for frame in VideoFile(tmp_path / "clip.mp4")] == [5, 6, 7, 8, 9, 0]
    assert [round(25 * t) for t, _ in frames_at(whole, [0.2, 0.4])] == [5, 10]
