"""The toy benchmark of grounding: one training a variant and seed, then all measures on cameras never seen in training.

python -m benchmarks.mono3dvg.grounding_toy --seed 1                              the main model
python -m benchmarks.mono3dvg.grounding_toy --seed 1 --variant cross_attention    an ablation, on a shorter schedule
python -m benchmarks.mono3dvg.grounding_toy --table                                the tables of all records

Every training starts from two stages, detection from boxes and then language from labels, which it runs first where
they are not there: with the same parts and seed, so that most variants share them. The ablations are changes of a base
that neither predicts attributes nor reads numbers as such, and is trained without unknown words. Records go to
benchmarks/results/mono3dvg_toy/<variant>_seed<N>/. The score threshold is chosen on toy_grounding_val and used on
toy_grounding_test. The main model has the unidirectional fusion: on the short schedule of the ablations it is the best
on toy_grounding_val.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.common.trainings import train_once
from benchmarks.mono3dvg.grounding_study import (
    evaluate_best_choice,
    evaluate_on_true_boxes,
    evaluate_test_sets,
    load_trained,
    save_weights,
)
from benchmarks.mono3dvg.grounding_tables import write_tables
from benchmarks.mono3dvg.grounding_variants import BENCH, SWAPPED_ENCODERS, VARIANTS, stages_of
from benchmarks.mono3dvg.text_alignment import swap_text_encoder
from d2road.config import default_argument_parser, setup_cfg
from d2road.utils.output_files import make_folder

FOLDER = Path("configs/mono3dvg/toy_grounding")
TEST = "toy_grounding_test"


def config_file(variant: str) -> str:
    """The YAML file of a variant."""
    return str(FOLDER / ("effnet_lite0.yaml" if variant == "main" else f"{variant}.yaml"))


def config_for(variant: str, seed: int, *more: str) -> CfgNode:
    """The config of a variant with a seed."""
    opts = ["SEED", str(seed), "OUTPUT_DIR", f"output/bench/{BENCH}_{variant}_seed{seed}", *more]
    return setup_cfg(default_argument_parser().parse_args(["--config-file", config_file(variant), *opts]))


def train_stages(variant: str, seed: int) -> Path:
    """Finish all stages; records hold the time of each. Returns the last checkpoint.

    Of a shipped model with another text encoder there is no training of all: its other parts stay as they are.
    """
    swapped = variant in SWAPPED_ENCODERS
    weights = swapped_start(variant, seed) if swapped else None
    for name in stages_of(variant) if swapped else (*stages_of(variant), variant):
        start = ["MODEL.WEIGHTS", str(weights)] if weights else []
        cfg = config_for(name, seed, *start).clone()
        cfg.defrost()
        cfg.DATASETS.TEST, cfg.TEST.GROUNDING.THRESHOLD_DATA = (), ""  # evaluated below
        weights = train_once(cfg, config_file(name), BENCH, f"{name}_seed{seed}/train", command_of(variant, seed))
    assert weights is not None, "there is a last stage"
    return weights


def swapped_start(variant: str, seed: int) -> Path:
    """The weights of a shipped model with the text encoder of a variant; the record says how well words fit."""
    cfg, config = config_for(variant, seed), config_file(variant)
    path, start = Path(cfg.OUTPUT_DIR) / "start.pth", time.perf_counter()
    if not path.is_file():
        make_folder(path.parent)
        metrics = swap_text_encoder(cfg, config_for(SWAPPED_ENCODERS[variant], seed), path)
        seconds, name = time.perf_counter() - start, f"{variant}_seed{seed}/start"
        command = command_of(variant, seed)
        write_record(BENCH, name, metrics=metrics, config=config, seed=seed, command=command, seconds=seconds)
    return path


def record_metrics(variant: str, seed: int, weights: Path) -> None:
    """Measure what has no record yet: answers on validation and test data, and sentences on labelled boxes."""
    cfg, config = config_for(variant, seed), config_file(variant)
    names = {name: f"{variant}_seed{seed}/{name.rpartition('_')[2]}" for name in cfg.DATASETS.TEST}
    more = {"true_boxes": evaluate_on_true_boxes, "best_choice": evaluate_best_choice}
    further = {f"{variant}_seed{seed}/{name}": measure for name, measure in more.items()}
    if cfg.MODEL.MONO3DVG.HEAD != "dense":
        further = {}
    wanted = [*names.values(), *further]
    if all(read_record(BENCH, name) is not None for name in wanted):
        return
    model = load_trained(cfg, weights)
    stages = [f"{name}_seed{seed}" for name in stages_of(variant)]
    about: dict[str, Any] = {
        "config": config, "seed": seed, "command": command_of(variant, seed),
        "pretrained": {"text": model.text_encoder.pretrained, "image": cfg.MODEL.WEIGHTS, "stages": stages},
    }  # fmt: skip
    start = time.perf_counter()
    measured = evaluate_test_sets(cfg, model)
    seconds = time.perf_counter() - start
    save_weights(model, weights.parent / "model_answering.pth")
    for name, metrics in measured.items():
        write_record(BENCH, names[name], metrics=metrics, seconds=seconds / len(measured), **about)
    for name, measure in further.items():
        start = time.perf_counter()
        further_metrics = measure(cfg, model, TEST)
        write_record(BENCH, name, metrics=further_metrics, seconds=time.perf_counter() - start, **about)


def command_of(variant: str, seed: int) -> str:
    """As a user would type it."""
    return f"python -m benchmarks.mono3dvg.grounding_toy --variant {variant} --seed {seed}"


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="train and evaluate this seed")
    parser.add_argument("--variant", choices=list(VARIANTS), default="main")
    parser.add_argument("--table", action="store_true", help="write benchmarks/results/mono3dvg_toy/table.md")
    args = parser.parse_args()
    if args.seed is not None:
        record_metrics(args.variant, args.seed, train_stages(args.variant, args.seed))
        print(f"records: {record_path(BENCH, f'{args.variant}_seed{args.seed}/*')}")
    if args.table or args.seed is not None:
        print(f"tables: {write_tables()}")


if __name__ == "__main__":
    main()
