"""How well grounders say nothing, at one share of answered sentences: N-acc where T-acc was 83.2 % on validation data.

python -m benchmarks.mono3dvg.silence                 all runs of grounding_toy whose answers are there

Of the runs below output/bench the answers that were written for toy_grounding_val choose the threshold, and those for
toy_grounding_test are measured with it; no model runs. Records go to benchmarks/results/mono3dvg_silence/.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, read_record, write_record
from benchmarks.mono3dvg.grounding_study import T_ACC
from benchmarks.mono3dvg.grounding_tables import cell
from benchmarks.mono3dvg.grounding_toy import config_file
from benchmarks.mono3dvg.grounding_variants import BENCH as TRAININGS
from benchmarks.mono3dvg.grounding_variants import VARIANTS
from d2road.config import make_cfg
from mono3dvg.evaluation.grounding_protocol import choose_score_threshold, evaluate_grounding
from mono3dvg.evaluation.prediction_files import read_predictions
from mono3dvg.schema import read_grounding

BENCH = "mono3dvg_silence"
DATA = ("toy_grounding_val", "toy_grounding_test")


def answered_runs() -> Iterator[tuple[str, int, Path]]:
    """Variant, seed and folder of answers of the runs that have both."""
    for variant in VARIANTS:
        for folder in sorted(Path("output/bench").glob(f"{TRAININGS}_{variant}_seed[0-9]*")):
            if all((folder / "inference" / name / "predictions.json").is_file() for name in DATA):
                yield variant, int(folder.name.rpartition("_seed")[2]), folder / "inference"


def measure(folder: Path) -> dict[str, dict[str, Any]]:
    """By data set: N-acc, with and without distractors, T-acc and mean F1@0.25 at the threshold of the first."""
    threshold, found = None, {}
    for name in DATA:
        data = read_grounding(MetadataCatalog.get(name).json_file)
        answers = read_predictions(folder / name / "predictions.json", data.expressions).answers
        if threshold is None:
            threshold, _ = choose_score_threshold(data, answers, t_acc=T_ACC)
        results = evaluate_grounding(data, answers, threshold)
        f1 = results["mean_f1"]["0.25"]
        found[name] = {
            "n_acc": results["n_acc"], "n_acc_w_d": f1["zt_w_d"], "n_acc_wo_d": f1["zt_wo_d"],
            "t_acc": results["t_acc"], "mean_f1": f1["overall"], "presence_auroc": results["presence_auroc"],
            "score_threshold": threshold,
        }  # fmt: skip
    return found


def write_table() -> Path:
    """Write benchmarks/results/mono3dvg_silence/table.md from all records and return its path."""
    rows = []
    for path in sorted((RESULTS / BENCH).glob("*.json")):
        record = read_record(BENCH, path.stem)
        assert record is not None, "just listed"
        m, v = record["metrics"][DATA[1]], record["metrics"][DATA[0]]
        keys = ("n_acc", "n_acc_w_d", "n_acc_wo_d", "t_acc", "mean_f1", "presence_auroc")
        rows.append([path.stem, *(cell(m[key]) for key in keys), cell(v["n_acc"]), cell(v["presence_auroc"])])
    head = ["run", "N-acc", "with distractors", "without", "T-acc", "mean F1@0.25", "presence AUROC", "N-acc, val",
            "presence AUROC, val"]  # fmt: skip
    note = f"{DATA[1]}, at the score threshold whose T-acc is {T_ACC} % on {DATA[0]}."
    return write_page(
        RESULTS / BENCH / "table.md", [["# Sentences that mean nothing"], table("Silence", note, head, rows)]
    )


def main() -> None:
    """Record every run that has answers."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    make_cfg()  # every system registers its data sets
    for variant, seed, folder in answered_runs():
        command = "python -m benchmarks.mono3dvg.silence"
        start = time.perf_counter()
        write_record(
            BENCH, f"{variant}_seed{seed}", metrics=measure(folder), command=command, config=config_file(variant),
            seed=seed, seconds=time.perf_counter() - start,
        )  # fmt: skip
    print(f"table: {write_table()}")


if __name__ == "__main__":
    main()
