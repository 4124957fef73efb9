"""What programs that measure exported files share: the model as a file, its engines, records of each precision."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from benchmarks.common.onnx_precision import PRECISIONS, Inputs, convert
from benchmarks.common.records import read_record, write_record
from d2road.engine.model_export import graph_of
from d2road.engine.predictor import read_config
from d2road.export.engines import OnnxRuntimeSession, OpenVinoSession, TorchSession
from d2road.export.graph import ExportOptions
from d2road.export.onnx_file import write_onnx
from d2road.export.torch_file import write_torch
from d2road.utils.markdown import markdown_table

ENGINES = {"onnxruntime": OnnxRuntimeSession, "openvino": OpenVinoSession, "torch": TorchSession}
SUFFIXES = {"onnxruntime": ".onnx", "openvino": ".onnx", "torch": ".pt2"}  # of what they run here
PRECISION_BENCH = "exported_precision"
PRECISION_FILES = Path("output/bench") / PRECISION_BENCH


def cpu_config(config: str, weights: str) -> CfgNode:
    """A config with its weights, on the processor."""
    cfg = read_config(config, weights)
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = weights, "cpu"
    return cfg


def write_model(cfg: CfgNode, path: Path, images: Sequence[str | Path] = ()) -> Path:
    """The model of a config as a .onnx or .pt2 file, with its test images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write = write_torch if path.suffix == ".pt2" else write_onnx
    write(graph_of(cfg, images, ExportOptions()), path, cfg.dump())
    return path


def measure_precisions(
    source: Path,
    name: str,
    calibration: Sequence[Inputs],
    evaluate: Callable[[Path, str], dict[str, Any]],
    *,
    config: str,
    command: str,
    largest: int = 0,
) -> None:
    """Write the records of a file in all precisions that have none.

    Args:
        name: of the records, with {} for the precision.
        evaluate: metrics of a file and its precision.
        config, command: of the records.
        calibration, largest: see `convert`.
    """
    for precision in PRECISIONS:
        record, start = name.format(precision), time.perf_counter()
        if read_record(PRECISION_BENCH, record) is not None:
            continue
        file, layers = convert(source, precision, calibration, largest)
        metrics = {**evaluate(file, precision), "layers": layers, "mb": file.stat().st_size / 1e6}
        write_record(
            PRECISION_BENCH, record, metrics=metrics, config=config, seed=0, command=command,
            seconds=time.perf_counter() - start,
        )  # fmt: skip
        print(precision, json.dumps(metrics), flush=True)


def print_precisions(columns: Sequence[str], names: Sequence[str], scores: Callable[[dict[str, Any]], list]) -> None:
    """Print the records that there are, a row each: precision, scores, time and size.

    Args:
        columns: of the scores.
        names: see `measure_precisions`.
        scores: cells of the metrics of a record.
    """
    rows = []
    for name in names:
        for precision in PRECISIONS:
            record = read_record(PRECISION_BENCH, name.format(precision))
            if record is not None:
                m = record["metrics"]
                time_and_size = f"{m['seconds']:.3f} s", f"{m['mb']:.1f} MB"
                rows.append([name.split("_")[0], precision, *scores(m), *time_and_size])
    print("\n".join(markdown_table(("model", "precision", *columns, "processor time an image", "file"), rows)))
