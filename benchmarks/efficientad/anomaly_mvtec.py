"""EfficientAD on every category of a folder in the layout of MVTec AD or MVTec LOCO, with the mean over categories.

python -m benchmarks.efficientad.anomaly_mvtec --data FOLDER --seed 1 [--variant conv] [--steps N] [--category screw
    wood]
python -m benchmarks.efficientad.anomaly_mvtec --table

A category is a folder with train/good in it; each is trained by --config-file, with the data swapped. Categories that
have a record are left out, an interrupted one goes on where it was. Records go to
benchmarks/results/efficientad_mvtec/.
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.records import read_record, record_path
from benchmarks.common.trainings import separate_logs
from benchmarks.efficientad.anomaly_results import FINAL, train_and_test
from benchmarks.efficientad.anomaly_runs import Run, add_arguments, category_name, open_run, relative
from d2road.utils.errors import report_errors
from efficientad.data.anomaly_datasets import split_name
from efficientad.modeling.autoencoder import AUTOENCODERS

BENCH = "efficientad_mvtec"
CONFIG = "configs/efficientad/mvtec_ad/screw_small.yaml"


def find_categories(root: Path, wanted: Sequence[str] = ()) -> list[str]:
    """Folders of a root that hold good training images, or those of them that are wanted.

    Raises:
        FileNotFoundError: there is none, or a wanted one is not there.
    """
    found = sorted(path.parent.parent.name for path in root.glob("*/train/good") if path.is_dir())
    if not found:
        raise FileNotFoundError(
            f"--data {root} holds no category, a folder with train/good in it: name the folder above the categories"
        )
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise FileNotFoundError(f"--category {' '.join(missing)}: {root} holds {', '.join(found)}")
    return [name for name in found if not wanted or name in wanted]


def open_study(args: argparse.Namespace, category: str) -> Run:
    """The run of a category.

    Raises:
        FileNotFoundError, ValueError: data, teacher or config cannot be used.
    """
    data = category_name(args.data, category)
    opts = ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{split_name(data, 'test')}',)"]
    opts += ["MODEL.EFFICIENT_AD.AUTOENCODER", args.variant]
    arguments = f"--data {args.data} --variant {args.variant} --category {category}"
    if args.config_file != CONFIG:
        arguments += f" --config-file {args.config_file}"
    return open_run(BENCH, args.config_file, args.variant, opts, copy.copy(args), arguments, 4, category)


def run_study(run: Run) -> str:
    """Train and evaluate a category unless it has a record; returns what came out in a line."""
    done = "done already, " if read_record(BENCH, f"{run.name}/{FINAL}") else ""
    metrics = train_and_test(run)["metrics"]
    figures = [f"{key} {metrics[key]:.3f}" for key in ("image_auroc", "aupro") if metrics[key] is not None]
    return f"{done}{', '.join(figures) or 'nothing to measure'}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=relative, metavar="FOLDER", help="with a folder for each category")
    parser.add_argument("--category", nargs="+", default=(), metavar="NAME", help="only these")
    parser.add_argument("--config-file", default=CONFIG)
    parser.add_argument("--variant", choices=AUTOENCODERS.names(), default="linear_attention")
    add_arguments(parser, "those of the config, 70000")
    args = parser.parse_args(argv)
    from benchmarks.efficientad.anomaly_benchmark_tables import write_mvtec_tables

    if args.seed is not None:
        if args.data is None:
            parser.error("--seed needs --data FOLDER")
        categories = find_categories(Path(args.data), args.category)
        for number, category in enumerate(categories, 1):
            with separate_logs():
                run = open_study(args, category)
                outcome = run_study(run)
            print(f"category {number}/{len(categories)}: {category}, {outcome}", flush=True)
            write_mvtec_tables()  # after each, to look at while the rest trains
        print(f"records: {record_path(BENCH, run.name).parent}")
    if args.table or args.seed is not None:
        print(f"tables: {write_mvtec_tables()}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
