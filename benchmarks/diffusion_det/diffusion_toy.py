"""The toy benchmark of DiffusionDet: one training a seed, then steps, boxes and samplers on the trained model.

python -m benchmarks.diffusion_det.diffusion_toy --seed 1     train (or resume) and evaluate what has no record yet
python -m benchmarks.diffusion_det.diffusion_toy --seed 1 --part 0/2  every second setting; another process takes
    --part 1/2
python -m benchmarks.diffusion_det.diffusion_toy --table      the table of all records, with bootstrap intervals

Records go to benchmarks/results/diffusion_toy/seed<N>/; predictions, which the intervals need, stay in output/.
"""

import argparse
import contextlib
import io
import json
import logging
import time
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from pycocotools.coco import COCO

from benchmarks.common.markdown import write_page
from benchmarks.common.records import RESULTS, read_record, record_path, write_record
from benchmarks.common.trainings import train_once
from d2road.config import default_argument_parser, setup_cfg
from d2road.engine import Trainer, load_weights
from d2road.evaluation.metrics.ap_bootstrap import MatchTable, match_tables, mean_ap, paired_bootstrap
from d2road.utils.markdown import markdown_table

CONFIG = "configs/diffusion_det/toy_roadside/effnet_lite0.yaml"
NODE = "MODEL.DiffusionDet."
VEHICLES, VEHICLE_MIN_HEIGHT_PX = (1, 2), 12
BENCH = "diffusion_toy"
# Heading of the table -> metric of a record.
COLUMNS = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AP50 vehicles": "AP50-vehicles",
    "images/s": "images_per_second",
}
logger = logging.getLogger("d2road.bench")


def settings() -> dict[str, dict]:
    """Test-time choices by record name. One step is the same for all samplers, so it is run once."""
    table = {"ddim_1step_100boxes": ("ddim", 1, 100)}
    for steps in (2, 4, 8):
        for sampler in ("ddim", "dpmsolver++", "restart"):
            table[f"{sampler}_{steps}step{'s' * (steps > 1)}_100boxes"] = (sampler, steps, 100)
    for boxes in (50, 300):
        for steps in (1, 4):
            table[f"ddim_{steps}step{'s' * (steps > 1)}_{boxes}boxes"] = ("ddim", steps, boxes)
    return {n: {"SAMPLER": s, "SAMPLE_STEP": k, "TEST_NUM_PROPOSALS": b} for n, (s, k, b) in table.items()}


def config_for(seed: int, **node: object) -> CfgNode:
    """The benchmark's config with a seed and test-time choices."""
    opts = ["SEED", seed, "OUTPUT_DIR", f"output/bench/{BENCH}_seed{seed}"]
    for key, value in node.items():
        opts += [NODE + key, value]
    return setup_cfg(default_argument_parser().parse_args(["--config-file", CONFIG, *map(str, opts)]))


def train(seed: int) -> Path:
    """Train or finish a training; its record holds the time of the whole of it.

    Returns:
        the final checkpoint.
    """
    cfg = config_for(seed)
    command = f"python train_net.py --config-file {CONFIG} SEED {seed} OUTPUT_DIR {cfg.OUTPUT_DIR}"
    return train_once(cfg, CONFIG, BENCH, f"seed{seed}/train", command)


def evaluate(seed: int, name: str, choice: dict, weights: Path) -> None:
    """Evaluate one setting and keep its record."""
    cfg = config_for(seed, **choice).clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(weights.parent / "eval" / name)
    model = build_model(cfg).eval()
    load_weights(cfg, model, str(weights))
    start = time.perf_counter()
    box = Trainer.test(cfg, model)["bbox"]
    seconds = time.perf_counter() - start
    gt = ground_truth(cfg)
    found = json.loads((Path(cfg.OUTPUT_DIR) / "inference/coco_instances_results.json").read_text())
    vehicles = mean_ap(match_tables(tall_only(gt), found, 0.5, list(VEHICLES)))
    overrides = " ".join(f"{NODE}{k} {v}" for k, v in choice.items())
    write_record(
        BENCH, f"seed{seed}/{name}",
        metrics={**box, "AP50-vehicles": vehicles, "images_per_second": len(gt.imgs) / seconds},
        command=f"python train_net.py --config-file {CONFIG} --eval-only MODEL.WEIGHTS {weights} {overrides}",
        config=CONFIG, seed=seed, seconds=seconds,
    )  # fmt: skip


