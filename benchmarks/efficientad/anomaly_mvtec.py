"""PatchCore, EfficientAD and plain baselines on every category of a data set, with the mean over categories.

python -m benchmarks.efficientad.anomaly_mvtec --data FOLDER --seed 1 [--variant patchcore padim] [--category screw]
python -m benchmarks.efficientad.anomaly_mvtec --data FOLDER --seed 1 --variant linear_attention [--steps N]
python -m benchmarks.efficientad.anomaly_mvtec --table

FOLDER is above the categories of MVTec AD, MVTec AD 2, MVTec LOCO, VisA, BTAD or Real-IAD, or the name of one of these
below DETECTRON2_DATASETS. patchcore takes its keys, the same for all data, from
configs/efficientad/Base-PatchCore.yaml, padim and pca the same features; memory_bank are nearest neighbours among the
features of EfficientAD's teacher; other variants are autoencoders of EfficientAD, trained by --config-file with the
data swapped: the published networks where a teacher is at hand (--teacher, or one of `make teacher`), else a student of
frozen features, which needs none. Categories that have a record are left out, an interrupted one goes on where it was.
Records go to benchmarks/results/efficientad_mvtec/.
"""

import argparse
import copy
import sys
from collections.abc import Sequence

from benchmarks.common.records import read_metrics, read_record, record_path
from benchmarks.common.trainings import separate_logs
from benchmarks.efficientad.anomaly_results import FINAL, train_and_test
from benchmarks.efficientad.anomaly_runs import Run, add_arguments, open_run, relative, run_name, usual_teacher
from benchmarks.efficientad.feature_runs import FEATURE_VARIANTS, PATCHCORE, evaluate_features, open_feature_run
from benchmarks.efficientad.memory_bank_baseline import BASELINE, evaluate_baseline
from benchmarks.efficientad.released_data import find_categories
from d2road.utils.errors import report_errors
from efficientad.data.anomaly_datasets import split_name
from efficientad.modeling.autoencoder import AUTOENCODERS

BENCH = "efficientad_mvtec"
CONFIG = "configs/efficientad/mvtec_ad/screw_small.yaml"
WITHOUT_TEACHER = "configs/efficientad/Base-Features.yaml"
VARIANTS = (*FEATURE_VARIANTS, BASELINE, *AUTOENCODERS.names())


def open_study(args: argparse.Namespace, variant: str, category: str, data: str) -> Run:
    """The run of a variant on a category.

    Args:
        data: name of the training set.
    Raises:
        FileNotFoundError, ValueError: data, teacher, weights or config cannot be used.
    """
    opts = ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{split_name(data, 'test')}',)"]
    arguments = f"--data {args.data} --variant {variant} --category {category}"
    if variant in FEATURE_VARIANTS:
        return open_feature_run(BENCH, variant, opts, args, arguments, category)
    if variant != BASELINE:
        opts += ["MODEL.EFFICIENT_AD.AUTOENCODER", variant]
    config = args.config_file or (CONFIG if args.teacher or usual_teacher() else WITHOUT_TEACHER)
    if config != CONFIG:
        arguments += f" --config-file {config}"
    return open_run(BENCH, config, variant, opts, copy.copy(args), arguments, 4, category)


def run_study(run: Run, category: str) -> str:
    """Train and evaluate a category unless it has a record; returns what came out in a line."""
    variant, name = run.variant.partition("+")[0], run.name
    if variant == BASELINE:
        name = run_name(run.teacher, run.variant, run.cfg.SEED, 0, category)
    done = "done already, " if read_record(BENCH, f"{name}/{FINAL}") else ""
    if variant in FEATURE_VARIANTS:
        evaluate_features(run)
    elif variant == BASELINE:
        evaluate_baseline(run, category)
    else:
        train_and_test(run)
    metrics = read_metrics(BENCH, f"{name}/{FINAL}")
    figures = [f"{key} {metrics[key]:.3f}" for key in ("image_auroc", "aupro") if metrics[key] is not None]
    return f"{variant}: {done}{', '.join(figures) or 'nothing to measure'}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=relative, metavar="FOLDER", help="above the categories, or a name as mvtec_ad")
    parser.add_argument("--category", nargs="+", default=(), metavar="NAME", help="only these")
    parser.add_argument(
        "--config-file", default="", help=f"of EfficientAD; {CONFIG} with a teacher, {WITHOUT_TEACHER} without one"
    )
    parser.add_argument(
        "--variant",
        nargs="+",
        choices=VARIANTS,
        default=(PATCHCORE,),
        metavar="VARIANT",
        help=f"{', '.join(VARIANTS)}; {PATCHCORE} without one",
    )
    add_arguments(parser, "those of the config, 70000, or 10000 of a student of frozen features")
    args = parser.parse_args(argv)
    from benchmarks.efficientad.anomaly_benchmark_tables import write_mvtec_tables

    if args.seed is not None:
        if args.data is None:
            parser.error("--seed needs --data FOLDER")
        categories = find_categories(args.data, args.category)
        for number, (category, data) in enumerate(categories.items(), 1):
            for variant in args.variant:
                with separate_logs():
                    run = open_study(args, variant, category, data)
                    outcome = run_study(run, category)
                print(f"category {number}/{len(categories)}: {category}, {outcome}", flush=True)
                write_mvtec_tables()  # after each, to look at while the rest runs
        print(f"records: {record_path(BENCH, run.name).parent}")
    if args.table or args.seed is not None:
        print(f"tables: {write_mvtec_tables()}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
