"""Which source of frames an input names: a video file, a folder of images, a stream or a device."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from d2road.utils.errors import ConfigError, DataError
from d2road.utils.optional_packages import require_package
from d2road.video.decoders import AvDecoder, Decoder, OpenCvDecoder, StreamLostError, has_av
from d2road.video.frame import Frame, FrameSource
from d2road.video.image_folder import ImageFolder
from d2road.video.live_source import LiveSource
from d2road.video.video_file import VideoFile

PROTOCOLS = ("rtsp", "rtsps", "http", "https", "rtmp", "rtp", "udp", "tcp", "srt")
DEVICE = re.compile(r"(v4l2|avfoundation|dshow|lavfi):(.+)", re.DOTALL)  # FFmpeg's formats of devices
NUMBER = re.compile(r"\d{1,2}")
TIMEOUT_S = 10.0  # of a connection, and of each frame of it


def with_first_frame(source: FrameSource, option: str = "--input ") -> tuple[Frame, Iterator[Frame]]:
    """The first frame, which tells the size, and all frames from it on.

    Args:
        option: said before the source's name in messages.
    Raises:
        DataError: there is none; says why.
    """
    frames = iter(source)
    first = next(frames, None)
    if first is None:
        raise DataError(f"{option}{source.name}: {'; '.join(source.problems()) or 'no frame came'}")
    return first, chain([first], frames)


def open_source(
    text: str, fps: float | None = None, patience_s: float = 600.0, stop: Callable[[], bool] = lambda: False
) -> FrameSource:
    """The source of frames that an input names.

    Args:
        text: a video file; a folder of images; rtsp://, http:// and other addresses of streams; /dev/video0 or its
            number; FORMAT:NAME of one of FFmpeg's devices.
        fps: images a second of a folder without times.
        patience_s, stop: as of `LiveSource`.
    Raises:
        FileNotFoundError, DataError, ConfigError: it is not there, cannot be opened, or is none of these.
    """
    protocol, is_address, _ = text.partition("://")
    if is_address:
        if protocol.lower() not in PROTOCOLS:
            raise ConfigError(f"--input {text}: {protocol} is no protocol of streams; they are {', '.join(PROTOCOLS)}")
        return _live(text, partial(_open_stream, text), patience_s, stop)
    path = Path(text).expanduser()
    device = DEVICE.fullmatch(text)
    if path.is_dir():
        return ImageFolder(path, fps)
    if device and not path.exists():
        require_package("av", "video", f"device {text}")
        return _live(text, partial(_open_device, device[1], device[2]), patience_s, stop)
    if path.is_char_device() or (NUMBER.fullmatch(text) and not path.exists()):
        number = int(re.findall(r"\d+", text)[-1])
        return _live(text, partial(OpenCvDecoder, number, TIMEOUT_S), patience_s, stop)
    return VideoFile(path)


def shown_name(text: str) -> str:
    """An input as it may be logged: without the password that an address may hold."""
    return re.sub(r"^(\w+://[^/@:]*):[^/@]*@", r"\1:***@", text)


def recording_name(text: str) -> str:
    """What the recording of an input is called: a file without its ending, an address without protocol and user."""
    protocol, is_address, rest = shown_name(text).partition("://")
    if is_address:
        return re.sub(r"[^\w.-]+", "_", rest.partition("?")[0].rpartition("@")[2].strip("/")) or "stream"
    return Path(protocol).stem or "video"


def _live(text: str, connect: Callable[[], Decoder], patience_s: float, stop: Callable[[], bool]) -> FrameSource:
    name = shown_name(text)
    try:
        return LiveSource(name, connect, patience_s, stop)
    except StreamLostError as error:
        raise StreamLostError(f"--input {name}: {error}") from error


def _open_stream(address: str) -> Decoder:
    """A connection. Of several media the video alone: times of one are not moved to fit another."""
    if not has_av():
        return OpenCvDecoder(address, TIMEOUT_S)
    is_rtsp = address.lower().startswith("rtsp")
    options = {"rtsp_transport": "tcp", "allowed_media_types": "video"} if is_rtsp else {}
    options |= {"fflags": "nobuffer", "analyzeduration": "500000"}  # what is looked at beforehand comes late
    decoder = AvDecoder(address, timeout_s=TIMEOUT_S, options=options)
    if decoder.duration_s and not is_rtsp:
        decoder.close()
        raise DataError(
            f"--input {shown_name(address)} is a file of {decoder.duration_s:.1f} s and no stream: download it and "
            "give the file, of which no frame is dropped"
        )
    return decoder


def _open_device(format: str, name: str) -> Decoder:
    return AvDecoder(name, format=format, timeout_s=TIMEOUT_S)
