"""The benchmark on FT-AED, on a small file in its published form."""

import json
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.traffic import event_records
from benchmarks.traffic import ft_aed_benchmark as bench
from d2road.traffic.events.alarms import alarm_threshold
from tests.factories.lane_sensors import MILES, write

STEPS, CRASH = 160, 100  # instants of a day, that of the report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five days; on the last one there is a queue from 10 minutes before to 10 minutes behind a report."""
    path = tmp_path_factory.mktemp("ft_aed")
    frame = write(path / "ft_aed.csv", range(2, 7), STEPS, crash_record={(6, CRASH, MILES[0]): 1})
    lanes = [f"lane{lane}_speed" for lane in range(1, 5)]
    frame[lanes] += np.random.default_rng(0).normal(0, 2, (len(frame), 4))
    step = (frame["unix_time"] - frame.groupby("day")["unix_time"].transform("min")) / 30
    queue = (frame["day"] == 6) & (step >= CRASH - 20) & (step < CRASH + 20) & (frame["milemarker"] > MILES[0])
    frame.loc[queue, lanes] = 3.0
    frame.to_csv(path / "ft_aed.csv", index=False)
    return path


@pytest.fixture
def data(folder, monkeypatch):
    """The file, in the working directory."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(event_records, "alarm_threshold", partial(alarm_threshold, least_hours=0.0))
    return "ft_aed.csv"


def test_days_serve_one_thing_each(data):
    days = bench.read_days(data)
    found = [[day.day for day in part] for part in (days.fit, days.validation, days.calibrate, days.test)]
    assert found == [["2"], ["3"], ["4"], ["5", "6"]]
    windows = list(bench.windows_of(days.test[1:], bench.STRIDE, good=True))
    # The last good window ends before the quarter of an hour ahead of the report.
    assert windows[-1].t1 <= (CRASH - 30) * 30 < windows[-1].t1 + 2 * 30 + 1
    assert windows[0].require_image().shape == (256, 256, 3) and windows[0].s1 == pytest.approx(1.7 * 1609.344)


def test_the_highest_window_shows_the_queue(data):
    days = bench.read_days(data)
    args = Namespace(variant="pca", seed=1)
    found = bench.score_days(days.test, bench.fit_baseline(days, args), good=False)
    highest = found.loc[found["score"].idxmax()]
    assert highest["recording"] == "6"
    assert highest["t0"] < (CRASH + 20) * 30 and highest["t1"] > (CRASH - 20) * 30


def test_a_baseline_from_end_to_end(data, capsys):
    assert bench.main(["--data", data, "--variant", "pca", "--seed", "1"]) == 0
    (path,) = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("record")]
    before = Path(path).read_text()
    record = json.loads(before)
    metrics = record["metrics"]
    assert metrics["events"] == 1 and metrics["recall"] == 1.0 and record["events"]["kind"] == ["crash"]
    # The event begins a quarter of an hour ahead of the report.
    assert metrics["delay_to_report_s"] == metrics["delay_s"]["median"] - 900
    assert metrics["calibration"]["hours"] == pytest.approx(160 / 120, abs=0.01)
    assert bench.main(["--data", data, "--variant", "pca", "--seed", "1"]) == 0
    assert Path(path).read_text() == before


def test_too_few_days(tmp_path, capsys):
    write(tmp_path / "short.csv")
    assert bench.main(["--data", str(tmp_path / "short.csv")]) == 2
    assert "short.csv has 2 day(s); expected at least 4" in capsys.readouterr().err
