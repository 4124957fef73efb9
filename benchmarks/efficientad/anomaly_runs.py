"""Runs of the benchmarks of EfficientAD: their teacher, options, names and training.

A run is one training of one teacher, variant, seed and number of steps. Its records are in
benchmarks/results/BENCH/teacher_CHECKSUM/VARIANT_seedN_Ksteps/: train.json, steps<n>.json of checkpoints on the way,
final.json
and final.npz, the bootstrap draws that comparisons need. Checkpoints are below output/bench/BENCH under the same name.
"""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from benchmarks.common.trainings import train_once
from d2road.config import default_argument_parser, make_cfg, setup_cfg
from d2road.model_zoo import shipped_file
from d2road.utils.addresses import zoo_name
from efficientad.config import features_of
from efficientad.evaluation.spro import CONFIG_FILE
from efficientad.network_builder import build_teacher
from efficientad.teacher_loading import fill_teacher

PUBLISHED_STEPS = 70000
TEACHERS = (Path("models/teacher_small.pth"), Path("output/teacher_small_lite0/model_final.pth"))

# Benchmark -> its program, as a user starts it.
PROGRAMS = {
    "efficientad_screw": "benchmarks.efficientad.anomaly_screw",
    "efficientad_loco": "benchmarks.efficientad.anomaly_loco",
    "efficientad_mvtec": "benchmarks.efficientad.anomaly_mvtec",
    "efficientad_fusion": "benchmarks.efficientad.anomaly_fusion",
    "efficientad_traffic": "benchmarks.traffic.traffic_benchmark",
    "ft_aed": "benchmarks.traffic.ft_aed_benchmark",
}


@dataclass(frozen=True)
class Teacher:
    """A teacher file: `label` as the model reports it, `checksum` of its weights, first digits of the file's sha256."""

    path: str
    label: str
    checksum: str
    sha256: str


@dataclass(frozen=True)
class Run:
    """One training and its records.

    name: of the folder of its records; opts: what differs from the file `config`; command: as a user would type it.
    """

    bench: str
    variant: str
    name: str
    cfg: CfgNode
    config: str
    opts: tuple[str, ...]
    teacher: Teacher
    command: str

    @property
    def steps(self) -> int:
        return self.cfg.SOLVER.MAX_ITER

    @property
    def folder(self) -> Path:
        """Where its checkpoints are."""
        return Path(self.cfg.OUTPUT_DIR)

    def about(self) -> dict[str, Any]:
        """What all its records say."""
        return {
            "teacher": self.teacher.label,
            "teacher_sha256": self.teacher.sha256,
            "penalty_images": self.cfg.DATASETS.PENALTY_IMAGES or "none",
            "steps": self.steps,
            "published_steps": PUBLISHED_STEPS,
            "data": self.cfg.DATASETS.TRAIN[0],
        }


def add_arguments(parser: argparse.ArgumentParser, steps: str) -> None:
    """Options that all benchmarks have.

    Args:
        steps: what --steps is without one, for the help.
    """
    parser.add_argument("--seed", type=int, help="train and evaluate with this seed")
    parser.add_argument("--steps", type=int, help=f"training steps; {steps}")
    parser.add_argument(
        "--teacher",
        type=relative,
        default="",
        metavar="FILE",
        help="weights of the teacher, or zoo:NAME; made by `make teacher`",
    )
    parser.add_argument("--table", action="store_true", help="write the table of all records")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys that are changed")


def relative(path: str) -> str:
    """A path as seen from the working directory, so that records name no folder of one machine; zoo names stay."""
    return os.path.relpath(Path(path).expanduser()) if path and zoo_name(path) is None else path


def category_name(data: str, category: str) -> str:
    """Data set name of a category in MVTec AD's or MVTec LOCO's layout, from its folder or the one above.

    Raises:
        FileNotFoundError: there are no good training images.
    """
    root = Path(data, category) if Path(data, category).is_dir() else Path(data)
    if not (root / "train" / "good").is_dir():
        raise FileNotFoundError(f"{data} holds neither {category}/train/good nor train/good: name MVTec AD's folder")
    return f"{'loco' if (root / CONFIG_FILE).is_file() else 'mvtec'}:{root}"


def usual_teacher() -> str:
    """The teacher in one of the usual places; "" where there is none."""
    return next((str(path) for path in TEACHERS if path.is_file()), "")


