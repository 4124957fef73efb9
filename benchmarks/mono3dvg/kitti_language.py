"""A look at language alone on KITTI: written sentences about a few frames, answered among their labelled boxes.

python -m benchmarks.mono3dvg.kitti_language --data FOLDER      rows without training, and the shipped model

FOLDER has KITTI's layout (image_2, label_2, calib) with the frames of kitti_sentences.json, whose sentences were
written from the images (docs/grounding_data.md); `objects` are rows of a frame's label file, from 0. The rules are
those of `written_sentences`; the model (`--weights`, zoo:mono3dvg_toy) says which labelled objects a sentence means
and was never trained on real images. KITTI tells no ground: it is taken to lie 1.65 m below the camera, as the car was
built. It labels no colours, and so few sentences tell what goes wrong, not how often. Records go to
benchmarks/results/mono3dvg_kitti/.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from torch import Tensor

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, write_record
from benchmarks.mono3dvg.grounding_study import accuracy_on_objects, load_trained
from benchmarks.mono3dvg.grounding_tables import cell
from benchmarks.mono3dvg.written_sentences import RULES, answer_by_rule
from d2road.config import default_argument_parser, setup_cfg
from d2road.data import build_test_loader
from d2road.utils.errors import DataError
from d2road.utils.input_files import read_json
from d2road.utils.progress import track
from mono3dvg.data.labelled_sources import grounding_of
from mono3dvg.evaluation.grounding_protocol import KINDS, evaluate_grounding
from mono3dvg.grounder import Mono3DVG
from mono3dvg.schema import GroundingData, read_grounding, write_grounding

BENCH = "mono3dvg_kitti"
SENTENCES = Path(__file__).with_name("kitti_sentences.json")
FOLDER = Path("output/mono3dvg/kitti_language")
MODEL, CONFIG = "zoo:mono3dvg_toy", "configs/mono3dvg/toy_grounding/demo.yaml"
CLASSES = ("bus", "car", "cyclist", "pedestrian", "truck", "van")  # of the shipped model
GROUND = [0.0, -1.0, 0.0, 1.65]  # metres; headings about its normal are those about the camera's y axis
COMMAND = "python -m benchmarks.mono3dvg.kitti_language"


def read_frame(label_file: Path) -> list[tuple[float, ...]]:
    """Location of the object of each row of a label file, by which annotations are found again."""
    rows = [line.split() for line in label_file.read_text().splitlines() if line.strip()]
    return [tuple(float(value) for value in row[11:14]) for row in rows]


def with_classes(raw: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """A grounding file on flat ground with these categories; objects of others, as the first, to be ignored."""
    names = {category["id"]: category["name"] for category in raw["categories"]}
    annotations = []
    for one in raw["annotations"]:
        name = names[one["category_id"]]
        known = name in classes
        annotations.append(
            {**one, "category_id": classes.index(name) if known else 0, "ignore": one["ignore"] or not known}
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
    images = [{**image, "ground_plane": GROUND} for image in raw["images"]]
    info = {**raw["info"], "rotation_y": "ground"}
    return {**raw, "info": info, "images": images, "categories": categories, "annotations": annotations}


def with_sentences(raw: dict[str, Any], sentences: Sequence[Mapping[str, Any]], labels: Path) -> dict[str, Any]:
    """A grounding file of the frames that sentences are about.

    Args:
        labels: folder of the label files.
    Raises:
        DataError: a frame, or an object of it, is not there.
    """
    frames = {row["frame"] for row in sentences}
    missing = sorted(frames - {image["id"] for image in raw["images"]})
    if missing:
        raise DataError(f"{labels.parent}: {SENTENCES.name} is about the frames {', '.join(missing)}, which it lacks")
    ids = {(one["image_id"], tuple(one["location"])): one["id"] for one in raw["annotations"]}
    rows = {frame: read_frame(labels / f"{frame}.txt") for frame in frames}
    expressions = []
    for number, row in enumerate(sentences):
        try:
            targets = [ids[row["frame"], rows[row["frame"]][place]] for place in row["objects"]]
        except (KeyError, IndexError):
            raise DataError(
                f"{labels / row['frame']}.txt lacks a row of {row['objects']}: are these KITTI's labels?"
            ) from None
        tags = [f"style:{row['style']}"]
        expressions.append(
            {"id": number, "image_id": row["frame"], "text": row["text"], "target_ids": targets, "tags": tags}
        )
    images = [image for image in raw["images"] if image["id"] in frames]
    kept = [one for one in raw["annotations"] if one["image_id"] in frames]
    return {**raw, "images": images, "annotations": kept, "expressions": expressions}


def make_data(folder: Path) -> tuple[Path, GroundingData]:
    """Write the sentences over the labels of KITTI's folder as a grounding file."""
    raw = with_classes(grounding_of(f"kitti:{folder}", folder), CLASSES)
    path = FOLDER / "grounding.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_grounding(path, with_sentences(raw, read_json(SENTENCES, "sentences"), folder / "label_2"))
    return path, read_grounding(path)


