"""Draw trajectories as time-space images in the layout of MVTec AD, for EfficientAD to train on or to score.

    d2road render-trajectories --source "highd:highD/data" --out datasets/highd_time_space
    d2road render-trajectories --source "fcd:run/fcd.xml.gz?edges=main:0" --out datasets/run \\
        --views 5 TIME_SPACE.LANE_LAYOUT stacked TIME_SPACE.LANES "('0', '1', '2')"

--source is READER:PATH?OPTION=VALUE&..., see docs/trajectories.md. OUT gets train/good/NNNNNN.png and a line for each
in meta.csv; other folders, such as validation/good of another part of the time, can be added to it with --folder. The
source is read as a stream. Interrupted, it goes on where it stopped when it is started again with the same parameters.
Exit code: 0, or 2 where it cannot run.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from d2road.config import make_cfg
from d2road.config.merge import merge_file, merge_pairs
from d2road.config.time_space import add_time_space_config, window_grid_of
from d2road.traffic.readers import Source, open_trajectories
from d2road.traffic.time_space.axes_view import plot_time_space, save_figure
from d2road.traffic.time_space.window_grid import Window, WindowGrid
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.image_io import write_image
from d2road.utils.io import atomic_write, write_json
from d2road.utils.output_dir import prepare_output_dir

META, VIEWS = "meta.csv", "views"
# What each folder was drawn with: .time_space/train_good/parameters.json and the problems of the source.
STATE, PARAMETERS, PROBLEMS = ".time_space", "parameters.json", "problems.json"
COLUMNS = ("file", "recording", "direction", "lanes", "t0_s", "s0_m", "dt_s", "ds_m", "vehicles")
EVERY_S = 5.0


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="READER:PATH?OPTION=VALUE&...")
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    parser.add_argument("--folder", default="train/good", help="of the images in it (default train/good)")
    parser.add_argument("--config-file", default="", help="YAML with the node TIME_SPACE")
    parser.add_argument("--chunk", type=float, default=60.0, help="seconds that are read at once (default 60)")
    parser.add_argument("--views", type=int, default=0, help="draw the first so many with axes too, into OUT/views")
    parser.add_argument("--overwrite", action="store_true", help="replace images of other parameters")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="TIME_SPACE.KEY VALUE ...")
    return parser.parse_args(argv)


def config_of(args: argparse.Namespace) -> CfgNode:
    """The config with the keys of time-space images."""
    cfg = make_cfg()
    add_time_space_config(cfg)
    if args.config_file:
        merge_file(cfg, args.config_file)
    merge_pairs(cfg, args.opts)
    return cfg


def draw_all(args: argparse.Namespace, source: Source, grid: WindowGrid) -> tuple[list[list], int]:
    """Draw the windows that have no image yet.

    Returns:
        rows of meta.csv, and the number of images drawn.
    """
    rows, drawn, start = [], 0, time.monotonic()
    last = start
    for window in grid.over(source.chunks(args.chunk)):
        name = f"{args.folder}/{len(rows):06d}.png"
        # Images take their name when they are complete.
        if not (args.out / name).is_file():
            write_image(args.out / name, window.draw(grid.renderer))
            drawn += 1
        if len(rows) < args.views:
            save_window_view(args.out / VIEWS / f"{len(rows):06d}.png", window, grid)
        rows.append(meta_row(name, window, grid))
        now = time.monotonic()
        if now - last >= EVERY_S:
            rate = drawn / (now - start)
            print(f"{len(rows)} windows {rate:.1f}/s, recording {window.recording} at {window.t0:.0f} s", flush=True)
            last = now
    return rows, drawn


def meta_row(name: str, window: Window, grid: WindowGrid) -> list:
    """A line of meta.csv."""
    renderer = grid.renderer
    inside = window.table.between(window.t0 - renderer.dt / 2, window.t0 + renderer.duration - renderer.dt / 2)
    frame = inside.select(direction=window.direction, lanes=window.lanes).frame
    top, bottom = frame["s"], frame["s"] - frame["length"]
    seen = frame[(top > window.s0) & (bottom < window.s0 + renderer.stretch)]
    lanes = "" if window.lanes is None else " ".join(window.lanes)
    place = [window.recording, window.direction, lanes, f"{window.t0:.6g}", f"{window.s0:.6g}"]
    return [name, *place, renderer.dt, renderer.ds, seen["vehicle"].nunique()]


def save_window_view(path: Path, window: Window, grid: WindowGrid) -> None:
    """The window with axes."""
    direction = "along" if window.direction > 0 else "against"
    title = f"{window.recording}, {direction} the axis" + (f", lanes {' '.join(window.lanes)}" if window.lanes else "")
    image = window.draw(grid.renderer)
    save_figure(plot_time_space(image, grid.renderer, window.t0, window.s0, window.lanes, title=title), path)


def parameters_of(args: argparse.Namespace, cfg: CfgNode, source: Source) -> dict:
    """What decides the images: those of another source or other keys are not continued."""
    size = source.path.stat().st_size if source.path.is_file() else None
    keys = {key: list(value) if isinstance(value, tuple) else value for key, value in cfg.TIME_SPACE.items()}
    return {"source": args.source, "bytes": size, "folder": args.folder, **keys}


def claim(args: argparse.Namespace, parameters: dict) -> Path:
    """Make the folder of images, or take up one that was begun with the same parameters; returns its state.

    Raises:
        ValueError: it was begun with others, or holds other files.
    """
    folder, state = args.out / args.folder, args.out / STATE / args.folder.replace("/", "_")
    if not (state / PARAMETERS).is_file() and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} holds files that this tool did not write: choose another --out or --folder")
    images = os.path.relpath(folder, state)
    prepare_output_dir(state, PARAMETERS, parameters, [images], [images], args.overwrite)
    if args.views:
        (args.out / VIEWS).mkdir(exist_ok=True)
    write_meta(args.out / META, args.folder, [])
    return state


def write_meta(path: Path, folder: str, rows: list[list]) -> None:
    """Write meta.csv with these rows for a folder; those of other folders stay."""
    others = []
    if path.is_file():
        with open(path, newline="") as file:
            others = [row for row in list(csv.reader(file))[1:] if Path(row[0]).parent.as_posix() != folder]
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(others + rows)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Draw; returns the exit code."""
    args = parse_args(argv)
    cfg = config_of(args)
    grid, source = window_grid_of(cfg), open_trajectories(args.source)
    state = claim(args, parameters_of(args, cfg, source))
    start = time.monotonic()
    rows, drawn = draw_all(args, source, grid)
    if not rows:
        raise ConfigError(f"{args.source}: no window holds a vehicle; check TIME_SPACE.S_RANGE, DIRECTION and LANES")
    write_json(state / PROBLEMS, source.problems.as_dict())
    # Last, for it says that the folder is complete.
    write_meta(args.out / META, args.folder, rows)
    seconds = time.monotonic() - start
    print(source.problems.report())
    print(f"{len(rows)} windows, {drawn} drawn in {seconds:.0f} s ({drawn / seconds:.1f}/s); {args.out} is complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
