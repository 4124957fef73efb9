"""Transports of boxes compared on one schedule: do denoising steps help beyond an ensemble, does flow beat
diffusion, does either beat learned queries or fixed boxes at equal compute?

python -m benchmarks.diffusion_det.transports --train flow --seed 1      train, or finish a training
python -m benchmarks.diffusion_det.transports --evaluate flow --seed 1   boxes, steps, solvers, fixed boxes
python -m benchmarks.diffusion_det.transports --table                    intervals, answers and rows of all records
python -m benchmarks.diffusion_det.transports --start imagenet_long ...  these three on the whole schedule
python -m benchmarks.diffusion_det.transports --start detector ...       these three from a trained backbone and pyramid
python -m benchmarks.diffusion_det.transports --weights WEIGHTS.pth --data COCO_FOLDER --config-file
    diffusion_det/coco/resnet50.yaml                                     what needs no training, on published weights
python -m benchmarks.diffusion_det.transports --weights zoo:diffusion_det_toy --config-file
    diffusion_det/toy_roadside/effnet_lite0.yaml                         the same on the config's own test set

Records go to benchmarks/results/transports/, transports_long/ or, from a trained backbone, transports_warm/;
checkpoints, and the matches that intervals need, to output/bench/.
"""

import argparse
from pathlib import Path

from benchmarks.diffusion_det.transport_differences import model_name
from benchmarks.diffusion_det.transport_evaluation import BOXES, STEPS, Evaluation, Views, passes_for
from benchmarks.diffusion_det.transport_published import evaluate_published
from benchmarks.diffusion_det.transport_tables import write_table
from benchmarks.diffusion_det.transport_variants import SCHEDULES, TRAININGS, command_for, config_for, train
from d2road.utils.errors import DataError


def evaluate(variant: str, seed: int, start: str, boxes: list[int], steps: list[int], count: int) -> None:
    """Evaluate a finished training on `count` validation views.

    Raises:
        DataError: it is not finished.
    """
    cfg, schedule = config_for(variant, seed, start=start), SCHEDULES[start]
    weights = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    if not weights.is_file():
        raise DataError(f"there is no {weights}: train it first: {command_for('--train', variant, seed, start)}")
    command = f"{command_for('--evaluate', variant, seed, start)} --views {count}"
    Evaluation(
        name=model_name(variant, seed, count),
        make_config=lambda *more: config_for(variant, seed, *more, start=start),
        weights=weights,
        views=Views.load(cfg, count, Path(cfg.OUTPUT_DIR) / "evaluated"),
        record={"command": command, "config": schedule.config, "seed": seed},
        bench=schedule.bench,
        capacity=count,
    ).run(passes_for(variant, boxes, steps))


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainings = f"one of {', '.join(TRAININGS)}"
    parser.add_argument("--train", choices=TRAININGS, metavar="VARIANT", help=trainings)
    parser.add_argument("--evaluate", choices=TRAININGS, metavar="VARIANT", help=trainings)
    parser.add_argument("--seed", type=int, default=1, help="of the training (%(default)s)")
    parser.add_argument(
        "--start",
        choices=SCHEDULES,
        default="imagenet",
        help="what trainings begin with, and how long they are (%(default)s)",
    )
    parser.add_argument("--boxes", type=int, nargs="+", default=list(BOXES), help="an image (all of the benchmark)")
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS), help="(all of the benchmark)")
    parser.add_argument("--views", type=int, default=100, help="images, evenly spaced over the data set (%(default)s)")
    parser.add_argument("--table", action="store_true", help="write benchmarks/results/transports/table_views<N>.md")
    parser.add_argument("--weights", metavar="FILE", help="trained weights of a diffusion: a file or zoo:NAME")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="COCO for --weights: annotations/ and val2017/")
    parser.add_argument("--config-file", default="diffusion_det/coco/resnet50.yaml", help="of --weights (%(default)s)")
    args = parser.parse_args()
    if args.train:
        print(f"weights: {train(args.train, args.seed, args.start)}")
    if args.evaluate:
        evaluate(args.evaluate, args.seed, args.start, args.boxes, args.steps, args.views)
    if args.weights:
        print(evaluate_published(args.config_file, args.weights, args.data, args.boxes, args.steps, args.views))
    if args.table:
        print(f"table: {write_table(args.views, args.start)}")


if __name__ == "__main__":
    main()
