"""Inspection of real traffic without labels: NGSIM's I-80, trained on its first part, the highest windows of the rest.

No score: nobody knows what is unusual there. The file holds leader-follower pairs, so most of the traffic is absent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common.markdown import table, write_page
from benchmarks.efficientad.anomaly_runs import Run, train
from d2road.engine.predictor import Predictor
from d2road.traffic.baselines import KinematicRules
from d2road.traffic.baselines.vehicle_features import compute_vehicle_features
from d2road.traffic.events.stream_output import clock
from d2road.traffic.events.window_stream import ScoredWindow, window_scorer
from d2road.traffic.readers import open_trajectories
from d2road.traffic.table import Trajectories
from d2road.traffic.time_space.axes_view import plot_time_space, save_figure
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.time_space.window_grid import WindowGrid
from d2road.utils.image_io import read_image, write_image
from d2road.visualization.boxes2d_drawing import contact_sheet

# I-80 is slow: 25 m/s at the green end.
RENDERER = TimeSpaceRenderer(max_speed=25.0)
GRID = WindowGrid(RENDERER, 3.2, s_range=(0.0, 512.0))
TRAIN_SHARE, VALIDATION_SHARE = 0.6, 0.15  # of the time; the second one is the end of the first
SHOWN = 10


@dataclass(frozen=True)
class Parts:
    """Windows to train on, to calibrate with, and to inspect; no sample is in two parts."""

    train: list[TrafficWindow]
    validation: list[TrafficWindow]
    rest: list[TrafficWindow]


def read_parts(data: Path) -> Parts:
    """The windows of NGSIM's pairs, or of any file that `open_trajectories` reads.

    Args:
        data: a .parquet file of pairs, or a folder that holds one.
    Raises:
        FileNotFoundError, ValueError: there is none, or it cannot be read.
    """
    if data.is_dir():
        files = sorted(data.glob("*.parquet"))
        if len(files) != 1:
            raise FileNotFoundError(f"{data} holds {len(files)} .parquet files, expected one of leader-follower pairs")
        data = files[0]
    whole = open_trajectories(f"ngsim_pairs:{data}").table()
    first, last = whole.span
    end = first + TRAIN_SHARE * (last - first)
    middle = end - VALIDATION_SHARE * (last - first)
    return Parts(*(_windows(whole.between(a, b)) for a, b in ((first, middle), (middle, end), (end, last + 1))))


def _windows(part: Trajectories) -> list[TrafficWindow]:
    return [TrafficWindow.rendered(window, RENDERER) for window in GRID.over([part])]


def write_data(parts: Parts, root: Path) -> str:
    """The images to train on and to calibrate with, as a plain folder; returns the name of the data set."""
    for folder, windows in (("good", parts.train), ("good_validation", parts.validation)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        several = len({window.recording for window in windows}) > 1
        for window in windows:
            name = f"{window.recording}_" if several else ""
            write_image(root / folder / f"{name}{round(10 * window.t0):06d}.png", window.require_image())
    return f"folder:{root}"


def highest(windows: Sequence[TrafficWindow], scores: Sequence[float], count: int = SHOWN) -> list[int]:
    """Numbers of the highest windows, none of which shares more than half of its time with a higher one."""
    chosen: list[int] = []
    for i in np.argsort(-np.asarray(scores), kind="stable").tolist():
        if all(abs(windows[i].t0 - windows[j].t0) >= (windows[i].t1 - windows[i].t0) / 2 - 1e-6 for j in chosen):
            chosen.append(i)
        if len(chosen) == count:
            break
    return chosen


def inspect_run(run: Run, parts: Parts, folder: Path, page: Path) -> Path:
    """Train, score the rest, write the images of the highest windows and the page that tells what is in them."""
    weights = train(run)
    score = window_scorer(Predictor(run.cfg, str(weights), batch_size=4))
    found = score(parts.rest)
    rules = KinematicRules().fit(parts.train + parts.validation)
    folder.mkdir(parents=True, exist_ok=True)
    scores = [value for value, _ in found]
    chosen = highest(parts.rest, scores)
    rows, views = [], []
    for rank, i in enumerate(chosen, 1):
        window, (value, heat) = parts.rest[i], found[i]
        figure = plot_time_space(
            window.require_image(), RENDERER, window.t0, window.s0, heat=heat, title=f"{rank}: score {value:.3g}"
        )
        save_figure(figure, folder / f"{rank:02d}.png")
        views.append(read_image(folder / f"{rank:02d}.png"))
        save_figure(
            plot_time_space(window.require_image(), RENDERER, window.t0, window.s0), folder / f"{rank:02d}_plain.png"
        )
        t, s = ScoredWindow(window, value, heat, True, True).place(RENDERER)
        rows.append(
            [str(rank), f"{clock(window.t0)}", f"{value:.3g}", f"{clock(t)}, {s:.0f} m", *contents(window, rules)]
        )
    write_image(page.with_suffix(".png"), contact_sheet(views, columns=3, cell_width=360))
    note = (
        f"Windows of {RENDERER.duration:.1f} s and {RENDERER.stretch:.0f} m, {len(parts.train)} to train on, "
        f"{len(parts.validation)} to calibrate with, {len(parts.rest)} to inspect, one every {GRID.stride:g} s; those "
        "shown share no more than half of their time with a higher one. Scores of the rest: median "
        f"{np.median(scores):.3g}, highest {max(scores):.3g}. The file has no labels: this is an inspection, "
        "not a score. It holds leader-follower pairs: most of the traffic is absent. Times are those of the file."
    )
    head = ["", "begins", "score", "highest value at", "vehicles", "speed, lowest / mean / highest (m/s)"]
    head += ["hardest braking (m/s^2)", "shortest time gap (s)", "lane changes", "rarest rule"]
    title = "The ten highest windows of NGSIM I-80"
    return write_page(
        page,
        [table(title, note, head, rows), [f"![The ten windows]({page.stem}.png)", "", f"Command: `{run.command}`."]],
    )


def contents(window: TrafficWindow, rules: KinematicRules) -> list[str]:
    """What is in a window, as cells."""
    inside, features = window.inside().frame, compute_vehicle_features(window)
    speed = inside["speed"].to_numpy()
    return [
        str(inside["vehicle"].nunique()),
        f"{speed.min():.1f} / {speed.mean():.1f} / {speed.max():.1f}",
        f"{features['braking'].max():.1f}",
        f"{1 / features['close'].max():.1f}",
        f"{features['lane_changes'].sum():.0f}",
        rules.reasons([window])[0].replace("_", " "),
    ]
