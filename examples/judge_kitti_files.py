"""KITTI's AP of prediction files of any detector: python examples/judge_kitti_files.py LABELS PREDICTIONS

Both are folders of FRAME.txt in KITTI's format; frames are those that have a prediction file.
"""

import sys
from pathlib import Path

from d2road.evaluation.metrics.kitti_objects import read_labels_folder, read_predictions_folder
from d2road.evaluation.metrics.kitti_protocol import evaluate_kitti


def main(labels: str, predictions: str) -> dict[str, float]:
    """Print AP of cars by metric and difficulty (R40, percent); returns those of moderate ones."""
    frames = sorted(path.stem for path in Path(predictions).glob("*.txt"))
    truth = read_labels_folder(Path(labels), frames)
    found = read_predictions_folder(Path(predictions), frames)
    results = evaluate_kitti(truth, found, classes=("car",), extra_overlaps={"car": [0.5]})["car"]
    for metric, ap in results.items():
        print(f"{metric:<8}" + "".join(f"{value:8.2f}" for value in ap["R40"]))
    return {metric: ap["R40"][1] for metric, ap in results.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
