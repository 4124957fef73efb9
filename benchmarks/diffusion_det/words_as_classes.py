"""The compositional toy benchmark of words as classes: colours and types are seen, some of their pairs are not.

python -m benchmarks.diffusion_det.words_as_classes --arm fold1   train (or resume), choose on validation views, test
python -m benchmarks.diffusion_det.words_as_classes               all arms: fold1 groups all types fold2 fold3
python -m benchmarks.diffusion_det.words_as_classes --table       the table of all records
python -m benchmarks.diffusion_det.words_as_classes --schedule long ...  longer, with the backbone as it is

Arms: fold1 to fold3 train on the words of the pairs that the fold sees, all on those of all pairs, types is a linear
classifier of the four types. All start from zoo:diffusion_det_toy, which knows the types in groups (car and van, truck
and bus) and no colour; groups is that detector as it is.
Records go to benchmarks/results/words_as_classes/ or words_as_classes_long/; data and weights stay in
output/bench/words_as_classes.
"""

import argparse
import time
from pathlib import Path

from detectron2.config import CfgNode

from benchmarks.common.records import read_record, write_record
from benchmarks.common.trainings import separate_logs, train_once
from benchmarks.diffusion_det.word_pairs import (
    DATA,
    FOLDS,
    TYPES,
    VALIDATION_VIEWS,
    Pair,
    frequent_pairs,
    read_views,
    write_coco,
)
from benchmarks.diffusion_det.word_scores import GROUPS, measure_arm
from benchmarks.diffusion_det.word_tables import SCHEDULES, write_table
from d2road.config import default_argument_parser, setup_cfg

OUT = Path("output/bench/words_as_classes")
ARMS = ("fold1", GROUPS, "all", "types", "fold2", "fold3")


def make_data() -> list[Pair]:
    """Write the COCO files of all arms, and return the pairs that are classes."""
    views = read_views(DATA, "train")
    train, validation, test = views[:-VALIDATION_VIEWS], views[-VALIDATION_VIEWS:], read_views(DATA, "val")
    pairs = frequent_pairs(train)
    names = [pair.name for pair in pairs]
    for fold in range(1, FOLDS + 1):
        seen = [pair.name for pair in pairs if pair.fold != fold]
        write_coco(OUT / f"train_fold{fold}.json", train, seen, lambda pair: pair.name, unnamed=seen[0])
    write_coco(OUT / "train_all.json", train, names, lambda pair: pair.name, unnamed=names[0])
    write_coco(OUT / "train_types.json", train, TYPES, lambda pair: pair.kind)
    for split, part in (("validation", validation), ("test", test)):
        write_coco(OUT / f"{split}.json", part, names, lambda pair: pair.name)
    return pairs


def config_for(arm: str, seed: int, schedule: str = "short") -> CfgNode:
    """The config of an arm's training on a schedule of SCHEDULES."""
    data = "toy_roadside_train" if arm == GROUPS else f"coco:{OUT}/train_{arm}.json:{DATA}"
    opts = [
        "DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", "()", "SEED", str(seed),
        "OUTPUT_DIR", str(OUT / f"{schedule}_{arm}_seed{seed}"), "TEST.PLOTS", "False",
        *(["MODEL.DiffusionDet.CLASSIFIER", "linear"] if arm in ("types", GROUPS) else []),
    ]  # fmt: skip
    return setup_cfg(default_argument_parser().parse_args(["--config-file", SCHEDULES[schedule].config, *opts]))


def run_arm(arm: str, seed: int, schedule: str, pairs: list[Pair]) -> None:
    """Train an arm and measure it; what has a record is not done again."""
    cfg, bench, config = config_for(arm, seed, schedule), SCHEDULES[schedule].bench, SCHEDULES[schedule].config
    command = f"python -m benchmarks.diffusion_det.words_as_classes --arm {arm} --seed {seed} --schedule {schedule}"
    weights: Path | str = cfg.MODEL.WEIGHTS
    if arm != GROUPS:
        with separate_logs():
            weights = train_once(cfg, config, bench, f"seed{seed}/{arm}_train", command)
    if read_record(bench, f"seed{seed}/{arm}") is not None:
        return
    start = time.perf_counter()
    metrics = measure_arm(cfg, weights, arm, pairs, {split: OUT / f"{split}.json" for split in ("validation", "test")})
    write_record(
        bench, f"seed{seed}/{arm}", metrics=metrics, command=command, config=config, seed=seed,
        seconds=time.perf_counter() - start, text_encoder=cfg.MODEL.DiffusionDet.TEXT.ENCODER,
    )  # fmt: skip


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=ARMS, help="one arm; all if left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--schedule", choices=SCHEDULES, default="short", help="of the trainings (%(default)s)")
    parser.add_argument("--table", action="store_true", help="write the table of all records alone")
    args = parser.parse_args()
    if not args.table:
        pairs = make_data()
        for arm in [args.arm] if args.arm else ARMS:
            run_arm(arm, args.seed, args.schedule, pairs)
    print(f"table: {write_table(args.seed, args.schedule)}")


if __name__ == "__main__":
    main()
