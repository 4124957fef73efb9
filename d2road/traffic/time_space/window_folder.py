"""A folder of time-space images in the layout of MVTec AD: one for each window of a stream, resumable.

OUT/FOLDER/NNNNNN.png are the images, OUT/meta.csv says where each of them is, OUT/views holds some of them with axes.
"""

import csv
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d2road.traffic.readers import Source
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.axes_view import plot_time_space, save_figure
from d2road.traffic.time_space.window_grid import GridWindow, WindowGrid
from d2road.utils.errors import ConfigError
from d2road.utils.image_io import read_image, write_image
from d2road.utils.input_files import open_text
from d2road.utils.output_dir import prepare_output_dir
from d2road.utils.output_files import atomic_write, make_folder, write_json

META, VIEWS = "meta.csv", "views"
# What each folder was drawn with: .time_space/train_good/parameters.json and the problems of the source.
STATE, PARAMETERS, PROBLEMS = ".time_space", "parameters.json", "problems.json"
COLUMNS = ("file", "recording", "direction", "lanes", "t0_s", "s0_m", "dt_s", "ds_m", "vehicles")
EVERY_S = 5.0

Row = list[str | int | float]


@dataclass(frozen=True)
class WindowFolder:
    """Where images go.

    Attributes:
        out: the data set. folder: of the images in it, "train/good".
        views: how many of them, spread evenly, are drawn with axes too.
    """

    out: Path
    folder: str = "train/good"
    views: int = 0

    @property
    def state(self) -> Path:
        """The folder of what the images were drawn with."""
        return self.out / STATE / self.folder.replace("/", "_")

    def prepare(self, parameters: Mapping[str, Any], overwrite: bool = False) -> None:
        """Make the folder of images, or take up one that was begun with the same parameters.

        Args:
            parameters: what decides the images.
            overwrite: replace images of other parameters.
        Raises:
            ConfigError, DataError: it was begun with others, or holds other files.
        """
        folder, state = self.out / self.folder, self.state
        if not (state / PARAMETERS).is_file() and folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds files that this tool did not write: choose another --output or --folder")
        images = os.path.relpath(folder, state)
        prepare_output_dir(state, PARAMETERS, parameters, [images], [images], overwrite)
        self.write_meta([])

    def discard(self) -> None:
        """Remove the images and their parameters: those of a source that turned out to be wrong."""
        for folder in (self.out / self.folder, self.state):
            shutil.rmtree(folder, ignore_errors=True)

    def render_windows(self, chunks: Iterable[Trajectories], grid: WindowGrid) -> tuple[list[Row], int]:
        """Render the windows that have no image yet.

        Returns:
            rows of meta.csv, and the number of images rendered.
        """
        rows: list[Row] = []
        rendered, start = 0, time.monotonic()
        last = start
        for window in grid.over(chunks):
            name = f"{self.folder}/{len(rows):06d}.png"
            # Images take their name when they are complete.
            if not (self.out / name).is_file():
                write_image(self.out / name, window.render(grid.renderer))
                rendered += 1
            rows.append(meta_row(name, window, grid))
            now = time.monotonic()
            if now - last >= EVERY_S:
                rate = rendered / (now - start)
                print(
                    f"{len(rows)} windows {rate:.1f}/s, recording {window.recording} at {window.t0:.0f} s", flush=True
                )
                last = now
        return rows, rendered

    def draw_views(self, rows: Sequence[Row], grid: WindowGrid) -> list[Path]:
        """Draw `views` of the images with axes, spread evenly over all of them, as OUT/views/NNNNNN.png."""
        if not self.views:
            return []
        folder = make_folder(self.out / VIEWS)
        numbers = np.unique(np.linspace(0, len(rows) - 1, min(self.views, len(rows))).round().astype(int)).tolist()
        paths = [folder / f"{number:06d}.png" for number in numbers]
        for number, path in zip(numbers, paths):
            save_view(path, rows[number], self.out, grid)
        return paths

    def finish(self, rows: Sequence[Row], source: Source) -> None:
        """Write what was wrong with the source, and meta.csv last, for it says that the folder is complete."""
        write_json(self.state / PROBLEMS, source.problems.as_dict())
        self.write_meta(rows)

    def write_meta(self, rows: Sequence[Row]) -> None:
        """Write meta.csv with these rows for the folder; those of other folders stay."""
        path = self.out / META
        others = []
        if path.is_file():
            with open_text(path, "table") as file:
                others = [row for row in list(csv.reader(file))[1:] if Path(row[0]).parent.as_posix() != self.folder]
        with atomic_write(path, "w") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([*others, *rows])


def meta_row(name: str, window: GridWindow, grid: WindowGrid) -> Row:
    """A line of meta.csv."""
    renderer = grid.renderer
    inside = window.table.between(window.t0 - renderer.dt / 2, window.t0 + renderer.duration - renderer.dt / 2)
    frame = inside.select(direction=window.direction, lanes=window.lanes).frame
    top, bottom = frame["s"], frame["s"] - frame["length"]
    seen = frame[(top > window.s0) & (bottom < window.s0 + renderer.stretch)]
    lanes = "" if window.lanes is None else " ".join(window.lanes)
    place = [window.recording, window.direction, lanes, f"{window.t0:.6g}", f"{window.s0:.6g}"]
    return [name, *place, renderer.dt, renderer.ds, seen["vehicle"].nunique()]


def save_view(path: Path, row: Row, out: Path, grid: WindowGrid) -> None:
    """The image of a row of meta.csv with axes."""
    name, recording, direction, lanes, t0, s0 = (str(value) for value in row[:6])
    title = f"{recording}, {'along' if int(direction) > 0 else 'against'} the axis"
    title += f", lanes {lanes}" if lanes else ""
    image = read_image(out / name)
    figure = plot_time_space(image, grid.renderer, float(t0), float(s0), lanes.split() or None, title=title)
    save_figure(figure, path)
