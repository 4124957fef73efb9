"""What the folder of a run tells: settings, environment, progress, results and plot data, whatever of it is there."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from d2road.config import make_cfg
from d2road.engine.plots import read_metrics
from d2road.engine.resume_check import flat_config
from d2road.engine.run_identity import RECORD
from d2road.evaluation.plot_data import PlotData, plot_files, read_plot_data
from d2road.utils.errors import D2RoadError, DataError
from d2road.utils.input_files import read_json, read_text

T = TypeVar("T")
LOG, CONFIGS = "log.txt", ("config.yaml", "config_eval.yaml")
KNOWN_FILES = (*CONFIGS, "metrics.json", "results.json", RECORD, LOG)
NO_DEFAULT = "(no such key by default)"
LINE = re.compile(r"^\[\d\d/\d\d \d\d:\d\d:\d\d\]", re.M)


@dataclass
class RunSummary:
    """What was read.

    Args:
        path: the folder.
        config: settings by full key.
        config_text: as the file has them.
        changed: (key, value, default) of the settings that are not the default.
        of_evaluation: (key, value, value in `config`) where an evaluation that came after the training has others.
        environment: versions and devices, as the log has them; "" if it has none.
        record: run.json.
        metrics: rows of metrics.json.
        test_sets: DATASETS.TEST of the training or the evaluation that came last, to which the results belong.
        results: results.json: {task: {metric: value}}, or that by data set.
        evaluations: (data set, name, plot data).
        is_finished: the last weights of the training are there.
        notes: what could not be read.
    """

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    changed: list[tuple[str, Any, Any]] = field(default_factory=list)
    of_evaluation: list[tuple[str, Any, Any]] = field(default_factory=list)
    environment: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    test_sets: Sequence[str] = ()
    results: dict[str, Any] = field(default_factory=dict)
    evaluations: list[tuple[str, str, PlotData]] = field(default_factory=list)
    is_finished: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def iterations(self) -> int:
        """How many steps are logged; those of the last seconds before a crash are not."""
        return int(self.metrics[-1]["iteration"]) + 1 if self.metrics else 0

    def state(self) -> str:
        """What became of the run, in a line."""
        total = self.config.get("SOLVER.MAX_ITER", "?")
        if self.is_finished:
            return f"finished: {total} iterations"
        if self.metrics:
            return f"not finished: {self.iterations} of {total} iterations are logged"
        return "evaluation without training" if self.results else "nothing was trained or evaluated yet"


def read_run(path: Path) -> RunSummary:
    """Read the folder of a run; parts that are missing or damaged become notes.

    Raises:
        FileNotFoundError, DataError: there is no such folder, or nothing of a run in it.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder: name the OUTPUT_DIR of a training or an evaluation")
    if not any((path / name).is_file() for name in KNOWN_FILES):
        inside = sorted(p.parent.name for p in path.glob("*/config.yaml"))
        hint = f"; did you mean {path / inside[0]}?" if inside else ": name the OUTPUT_DIR of a training or evaluation"
        raise DataError(f"{path} holds nothing of a run (none of {', '.join(KNOWN_FILES)}){hint}")
    run = RunSummary(path)
    run.config_text = _try(run, "", lambda: _config_text(path))
    run.config = _try(run, {}, lambda: flat_config(run.config_text))
    run.test_sets = _try(run, (), lambda: _test_sets(path))
    run.changed = _try(run, [], lambda: changed_settings(run.config))
    run.of_evaluation = _try(run, [], lambda: evaluation_settings(path, run.config))
    run.environment = _try(run, "", lambda: environment_of(path / LOG))
    run.record = _try(run, {}, lambda: _object(path / RECORD))
    nothing: tuple[list[dict[str, Any]], int] = ([], 0)
    run.metrics, damaged = _try(run, nothing, lambda: read_metrics(path / "metrics.json"))
    if damaged:
        total_rows = damaged + len(run.metrics)
        run.notes.append(f"metrics.json: {damaged} of {total_rows} rows are cut off or damaged, and left out of curves")
    run.results = _try(run, {}, lambda: _object(path / "results.json"))
    total = run.config.get("SOLVER.MAX_ITER")
    reached = isinstance(total, int) and run.iterations >= total
    run.is_finished = reached or (path / "model_final.pth").is_file()
    for file in plot_files(path / "inference"):
        data = _try(run, None, lambda file=file: read_plot_data(file))  # type: ignore[misc]
        if data is not None:
            run.evaluations.append((_data_set(run, file), file.stem, data))
    return run


def changed_settings(config: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, value, default) of all settings that are not as `make_cfg` has them without a file."""
    default = flat_config(make_cfg().dump())
    return [
        (key, value, default.get(key, NO_DEFAULT))
        for key, value in sorted(config.items())
        if key not in default or default[key] != value
    ]


def evaluation_settings(path: Path, config: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, value, value of the training) of the settings of a later evaluation that are not those of the training.

    Args:
        path: folder of the run. config: of the training, by full key.
    """
    newest = _newest_config(path)
    if newest is None or newest == _present_configs(path)[0]:
        return []
    own = flat_config(read_text(newest, "config"))
    return [
        (key, value, config.get(key, NO_DEFAULT))
        for key, value in sorted(own.items())
        if key not in config or config[key] != value
    ]


def environment_of(log: Path) -> str:
    """The table of versions and devices that the last start of a program logged; "" without one."""
    text = read_text(log, "log") if log.is_file() else ""
    start = text.rfind("\nEnvironment:\n")
    if start < 0:
        return ""
    block = text[start + len("\nEnvironment:\n") :]
    end = LINE.search(block)
    return (block[: end.start()] if end else block).strip("\n")


def results_by_data_set(results: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """{data set: {task: {metric: value}}} of results.json, which leaves the data set out where there is one."""
    nested = any(isinstance(v, Mapping) and any(isinstance(i, Mapping) for i in v.values()) for v in results.values())
    found = results if nested else {names[0] if names else "": results}
    return {
        str(name): {str(task): dict(row) for task, row in tasks.items() if isinstance(row, Mapping)}
        for name, tasks in found.items()
        if isinstance(tasks, Mapping)
    }


def _present_configs(path: Path) -> list[Path]:
    return [path / name for name in CONFIGS if (path / name).is_file()]


def _newest_config(path: Path) -> Path | None:
    return max(_present_configs(path), key=lambda file: file.stat().st_mtime_ns, default=None)


def _config_text(path: Path) -> str:
    present = _present_configs(path)
    return read_text(present[0], "config") if present else ""


def _test_sets(path: Path) -> tuple[str, ...]:
    """Test sets of the newest config: an evaluation in the folder of a training replaces its results alone."""
    newest = _newest_config(path)
    if newest is None:
        return ()
    return tuple(str(name) for name in flat_config(read_text(newest, "config")).get("DATASETS.TEST") or ())


def _data_set(run: RunSummary, file: Path) -> str:
    """The data set of a file of plot data: its folder's name where there are several."""
    folder, names = file.parent.parent, run.test_sets or ("",)
    return str(names[0]) if folder == run.path / "inference" else folder.name


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path, nan=True) if path.is_file() else {}
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def _try(run: RunSummary, otherwise: T, read: Callable[[], T]) -> T:
    """What was read; else `otherwise`, and a note why: a damaged file must not cost the rest of the report."""
    try:
        return read()
    except (D2RoadError, OSError, yaml.YAMLError, ImportError, ValueError, AttributeError, TypeError) as error:
        run.notes.append(f"{type(error).__name__}: {error}")
        return otherwise
