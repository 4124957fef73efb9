"""Student on frozen features, autoencoder, memory bank and their fusion: each alone and together.

python -m benchmarks.efficientad.anomaly_fusion --data mvtec:FOLDER/screw toy_loco/fastener_kit --seed 1 [--steps N]
    [--student CONFIG]
python -m benchmarks.efficientad.anomaly_fusion --data ... --seed 1 --test
python -m benchmarks.efficientad.anomaly_fusion --table

--data names training sets, with their options of pasting behind "?". Of each, `pasted:NAME` holds good images out and
makes defective ones of them; the others train the student and make the bank. Which maps are combined, and how, is
chosen on the pasted defects of all data sets together, by the mean of image AUROC and AU-PRO; no image of a test set is
opened. --test then opens the test sets, once, for the choice, EfficientAD as it is, and each map alone, and beside
them PaDiM and a PCA of the same images and features. What has a record is not run again, an interrupted training goes
on where it was. --student names the config of the student, of
all data sets or of each. Records go to
benchmarks/results/efficientad_fusion/.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn

from benchmarks.common.records import read_metrics, read_record, write_record
from benchmarks.common.trainings import separate_logs, train_once, train_to_end
from benchmarks.efficientad.anomaly_results import FINAL, dicts_of, record_test, run_test
from benchmarks.efficientad.anomaly_runs import Run, Teacher, read_teacher
from benchmarks.efficientad.feature_baselines import FEATURE_MODELS, build_feature_baseline
from benchmarks.efficientad.fusion_settings import BENCH, FUSIONS, PARTS, Weights
from benchmarks.efficientad.patchcore_selection import merit
from benchmarks.efficientad.student_progress import student_progress
from d2road.config import default_argument_parser, setup_cfg
from d2road.engine import load_weights
from d2road.engine.meta_arch import prepare_for_inference
from d2road.evaluation.results import plain
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.output_files import atomic_write
from d2road.utils.values import integer_option
from efficientad.data.anomaly_datasets import split_name
from efficientad.data.image_iteration import DatasetImages, images_of
from efficientad.evaluation.anomaly_protocol import evaluate
from efficientad.fusion.fusion_detector import AnomalyFusion

STUDENT_CONFIG, FUSION_CONFIG = "configs/efficientad/Base-Features.yaml", "configs/efficientad/Base-Fusion.yaml"
BANK_CONFIG = "configs/efficientad/Base-PatchCore.yaml"
ALWAYS_TESTED = (*PARTS, "student_autoencoder")


@dataclass(frozen=True)
class Study:
    """A data set: its training set without options, the pasted one, and where its models are."""

    source: str
    pasted: str
    category: str
    seed: int
    steps: int
    config: str
    command: str

    @property
    def name(self) -> str:
        return f"{self.category}_seed{self.seed}_{self.steps}steps"

    @property
    def folder(self) -> Path:
        return Path("output/bench") / BENCH / self.name


def open_study(data: str, seed: int, steps: int, config: str) -> Study:
    """A data set by its name on the command line."""
    source, pasted = data.partition("?")[0], f"pasted:{data}"
    command = f"python -m benchmarks.efficientad.anomaly_fusion --data {data} --seed {seed} --steps {steps}"
    command += f" --student {config}" if config != STUDENT_CONFIG else ""
    return Study(source, pasted, dicts_of(pasted)[0]["category"], seed, steps, config, command)


def study_cfg(study: Study, config: str, *keys: object) -> tuple[CfgNode, tuple[str, ...]]:
    """The config of a step of a study, trained on what `pasted` leaves, and what differs from the file."""
    opts = ["DATASETS.TRAIN", f"('{study.pasted}',)", "DATASETS.TEST", "()", "SEED", str(study.seed)]
    opts += [str(key) for key in keys]
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", config, *opts]))
    cfg.defrost()
    return cfg, tuple(opts)


def train_student(study: Study) -> Path:
    """Train the EfficientAD on frozen features or finish it; a checkpoint at each quarter, or each 1000 steps."""
    output, steps = study.folder / "student", study.steps
    keys = ["SOLVER.MAX_ITER", steps, "SOLVER.STEPS", "()", "OUTPUT_DIR", output]
    cfg, opts = study_cfg(study, study.config, *keys, "SOLVER.CHECKPOINT_PERIOD", max(min(steps // 4, 1000), 1),
                          "SOLVER.CHECKPOINTS_TO_KEEP", 12)  # fmt: skip
    return train_once(cfg, study.config, BENCH, f"{study.name}/train", study.command, keys=" ".join(opts))


def make_bank(study: Study) -> Path:
    """Make the memory bank with the keys of PatchCore's config, once."""
    weights = study.folder / "bank" / "model_final.pth"
    if not weights.is_file():
        train_to_end(study_cfg(study, BANK_CONFIG, "OUTPUT_DIR", weights.parent)[0], BANK_CONFIG)
    return weights


