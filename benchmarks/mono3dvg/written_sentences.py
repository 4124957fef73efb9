"""Sentences that no generator wrote beside generated ones: rows that need no training, and trained models.

python -m benchmarks.mono3dvg.written_sentences                    the rows without training, and the table
python -m benchmarks.mono3dvg.written_sentences --name main_seed1 --config-file FILE --weights FILE

Generated sentences are those of toy_grounding_val, written ones toy_grounding_written. The rows without training answer
with labelled boxes, so that they say what words alone give: a hand-written parser whose logical forms are interpreted
over the labels, all objects of the class that a sentence names first, and nothing at all. A trained model answers with
its own boxes; its score threshold is chosen on toy_grounding_val. Records go to benchmarks/results/mono3dvg_written/.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record, record_path, write_record
from benchmarks.mono3dvg.grounding_study import evaluate_test_sets, load_trained
from benchmarks.mono3dvg.grounding_tables import cell
from benchmarks.mono3dvg.sentence_parser import named_class, parse_sentence
from d2road.config import default_argument_parser, setup_cfg
from d2road.utils.progress import track
from mono3dvg.evaluation.grounding_protocol import KINDS, evaluate_grounding
from mono3dvg.evaluation.prediction_files import NO_ANSWER, Answer
from mono3dvg.language import build_labelled_scene, interpret
from mono3dvg.schema import GroundingData, read_grounding

BENCH = "mono3dvg_written"
DATA = {"toy_grounding_val": "generated", "toy_grounding_written": "written"}
COMMAND = "python -m benchmarks.mono3dvg.written_sentences"


def class_form(text: str) -> tuple | None:
    """All objects of the class that a sentence names first."""
    name = named_class(text)
    return None if name is None else ("all", ("class", name))


# Name: what the table calls it, and the logical form of a sentence; None answers nothing.
RULES: dict[str, tuple[str, Callable[[str], tuple | None]]] = {
    "parser": ("hand-written parser, labelled boxes", parse_sentence),
    "named_class": ("everything of the named class, labelled boxes", class_form),
    "nothing": ("answers nothing", lambda text: None),
}


def answer_by_rule(data: GroundingData, form_of: Callable[[str], tuple | None]) -> dict[Any, Answer]:
    """Answers among labelled objects, by expression id; what is in doubt is left out.

    Args:
        form_of: from a sentence to its logical form, None for no answer.
    """
    scenes = {image_id: build_labelled_scene(data, image_id) for image_id in data.images}
    answers = {}
    for key, expression in data.expressions.items():
        form, scene = form_of(expression.text), scenes[expression.image_id]
        meant = () if form is None else interpret(form, scene).targets
        rows = [data.objects[scene.ids[i]].row for i in meant]
        answers[key] = Answer(np.array(rows), np.ones(len(rows))) if rows else NO_ANSWER
    return answers


def record_rules() -> None:
    """Measure the rules that have no record yet."""
    missing = [name for name in RULES if read_record(BENCH, name) is None]
    if not missing:
        return
    splits = {name: read_grounding(MetadataCatalog.get(name).json_file) for name in DATA}
    for name in track(missing, label="rules"):
        start = time.perf_counter()
        metrics = {
            split: evaluate_grounding(data, answer_by_rule(data, RULES[name][1]), 0.5) for split, data in splits.items()
        }
        seconds = time.perf_counter() - start
        write_record(BENCH, name, metrics=metrics, command=COMMAND, config="", seed=0, seconds=seconds)


def record_model(name: str, config_file: str, weights: Path) -> None:
    """Measure a trained model, its threshold chosen on the generated validation sentences."""
    names = tuple(DATA)
    opts = [
        "DATASETS.TEST",
        repr(names),
        "TEST.GROUNDING.THRESHOLD_DATA",
        names[0],
        "OUTPUT_DIR",
        f"output/{BENCH}/{name}",
    ]
    cfg = setup_cfg(default_argument_parser().parse_args(["--config-file", config_file, *opts]))
    start = time.perf_counter()
    metrics = evaluate_test_sets(cfg, load_trained(cfg, weights))
    command = f"{COMMAND} --name {name} --config-file {config_file} --weights {weights}"
    seconds = time.perf_counter() - start
    write_record(BENCH, name, metrics=metrics, command=command, config=config_file, seed=cfg.SEED, seconds=seconds)


def table_rows() -> Iterator[list[str]]:
    """A row for each record and data set, and for each style of the written sentences."""
    trained = sorted(path.stem for path in (RESULTS / BENCH).glob("*.json") if path.stem not in RULES)
    for name in (*RULES, *trained):
        record = read_record(BENCH, name)
        if record is None:
            continue
        title = RULES[name][0] if name in RULES else name
        for split, sentences in DATA.items():
            results = record["metrics"][split]
            yield [title, sentences, *_cells(results["mean_f1"]["0.25"]["overall"], results)]
            for style, part in results["by_style"].items():
                yield [title, f"{sentences}, {style}s", *_cells(part["0.25"], part)]


def _cells(f1: float, part: Mapping[str, Any]) -> list[str]:
    kinds = [part["by_kind"].get(kind, {}).get("0.25") for kind in KINDS]
    return [cell(value) for value in (f1, part["exact"]["0.25"], *kinds, part["n_acc"], part["t_acc"])]


def write_table() -> Path:
    """Write benchmarks/results/mono3dvg_written/table.md from all records and return its path."""
    head = ["answers", "sentences", "F1@0.25", "exact", *(f"{kind} F1" for kind in KINDS), "N-acc", "T-acc"]
    note = (
        "Percent. F1@0.25 is the mean over sentences, exact the share with F1 1; zero, single, multi by number of "
        "targets. Generated: toy_grounding_val, whose wordings the parser knows all; written: toy_grounding_written."
    )
    section = table("Written beside generated sentences", note, head, table_rows())
    return write_page(RESULTS / BENCH / "table.md", [["# Sentences that no generator wrote"], section])


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="of the record of a trained model")
    parser.add_argument("--config-file", help="its config")
    parser.add_argument("--weights", type=Path, help="its checkpoint")
    args = parser.parse_args()
    given = [args.name, args.config_file, args.weights]
    if any(given) and not all(given):
        parser.error("a trained model needs --name, --config-file and --weights")
    setup_cfg(default_argument_parser().parse_args([]))  # every system registers its data sets
    record_rules()
    if all(given):
        record_model(args.name, args.config_file, args.weights)
    print(f"records: {record_path(BENCH, '*')}\ntable: {write_table()}")


if __name__ == "__main__":
    main()
