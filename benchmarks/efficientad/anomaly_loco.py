"""EfficientAD on generated kits of fasteners: kinds of attention crossed with bottlenecks, in short runs.

python -m benchmarks.efficientad.anomaly_loco --variant linear_attention-64 --seed 1     train and test
python -m benchmarks.efficientad.anomaly_loco --table                                    the tables of all records

A variant is AUTOENCODER-BOTTLENECK; 0 is no bottleneck, conv-64 the published autoencoder. The data is
toy_loco/fastener_kit (datasets/README.md), or --data with the folder fastener_kit. The networks are narrow, and 150
steps are far from convergence: the runs compare variants at equal steps and say nothing of what each reaches. An
interrupted run goes on where it was.
Records go to benchmarks/results/efficientad_loco/.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.common.records import record_path
from benchmarks.efficientad.anomaly_results import train_and_test
from benchmarks.efficientad.anomaly_runs import Run, add_arguments, category_name, narrow_teacher, open_run, relative
from d2road.utils.errors import report_errors
from efficientad.data.anomaly_datasets import split_name
from efficientad.modeling.autoencoder import AUTOENCODERS

BENCH, CATEGORY = "efficientad_loco", "fastener_kit"
CONFIGS = "configs/efficientad/toy_loco"
BOTTLENECKS = (64, 256, 0)
VARIANTS = [f"{kind}-{size}" for size in BOTTLENECKS for kind in AUTOENCODERS.names()]
TEACHER = "output/efficientad/toy_loco_teacher/model_final.pth"
STEPS = 150


def open_study(args: argparse.Namespace) -> Run:
    """The run that the arguments ask for.

    Raises:
        FileNotFoundError, ValueError: data, teacher or config cannot be used.
    """
    kind, bottleneck = args.variant.split("-")
    opts: list[object] = ["MODEL.EFFICIENT_AD.BOTTLENECK", bottleneck]
    arguments = f"--variant {args.variant}"
    if args.data is not None:
        data = category_name(args.data, CATEGORY)
        opts += ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{split_name(data, 'test')}',)"]
        arguments = f"--data {args.data} {arguments}"
    args.teacher = args.teacher or narrow_teacher(TEACHER, f"{CONFIGS}/teacher.yaml")
    args.steps = args.steps or STEPS
    return open_run(BENCH, f"{CONFIGS}/{kind}.yaml", args.variant, opts, args, arguments, parts=2)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=relative, metavar="FOLDER", help=f"with the folder {CATEGORY}, or that folder")
    parser.add_argument("--variant", choices=VARIANTS, default="linear_attention-64")
    add_arguments(parser, str(STEPS))
    args = parser.parse_args(argv)
    if args.seed is not None:
        run = open_study(args)
        train_and_test(run)
        print(f"records: {record_path(BENCH, run.name).with_suffix('')}")
    if args.table or args.seed is not None:
        from benchmarks.efficientad.anomaly_benchmark_tables import write_loco_tables

        print(f"tables: {write_loco_tables()}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
