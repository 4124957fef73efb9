"""Draw the labels of a data set, alone or with predictions over them, into a folder of pictures.

    d2road visualize-data toy_roadside3d_val --out output/pictures --num 12
    d2road visualize-data kitti:my/data --out output/pictures --predictions output/kitti_text
    d2road visualize-data coco:my/val.json:my/images --out output/pictures \\
        --predictions output/inference/coco_instances_results.json --min-score 0.4

Labels alone are drawn in the colours of their classes; with predictions these are, and labels are dashed and white.
Objects in 3D are wire frames whose front is filled, with the scene from above beside the picture. Exit code: 0, or 2
where it cannot run or a picture cannot be read.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from d2road.config import make_cfg
from d2road.data import register_by_name
from d2road.data.scene_objects import Find, camera_of, labelled_objects, read_predictions
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.image_io import read_picture, write_picture
from d2road.utils.progress import track
from d2road.visualization import contact_sheet, draw_scene

SHEET = 12


def choose(total: int, count: int, seed: int | None = None) -> list[int]:
    """Rising numbers of frames: `count` taken evenly, or by chance with a seed; all for 0 or more than there are."""
    if count <= 0 or count >= total:
        return list(range(total))
    if seed is None:
        return np.linspace(0, total - 1, count).astype(int).tolist()
    return np.sort(np.random.default_rng(seed).choice(total, count, replace=False)).tolist()


def draw_record(
    record: dict,
    name: str,
    find: Find | None = None,
    min_score: float = 0.0,
    all_boxes2d: bool = False,
    bev: bool = True,
) -> np.ndarray:
    """The picture of a dataset dict with its labels.

    Args:
        record: of the registered data set `name`.
        find: gives the predictions of a record (see `scene_objects.read_predictions`), drawn instead of the labels,
            which are then dashed; None for labels alone.
        min_score: predictions below are left out.
        all_boxes2d: draw 2D boxes of objects in 3D too.
        bev: add the view from above where there is 3D.
    Raises:
        FileNotFoundError, ValueError: a picture or calibration that cannot be read.
    """
    metadata = MetadataCatalog.get(name)
    camera = camera_of(record)
    truth = labelled_objects(record, camera, metadata.get("ry_frame", "camera"))
    objects = truth
    if find is not None:
        objects = find(record, camera)
        objects = objects if objects.scores is None else objects[objects.scores >= min_score]
    return draw_scene(
        read_picture(record["file_name"]),
        objects,
        metadata.get("thing_classes", []),
        truth if find is not None else None,
        camera,
        all_boxes2d,
        bev,
    )


def picture_names(records: Sequence[dict]) -> list[str]:
    """A file name for each frame: its picture's stem, numbered where several have it."""
    taken: set[str] = set()
    names = []
    for record in records:
        stem = name = Path(record["file_name"]).stem
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names.append(f"{name}.jpg")
    return names


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="d2road visualize-data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME|PATH", help="registered name, or format:path (docs/custom_data.md)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the pictures and sheet.jpg")
    parser.add_argument("--num", type=int, default=12, help="frames to draw, 0 for all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="take them by chance; without it they are taken evenly")
    parser.add_argument("--predictions", metavar="FILE|DIR", help="coco_instances_results.json or KITTI text folder")
    parser.add_argument("--min-score", type=float, default=0.3, help="lowest score to draw (default: %(default)s)")
    parser.add_argument("--boxes2d", action="store_true", help="draw 2D boxes of objects in 3D too")
    parser.add_argument("--no-bev", action="store_true", help="without the view from above")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> list[Path]:
    """Write the pictures; returns their paths, the sheet last."""
    make_cfg()  # every system registers its data sets
    register_by_name(args.name)
    records = DatasetCatalog.get(args.name)
    if not records:
        raise ConfigError(f"{args.name} has no frames")
    metadata = MetadataCatalog.get(args.name)
    find = None
    if args.predictions:
        ids = metadata.get("thing_dataset_id_to_contiguous_id") or {}
        classes = metadata.get("thing_classes", [])
        find = read_predictions(args.predictions, classes, ids, metadata.get("ry_frame", "camera"))
    args.out.mkdir(parents=True, exist_ok=True)
    chosen = [records[i] for i in choose(len(records), args.num, args.seed)]
    paths, sheet = [], []
    for record, file in track(list(zip(chosen, picture_names(chosen))), label="pictures"):
        drawn = draw_record(record, args.name, find, args.min_score, args.boxes2d, not args.no_bev)
        paths.append(args.out / file)
        write_picture(paths[-1], drawn)
        if len(sheet) < SHEET:
            sheet.append(drawn)
    paths.append(args.out / "sheet.jpg")
    write_picture(paths[-1], contact_sheet(sheet, columns=2, cell_width=960))
    return paths


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run from a command line; returns the exit code."""
    args = parse_arguments(argv)
    paths = run(args)
    print(f"{len(paths) - 1} pictures in {args.out} (start with {paths[-1]})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
