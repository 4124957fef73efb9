"""H.264 by PyAV or by the program ffmpeg, in fragments that can be played as far as they were written.

PyAV's wheels and Debian's ffmpeg bring FFmpeg with x264, which is under the GPL, version 2 or later; this package
neither holds nor needs either. A finished video is copied once more with its index in front, as browsers like it.
"""

import functools
import os
import shutil
import subprocess
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from d2road.utils.errors import OutputError
from d2road.video.encoder import ConstantRateEncoder, Encoder

TICKS = 90000  # a second
FRAGMENT_S = 2
KEY_FRAME_EVERY = 50
FRAGMENTED = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "frag_duration": str(FRAGMENT_S * 1_000_000),
    "flush_packets": "1",
}
# Without B-frames, whose delay a fragmented file would show as a late start.
X264 = {"preset": "veryfast", "bf": "0"}


class AvEncoder(Encoder):
    """H.264 by PyAV, with the presentation times as they are."""

    survives_kill = True

    def __init__(self, path: Path, fps: float, size_wh: tuple[int, int], crf: int):
        import av

        self.path = path
        self._av = av
        self._container = av.open(str(path), "w", format="mp4", options=FRAGMENTED)
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = self._container.add_stream("libx264", rate=rate, options={**X264, "crf": str(crf)})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.gop_size = KEY_FRAME_EVERY
        self._stream = stream
        self._last = -1

    def write(self, image_bgr: np.ndarray, t: float) -> None:
        frame = self._av.VideoFrame.from_ndarray(image_bgr, format="bgr24")
        self._last = max(self._last + 1, round(t * TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def finish(self, target: Path) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        ordered = _second_copy(self.path)
        try:
            self._copy(ordered)
            os.replace(ordered, target)
        finally:
            ordered.unlink(missing_ok=True)
        self.path.unlink()

    def _copy(self, ordered: Path) -> None:
        with (
            self._av.open(str(self.path)) as source,
            self._av.open(str(ordered), "w", format="mp4", options={"movflags": "faststart"}) as copy,
        ):
            stream = copy.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    copy.mux(packet)

    def abort(self) -> None:
        self._container.close()


class FfmpegEncoder(ConstantRateEncoder):
    """H.264 by the program ffmpeg, at a constant rate: it is told no times."""

    survives_kill = True

    def __init__(self, path: Path, fps: float, size_wh: tuple[int, int], crf: int):
        super().__init__(path, fps, size_wh, crf)
        size = f"{size_wh[0]}x{size_wh[1]}"
        rate = str(Fraction(fps).limit_denominator(1001))
        source = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", size, "-r", rate, "-i", "-"]
        codec = [
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
            "-g",
            str(KEY_FRAME_EVERY),
            "-crf",
            str(crf),
            *_options(X264),
        ]
        # In a session of its own, Ctrl-C ends this program alone, which then ends the video in order.
        self._process = subprocess.Popen(
            ["ffmpeg", "-v", "error", "-y", *source, *codec, *_options(FRAGMENTED), "-f", "mp4", f"file:{path}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def write_next(self, image_bgr: np.ndarray) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(image_bgr).data)
        except BrokenPipeError:
            self._end()

    def finish(self, target: Path) -> None:
        self._end()
        ordered = _second_copy(self.path)
        command = ["ffmpeg", "-v", "error", "-y", "-i", f"file:{self.path}", "-c", "copy", "-movflags", "+faststart"]
        try:
            done = subprocess.run([*command, "-f", "mp4", f"file:{ordered}"], capture_output=True, text=True)
            if done.returncode:
                raise OutputError(0, f"ffmpeg: {done.stderr.strip()[-200:]}")
            os.replace(ordered, target)
        finally:
            ordered.unlink(missing_ok=True)
        self.path.unlink()

    def abort(self) -> None:
        with suppress(OutputError):
            self._end()

    def _end(self) -> None:
        if self._process.poll() is None or self._process.stdin is not None:
            said = self._process.communicate()[1].decode(errors="replace").strip()
            if self._process.returncode:
                raise OutputError(0, f"ffmpeg: {said[-200:]}")


@functools.cache
def writes_h264_by_av() -> bool:
    """Whether PyAV is installed with an encoder of H.264."""
    try:
        import av
    except ImportError:
        return False
    return "libx264" in av.codecs_available


@functools.cache
def writes_h264_by_ffmpeg() -> bool:
    """Whether the program ffmpeg is there with an encoder of H.264."""
    if shutil.which("ffmpeg") is None:
        return False
    told = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True, check=False)
    return "libx264" in told.stdout


def _second_copy(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}.ordered{path.suffix}")


def _options(options: dict[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in (f"-{name}", value)]
