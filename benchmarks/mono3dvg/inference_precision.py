"""What INFERENCE.PRECISION bf16 costs the shipped grounder: F1 of sentences about test images, beside fp32, in pairs.

python -m benchmarks.mono3dvg.inference_precision --every 2

All sentences of every so many images of the test split, as `benchmarks.mono3dvg.exported_precision` takes them. The
interval is of a paired bootstrap over images. Answers are kept in --work as they come, so that a stopped run goes on.
Records: benchmarks/results/inference_precision/.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.exported_models import cpu_config
from benchmarks.common.records import write_record
from benchmarks.mono3dvg.exported_precision import CONFIG, WEIGHTS, View, read_views
from d2road.engine.predictor import Predictor
from d2road.utils.bootstrap import draw_weights, percentile_interval
from d2road.utils.output_files import write_json
from mono3dvg.evaluation import grounding_metrics as metrics
from mono3dvg.evaluation.grounding_protocol import answer_tables
from mono3dvg.evaluation.prediction_files import Answer
from mono3dvg.schema import read_grounding

PRECISIONS = ("fp32", "bf16")
OVERLAPS = (0.25, 0.5)
Answers = dict[
    int | str, dict[str, Any]
]  # by expression id: boxes, scores, and the threshold from which they are the answer


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=2, help="of the test images one of so many (default: 2)")
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--work", type=Path, default=Path("output/inference_precision"), metavar="DIR")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    args.work.mkdir(parents=True, exist_ok=True)
    content, views = read_views("toy_grounding_test", args.every)
    truth = args.work / "grounding_truth.json"
    write_json(truth, content, indent=None)
    found = {precision: answers(args, precision, views) for precision in PRECISIONS}
    measured = compare(args, truth, found)
    print(json.dumps(measured, indent=1))
    write_record(
        "inference_precision", f"grounder_every{args.every}", metrics=measured, config=CONFIG, seed=args.seed,
        command=f"python -m benchmarks.mono3dvg.inference_precision --every {args.every}",
        seconds=time.perf_counter() - start,
    )  # fmt: skip


def answers(args: argparse.Namespace, precision: str, views: list[View]) -> Answers:
    """Answers to all sentences."""
    file = args.work / f"grounder_{precision}_every{args.every}.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    found = {row["id"]: row for row in known}
    missing = [view for view in views if any(sentence["id"] not in found for sentence in view.sentences)]
    if missing:
        cfg = cpu_config(CONFIG, WEIGHTS)
        cfg.INFERENCE.PRECISION = precision
        predict = Predictor(cfg)
        threshold = float(predict.model.score_threshold)
    with file.open("a") as out:
        for view in missing:
            asked = [{"id": sentence["id"], "text": sentence["text"]} for sentence in view.sentences]
            given = predict(np.ascontiguousarray(view.pixels[:, :, ::-1]), view.camera, expressions=asked)
            for sentence, answer in zip(asked, given["groundings"], strict=True):
                row = {"id": sentence["id"], "threshold": threshold}
                row |= {name: answer[name].double().tolist() for name in ("boxes", "scores")}
                found[row["id"]] = row
                out.write(json.dumps(row) + "\n")
            out.flush()
    return found


def compare(args: argparse.Namespace, truth: Path, found: dict[str, Answers]) -> dict[str, Any]:
    """Mean F1 in percent of each precision, the difference with its interval, and how many answers changed."""
    data = read_grounding(truth)
    expressions = list(data.expressions.values())
    f1: dict[str, dict[float, np.ndarray]] = {}
    counts = {}
    for precision, rows in found.items():
        given = [Answer(np.array(rows[e.id]["boxes"]).reshape(-1, 7), np.array(rows[e.id]["scores"]))
                 for e in expressions]  # fmt: skip
        kept = [answer.scores >= rows[e.id]["threshold"] for answer, e in zip(given, expressions)]
        tables = answer_tables(data, expressions, given, "rotated")
        matched = [metrics.matched_overlaps(table[k]) for table, k in zip(tables, kept)]
        counts[precision] = np.array([int(k.sum()) for k in kept])
        f1[precision] = {
            overlap: np.array([metrics.f1_of(m, k, overlap) for m, k in zip(matched, counts[precision])])
            for overlap in OVERLAPS
        }
    images = sorted({e.image_id for e in expressions})
    row_of = np.array([images.index(e.image_id) for e in expressions])
    weights = draw_weights([""] * len(images), args.draws, args.seed)[:, row_of]  # of sentences
    result: dict[str, Any] = {"images": len(images), "sentences": len(expressions)}
    result["answers_of_another_length"] = int((counts["fp32"] != counts["bf16"]).sum())
    for overlap in OVERLAPS:
        exact, rounded = (100 * f1[precision][overlap] for precision in PRECISIONS)
        draws = (weights @ (rounded - exact)) / weights.sum(1)
        result[f"f1_{overlap:g}"] = {
            "fp32": float(exact.mean()), "bf16": float(rounded.mean()),
            "difference": float((rounded - exact).mean()), "interval_95": percentile_interval(draws),
        }  # fmt: skip
    return result


if __name__ == "__main__":
    main()
