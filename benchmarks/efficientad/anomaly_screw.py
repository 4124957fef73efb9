"""EfficientAD on real images: screws of MVTec AD, autoencoders compared at equal steps, and nearest memory_bank.

python -m benchmarks.efficientad.anomaly_screw --data FOLDER --variant conv --seed 1  train, test the checkpoints,
    images
python -m benchmarks.efficientad.anomaly_screw --data FOLDER --variant memory_bank --seed 1  the baseline, without
    training
python -m benchmarks.efficientad.anomaly_screw --table                                 the tables of all records

FOLDER holds screw/train/good, screw/test, screw/ground_truth, or is that folder screw. An interrupted run goes on where
it was. Records go to benchmarks/results/efficientad_screw/, heat maps to output/bench/efficientad_screw/.../pictures.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.common.records import record_path
from benchmarks.efficientad.anomaly_results import FINAL, load_model, test_in_fewer_bits, train_and_test
from benchmarks.efficientad.anomaly_runs import Run, add_arguments, category_name, open_run, relative
from benchmarks.efficientad.bootstrap_draws import read_draws
from benchmarks.efficientad.heat_map_sheet import write_heat_maps
from benchmarks.efficientad.memory_bank_baseline import BASELINE, WHITENED, evaluate_baseline
from d2road.utils.errors import report_errors
from efficientad.modeling.autoencoder import AUTOENCODERS

BENCH, CATEGORY = "efficientad_screw", "screw"
CONFIG = "configs/efficientad/mvtec_ad/screw_short.yaml"
VARIANTS = (*AUTOENCODERS.names(), BASELINE, WHITENED)


def open_study(args: argparse.Namespace) -> Run:
    """The run that the arguments ask for.

    Raises:
        FileNotFoundError, ValueError: data, teacher or config cannot be used.
    """
    data = category_name(args.data, CATEGORY)
    opts = ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{data}:test',)"]
    if args.variant not in (BASELINE, WHITENED):
        opts += ["MODEL.EFFICIENT_AD.AUTOENCODER", args.variant]
    return open_run(BENCH, CONFIG, args.variant, opts, args, f"--data {args.data} --variant {args.variant}")


def run_study(run: Run) -> None:
    """Train and evaluate what has no record yet, and write the images."""
    if run.variant.partition("+")[0] in (BASELINE, WHITENED):
        evaluate_baseline(run)
        return
    train_and_test(run, curve=True)
    test_in_fewer_bits(run)
    weights, drawings = run.folder / "model_final.pth", run.folder / "pictures"
    if weights.is_file() and not drawings.is_dir():
        draws = read_draws(record_path(BENCH, f"{run.name}/{FINAL}").with_suffix(".npz"))
        count = write_heat_maps(run.cfg, load_model(run.cfg, weights), draws.kinds, draws.scores, drawings)
        print(f"{count} heat maps: {drawings}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=relative, metavar="FOLDER", help=f"with the folder {CATEGORY}, or that folder")
    parser.add_argument("--variant", choices=VARIANTS, default="linear_attention")
    add_arguments(parser, "those of the config, 600")
    args = parser.parse_args(argv)
    if args.seed is not None:
        if args.data is None:
            parser.error("--seed needs --data FOLDER")
        run = open_study(args)
        run_study(run)
        print(f"records: {record_path(BENCH, run.name).with_suffix('')}")
    if args.table or args.seed is not None:
        from benchmarks.efficientad.anomaly_benchmark_tables import write_screw_tables

        print(f"tables: {write_screw_tables()}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
