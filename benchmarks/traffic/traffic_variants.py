"""What scores windows in the benchmark: trained models, and baselines fitted on good streams."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common.records import read_record, record_path
from benchmarks.efficientad.anomaly_results import FINAL, Tested, dicts_of, record_test, train_and_test
from benchmarks.efficientad.anomaly_runs import Run, run_name
from benchmarks.efficientad.bootstrap_draws import read_draws
from benchmarks.traffic.event_records import (
    EVENTS_RECORD,
    RELATIVE,
    RELATIVE_EVENTS,
    evaluate_streams,
    record_events,
    scores_path,
)
from benchmarks.traffic.traffic_streams import (
    Scores,
    StreamRecording,
    grid_of,
    read_events,
    read_streams,
    score_streams,
    windows_by_name,
)
from d2road.config.time_space import window_grid_of
from d2road.engine.predictor import Predictor
from d2road.traffic.baselines import BASELINES, Baseline, LastingRules, MappingBaseline, TrackSurprise
from d2road.traffic.events.relative_scores import RelativeScores
from d2road.traffic.events.window_stream import window_scorer
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.traffic_window import TrafficWindow
from efficientad.data.anomaly_datasets import split_name
from efficientad.evaluation.image_scores import ImageScores
from efficientad.evaluation.map_files import score_file
from efficientad.evaluation.window_events import read_meta

META = "meta.csv"
# Windows that baselines are fitted on, spread over the good streams of the part `fit`.
FIT_WINDOWS = 800


def run_variant(run: Run, streams: bool = True) -> str:
    """Train or fit, test on the windows, score the streams if asked to; returns the name of the records.

    What has a record is left out.
    """
    records = (FINAL, RELATIVE, *((EVENTS_RECORD, RELATIVE_EVENTS) if streams else ()))
    baseline = run.variant.partition("+")[0].partition("-")[0] in BASELINES
    name = run_name(run.teacher, run.variant, run.cfg.SEED, 0) if baseline else run.name
    done = {record: read_record(run.bench, f"{name}/{record}") is not None for record in records}
    if all(done.values()):
        return name
    if baseline:
        fitted = fit(run)
        if not done[FINAL]:
            test_baseline(run, name, fitted)
        scores: Scores = fitted.scores
    else:
        train_and_test(run)
        predict = window_scorer(Predictor(run.cfg, str(run.folder / "model_final.pth"), batch_size=4))
        scores = lambda windows: [score for score, _ in predict(windows)]  # noqa: E731
    if not done[RELATIVE]:
        test_relative(run, name, scores, 0 if baseline else run.steps)
    if streams and not (done[EVENTS_RECORD] and done[RELATIVE_EVENTS]):
        test_streams(run, name, scores)
    return name


def root_of(run: Run) -> Path:
    """The folder of traffic_incidents, above the category of the test images."""
    return Path(dicts_of(run.cfg.DATASETS.TEST[0])[0]["root"]).parent


def fit(run: Run) -> Baseline:
    """A baseline on windows of the good streams `fit`, as many of each."""
    baseline = BASELINES[run.variant.partition("+")[0].partition("-")[0]](seed=run.cfg.SEED)
    if isinstance(baseline, (LastingRules, TrackSurprise)):
        # They watch the whole road while a window lasts, as in the test, and go through windows once.
        return baseline.fit(fit_windows(run))
    # Only their own rows: neighbours would be kept many times over.
    return baseline.fit([replace(one, table=one.inside()) for one in fit_windows(run)])


def fit_windows(run: Run) -> Iterator[TrafficWindow]:
    """The windows that baselines are fitted on."""
    recordings, view = read_streams(root_of(run), "fit"), window_grid_of(run.cfg)
    each = -(-FIT_WINDOWS // max(len(recordings), 1))
    for recording in recordings:
        table = Trajectories.from_parquet(recording.path)
        own = list(grid_of(recording, view.renderer, lanes=view.lanes).over([table]))
        chosen = np.unique(np.linspace(0, len(own) - 1, each).round().astype(int)) if own else []
        yield from (TrafficWindow.rendered(own[i], view.renderer) for i in chosen)


def test_baseline(run: Run, folder: str, baseline: Baseline) -> None:
    """Test a baseline on the test windows and record it as models are; with maps if it has any."""
    start, root = time.perf_counter(), root_of(run)
    entries = dicts_of(run.cfg.DATASETS.TEST[0])
    names, view = [image_name(entry) for entry in entries], window_grid_of(run.cfg)
    windows = windows_by_name(root, read_meta(root / META), names, view.renderer, view.lanes)
    scores = baseline.scores(windows)
    images = [image_scores(baseline, *one) for one in zip(entries, windows, scores)]
    record_test(run, FINAL, Tested(images), start, folder, steps=0, fitted_on=f"{FIT_WINDOWS} windows of `fit`")


def test_relative(run: Run, folder: str, scores: Scores, steps: int) -> None:
    """Test a variant by its scores relative to the validation windows of the same density, and record it."""
    start, root, view = time.perf_counter(), root_of(run), window_grid_of(run.cfg)
    meta = read_meta(root / META)
    density = dict(zip(meta["window"], meta["density"]))
    names = [image_name(entry) for entry in dicts_of(split_name(run.cfg.DATASETS.TRAIN[0], "validation"))]
    windows = windows_by_name(root, meta, names, view.renderer, view.lanes)
    relative = RelativeScores([density[name] for name in names], list(map(float, scores(windows))))
    tested = read_draws(record_path(run.bench, f"{folder}/{FINAL}").with_suffix(".npz"))
    found = relative([density[name] for name in tested.names], tested.scores)
    images = [ImageScores(n, k, float(s), has_pixels=False) for n, k, s in zip(tested.names, tested.kinds, found)]
    record_test(run, RELATIVE, Tested(images), start, folder, steps=steps, compared_with=f"{len(names)} windows")


def image_scores(baseline: Baseline, entry: dict, window: TrafficWindow, score: float) -> ImageScores:
    """A test image's contribution to the metrics."""
    name = image_name(entry)
    if not isinstance(baseline, MappingBaseline):
        return ImageScores(name, entry["defect"], float(score), has_pixels=False)
    heat = baseline.anomaly_map(window)
    return score_file(
        name, entry["defect"], heat, entry["mask_files"], score=float(score), ignore=entry.get("ignore_file")
    )


