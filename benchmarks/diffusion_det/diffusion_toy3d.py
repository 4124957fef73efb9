"""The toy benchmark of 3D pose: one training a seed and variant, then all test-time choices on the trained model.

python -m benchmarks.diffusion_det.diffusion_toy3d --seed 1                 pose as a read-out (A)
python -m benchmarks.diffusion_det.diffusion_toy3d --seed 1 --variant state  pose in the diffusion state (B)
python -m benchmarks.diffusion_det.diffusion_toy3d --seed 1 --variant state_flow   the same along a flow
python -m benchmarks.diffusion_det.diffusion_toy3d --table                  the tables of all records

Records go to benchmarks/results/diffusion_toy3d/<variant>_seed<N>/. The validation cameras are never seen in training.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from detectron2.config import CfgNode

from benchmarks.common.records import read_record, record_path, write_record
from benchmarks.common.trainings import train_once
from benchmarks.diffusion_det.pose_study import Choice, PoseStudy
from benchmarks.diffusion_det.tables_toy3d import write_tables
from benchmarks.diffusion_det.toy3d_variants import BENCH, CONFIGS, STATES, TILTS_DEG
from d2road.config import default_argument_parser, setup_cfg

RGB = {"use_given_ground": False}
# A plane that is taken as it comes, and one that the image and the objects may correct within half a degree.
TRUSTED = Choice({"shared_ground_error": False}, predict_ground=False)
CORRECTED = Choice({"ground_std": (0.0087, 0.0087, 0.005)})


def sampling() -> dict[str, tuple[str, int]]:
    """Sampler and steps by name; each needs a run of the network over all images."""
    return {"ddim4": ("ddim", 4), "ddim1": ("ddim", 1), "restart4": ("restart", 4)}


def choices(run: str, variant: str) -> dict[str, Choice]:
    """Ways to decode the detections of a run."""
    table = {"plane": Choice(), "rgb": Choice(RGB)}
    if run != "ddim4" or variant in STATES:
        return table
    for branch in ("direct", "plane", "height"):
        table[f"only_{branch}"] = Choice({"depth": branch})
    table["rgb_only_direct"] = Choice({"depth": "direct", **RGB})
    table["alone"] = Choice({"shared_ground_error": False})
    table["rgb_alone"] = Choice({"shared_ground_error": False, **RGB})
    table["score_2d"] = Choice({"score_exponents": (1.0, 0.0)})
    table["trusted"], table["corrected"] = TRUSTED, CORRECTED
    for tilt in TILTS_DEG:
        table[f"trusted_tilt{tilt:g}"] = replace(TRUSTED, tilt_deg=tilt)
        table[f"corrected_tilt{tilt:g}"] = replace(CORRECTED, tilt_deg=tilt)
    for focal in (0.95, 1.05):
        table[f"plane_focal{focal:g}"] = Choice(focal=focal)
        table[f"trusted_focal{focal:g}"] = replace(TRUSTED, focal=focal)
        table[f"rgb_focal{focal:g}"] = Choice(RGB, focal=focal)
    return table


def config_for(variant: str, seed: int) -> CfgNode:
    """The config of a variant with a seed."""
    opts = ["SEED", str(seed), "OUTPUT_DIR", f"output/bench/{BENCH}_{variant}_seed{seed}"]
    return setup_cfg(default_argument_parser().parse_args(["--config-file", CONFIGS[variant], *opts]))


def train(variant: str, seed: int) -> Path:
    """Train or finish a training; its record holds the time of the whole of it. Returns the final checkpoint."""
    cfg = config_for(variant, seed).clone()
    cfg.defrost()
    cfg.DATASETS.TEST = ()  # evaluated below
    command = f"python -m benchmarks.diffusion_det.diffusion_toy3d --variant {variant} --seed {seed}"
    return train_once(cfg, CONFIGS[variant], BENCH, f"{variant}_seed{seed}/train", command)


def evaluate(variant: str, seed: int, weights: Path) -> None:
    """Evaluate all choices that have no record yet."""
    cfg = config_for(variant, seed)
    study = PoseStudy(cfg, weights)
    for run, (sampler, steps) in sampling().items():
        names = {f"{variant}_seed{seed}/{run}_{name}": choice for name, choice in choices(run, variant).items()}
        todo = {name: choice for name, choice in names.items() if read_record(BENCH, name) is None}
        if not todo:
            continue
        study.run(sampler, steps)
        for number, (name, choice) in enumerate(todo.items(), 1):
            start = time.perf_counter()
            metrics = study.evaluate(choice, weights.parent / "eval" / name.rpartition("/")[2])
            write_record(
                BENCH, name, metrics=metrics, config=CONFIGS[variant], seed=seed,
                command=f"python -m benchmarks.diffusion_det.diffusion_toy3d --variant {variant} --seed {seed}",
                seconds=time.perf_counter() - start,
            )  # fmt: skip
            loose, strict = (metrics["ground"][f"car_3d@{overlap}"] for overlap in (0.25, 0.5))
            print(f"{number}/{len(todo)} {name}: car AP3D {loose:.1f} at 0.25, {strict:.1f} at 0.5", flush=True)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="train and evaluate this seed")
    parser.add_argument("--variant", choices=list(CONFIGS), default="readout")
    parser.add_argument("--table", action="store_true", help="write benchmarks/results/diffusion_toy3d/table.md")
    args = parser.parse_args()
    if args.seed is not None:
        evaluate(args.variant, args.seed, train(args.variant, args.seed))
        print(f"records: {record_path(BENCH, f'{args.variant}_seed{args.seed}/*')}")
    if args.table or args.seed is not None:
        print(f"tables: {write_tables()}")


if __name__ == "__main__":
    main()
