"""Render trajectories as time-space images in the layout of MVTec AD, for EfficientAD to train on or to score.

    d2road render-trajectories --input "highd:highD/data" --output datasets/highd_time_space
    d2road render-trajectories --input "fcd:run/fcd.xml.gz?edges=main:0" --output datasets/run \\
        --views 5 --whole TIME_SPACE.LANE_LAYOUT stacked TIME_SPACE.LANES "('0', '1', '2')"

--input is READER:PATH?OPTION=VALUE&..., see docs/trajectories.md. The output folder gets train/good/NNNNNN.png and a
line for each in meta.csv; other folders, such as validation/good of another part of the time, can be added to it with
--folder. The source is read as a stream. Interrupted, it goes on where it stopped when it is started again with the
same parameters. Exit code: 0, or 2 where it cannot run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, DataError, report_errors
from d2road.utils.values import integer_option, number_option

if TYPE_CHECKING:
    from detectron2.config import CfgNode

    from d2road.traffic.readers import Source


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("render-trajectories", __doc__)
    parser.add_argument("--input", "--source", required=True, metavar="SPEC", help="READER:PATH?OPTION=VALUE&...")
    parser.add_argument("--output", "--out", required=True, type=Path, metavar="DIR", help="folder to make")
    parser.add_argument("--folder", default="train/good", help="of the images in it (default train/good)")
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML with the node TIME_SPACE")
    parser.add_argument(
        "--chunk", type=number_option(1e-3), default=60.0, help="seconds that are read at once (default 60)"
    )
    parser.add_argument(
        "--views", type=integer_option(0), default=0, help="draw so many with axes too, spread evenly, into views"
    )
    parser.add_argument("--whole", action="store_true", help="draw each recording as a whole, too, into views")
    parser.add_argument("--overwrite", action="store_true", help="replace images of other parameters")
    parser.add_pairs("TIME_SPACE.KEY VALUE")
    return parser


def config_of(args: argparse.Namespace) -> CfgNode:
    """The config with the keys of time-space images."""
    from d2road.config import make_cfg
    from d2road.config.merge import merge_file, merge_pairs
    from d2road.config.time_space import add_time_space_config

    cfg = make_cfg()
    add_time_space_config(cfg)
    if args.config_file:
        merge_file(cfg, args.config_file)
    merge_pairs(cfg, args.opts)
    return cfg


def parameters_of(args: argparse.Namespace, cfg: CfgNode, source: Source) -> dict[str, Any]:
    """What decides the images: those of another source or other keys are not continued."""
    size = source.path.stat().st_size if source.path.is_file() else None
    keys = {key: list(value) if isinstance(value, tuple) else value for key, value in cfg.TIME_SPACE.items()}
    return {"source": args.input, "bytes": size, "folder": args.folder, **keys}


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Render; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.config.time_space import window_grid_of
    from d2road.traffic.readers import open_trajectories
    from d2road.traffic.time_space.recording_view import RecordingViews
    from d2road.traffic.time_space.window_folder import VIEWS, WindowFolder
    from d2road.utils.output_files import make_folder
    from d2road.utils.run_lock import lock_folder

    cfg = config_of(args)
    grid, source = window_grid_of(cfg), open_trajectories(args.input)
    folder = WindowFolder(args.output, args.folder, args.views)
    start = time.monotonic()
    with lock_folder(args.output, "rendering", "choose another --output"):
        folder.prepare(parameters_of(args, cfg, source), args.overwrite)
        whole = RecordingViews()
        chunks = source.chunks(args.chunk)
        try:
            rows, rendered = folder.render_windows(whole.watch(chunks) if args.whole else chunks, grid)
        except DataError:  # the next try has other options
            folder.discard()
            raise
        if not rows:
            raise ConfigError(f"{args.input}: no window holds a vehicle; check TIME_SPACE.S_RANGE, DIRECTION and LANES")
        drawn = folder.draw_views(rows, grid)
        if args.whole:
            drawn += whole.save(make_folder(args.output / VIEWS), grid.renderer)
        folder.finish(rows, source)
    seconds = time.monotonic() - start
    print(source.problems.report())
    speed = f"{seconds:.0f} s ({rendered / seconds:.1f}/s)"
    print(f"{len(rows)} windows, {rendered} drawn in {speed}; {args.output} is complete")
    if drawn:
        print(f"with axes: {len(drawn)} in {args.output / VIEWS} (look at {drawn[-1].name})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