def image_name(entry: dict) -> str:
    """The path of an image below its category, without suffix: the name of its window."""
    return Path(entry["file_name"]).relative_to(entry["root"]).with_suffix("").as_posix()


def test_streams(run: Run, folder: str, scores: Scores) -> None:
    """Score good streams and those with incidents, and record the events."""
    start, root, view = time.perf_counter(), root_of(run), window_grid_of(run.cfg)
    parts: dict[str, pd.DataFrame] = {}
    recordings: dict[str, list[StreamRecording]] = {part: read_streams(root, part) for part in ("calibrate", "test")}
    for part, own in recordings.items():
        path = scores_path(run.bench, folder, part)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            score_streams(own, scores, view.renderer, lanes=view.lanes).to_csv(path, index=False)
        parts[part] = pd.read_csv(path, dtype={"recording": str})
    events = read_events(root, read_meta(root / META))
    hours = sum(recording.hours for recording in recordings["calibrate"])
    relative = RelativeScores(parts["calibrate"]["density"], parts["calibrate"]["score"])
    for record, score in ((EVENTS_RECORD, None), (RELATIVE_EVENTS, relative)):
        scored = (
            parts if score is None else {k: f.assign(score=score(f["density"], f["score"])) for k, f in parts.items()}
        )
        metrics, found = evaluate_streams(scored["calibrate"], hours, scored["test"], events)
        record_events(
            run.bench, f"{folder}/{record}", metrics, found, start,
            command=run.command, config={"file": run.config, "keys": " ".join(run.opts)}, seed=run.cfg.SEED,
            **run.about(),
        )  # fmt: skip