def fused_model(study: Study) -> tuple[AnomalyFusion, CfgNode, tuple[str, ...]]:
    """The fused model of a study, made and saved once."""
    path = study.folder / "fused.pth"
    node = "MODEL.ANOMALY_FUSION."
    parts = [node + "BANK_WEIGHTS", make_bank(study), node + "STUDENT_WEIGHTS", train_student(study)]
    kind = study_cfg(study, study.config)[0].MODEL.EFFICIENT_AD.AUTOENCODER
    cfg, opts = study_cfg(study, FUSION_CONFIG, *parts, "MODEL.EFFICIENT_AD.AUTOENCODER", kind)
    model = build_model(cfg).eval()
    if path.is_file():
        load_weights(cfg, model, str(path))
    else:
        with torch.no_grad():
            model.fit(cfg)
        with atomic_write(path) as file:
            torch.save({"model": model.state_dict()}, file)
    prepare_for_inference(model)
    return model, cfg, opts


class MapsOnce(nn.Module):
    """A fused model whose maps of single images are computed once and kept in a file, whatever their weights.

    Args:
        path: of the file, with the maps (3, h, w) of each image by the name of its file.
    """

    def __init__(self, model: AnomalyFusion, path: Path):
        super().__init__()
        self.model, self.path = model, path
        self.maps: dict[str, Tensor] = torch.load(path, weights_only=True) if path.is_file() else {}
        self.setting: tuple[str, Weights] = ("mean", (1, 1, 1))

    def fill(self, cfg: CfgNode, data: str) -> None:
        """Compute the maps of all images of a data set that are not there."""
        for entry in images_of(DatasetImages(cfg, [data]), "maps"):
            if entry["file_name"] not in self.maps:
                self.maps[entry["file_name"]] = self.model.part_maps(entry)
        with atomic_write(self.path) as file:
            torch.save(self.maps, file)

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As of the fused model, by `setting`; thresholds are those of the model's own setting, and left out."""
        self.model.combine, self.model.weights = self.setting
        found = [self.model.describe(self.maps[entry["file_name"]], entry) for entry in batched_inputs]
        return [{key: value for key, value in each.items() if not key.endswith("threshold")} for each in found]


def measure_pasted(study: Study) -> dict[str, dict[str, Any]]:
    """Metrics of every setting on the pasted defects of a study, from its record if there is one."""
    record = read_record(BENCH, f"{study.name}/pasted")
    if record is not None:
        return record["metrics"]
    start = time.perf_counter()
    model, cfg, opts = fused_model(study)
    detector = MapsOnce(model, study.folder / "maps_pasted.pt")
    data = split_name(study.pasted, "test")
    cfg.DATASETS.TEST = (data,)
    detector.fill(cfg, data)
    metrics = {}
    for name, detector.setting in (PARTS | FUSIONS).items():
        metrics[name] = plain(evaluate(run_test(cfg, detector).images), "metrics")
        print(f"{study.name}, {name}: {metrics[name]['image_auroc']:.3f}, {metrics[name]['aupro']:.3f}", flush=True)
    counts = {f"{split}_images": len(dicts_of(split_name(study.pasted, split))) for split in ("train", "test")}
    write_record(
        BENCH, f"{study.name}/pasted", metrics=metrics, command=study.command, seed=study.seed, data=study.pasted,
        config={"file": FUSION_CONFIG, "keys": " ".join(opts)}, seconds=time.perf_counter() - start,
        **student_progress(study_cfg(study, study.config)[0], study.folder / "student", study.steps, data), **counts,
    )  # fmt: skip
    return metrics


def chosen_fusion(studies: Sequence[Study]) -> str:
    """The fusion that is best on the pasted defects of all data sets together.

    Raises:
        ConfigError: a data set has no record of them yet.
    """
    if any(read_record(BENCH, f"{study.name}/pasted") is None for study in studies):
        raise ConfigError("there is no record of the pasted defects of every data set: run without --test first")
    metrics = [read_metrics(BENCH, f"{study.name}/pasted") for study in studies]
    return max(FUSIONS, key=lambda name: merit([of_data[name] for of_data in metrics]))


