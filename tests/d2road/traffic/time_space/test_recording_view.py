"""Whole recordings drawn as time-space diagrams."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.table import Trajectories
from d2road.traffic.time_space import recording_view
from d2road.traffic.time_space.recording_view import GAP_STEPS, RecordingViews, plot_recording
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.utils.image_io import read_image

RENDERER = TimeSpaceRenderer()


def table(seconds: float, recordings=("a", "b/c"), speed: float = 10.0) -> Trajectories:
    """Two vehicles a recording, one in each direction, ten samples a second."""
    t = np.arange(0, seconds, 0.1).round(1)
    parts = [
        pd.DataFrame(
            {"recording": name, "vehicle": f"v{d}", "cls": "car", "t": t, "s": 500 * (d < 0) + d * speed * t}
        ).assign(lane="0", direction=d, speed=speed, acceleration=0.0, length=4.0, width=2.0)
        for name in recordings
        for d in (1, -1)
    ]
    return Trajectories.from_frame(pd.concat(parts))


def chunks(whole: Trajectories, seconds: float):
    for start in np.arange(0, whole.frame["t"].max() + 0.1, seconds):
        yield whole.between(start, start + seconds - 1e-6)


def test_each_recording_and_direction_is_drawn_over_all_of_its_time(tmp_path, monkeypatch):
    figures = []
    plot = recording_view.plot_recording
    monkeypatch.setattr(recording_view, "plot_recording", lambda *args: figures.append(plot(*args)) or figures[-1])
    whole, views = table(70), RecordingViews()
    passed = [len(chunk) for chunk in views.watch(chunks(whole, 15))]
    assert sum(passed) == len(whole)
    paths = views.save(tmp_path, RENDERER)
    assert [path.name for path in paths] == [
        f"recording_{name}_{word}.png" for name in ("a", "b_c") for word in ("along", "against")
    ]
    for path, figure in zip(paths, figures):
        assert read_image(path).std() > 10
        (left, right), (low, high) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
        assert left < 0 and right > 69 and high - low >= 690


def test_memory_is_bounded_and_paths_stay_whole(monkeypatch):
    monkeypatch.setattr(recording_view, "SAMPLES", 100)
    views = RecordingViews()
    for _ in views.watch(chunks(table(200, ["a"]), 20)):
        pass
    (rows,), (step,) = views._kept.values(), views._steps.values()
    assert len(rows) <= 100
    for _, mine in rows.groupby("vehicle"):
        assert mine["t"].min() == 0 and mine["t"].max() > 199 - 2 * step
        assert np.diff(np.sort(mine["t"])).max() <= GAP_STEPS * step


@pytest.mark.parametrize(("speed", "gaps"), [(0.0, [0]), (10.0, [0, 40])])
def test_paths_are_interrupted_where_samples_are_missing_and_coloured_by_speed(speed, gaps):
    t = np.concatenate([gap + np.arange(0, 10, 0.5) for gap in gaps])
    rows = pd.DataFrame({"vehicle": "v", "t": t, "s": speed * t, "speed": speed})
    (lines,) = plot_recording(rows, RENDERER, 2.0).axes[0].collections
    assert len(lines.get_segments()) == len(t) - len(gaps)
    red, _, blue, _ = lines.get_colors()[0]
    assert (red > 0.9 and blue > 0.5) == (speed == 0), "magenta: stopped"
