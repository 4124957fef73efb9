"""Videos that are written: times, sizes, codecs, full disks, kills; read back by FFmpeg through PyAV."""

import os
import signal
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest

from d2road.utils.errors import DataError, OutputError
from d2road.video import VideoWriter, opencv_encoder, video_writer
from d2road.video.h264_encoders import AvEncoder, FfmpegEncoder, writes_h264_by_ffmpeg
from d2road.video.opencv_encoder import PLAYED_BY_BROWSERS, OpenCvEncoder, best_codec
from tests.factories.videos import number_of, shade

ENCODERS = [
    AvEncoder,
    pytest.param(FfmpegEncoder, marks=pytest.mark.skipif(not writes_h264_by_ffmpeg(), reason="needs ffmpeg")),
    OpenCvEncoder,
]


@pytest.fixture(params=ENCODERS)
def encoder(request, monkeypatch):
    monkeypatch.setattr(video_writer, "best_encoder", lambda: request.param)
    return request.param


def read(path):
    """(times, images, codec) of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(stream)]
        return [t for t, _ in frames], [image for _, image in frames], stream.codec_context.name


def test_frames_keep_their_times_and_order(encoder, tmp_path):
    times = [3.0, 3.1, 3.2, 3.5, 3.6]
    with VideoWriter(tmp_path / "out.mp4", 10) as writer:
        for index, t in enumerate(times):
            writer.write(shade(index), t)
    found, images, codec = read(tmp_path / "out.mp4")
    if encoder is AvEncoder:
        assert found == pytest.approx([0, 0.1, 0.2, 0.5, 0.6], abs=1e-4)
    shown = {round(t, 2): number_of(image) for t, image in zip(found, images)}  # held where the rate is constant
    assert {t: shown[t] for t in (0.0, 0.1, 0.2, 0.5, 0.6)} == {0.0: 0, 0.1: 1, 0.2: 2, 0.5: 3, 0.6: 4}
    assert shown.get(0.3, 2) == shown.get(0.4, 2) == 2
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert codec == "h264" or encoder is OpenCvEncoder


def test_odd_sizes_are_padded_and_a_link_is_followed(encoder, tmp_path):
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real.mp4")
    with VideoWriter(tmp_path / "link.mp4", 25) as writer:
        for _ in range(3):
            writer.write(np.full((97, 161, 3), 90, np.uint8))
    _, images, _ = read(tmp_path / "real.mp4")
    assert [image.shape for image in images] == [(98, 162, 3)] * 3


def test_an_error_leaves_the_file_that_was_there(encoder, tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), VideoWriter(path, 25) as writer:
        writer.write(shade(0))
        raise RuntimeError
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["out.mp4"]


def test_what_was_written_before_an_error_is_kept_where_that_is_asked_for(encoder, tmp_path):
    with pytest.raises(DataError, match=r"frame 4 has 80x48 pixels, those before it 160x96"):  # noqa: SIM117
        with VideoWriter(tmp_path / "out.mp4", 25, keep_partial=True) as writer:
            for index in range(4):
                writer.write(shade(index))
            writer.write(shade(4, (80, 48)))
    assert [number_of(image) for image in read(tmp_path / "out.mp4")[1]] == [0, 1, 2, 3]
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_nothing_written_is_no_file(encoder, tmp_path):
    with VideoWriter(tmp_path / "out.mp4", 25):
        pass
    assert os.listdir(tmp_path) == []


KILLED = """
import sys, time
from pathlib import Path
from d2road.video import VideoWriter, video_writer, h264_encoders
from tests.factories.videos import shade
video_writer.best_encoder = lambda: getattr(h264_encoders, sys.argv[2])
writer = VideoWriter(Path(sys.argv[1]), 25, keep_partial=True)
for index in range(140):
    writer.write(shade(index))
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["AvEncoder", "FfmpegEncoder"])
def test_a_killed_process_leaves_a_video_that_plays(tmp_path, name):
    if name == "FfmpegEncoder" and not writes_h264_by_ffmpeg():
        pytest.skip("needs ffmpeg")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out.mp4"), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "written"
        process.send_signal(signal.SIGKILL)
    time.sleep(0.2)  # ffmpeg sees the end of its input
    assert os.listdir(tmp_path) == ["out.part.mp4"]
    _, images, _ = read(tmp_path / "out.part.mp4")
    assert len(images) >= 50
    assert [number_of(image) for image in images] == [i % 10 for i in range(len(images))]


def test_a_full_disk_is_told(encoder, tmp_path, monkeypatch):
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from d2road.utils.errors import OutputError
from d2road.video import VideoWriter, video_writer, h264_encoders, opencv_encoder
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
module = opencv_encoder if "{encoder.__name__}" == "OpenCvEncoder" else h264_encoders
video_writer.best_encoder = lambda: module.{encoder.__name__}
opencv_encoder.best_codec = lambda: "mp4v"  # trying them out takes seconds
rng = np.random.default_rng(0)
try:
    with VideoWriter(Path(sys.argv[1]), 25) as writer:
        for _ in range(20):
            writer.write(rng.integers(0, 255, (96, 160, 3), dtype=np.uint8))
except OutputError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out.mp4")], capture_output=True, text=True)
    assert "cannot write" in told.stdout and "out.mp4" in told.stdout, told
    assert os.listdir(tmp_path) == []


def test_by_opencv_a_codec_is_taken_that_browsers_play_where_there_is_one(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(video_writer, "best_encoder", lambda: OpenCvEncoder)
    for code in dict.fromkeys((best_codec(), "mp4v")):
        monkeypatch.setattr(opencv_encoder, "best_codec", lambda code=code: code)
        caplog.clear()
        with VideoWriter(tmp_path / "out.mp4", 25) as writer:
            writer.write(np.zeros((60, 80, 3), np.uint8))
        four = int(cv2.VideoCapture(str(tmp_path / "out.mp4")).get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
        plays = four.lower() in ("avc1", "h264", "vp09", "vp90")
        assert plays == (code in PLAYED_BY_BROWSERS) == ("browsers do not play" not in caplog.text)


def test_a_long_gap_of_a_stream_is_no_hour_of_one_image(tmp_path, monkeypatch):
    monkeypatch.setattr(video_writer, "best_encoder", lambda: OpenCvEncoder)
    with VideoWriter(tmp_path / "out.mp4", 5) as writer:
        for index, t in enumerate((0.0, 0.2, 3600.2, 3600.4)):
            writer.write(shade(index), t)
    _, images, _ = read(tmp_path / "out.mp4")
    assert [number_of(image) for image in images] == [0, *[1] * 26, 2, 3]


def test_a_write_protected_file_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"x")
    (tmp_path / "out.mp4").chmod(0o400)
    with pytest.raises(OutputError, match="write-protected"):
        VideoWriter(tmp_path / "out.mp4", 25)
