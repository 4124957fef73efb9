"""Video files made by PyAV itself, with any presentation times, sizes and damage."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 90000


def shade(index: int, size_wh: tuple[int, int] = (160, 96)) -> np.ndarray:
    """A grey image (H, W, 3) that tells its number: 20 more a frame, with a white corner at the upper left."""
    image = np.full((size_wh[1], size_wh[0], 3), 20 + 20 * (index % 10), np.uint8)
    image[:16, :32] = 255
    return image


def number_of(image: np.ndarray) -> int:
    """The number modulo 10 of an image of `shade` that went through a codec."""
    height, width = image.shape[:2]
    return round((float(image[height // 2 :, width // 2 :].mean()) - 20) / 20)


def write_video(
    path: Path,
    times: list[float],
    size_wh: tuple[int, int] = (160, 96),
    codec: str = "libx264",
    images: list[np.ndarray] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of images of `shade` at these presentation times, s."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"g": "5"})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000 if codec == "mjpeg" else TICKS)
        for index, t in enumerate(times):
            frame = av.VideoFrame.from_ndarray(images[index] if images else shade(index, size_wh), format="bgr24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(t / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def two_sizes(path: Path) -> Path:
    """An H.264 stream that changes from 160x96 to 80x48 after five frames, as cameras that are set anew send it."""
    parts = [
        write_video(path.with_name(f"{name}.h264"), [i / 25 for i in range(5)], size)
        for name, size in (("large", (160, 96)), ("small", (80, 48)))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
