"""What the benchmark of transports asks that needs no training, on given weights of a diffusion: published ones of
DiffusionDet on COCO, or shipped ones on the data of their config."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from detectron2.config import CfgNode

from benchmarks.common.markdown import write_page
from benchmarks.common.records import RESULTS
from benchmarks.diffusion_det.transport_differences import model_name, write_differences
from benchmarks.diffusion_det.transport_evaluation import FIXED, Evaluation, Views, passes_of
from benchmarks.diffusion_det.transport_questions import Comparison, comparisons
from benchmarks.diffusion_det.transport_tables import READING, answers, difference_tables, rows_table
from benchmarks.diffusion_det.transport_variants import BENCH, NODE, solvers_of
from d2road.config import default_argument_parser, setup_cfg
from d2road.utils.errors import DataError


def coco_name(folder: Path) -> str:
    """The validation set of COCO's folder layout, by path; annotations may lie beside the images' folder, too.

    Raises:
        DataError: it is not there.
    """
    for annotations in (folder / "annotations", folder):
        if (annotations / "instances_val2017.json").is_file():
            return f"coco:{annotations / 'instances_val2017.json'}:{folder / 'val2017'}"
    raise DataError(f"{folder} has no annotations/instances_val2017.json: name the folder that holds COCO's val2017/")


def published_config(config: str, data: str, *more: str) -> CfgNode:
    """The config of given weights, with all steps used and noise by image, as in the trainings beside it.

    Args:
        data: set to test on; "" for that of the config.
    """
    opts = [NODE + "OFFICIAL_COMPAT", "False", "OUTPUT_DIR", f"output/bench/{BENCH}_published", *more]
    if data:
        opts = ["DATASETS.TRAIN", f"('{data}',)", "DATASETS.TEST", f"('{data}',)", *opts]
    return setup_cfg(default_argument_parser().parse_args(["--config-file", config, *opts]))


def comparisons_of(variant: str) -> list[Comparison]:
    """Comparisons of `diffusion` with itself, for other weights."""
    own = [one for one in comparisons() if {arm.variant for _, arm in one.terms} == {"diffusion"}]
    return [replace(one, terms=tuple((s, arm._replace(variant=variant)) for s, arm in one.terms)) for one in own]


def evaluate_published(
    config: str, weights: str, folder: Path | None, boxes: Sequence[int], steps: Sequence[int], count: int
) -> Path:
    """Rows and differences of weights on `count` images of COCO's validation set in `folder`, or without a folder of
    the config's own test set; returns the page."""
    data, variant = coco_name(folder) if folder else "", f"published_{Path(config).stem}"
    cfg = published_config(config, data)
    label = Path(weights).name
    command = (
        f"python -m benchmarks.diffusion_det.transports --weights {label} {f'--data {folder.name} ' if folder else ''}"
        f"--config-file {config} --views {count}"
    )
    Evaluation(
        name=model_name(variant, 0, count),
        make_config=lambda *more: published_config(config, data, *more),
        weights=weights,
        views=Views.load(cfg, count, Path(cfg.OUTPUT_DIR)),
        record={"command": command, "config": config, "seed": 0},
        # Features of COCO's images are a hundred times those of toy views: all settings are run on one image.
        **({"capacity": 0, "at_once": True, "batch": 1} if folder else {"capacity": count}),
    ).run(passes_of(solvers_of("diffusion"), boxes, steps, FIXED))
    name = f"{variant}_seed0/differences_views{count}"
    chosen = comparisons_of(variant)
    found = write_differences(chosen, [0], count, name=name, config=config, command=command)
    sections = [[f"# Transports: {label}", "", READING.format(views=count)]]
    sections += [*answers(found), *difference_tables(chosen, found), rows_table(variant, count)]
    return write_page(RESULTS / BENCH / f"{variant}.md", sections)
