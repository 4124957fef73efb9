"""Streams and devices: a real RTSP server, MJPEG over HTTP, FFmpeg's test device; all on loopback."""

import time

import numpy as np
import pytest

from d2road.utils.errors import ConfigError, DataError
from d2road.video import live_source, open_source, sources
from tests.factories.stream_servers import free_port, has_rtsp_server, mjpeg_server, rtsp_server
from tests.factories.videos import number_of, write_video

needs_rtsp = pytest.mark.skipif(not has_rtsp_server(), reason="needs Debian's gir1.2-gst-rtsp-server-1.0")


@pytest.fixture(autouse=True)
def quick_reconnection(monkeypatch):
    monkeypatch.setattr(live_source, "FIRST_WAIT_S", 0.1)


def take(source, count, seconds_each=0.0):
    """The first frames, taken slowly."""
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == count:
            return frames
        time.sleep(seconds_each)
    return frames


@needs_rtsp
@pytest.mark.parametrize("reader", ["av", "opencv"])
def test_a_slow_reader_of_rtsp_gets_the_newest_frame_with_the_time_of_its_sender(monkeypatch, reader):
    if reader == "opencv":
        monkeypatch.setattr(sources, "has_av", lambda: False)
    port = free_port()
    with rtsp_server(port, fps=20), open_source(f"rtsp://127.0.0.1:{port}/camera") as source:
        frames = take(source, 6, seconds_each=0.25)
        told = source.statistics()
    steps = np.diff([frame.index for frame in frames])
    assert (steps[1:] >= 3).all() and told["frames_dropped"] >= 8
    assert frames[0].size_wh == (160, 96)
    apart = np.diff([frame.t for frame in frames]) / steps
    if reader == "av":
        assert told["clock"] == "sender"
        assert apart[1:] == pytest.approx(np.full(4, 0.05), abs=0.004), "20 frames a second, whatever was dropped"
    else:
        assert told["clock"] == "arrival"
        assert sum(np.diff([frame.t for frame in frames])) == pytest.approx(1.25, abs=0.6)


@needs_rtsp
def test_a_server_that_dies_and_comes_back_is_connected_anew_and_time_goes_on(caplog):
    port = free_port()
    with rtsp_server(port) as first:
        source = open_source(f"rtsp://user:secret@127.0.0.1:{port}/camera")
        before = take(source, 5)
        start = time.monotonic()
        first.kill()
        first.wait()
    with rtsp_server(port), source:
        after = [frame for frame in take(source, 60) if frame.index > before[-1].index][-5:]
        passed = time.monotonic() - start
        assert source.reconnections == 1 and source.problems() == []
    times = [frame.t for frame in before + after]
    assert (np.diff(times) > 0).all()
    assert times[-1] - times[4] == pytest.approx(passed, abs=1.0), "the gap is as long as it was"
    assert "connecting anew" in caplog.text and "secret" not in caplog.text


def test_mjpeg_has_the_times_of_arrival_and_is_connected_anew_when_it_ends():
    port = free_port()
    with mjpeg_server(port, frames=8, fps=25) as connections, open_source(f"http://127.0.0.1:{port}/") as source:
        frames = take(source, 14)
        told = source.statistics()
    assert len(connections) >= 2 and told["reconnections"] >= 1 and told["clock"] == "arrival"
    times = np.array([frame.t for frame in frames])
    assert (np.diff(times) > 0).all()
    assert number_of(frames[0].image_bgr) <= 3, "of those that came before it was looked at, the newest"
    assert np.diff(times).max() >= 0.1, "the time without a connection passed"


def test_a_stream_that_stays_away_is_given_up_and_the_reason_kept():
    port = free_port()
    with mjpeg_server(port, frames=5):
        source = open_source(f"http://127.0.0.1:{port}/", patience_s=0.5)
        next(iter(source))
    start = time.monotonic()
    with source:
        list(source)
    assert time.monotonic() - start < 5
    assert "gave no frames for 0.5 s" in source.problems()[0]


def test_a_wish_to_stop_ends_it_soon_though_no_frame_comes():
    port, wish = free_port(), []
    with mjpeg_server(port, frames=3, fps=50):
        source = open_source(f"http://127.0.0.1:{port}/", stop=lambda: bool(wish))
        take(source, 1)
    wish.append(1)
    start = time.monotonic()
    with source:
        assert list(source) == []
    assert time.monotonic() - start < 1.5


def test_a_slow_reader_holds_one_frame_however_many_come():
    with open_source("lavfi:testsrc2=size=160x96:rate=100,realtime") as source:
        frames = take(source, 3, seconds_each=0.6)
        dropped = source.dropped
    gaps = np.diff([frame.index for frame in frames])
    assert gaps.min() > 5 and dropped >= gaps.sum() - 2
    assert np.diff([frame.t for frame in frames]) == pytest.approx(gaps / 100, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rtsp://127.0.0.1:9/camera", "refused|cannot be opened"),
        ("http://127.0.0.1:9/", "refused|cannot be opened"),
        ("gopher://camera", "gopher is no protocol of streams"),
        ("lavfi:nosuchsource", "cannot be read as a video"),
        ("99", "cannot be opened"),
    ],
)
def test_a_stream_that_is_not_there_is_told_at_once(text, words):
    with pytest.raises((DataError, ConfigError), match=f"(?i){text.split(':')[0]}.*({words})"):
        open_source(text)


def test_a_file_behind_an_address_is_no_stream(tmp_path):
    import functools
    import http.server
    import threading

    write_video(tmp_path / "clip.mp4", [0.0, 1.0, 2.0], options={"movflags": "faststart"})
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(DataError, match=r"is a file of .* s and no stream: download it"):
            open_source(f"http://127.0.0.1:{server.server_port}/clip.mp4")
        server.shutdown()


def test_frames_that_change_size_with_a_new_connection_come_as_they_are():
    port = free_port()
    sizes = ((160, 96), (80, 48))
    with mjpeg_server(port, 4, 25, sizes), open_source(f"http://127.0.0.1:{port}/") as source:
        frames = take(source, 6)
    assert {frame.size_wh for frame in frames} == set(sizes)


def test_recordings_are_named_by_their_file_or_their_address_without_its_user():
    names = {
        "clips/cross.roads.mp4": "cross.roads",
        "rtsp://user:secret@192.168.1.20:554/stream1?sub=1": "192.168.1.20_554_stream1",
        "http://127.0.0.1:8977/": "127.0.0.1_8977",
        "0": "0",
    }
    assert {text: sources.recording_name(text) for text in names} == names
