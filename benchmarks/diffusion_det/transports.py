"""Transports of boxes compared: diffusion, flow, learned queries and fixed grids, on one short schedule.

python -m benchmarks.diffusion_det.transports --train flow --seed 1      train, or finish a training

Records go to benchmarks/results/transports/, checkpoints to output/bench/.
"""

import argparse

from benchmarks.diffusion_det.transport_variants import TRAININGS, train


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", choices=TRAININGS, metavar="VARIANT", help=f"one of {', '.join(TRAININGS)}")
    parser.add_argument("--seed", type=int, default=1, help="of the training (%(default)s)")
    args = parser.parse_args()
    if args.train:
        print(f"weights: {train(args.train, args.seed)}")


if __name__ == "__main__":
    main()
