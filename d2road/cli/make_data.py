"""Make data: toy data that is drawn or simulated, sentences over labelled images, lists of frames.

    d2road make-data toy-roadside --output datasets/toy_roadside --seed 0
    d2road make-data fastener-kit --output datasets/toy_loco --seed 0
    d2road make-data traffic-incidents --output datasets/traffic_incidents --seed 0
    d2road make-data traffic-video --output datasets/traffic_video --seed 0
    d2road make-data toy-grounding --output datasets/toy_grounding --toy datasets/toy_roadside
    d2road make-data grounding --source kitti:ROOT --output FILE
    d2road make-data kitti-lists --root datasets/kitti_object --train train.txt --val val.txt

`d2road make-data KIND --help` has the options of one. What the data is: datasets/README.md. Interrupted, all but the
last two go on where they stopped when they are started again with the same parameters. The exit code is 0, 2 for input
that cannot be used, or 130 after an interrupt.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import report_errors
from d2road.utils.values import integer_option, number_option


@dataclass(frozen=True)
class Kind:
    """What can be made: its options, and the function that makes it."""

    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    make: Callable[[argparse.Namespace], None]
    alias: str = ""


def _add_output(parser: argparse.ArgumentParser, text: str = "folder to make", metavar: str = "DIR") -> None:
    parser.add_argument("--output", "--out", required=True, metavar=metavar, help=text)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=integer_option(0), default=0, help="decides everything (default 0)")


def _add_counts(parser: argparse.ArgumentParser, *counts: tuple[str, int, str]) -> None:
    for name, count, text in counts:
        parser.add_argument(
            f"--{name}", type=integer_option(0), default=count, metavar="N", help=f"{text} (default {count})"
        )


def _add_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=integer_option(0), default=os.cpu_count() or 1, help="processes (default: one a core)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace data of other parameters")


def _add_toy_roadside(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    _add_seed(parser)
    _add_counts(parser, ("train", 1000, "training views"), ("val", 500, "validation views"))
    _add_running(parser)


def _make_toy_roadside(args: argparse.Namespace) -> None:
    from d2road.synthetic.roadside import make_toy_roadside

    done = make_toy_roadside(args.output, args.seed, args.train, args.val, args.workers, args.overwrite)
    print(done["summary"])
    if done["rendered"]:
        rate = done["rendered"] / done["seconds"]
        print(f"{done['rendered']} views in {done['seconds']:.0f} s, {rate:.1f} images/s with {args.workers} workers")
    print(f"{args.output} is complete")


def _add_fastener_kit(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    _add_seed(parser)
    _add_counts(
        parser,
        ("train", 240, "good images to train on"),
        ("validation", 40, "good images to calibrate with"),
        ("good", 60, "good images to test"),
        ("logical", 90, "images with logical anomalies to test"),
        ("structural", 60, "images with structural anomalies to test"),
    )
    _add_running(parser)


def _make_fastener_kit(args: argparse.Namespace) -> None:
    from d2road.synthetic.fastener_kit import make_toy_loco

    counts = {name: getattr(args, name) for name in ("train", "validation", "good", "logical", "structural")}
    done = make_toy_loco(args.output, args.seed, workers=args.workers, overwrite=args.overwrite, **counts)
    print(done["summary"])
    if done["drawn"]:
        rate = done["drawn"] / done["seconds"]
        print(f"{done['drawn']} images in {done['seconds']:.0f} s, {rate:.1f} a second with {args.workers} workers")
    print(f"{args.output} is complete")


VIEWS = ("overlay", "stacked")  # of windows of traffic
ROADS = ("three_lanes", "two_lanes")
DRIVERS = ("idm", "eidm")


def _add_traffic_incidents(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", "--out", metavar="DIR", help="folder to make")
    what.add_argument("--day", metavar="FILE", help="write a long file of FCD instead: .csv, .xml, or .gz of both")
    _add_seed(parser)
    _add_counts(
        parser,
        ("train", 600, "windows of good traffic to train on"),
        ("validation", 100, "windows of good traffic to calibrate with"),
        ("good", 100, "windows of good traffic to test"),
        ("incidents", 200, "windows with incidents to test; the eight kinds take turns"),
    )
    parser.add_argument(
        "--good-hours",
        type=number_option(0),
        default=0.0,
        metavar="H",
        help="good traffic as tables alone, besides (default 0)",
    )
    parser.add_argument("--views", nargs="+", default=list(VIEWS), choices=VIEWS, help="images to draw")
    parser.add_argument("--road", choices=ROADS, default=ROADS[0], help=f"that traffic drives on (default {ROADS[0]})")
    parser.add_argument("--drivers", choices=DRIVERS, default=DRIVERS[0], help=f"who drive (default {DRIVERS[0]})")
    parser.add_argument("--no-fcd", dest="fcd", action="store_false", help="do not keep SUMO's own files")
    parser.add_argument(
        "--day-hours", type=number_option(0), default=24.0, metavar="H", help="hours of --day (default 24)"
    )
    _add_running(parser)


def _make_traffic_incidents(args: argparse.Namespace) -> None:
    if args.day is not None:
        from d2road.synthetic.traffic_incidents.day import make_day

        print(make_day(args.day, args.day_hours, args.seed, args.road, args.drivers))
        return
    from d2road.synthetic.traffic_incidents.incident_writer import make_traffic_incidents

    names = ["train", "validation", "good", "incidents", "good_hours", "views", "fcd", "road", "drivers"]
    names += ["workers", "overwrite"]
    done = make_traffic_incidents(args.output, args.seed, **{name: getattr(args, name) for name in names})
    print(done["summary"])
    if done["made"]:
        print(f"{done['made']} recordings in {done['seconds']:.0f} s with {args.workers} workers")
    print(f"{args.output} is complete")


# Of clips: sizes of vehicles, traffic, light.
SIZES = ("catalogue", "shifted", "sumo")
CLIP_TRAFFIC = ("turns", "free", "dense", "stop_and_go", "empty")
CLIP_LIGHT = ("turns", "day", "dusk", "nightfall")


def _add_traffic_video(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    _add_seed(parser)
    counts = (("train", 8, "training clips"), ("val", 4, "validation clips"), ("test", 8, "test clips"))
    _add_counts(parser, *counts)
    parser.add_argument(
        "--seconds", type=number_option(1, 600), default=60.0, metavar="S", help="length of a clip (default 60)"
    )
    parser.add_argument(
        "--sizes",
        choices=SIZES,
        default=SIZES[0],
        help=f"of vehicles: those of toy-roadside, those 3 %% larger, or SUMO's own types (default {SIZES[0]})",
    )
    parser.add_argument(
        "--traffic", choices=CLIP_TRAFFIC, default=CLIP_TRAFFIC[0], help="of all clips; by default kinds take turns"
    )
    parser.add_argument(
        "--light",
        choices=CLIP_LIGHT,
        default=CLIP_LIGHT[0],
        help="of all clips; by default day and dusk take turns; nightfall goes from day to dusk within a clip",
    )
    parser.add_argument("--no-incidents", dest="incidents", action="store_false", help="good traffic alone")
    _add_running(parser)


def _make_traffic_video(args: argparse.Namespace) -> None:
    from d2road.synthetic.traffic_video import make_traffic_video

    names = ("train", "val", "test", "seconds", "sizes", "traffic", "light", "incidents", "workers", "overwrite")
    done = make_traffic_video(args.output, args.seed, **{name: getattr(args, name) for name in names})
    print(done["summary"])
    if done["made"]:
        rate = done["frames"] / done["seconds"]
        cpu = 1000 * done["cpu_seconds"] / done["frames"]
        print(f"{done['made']} clips in {done['seconds']:.0f} s, {rate:.1f} frames/s with {args.workers} workers")
        print(f"{cpu:.0f} ms of processor a frame")
    print(f"{args.output} is complete")


def _add_toy_grounding(parser: argparse.ArgumentParser) -> None:
    _add_output(parser)
    parser.add_argument(
        "--toy", default="datasets/toy_roadside", metavar="DIR", help="the toy roadside data (%(default)s)"
    )
    _add_seed(parser)
    parser.add_argument(
        "--per-image", type=integer_option(1), default=8, help="sentences a view (default 8); twice as many to train"
    )
    parser.add_argument("--languages", nargs="+", default=["en"], help="en, zh or both, drawn for each sentence")
    parser.add_argument(
        "--held-out",
        type=number_option(0, 1),
        default=0.3,
        help="share of val and test sentences in words never trained on (0.3)",
    )
    parser.add_argument(
        "--validation", type=number_option(0, 1), default=0.3, help="share of the toy validation views for val (0.3)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace data of other parameters")


def _make_toy_grounding(args: argparse.Namespace) -> None:
    from mono3dvg.data.toy_grounding import describe_counts, make_toy_grounding

    names = ("seed", "per_image", "languages", "held_out", "validation", "overwrite")
    made = make_toy_grounding(args.output, args.toy, **{name: getattr(args, name) for name in names})
    for split, counts in made.items():
        print(f"{split}: {describe_counts(counts)}")
    print(f"{args.output} is complete")


def _add_grounding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", required=True, help="name of a data set with 3D boxes, or kitti:ROOT, rope3d:ROOT:SPLIT"
    )
    _add_output(parser, "grounding file to write", "FILE")
    parser.add_argument("--images", default="", metavar="DIR", help="folder above the images; ROOT by itself")
    parser.add_argument("--attributes", default="", metavar="FILE", help="attributes_*.jsonl of the toy roadside data")
    _add_seed(parser)
    parser.add_argument(
        "--per-image", type=integer_option(1), default=8, help="sentences an image, if so many fit (default 8)"
    )
    parser.add_argument("--languages", nargs="+", default=["en"], help="en, zh or both, drawn for each sentence")
    parser.add_argument(
        "--held-out",
        type=number_option(0, 1),
        default=0.0,
        help="share of sentences in held-out paraphrases (default 0)",
    )
    parser.add_argument("--units", nargs="+", default=["m"], choices=["m", "cm", "ft"], help="of distances, drawn")


def _make_grounding(args: argparse.Namespace) -> None:
    from mono3dvg.data.grounding_creation import make_grounding
    from mono3dvg.language import Recipe

    recipe = Recipe(
        seed=args.seed,
        per_image=args.per_image,
        languages=tuple(args.languages),
        held_out=args.held_out,
        units=tuple(args.units),
    )
    made = make_grounding(args.source, args.output, recipe, images=args.images, attributes=args.attributes)
    print(f"{made.contents}\nto use it: {made.dataset}")


def _add_kitti_lists(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default="datasets/kitti_object", help="holds training/image_2, label_2, calib")
    parser.add_argument("--train", type=Path, metavar="FILE", help="given list of training frames, one a line")
    parser.add_argument("--val", type=Path, metavar="FILE", help="given list of validation frames")
    parser.add_argument(
        "--random-seed", type=integer_option(0), metavar="SEED", help="divide at random with this seed instead"
    )
    parser.add_argument(
        "--val-share", type=number_option(0, 1), default=0.5, help="share of validation frames if at random (0.5)"
    )


def _make_kitti_lists(args: argparse.Namespace) -> None:
    from d2road.data.datasets.kitti_lists import write_kitti_lists

    root = Path(args.root).expanduser()
    print("\n".join(write_kitti_lists(root, args.train, args.val, args.random_seed, args.val_share)))


KINDS = {
    "toy-roadside": Kind(
        "rendered roadside views with exact 2D and 3D labels, in Rope3D's layout and as COCO",
        _add_toy_roadside,
        _make_toy_roadside,
    ),
    "fastener-kit": Kind(
        "drawn images of fastener kits with logical and structural anomalies, in MVTec LOCO's layout",
        _add_fastener_kit,
        _make_fastener_kit,
        alias="toy-loco",
    ),
    "traffic-incidents": Kind(
        "simulated traffic with incidents: time-space images, tables, a long file of FCD (needs the extra traffic)",
        _add_traffic_incidents,
        _make_traffic_incidents,
    ),
    "traffic-video": Kind(
        "rendered roadside videos of simulated traffic with exact calibration, tracks and incidents (needs the extras "
        "traffic and video)",
        _add_traffic_video,
        _make_traffic_video,
    ),
    "toy-grounding": Kind(
        "sentences over the toy roadside views, with one, several or no targets",
        _add_toy_grounding,
        _make_toy_grounding,
    ),
    "grounding": Kind(
        "sentences over any data set with complete 3D labels, with exact targets", _add_grounding, _make_grounding
    ),
    "kitti-lists": Kind(
        "KITTI's lists of training and validation frames: given ones checked, or at random",
        _add_kitti_lists,
        _make_kitti_lists,
    ),
}


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("make-data", __doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND", title="kinds")
    for name, kind in KINDS.items():
        sub = kinds.add_parser(
            name, aliases=[kind.alias] if kind.alias else [], help=kind.help, description=f"Make {kind.help}."
        )
        kind.add_options(sub)
        sub.set_defaults(kind=name)
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Make one kind of data; returns the exit code."""
    args = build_parser().parse_args(argv)
    try:
        KINDS[args.kind].make(args)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
