"""EfficientAD on time-space images of traffic: autoencoders at equal steps, baselines, events in streams, real traffic.

python -m benchmarks.traffic.traffic_benchmark --variant linear_attention --seed 1  train, test windows, score the
    streams
python -m benchmarks.traffic.traffic_benchmark --variant rules --seed 1  a baseline: the same without training
python -m benchmarks.traffic.traffic_benchmark --variant rules_v2 --seed 1 --windows    no streams, no good hours
python -m benchmarks.traffic.traffic_benchmark --variant conv --view stacked --seed 1    a panel for each lane
python -m benchmarks.traffic.traffic_benchmark --inspect FOLDER --seed 1  NGSIM I-80, no labels: images, a table
python -m benchmarks.traffic.traffic_benchmark --table                               the tables of all records

Windows and streams are those of datasets/make_traffic_incidents.py with --good-hours 14. Every variant sees images of
256 pixels, which the published autoencoder needs, through the narrow networks, at equal steps. An interrupted run goes
on where it was. Records go to benchmarks/results/efficientad_traffic/, images of the inspection
to output/bench/efficientad_traffic/.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.records import record_path
from benchmarks.efficientad.anomaly_runs import Run, add_arguments, narrow_teacher, open_run, relative
from benchmarks.traffic.event_records import VEHICLE_BASED
from d2road.synthetic.traffic_incidents.incident_windows import CATEGORIES, PANELS
from d2road.traffic.baselines import BASELINES
from d2road.utils.errors import ConfigError, report_errors
from efficientad.modeling.autoencoder import AUTOENCODERS

BENCH = "efficientad_traffic"
CONFIGS = "configs/efficientad/traffic"
VARIANTS = (*AUTOENCODERS.names(), *BASELINES)
RANDOM = "random"
TEACHER = "output/efficientad/traffic_teacher/model_final.pth"
INSPECT_STEPS = 600
RECORDED = "look"  # what an inspection is called in the names of records
OVERLAY = "overlay"  # the view of the configs


def open_study(args: argparse.Namespace, opts: Sequence[object] = (), arguments: str = "", name: str = "") -> Run:
    """The run that the arguments ask for.

    Args:
        opts, arguments: beside the variant's own, see `open_run`.
        name: of the variant in the records.
    Raises:
        FileNotFoundError, ValueError: data, teacher or config cannot be used.
    """
    kind = args.variant if args.variant in AUTOENCODERS else "linear_attention"
    if not args.teacher:
        without = args.variant in VEHICLE_BASED and not Path(TEACHER).is_file()  # they look at no features
        args.teacher = RANDOM if without else narrow_teacher(TEACHER, f"{CONFIGS}/teacher.yaml")
    arguments = arguments or f"--variant {args.variant}" + (" --windows" if args.windows else "")
    name = name or args.variant
    if args.view != OVERLAY:
        opts, arguments, name = [*view_keys(args.view), *opts], f"{arguments} --view {args.view}", f"{name}-{args.view}"
    return open_run(BENCH, f"{CONFIGS}/{kind}.yaml", name, opts, args, arguments, parts=2)


def view_keys(view: str) -> list[object]:
    """KEY, VALUE, ... of the images of a view of the data set."""
    data = f"traffic_incidents/{CATEGORIES[view]}"
    return [
        *("DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{data}/test',)"),
        *("TIME_SPACE.LANE_LAYOUT", view, "TIME_SPACE.LANES", str(PANELS)),
    ]


def run_inspection(args: argparse.Namespace) -> Path:
    """Train on the first part of NGSIM and inspect the rest; returns the page."""
    from benchmarks.traffic.inspect_recordings import inspect_run, read_parts, write_data

    parts = read_parts(Path(args.inspect))
    folder = Path("output/bench") / BENCH / f"{RECORDED}_seed{args.seed}"
    args.steps = args.steps or INSPECT_STEPS
    opts = ["DATASETS.TRAIN", f"('{write_data(parts, folder / 'data')}',)", "DATASETS.TEST", "()"]
    run = open_study(args, opts, f"--inspect {args.inspect} --variant {args.variant}", f"{RECORDED}_{args.variant}")
    return inspect_run(
        run, parts, folder / "images", Path("benchmarks/results") / BENCH / f"{RECORDED}_seed{args.seed}.md"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=VARIANTS, default="linear_attention")
    parser.add_argument("--view", choices=CATEGORIES, default=OVERLAY, help="lanes over each other, or a panel each")
    parser.add_argument(
        "--inspect", "--look", type=relative, metavar="FOLDER", help="inspect NGSIM's leader-follower pairs instead"
    )
    parser.add_argument("--windows", action="store_true", help="test the windows alone, not the streams")
    add_arguments(parser, "those of the config")
    args = parser.parse_args(argv)
    if args.inspect is not None:
        if args.seed is None or args.view != OVERLAY:
            raise ConfigError("--inspect needs a --seed, and knows no --view: most of the lanes' traffic is absent")
        print(f"inspection: {run_inspection(args)}")
    elif args.seed is not None:
        from benchmarks.traffic.traffic_variants import run_variant

        print(f"records: {record_path(BENCH, run_variant(open_study(args), not args.windows)).with_suffix('')}")
    if args.table or (args.seed is not None and args.inspect is None):
        from benchmarks.traffic.traffic_tables import write_tables

        print(f"tables: {write_tables()}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