def ask_model(cfg: CfgNode, model: Mono3DVG, dataset: str, data: GroundingData) -> dict[str, float]:
    """Share of all sentences and of each kind that are answered exactly, and top1; see `accuracy_on_objects`."""
    rows: list[tuple[str, Tensor, Sequence[int]]] = []
    for batch in track(build_test_loader(cfg, dataset), label="labelled boxes"):
        for x, found in zip(batch, model.refer_objects(batch)):
            rows += [(data.expressions[e["id"]].kind, p, e["targets"]) for e, p in zip(x["expressions"], found)]
    shares = accuracy_on_objects(rows)
    return {"exact": shares["accuracy"], "top1": shares["top1"], **{kind: shares[f"accuracy_{kind}"] for kind in KINDS}}


def record(name: str, metrics: dict[str, Any], config: str, start: float) -> list[str]:
    """Keep what an answerer reached; returns its row of the table."""
    seconds = time.perf_counter() - start
    write_record(
        BENCH, name, metrics=metrics, command=f"{COMMAND} --data kitti", config=config, seed=0, seconds=seconds
    )
    return [metrics["answers"], *(cell(metrics.get(key)) for key in ("exact", *KINDS, "top1"))]


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="KITTI's layout")
    parser.add_argument("--weights", default=MODEL, help="of a grounder with the classes of the toy data")
    parser.add_argument("--config-file", default=CONFIG, help="its config")
    args = parser.parse_args()
    setup_cfg(default_argument_parser().parse_args([]))  # every system registers its data sets
    path, data = make_data(args.data)
    rows = []
    for name, (title, form_of) in RULES.items():
        start = time.perf_counter()
        found = evaluate_grounding(data, answer_by_rule(data, form_of), 0.5)
        kinds = {kind: part["exact"]["0.25"] for kind, part in found["by_kind"].items()}
        metrics = {"answers": title, "exact": found["exact"]["0.25"], **kinds, "all": found}
        rows.append(record(name, metrics, "", start))
    start, dataset = time.perf_counter(), f"grounding:{path}:{args.data}"
    opts = ["DATASETS.TEST", repr((dataset,)), "TEST.GROUNDING.THRESHOLD_DATA", "", "OUTPUT_DIR", str(FOLDER)]
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", args.config_file, *opts]))
    found = ask_model(cfg, load_trained(cfg, args.weights), dataset, data)
    rows.append(record("model", {"answers": f"{args.weights}, labelled boxes", **found}, args.config_file, start))
    head = ["answers", "exact", *(f"{kind}: exact" for kind in KINDS), "single: target first"]
    note = (
        f"Percent of {len(data.expressions)} sentences about {len(data.images)} frames, answered among labelled boxes."
    )
    page = write_page(
        RESULTS / BENCH / "table.md", [["# A look at language on KITTI"], table("Rows", note, head, rows)]
    )
    print(f"table: {page}")


if __name__ == "__main__":
    main()