def test_study(study: Study, chosen: str) -> None:
    """Open the test set of a study: the chosen fusion, EfficientAD as it is, each map alone, and plain baselines."""
    teacher = read_teacher(study_cfg(study, study.config)[0])
    for kind in FEATURE_MODELS:
        test_plain(study, kind, chosen, teacher)
    names = dict.fromkeys((*ALWAYS_TESTED, chosen))
    runs = {name: f"teacher_{teacher.checksum}/{name}_seed{study.seed}_{study.steps}steps/{study.category}"
            for name in names}  # fmt: skip
    if all(read_record(BENCH, f"{name}/{FINAL}") for name in runs.values()):
        return
    model, cfg, opts = fused_model(study)
    cfg.DATASETS.TEST = (split_name(study.source, "test"),)
    detector = MapsOnce(model, study.folder / "maps_test.pt")
    detector.fill(cfg, cfg.DATASETS.TEST[0])
    for name, place in runs.items():
        if read_record(BENCH, f"{place}/{FINAL}") is None:
            detector.setting = (PARTS | FUSIONS)[name]
            keys = (*opts, "MODEL.ANOMALY_FUSION.COMBINE", detector.setting[0])
            keys = (*keys, "MODEL.ANOMALY_FUSION.WEIGHTS", str(detector.setting[1]))
            run = Run(BENCH, name, place, cfg, FUSION_CONFIG, keys, teacher, f"{study.command} --test")
            _test(run, time.perf_counter(), detector, steps=study.steps, chosen=chosen)


def test_plain(study: Study, kind: str, chosen: str, teacher: Teacher) -> None:
    """Test a baseline of the bank's features and images, unless it has a record."""
    place = f"teacher_{teacher.checksum}/{kind}_seed{study.seed}/{study.category}"
    if read_record(BENCH, f"{place}/{FINAL}") is not None:
        return
    start = time.perf_counter()
    cfg, opts = study_cfg(study, BANK_CONFIG)
    cfg.DATASETS.TEST = (split_name(study.source, "test"),)
    run = Run(BENCH, kind, place, cfg, BANK_CONFIG, opts, teacher, f"{study.command} --test")
    detector = build_feature_baseline(cfg, build_model(cfg).eval(), kind)
    _test(run, start, detector, steps=0, chosen=chosen)


def _test(run: Run, start: float, detector: nn.Module, **about: Any) -> None:
    record_test(run, FINAL, run_test(run.cfg, detector), start, **about)
    print(f"{run.name}: image AUROC {read_metrics(BENCH, f'{run.name}/{FINAL}')['image_auroc']:.3f}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", metavar="NAME", help="training sets, with options of pasting behind ?")
    parser.add_argument("--seed", type=integer_option(0), default=1, help="of student and bank (default 1)")
    parser.add_argument(
        "--steps", nargs="+", type=integer_option(1), default=[10000], help="of the student, or of each (default 10000)"
    )
    parser.add_argument(
        "--student", nargs="+", default=[STUDENT_CONFIG], metavar="CONFIG", help="of the student, or of each"
    )
    parser.add_argument("--test", action="store_true", help="open the test sets for what was chosen")
    parser.add_argument("--table", action="store_true", help="write the tables of all records and nothing else")
    args = parser.parse_args(argv)
    if not args.data and not args.table:
        parser.error("name training sets with --data, or give --table")
    names = args.data or []
    if len(args.steps) not in (1, len(names)):
        parser.error(f"--steps: one number, or one for each of {len(names)} data sets")
    if len(args.student) not in (1, len(names)):
        parser.error(f"--student: one config, or one for each of {len(names)} data sets")
    steps = args.steps * len(names) if len(args.steps) == 1 else args.steps
    configs = args.student * len(names) if len(args.student) == 1 else args.student
    studies = [open_study(name, args.seed, *rest) for name, *rest in zip(names, steps, configs)]
    for study in studies:
        with separate_logs():
            if args.test:
                test_study(study, chosen_fusion(studies))
            else:
                measure_pasted(study)
    from benchmarks.efficientad.fusion_tables import write_fusion_tables

    print(f"tables: {write_fusion_tables()}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