def ground_truth(cfg: CfgNode) -> COCO:
    """Validation labels, quietly."""
    from detectron2.data import MetadataCatalog

    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(MetadataCatalog.get(cfg.DATASETS.TEST[0]).json_file)


def tall_only(gt: COCO) -> COCO:
    """The same with objects of at most VEHICLE_MIN_HEIGHT_PX ignored, in pixels of the rendered image."""
    for annotation in gt.dataset["annotations"]:
        if annotation["bbox"][3] <= VEHICLE_MIN_HEIGHT_PX:
            annotation["iscrowd"] = 1
    return gt


def tables_of(seed: int, name: str) -> list[MatchTable] | None:
    """Matches at IoU 0.5 of a setting, if its predictions are still there."""
    path = Path(f"output/bench/{BENCH}_seed{seed}/eval/{name}/inference/coco_instances_results.json")
    if not path.is_file():
        return None
    return match_tables(ground_truth(config_for(seed)), json.loads(path.read_text()), 0.5)


def compare(seed: int) -> None:
    """Paired bootstrap of AP50 between one step and more, and between each sampler and `restart`; kept as a record.

    Settings whose predictions are not in output/ are left out.
    """
    pairs = [("ddim_1step_100boxes", n) for n in settings() if n != "ddim_1step_100boxes"]
    for steps in (2, 4, 8):
        pairs += [(f"restart_{steps}steps_100boxes", f"{s}_{steps}steps_100boxes") for s in ("ddim", "dpmsolver++")]
    pairs.append(("ddim_1step_300boxes", "ddim_4steps_100boxes"))  # about the same work
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        found = {name: tables_of(seed, name) for name in {n for pair in pairs for n in pair}}
    cache = {name: tables for name, tables in found.items() if tables is not None}
    differences = {f"{b} - {a}": paired_bootstrap(cache[a], cache[b]) for a, b in pairs if a in cache and b in cache}
    write_record(
        BENCH, f"seed{seed}/differences", metrics=differences, config=CONFIG, seed=seed,
        command=f"python -m benchmarks.diffusion_det.diffusion_toy --seed {seed}", seconds=time.perf_counter() - start,
    )  # fmt: skip


def write_table() -> Path:
    """benchmarks/results/diffusion_toy/table.md from all records."""
    rows, differences = [], []
    for seed in sorted(int(p.name.removeprefix("seed")) for p in (RESULTS / BENCH).glob("seed*")):
        for name in settings():
            record = read_record(BENCH, f"seed{seed}/{name}")
            if record:
                figures = [record["metrics"][key] for key in COLUMNS.values()]
                rows.append([str(seed), name.replace("_", " "), *(f"{figure:.1f}" for figure in figures)])
        record = read_record(BENCH, f"seed{seed}/differences")
        for pair, d in (record["metrics"] if record else {}).items():
            interval = f"{d['low']:+.1f} to {d['high']:+.1f}"
            differences.append([str(seed), pair.replace("_", " "), f"{d['difference']:+.1f}", interval])
    sections = [markdown_table(["seed", "sampler, steps, boxes", *COLUMNS], rows)]
    if differences:
        sections.append(markdown_table(["seed", "difference", "AP50", "95 % interval"], differences))
    return write_page(RESULTS / BENCH / "table.md", sections)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="train and evaluate this seed")
    parser.add_argument("--part", default="0/1", help="I/N: this process takes every N-th setting from the I-th on")
    parser.add_argument("--table", action="store_true", help="write benchmarks/results/diffusion_toy/table.md")
    args = parser.parse_args()
    if args.seed is not None:
        weights = train(args.seed)
        part, parts = (int(v) for v in args.part.split("/"))
        choices = dict(list(settings().items())[part::parts])
        for number, (name, choice) in enumerate(choices.items(), 1):
            if read_record(BENCH, f"seed{args.seed}/{name}") is None:
                print(f"setting {number}/{len(choices)}: {name}", flush=True)
                evaluate(args.seed, name, choice, weights)
            else:
                print(f"setting {number}/{len(choices)}: {name} is in {record_path(BENCH, f'seed{args.seed}/{name}')}")
        compare(args.seed)
    if args.table or args.seed is not None:
        print(f"table: {write_table()}")


if __name__ == "__main__":
    main()
