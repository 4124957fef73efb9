"""A folder of images with their times as a source of frames."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d2road.utils.errors import ConfigError, DataError
from d2road.utils.image_io import read_image
from d2road.utils.input_files import text_lines
from d2road.utils.natural_order import natural_key
from d2road.video.frame import Frame, FrameSource

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
TIMES = "frames.csv"  # frame, t[, file]


class ImageFolder(FrameSource):
    """Images of a folder in the natural order of their names.

    Their times are in its `frames.csv`: columns `t` (s) and, where not every image has a line, `file`; without it they
    are as far apart as `fps` says.

    Args:
        fps: images a second, where there is no frames.csv.
    Raises:
        DataError: no images, or times that are not one for each and rising.
        ConfigError: neither frames.csv nor fps.
    """

    def __init__(self, folder: Path, fps: float | None = None):
        self.name = str(folder)
        files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGES and not path.name.startswith(".")]
        self.files = sorted(files, key=lambda path: natural_key(path.name))
        if not self.files:
            videos = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (".mp4", ".mkv", ".avi"))
            hint = f"; did you mean {folder / videos[0]}?" if videos else ""
            raise DataError(f"{folder} holds no images ({', '.join(IMAGES)}){hint}")
        self.times = self._times(folder / TIMES, fps)
        steps = [b - a for a, b in zip(self.times, self.times[1:])]
        if steps and min(steps) <= 0:
            at = steps.index(min(steps)) + 1
            raise DataError(
                f"{folder / TIMES}: t {self.times[at]:g} of {self.files[at].name} does not rise above "
                f"{self.times[at - 1]:g} of {self.files[at - 1].name}"
            )
        self.fps = fps or (1 / sorted(steps)[len(steps) // 2] if steps else 1.0)
        self.claimed = len(self.files)
        self.unread: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        for index, (path, t) in enumerate(zip(self.files, self.times)):
            try:
                image = read_image(path, bgr=True)
            except (OSError, ValueError) as error:  # as a frame that was dropped: the times tell
                self.unread.append(str(error))
                continue
            yield Frame(index, t - self.times[0], image)

    def close(self) -> None:
        pass

    def problems(self) -> list[str]:
        return [f"{len(self.unread)} images cannot be read, first: {self.unread[0]}"] if self.unread else []

    def statistics(self) -> dict[str, Any]:
        return {"images_unread": len(self.unread)}

    def _times(self, path: Path, fps: float | None) -> list[float]:
        if not path.exists():
            if fps is None:
                raise ConfigError(
                    f"{path} is missing, so nothing tells when the images were taken, which speeds need: give --fps N, "
                    "or write it with the columns frame,t (s) or file,t"
                )
            return [i / fps for i in range(len(self.files))]
        rows = list(csv.DictReader(text_lines(path, "times of frames")))
        if not rows or "t" not in rows[0]:
            raise DataError(f"{path} has no column t, expected frame,t or file,t with a header line")
        if "file" in rows[0]:
            known = {row["file"]: row for row in rows}
            missing = [file.name for file in self.files if file.name not in known]
            if missing:
                raise DataError(f"{path} has no line for {missing[0]} ({len(missing)} of {len(self.files)} images)")
            rows = [known[file.name] for file in self.files]
        if len(rows) != len(self.files):
            raise DataError(f"{path} has {len(rows)} lines for {len(self.files)} images, expected one for each")
        return [_seconds(row["t"], f"{path} line {number}") for number, row in enumerate(rows, 2)]


def _seconds(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: t is {text!r}, expected seconds")
    return value
