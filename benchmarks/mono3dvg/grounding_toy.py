"""The toy benchmark of grounding: one training a variant and seed, then all measures on cameras never seen in training.

python -m benchmarks.mono3dvg.grounding_toy --seed 1                      the main model
python -m benchmarks.mono3dvg.grounding_toy --seed 1 --variant frozen      an ablation, on a shorter schedule
python -m benchmarks.mono3dvg.grounding_toy --table                        the tables of all records

Every training starts from two lessons, boxes and then labels, which it runs first where they are not there: with the
same parts and seed, so that most variants share them. The ablations are changes of a plain model, which has neither
looks nor numbers that are read as such, and is trained without unknown words. Records go to
benchmarks/results/mono3dvg_toy/<variant>_seed<N>/. The score threshold is chosen on toy_grounding_val and used on
toy_grounding_test. The main model is the "frozen" reading: on the short schedule of the ablations it is the best on
toy_grounding_val.
"""

import argparse
import time
from pathlib import Path

from detectron2.config import CfgNode

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.common.trainings import train_once
from benchmarks.mono3dvg.grounding_study import answer, judge_objects, load, save_answering
from benchmarks.mono3dvg.grounding_tables import write_tables
from benchmarks.mono3dvg.grounding_variants import BENCH, VARIANTS
from d2road.config import default_argument_parser, setup_cfg

# Lessons of variants that do not share those of the plain model: they see or read with other parts.
PLAIN_LESSONS = ("plain_boxes", "plain_labels")
LESSONS = {
    "main": ("boxes", "labels"),
    "pretrained": ("boxes", "labels_pretrained"),
    "nofilter": ("plain_boxes", "labels_nofilter"),
    "minilm": ("plain_boxes", "labels_minilm"),
}
FOLDER = Path("configs/mono3dvg/toy_grounding")
TEST = "toy_grounding_test"


def config_file(variant: str) -> str:
    """The YAML file of a variant."""
    return str(FOLDER / ("effnet_lite0.yaml" if variant == "main" else f"{variant}.yaml"))


def lessons_of(variant: str) -> tuple[str, str]:
    """The lessons that precede the variant, in order."""
    return LESSONS.get(variant, PLAIN_LESSONS)


def config_for(variant: str, seed: int, *more: str) -> CfgNode:
    """The config of a variant with a seed."""
    opts = ["SEED", str(seed), "OUTPUT_DIR", f"output/bench/{BENCH}_{variant}_seed{seed}", *more]
    return setup_cfg(default_argument_parser().parse_args(["--config-file", config_file(variant), *opts]))


def train(variant: str, seed: int) -> Path:
    """Finish the lessons and the training that follows; records hold the time of each. Returns the last checkpoint."""
    weights = None
    for name in (*lessons_of(variant), variant):
        start = ["MODEL.WEIGHTS", str(weights)] if weights else []
        cfg = config_for(name, seed, *start).clone()
        cfg.defrost()
        cfg.DATASETS.TEST, cfg.MODEL.MONO3DVG.EVALUATION.VALIDATION = (), ""  # evaluated below
        weights = train_once(cfg, config_file(name), BENCH, f"{name}_seed{seed}/train", command_of(variant, seed))
    return weights


def evaluate(variant: str, seed: int, weights: Path) -> None:
    """Measure what has no record yet: answers on validation and test data, and sentences on labelled boxes."""
    cfg, config = config_for(variant, seed), config_file(variant)
    names = {name: f"{variant}_seed{seed}/{name.rpartition('_')[2]}" for name in cfg.DATASETS.TEST}
    objects = f"{variant}_seed{seed}/true_boxes"
    wanted = [*names.values(), *([objects] if cfg.MODEL.MONO3DVG.HEAD == "dense" else [])]
    if all(read_record(BENCH, name) is not None for name in wanted):
        return
    model = load(cfg, weights)
    about = {"config": config, "seed": seed, "command": command_of(variant, seed)}
    about["pretrained"] = {"text": model.text_encoder.pretrained, "image": cfg.MODEL.WEIGHTS}
    about["pretrained"]["lessons"] = [f"{name}_seed{seed}" for name in lessons_of(variant)]
    start = time.perf_counter()
    measured = answer(cfg, model)
    seconds = time.perf_counter() - start
    save_answering(model, weights.parent / "model_answering.pth")
    for name, metrics in measured.items():
        write_record(BENCH, names[name], metrics=metrics, seconds=seconds / len(measured), **about)
    if objects in wanted:
        start = time.perf_counter()
        metrics = judge_objects(cfg, model, TEST)
        write_record(BENCH, objects, metrics=metrics, seconds=time.perf_counter() - start, **about)


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
        evaluate(args.variant, args.seed, train(args.variant, args.seed))
        print(f"records: {record_path(BENCH, f'{args.variant}_seed{args.seed}/*')}")
    if args.table or args.seed is not None:
        print(f"tables: {write_tables()}")


if __name__ == "__main__":
    main()