def find_teacher(path: str = "", images: str = "") -> str:
    """The teacher to use.

    Args:
        path: of its file, a name of the model zoo, "random", or "" for one of the usual places.
        images: folder of images to distil it with, for the message.
    Raises:
        FileNotFoundError: there is none.
    """
    if path == "random" or zoo_name(path) is not None or (path and Path(path).is_file()):
        return path
    found = "" if path else usual_teacher()
    if not found:
        where = f"{path} does not exist" if path else f"neither {' nor '.join(map(str, TEACHERS))} exists"
        command = f"make teacher IMAGES={images}" if images else "make teacher"
        raise FileNotFoundError(
            f"no teacher: {where}. Distil one by `{command}`, or name a file with --teacher: a distilled one, or "
            "teacher_small.pth of nelson1425/EfficientAD"
        )
    return found


def narrow_teacher(path: str, config: str) -> str:
    """The teacher of narrow networks that a benchmark expects.

    Args:
        config: that distils it, for the message.
    Raises:
        FileNotFoundError: it is not there.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"the teacher {path} does not exist: distil it by python train_net.py --config-file {config}, or name "
            "another narrow one with --teacher"
        )
    return path


def read_teacher(cfg: CfgNode) -> Teacher:
    """Identify the teacher that a config names.

    Raises:
        FileNotFoundError, ValueError: see `fill_teacher`.
    """
    node = cfg.MODEL.EFFICIENT_AD
    label = fill_teacher(build_teacher(cfg), node)
    shipped = zoo_name(node.TEACHER)
    path = Path(node.TEACHER) if shipped is None else shipped_file(shipped)
    digest = sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""
    found = re.search(r"\(([0-9a-f]{8})\)$", label)
    return Teacher(node.TEACHER, label, found[1] if found else label, digest)


def open_run(
    bench: str,
    config: str,
    variant: str,
    opts: Sequence[object],
    args: argparse.Namespace,
    arguments: str,
    parts: int = 4,
    category: str = "",
) -> Run:
    """A run from the options of `add_arguments`.

    The learning rate drops after 95 % of the steps, as published.

    Args:
        variant: name in the records; options of the user's own (KEY VALUE) add a checksum to it.
        opts: KEY, VALUE, ... that make the variant and its data.
        arguments: of the benchmark that name variant and data, for the record.
        parts: number of equal parts of the training with a checkpoint at the end of each.
        category: a further part of the name, where a benchmark has several.
    Raises:
        FileNotFoundError, ValueError: the teacher or the config cannot be used.
    """
    own = [str(value) for value in args.opts]
    if own:
        variant += f"+{sha256(' '.join(own).encode()).hexdigest()[:6]}"
    given = [*map(str, opts), *own]
    node = make_cfg(config, given)
    root = node.DATASETS.TRAIN[0].partition(":")[2]  # "" for data that is registered by name
    if args.teacher or not features_of(node.MODEL.EFFICIENT_AD):
        given += ["MODEL.EFFICIENT_AD.TEACHER", find_teacher(args.teacher, f"{root}/train" if root else "")]
    teacher = read_teacher(make_cfg(config, given))
    steps = args.steps or node.SOLVER.MAX_ITER
    period = max(steps // parts, 1)
    given += ["SEED", str(args.seed), "SOLVER.MAX_ITER", str(steps), "SOLVER.STEPS", f"({int(0.95 * steps)},)"]
    given += ["SOLVER.CHECKPOINT_PERIOD", str(period), "SOLVER.CHECKPOINTS_TO_KEEP", str(max(steps // period, 2))]
    name = run_name(teacher, variant, args.seed, steps, category)
    output = ["OUTPUT_DIR", f"output/bench/{bench}/{name}"]
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", config, *given, *output]))
    command = [f"python -m {PROGRAMS[bench]} {arguments} --seed {args.seed}"]
    command += [f"--{key} {value}" for key, value in (("steps", args.steps), ("teacher", args.teacher)) if value]
    return Run(bench, variant, name, cfg, config, tuple(given), teacher, " ".join(command + own))


def run_name(teacher: Teacher, variant: str, seed: int, steps: int, category: str = "") -> str:
    """The folder of a run's records; without steps, of what is not trained."""
    name = f"teacher_{teacher.checksum}/{variant}_seed{seed}" + (f"_{steps}steps" if steps else "")
    return f"{name}/{category}" if category else name


def train(run: Run) -> Path:
    """Train or finish the training; returns the final checkpoint."""
    cfg = run.cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = ()  # the test is looked at afterwards and chooses nothing
    return train_once(cfg, run.config, run.bench, f"{run.name}/train", run.command, **run.about())
