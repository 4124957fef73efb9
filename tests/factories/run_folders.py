"""The folder of a run as a training leaves it, without the training: settings, metrics, results, plot data, a log."""

import json
from pathlib import Path

import cv2
import numpy as np

from d2road.config import make_cfg
from d2road.evaluation.plot_data import BEST, WORST, Boxes, Example, Heat, PlotData, write_plot_data
from d2road.visualization.figure_data import Histogram, Lines, Mark, Matrix, Panels, Reliability, Series

NASTY = "<script>alert('&')</script> \"quoted\" $x$ \x07"
LOG = """[11/29 19:16:02] d2road.engine.defaults INFO: Process 0 of 1
Environment:
------  -------------
Python  3.11.7 <&>
torch   2.14
------  -------------
[11/29 19:16:03] d2road.engine.defaults INFO: Command line: Namespace()
"""


def every_figure() -> dict:
    """A figure of each kind, with names that markup and mathematics would misread."""
    lines = Lines("curve", "x", "y", [Series(NASTY, [0, 1, 2], [1, float("nan"), 3], [0, 0, 2], [2, 2, 4])])
    chance = Lines(
        "ROC", "false", "true", [Series("a", [0, 1], [0.5, 1])], (0, 1), (0, 1), "by chance", [Mark("t", 0.3)]
    )
    return {
        "lines": lines,
        "chance": chance,
        "panels": Panels("several", [lines, chance, lines, chance], columns=3),
        "matrix": Matrix("confusion", "labelled", "predicted", ["car", NASTY], ["car", NASTY], [[3, 0], [1, 9]]),
        "histogram": Histogram(
            "scores", "score", "count", [0, 1, 2], {"good": [4, 0], "bad": [0, 2]}, [Mark("t", 1.5)]
        ),
        "reliability": Reliability(
            "r", "score", "share", [0, 0.5, 1], [0.2, float("nan")], [0.1, float("nan")], [9, 0]
        ),
    }


def examples(folder: Path) -> list[Example]:
    """A 2D example, a 3D one with a sentence, and a heat map with its mask; their images are written into a folder."""
    image, mask = folder / "image.png", folder / "mask.png"
    cv2.imwrite(str(image), np.full((60, 80, 3), 90, np.uint8))
    cv2.imwrite(str(mask), np.pad(np.full((20, 20), 255, np.uint8), ((0, 40), (0, 60))))
    boxes = Boxes([0, 1], [[5, 5, 30, 30], [40, 10, 70, 50]], [0.9, 0.4])
    box = [[x, y, z] for z in (9.0, 11.0) for y in (0.0, 1.5) for x in (-1.0, 1.0)]
    solid = Boxes([0], [[0.0] * 4], None, [box])
    K = [[70.0, 0, 40, 0], [0, 70, 30, 0], [0, 0, 1, 0]]
    heat = Heat.of(np.linspace(0, 1, 60 * 80, dtype=np.float32).reshape(60, 80))
    return [
        Example(str(image), WORST, NASTY, ["car", "truck"], Boxes([0], [[6, 6, 31, 31]]), boxes),
        Example(str(image), BEST, "3D", ["meant", "answer"], solid, solid, K, None, "the car <b>in front</b>"),
        Example(str(image), BEST, "heat", heat=heat, heat_range=(0, 1), heat_threshold=0.8, mask_files=[str(mask)]),
    ]


def write_run(root: Path, steps: int = 40, max_iter: int = 40) -> Path:
    """Write the folder ROOT/run, its images beside it; with fewer `steps` than `max_iter` one that is not finished."""
    run = root / "run"
    run.mkdir(parents=True)
    test = ("coco:val.json:images",)
    cfg = make_cfg(opts=["SOLVER.MAX_ITER", str(max_iter), "MODEL.WEIGHTS", NASTY, "DATASETS.TEST", test])
    (run / "config.yaml").write_text(cfg.dump())
    rows = [
        {"iteration": i, "total_loss": 3 - i / 20, "loss_box": 1.0, "lr": 0.1, "time": 0.2} for i in range(3, steps, 4)
    ]
    rows += [{"iteration": i, "bbox/AP": float(i)} for i in (steps // 2, steps - 1)]
    (run / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "log.txt").write_text(LOG)
    (run / "run.json").write_text(json.dumps({"id": "a", "started": "2026-11-29", "data": {"images": 3}}))
    if steps == max_iter:
        metrics = {"AP": 41.25, "AP50": 70.0, "AP-nothing": None, NASTY: 1.0}
        (run / "results.json").write_text(json.dumps({"bbox": metrics}))
        data = PlotData(every_figure(), examples(root))
        assert write_plot_data(run / "inference", "boxes", lambda: data)
    return run
