"""Check a data set before training on it: files, boxes, 3D labels against their pictures, the ground plane.

    d2road check-data kitti_object_train
    d2road check-data coco:my/annotations.json:my/images --quick
    d2road check-data rope3d:my/roadside:val --sheet output/sheet.jpg --json output/check.json

Exit code: 0 nothing wrong, 1 problems found, 2 cannot run (unknown name, data not there).

Missing or broken files and labels that cannot be read are always problems. What is odd in single objects (3D boxes that
project away from their 2D boxes, dimensions far from those of their type, objects behind the camera) is listed, and a
problem from a share of all objects on (--tolerance); so is a ground plane that half of the objects do not stand on.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.cli.visualize_data import choose, draw_record
from d2road.config import make_cfg
from d2road.data import register_by_name
from d2road.data.input_checks import collected_defects
from d2road.data.inspection.frame_inspection import Frame, duplicate_files, inspect_frame, join_columns
from d2road.data.inspection.inspection_report import as_text, judge, summarize
from d2road.utils.errors import report_errors
from d2road.utils.image_io import write_picture
from d2road.utils.io import write_json
from d2road.utils.progress import track
from d2road.visualization import contact_sheet

SHOWN = 20


class _Notes(logging.Handler):
    """Keeps the warnings of the loaders for the report."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def load(name: str) -> tuple[list[dict], list[str], list[str]]:
    """Dataset dicts, defects that kept frames or rows out of them, and warnings.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the data is not there.
    """
    make_cfg()  # every system registers its data sets
    register_by_name(name)
    notes, logger = _Notes(), logging.getLogger("d2road.data")
    logger.addHandler(notes)
    try:
        with collected_defects() as defects:
            try:
                records = DatasetCatalog.get(name)
            except ValueError as error:  # what a loader cannot leave out, such as a file that is not JSON
                records = []
                defects.append(str(error))
    finally:
        logger.removeHandler(notes)
    return records, defects, notes.lines


def inspect(records: Sequence[dict], ry_frame: str, decode: bool, workers: int) -> list[Frame]:
    """Check all frames; decoding releases Python's lock, so threads help."""
    task = partial(inspect_frame, ry_frame=ry_frame, decode=decode)
    with ThreadPoolExecutor(workers) as pool:
        return list(track(pool.map(task, records), total=len(records), label="frames", log=_progress))


def check(name: str, decode: bool, workers: int, tolerance: float, sheet: str = "", pictures: int = 12) -> dict:
    """The report of a data set, ready for JSON; see `inspection_report.summarize`."""
    records, defects, notes = load(name)
    metadata = MetadataCatalog.get(name)
    ry_frame = metadata.get("ry_frame", "camera")
    frames = inspect(records, ry_frame, decode, workers)
    defects += [line for frame in frames for line in frame.defects] + duplicate_files(frames)
    columns = join_columns(frames)
    report = summarize(frames, columns, list(metadata.get("thing_classes", [])))
    report = {"name": name, "pictures_opened": decode, **report, "notes": notes, "defects": defects}
    report["problems"] = judge(report, tolerance)
    if sheet and records:
        worst = [entry["frame"] for entry in report.get("projection", {}).get("away", [])[: pictures // 3]]
        write_sheet(Path(sheet), records, name, worst, pictures)
    return report


def write_sheet(path: Path, records: Sequence[dict], name: str, worst: Iterable[int], count: int) -> None:
    """A sheet of frames with their labels: those with the worst 3D boxes first, then some taken evenly."""
    chosen = list(dict.fromkeys([*worst, *choose(len(records), count)]))[:count]
    drawn = []
    for index in track(chosen, label="sheet", log=_progress):
        try:
            drawn.append(draw_record(records[index], name, bev=False))
        except (FileNotFoundError, ValueError):  # reported already
            continue
    if drawn:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, contact_sheet(drawn, columns=3, cell_width=640))


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="d2road check-data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME|PATH", help="registered name, or format:path (docs/custom_data.md)")
    parser.add_argument("--quick", action="store_true", help="only see whether pictures are there, do not open them")
    parser.add_argument(
        "--workers", type=int, default=min(4, os.cpu_count() or 1), help="threads (default: %(default)s)"
    )
    parser.add_argument("--sheet", default="", metavar="FILE", help="write a contact sheet of labelled pictures")
    parser.add_argument("--sheet-pictures", type=int, default=12, help="pictures on it (default: %(default)s)")
    parser.add_argument("--json", default="", metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--tolerance", type=float, default=0.01, help="share of objects that may be odd (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    if args.workers < 1 or args.sheet_pictures < 1 or not 0 <= args.tolerance <= 1:
        parser.error("--workers and --sheet-pictures are 1 or more, --tolerance is a share from 0 to 1")
    return args


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run from a command line; returns the exit code."""
    args = parse_arguments(argv)
    report = check(
        args.name, not args.quick, args.workers, args.tolerance, sheet=args.sheet, pictures=args.sheet_pictures
    )
    if args.json:
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        write_json(args.json, json.loads(json.dumps(report, default=str)))
    print(as_text(report))
    return 1 if report["problems"] else 0


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
