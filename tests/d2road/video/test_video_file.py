"""Video files made by PyAV: presentation times, turned, damaged and cut-off files, and OpenCV as the fallback."""

import random
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from d2road.utils.errors import DataError
from d2road.video import VideoFile, video_file
from tests.factories.videos import number_of, two_sizes, write_video

JITTER = [0.0, 0.04, 0.13, 0.16, 0.52, 0.55, 0.61, 1.9]
READERS = ("av", "opencv")


@pytest.fixture(params=READERS)
def reader(request, monkeypatch):
    if request.param == "opencv":
        monkeypatch.setattr(video_file, "has_av", lambda: False)
    return request.param


def frames_of(path):
    with VideoFile(path) as video:
        frames = list(video)
    return video, frames


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_frames_have_the_times_that_the_file_says_however_uneven(reader, tmp_path, suffix):
    video, frames = frames_of(write_video(tmp_path / f"clip.{suffix}", JITTER))
    assert [frame.t for frame in frames] == pytest.approx(JITTER, abs=1.1e-3)
    assert [frame.index for frame in frames] == list(range(8))
    assert [number_of(frame.image_bgr) for frame in frames] == list(range(8))
    assert video.problems() == [] and video.statistics()["frames_with_estimated_time"] == 0


def test_a_file_whose_times_begin_late_begins_at_zero(reader, tmp_path):
    _, frames = frames_of(write_video(tmp_path / "clip.mkv", [5 + t for t in JITTER]))
    assert [frame.t for frame in frames] == pytest.approx(JITTER, abs=1.1e-3)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "ts", "nut"])
def test_a_recording_that_begins_late_is_whole_and_lasts_as_long_as_it_is(tmp_path, suffix):
    """As recorders cut a running stream into files: the times of each go on from those of the one before."""
    codec = "libvpx" if suffix == "webm" else "libx264"
    times = [3600 + i / 5 for i in range(20)]
    video, frames = frames_of(write_video(tmp_path / f"clip.{suffix}", times, codec=codec))
    assert len(frames) == 20 and video.problems() == []
    assert video.decoder.duration_s == pytest.approx(4.0, abs=0.3)


def test_frames_that_a_recorder_dropped_are_not_missing_at_the_end(tmp_path):
    """AVI has a place for each of a thousand frames a second here, nearly all of them empty."""
    video, frames = frames_of(write_video(tmp_path / "clip.avi", JITTER, codec="mjpeg"))
    assert len(frames) == 8 and video.claimed > 100 and video.problems() == []


def test_one_frame_a_second_is_one_frame_a_second(reader, tmp_path):
    _, frames = frames_of(write_video(tmp_path / "clip.mp4", [0.0, 1, 2, 3]))
    assert [frame.t for frame in frames] == pytest.approx([0, 1, 2, 3], abs=1e-3)


def test_a_cut_off_video_gives_what_is_there_and_says_so(reader, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (50, 96, 160, 3), dtype=np.uint8)
    whole = write_video(
        tmp_path / "whole.mp4", [i / 25 for i in range(50)], images=list(noise), options={"movflags": "faststart"}
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    video, frames = frames_of(cut)
    assert 15 < len(frames) < 35
    assert f"only {len(frames)} of 50 frames can be decoded: is it cut off?" in video.problems()[0]
    with pytest.raises(DataError, match="is it cut off"):
        video.raise_if_cut_off()


def test_a_cut_off_file_without_a_count_of_frames_is_known_by_how_long_it_lasts(tmp_path):
    whole = write_video(tmp_path / "whole.mkv", [i / 5 for i in range(50)])
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    video, _ = frames_of(tmp_path / "cut.mkv")
    assert "claims 9.8 s: is it cut off?" in video.problems()[0]
    assert frames_of(whole)[0].problems() == []


def test_a_recording_without_its_index_is_told_to_be_cut_off(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", JITTER)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:-200])  # the index of an mp4 comes last
    with pytest.raises(DataError, match=r"cannot be read as a video: .*; is it cut off, or no video\?"):
        VideoFile(tmp_path / "cut.mp4")


def test_damaged_frames_are_counted_and_the_others_come(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 160, 3), dtype=np.uint8)
    path = write_video(tmp_path / "clip.ts", [i / 25 for i in range(40)], images=list(noise))
    content = bytearray(path.read_bytes())
    draw = random.Random(0)
    for _ in range(12):
        at = draw.randrange(len(content) // 4, len(content))
        content[at : at + 20] = bytes(20)
    path.write_bytes(content)
    video, frames = frames_of(path)
    assert 20 < len(frames) <= 40
    assert "frames are damaged" in video.problems()[-1] and video.statistics()["damaged_frames"] > 0
    steps = np.diff([frame.t for frame in frames])
    assert (steps > 0).all()


def test_frames_of_another_size_come_as_they_are(tmp_path):
    _, frames = frames_of(two_sizes(tmp_path / "two.h264"))
    assert [frame.size_wh for frame in frames] == [(160, 96)] * 5 + [(80, 48)] * 5


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_videos_of_a_turned_camera_are_turned_as_opencv_turns_them(tmp_path, angle):
    path = write_video(tmp_path / "clip.mp4", [0.0, 0.04])
    turned = tmp_path / "turned.mp4"
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[angle]
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # the 3x3 matrix of the track, 16.16 numbers
    for row, column, value in zip((0, 0, 1, 1), (0, 1, 0, 1), matrix):
        at = place + 4 * (3 * row + column)
        content[at : at + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    turned.write_bytes(content)
    expected = cv2.VideoCapture(str(turned)).read()[1]
    _, frames = frames_of(turned)
    assert frames[0].image_bgr.shape == expected.shape
    assert np.abs(frames[0].image_bgr.astype(int) - expected).mean() < 3
    corner = np.argwhere(frames[0].image_bgr[:, :, 0] > 200).mean(axis=0) / frames[0].image_bgr.shape[:2]
    assert not (corner < 0.5).all(), "the white corner is not where it was"


def test_a_file_without_times_gets_those_of_its_rate_and_says_so(tmp_path):
    path = write_video(tmp_path / "clip.h264", [i / 25 for i in range(6)])
    _, frames = frames_of(path)
    assert np.diff([frame.t for frame in frames]) == pytest.approx([0.04] * 5, abs=1e-6)
    assert all(frame.t == pytest.approx(frame.index / 25) for frame in frames)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="no video in it"):
        VideoFile(tmp_path / "sound.mp4")


def test_a_name_with_a_colon_is_a_file(tmp_path):
    path = write_video(tmp_path / "rtsp:clip.mp4", [0.0, 0.1])
    assert len(frames_of(path)[1]) == 2


def test_reading_needs_neither_torch_nor_detectron2():
    code = "import sys, d2road.video; assert not {'torch', 'detectron2'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
