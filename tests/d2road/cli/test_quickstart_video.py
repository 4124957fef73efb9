"""quickstart --video: its steps in order, each once, with the threshold that the hours of good traffic allow."""

import json

import pytest

from d2road.cli import _quickstart_video, quickstart
from d2road.utils.errors import DataError


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """Command lines of the verbs, which leave what they would leave; neither SUMO nor a model runs."""
    lines = []

    def verb(*words):
        lines.append(list(words))
        options = dict(zip(words[1::2], words[2::2]))
        if words[0] in ("track", "watch"):
            folder = tmp_path.joinpath(options["--output"])
            folder.mkdir(parents=True, exist_ok=True)
            record = "summary.json" if words[0] == "track" else "watch.json"
            (folder / record).write_text('{"state": "complete"}')
        if "--calibrate" in options:
            tmp_path.joinpath(options["--calibrate"]).write_text("{}")
        return 0

    def render(folder, seed, **options):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "clips.json").write_text(json.dumps([{"name": "val_000"}]))

    def pieces(folder, clip, about, model, hours, seed, workers):
        assert about == {"name": "val_000"} and model.ghosts_per_hour > 100
        folder.mkdir(exist_ok=True)
        return [folder / f"{number}.parquet" for number in range(round(4 * hours))], 100.0

    monkeypatch.setattr(_quickstart_video, "_verb", verb)
    monkeypatch.setattr("d2road.synthetic.traffic_video.make_traffic_video", render)
    monkeypatch.setattr("d2road.synthetic.traffic_video.seen_traffic.make_seen_traffic", pieces)
    monkeypatch.setattr("d2road.traffic.table.concat", lambda tables: Counted(tables))
    monkeypatch.setattr("d2road.traffic.table.Trajectories.from_parquet", lambda path: path)
    return lines


class Counted:
    """Tables that were joined; the file names them."""

    def __init__(self, tables):
        self.tables = tables

    def to_parquet(self, path):
        path.write_text(",".join(table.stem for table in self.tables))


def words_of(line, option):
    return [line[i + 1] for i, word in enumerate(line) if word == option]


def test_the_steps_come_in_order_and_false_alarms_are_counted_on_other_hours_than_rules_are_fitted_on(
    steps, tmp_path, capsys
):
    assert quickstart.main(["--video", "--output", str(tmp_path / "out")]) == 0
    assert [line[0] for line in steps] == ["track", "watch", "watch", "report"]
    track, calibrate, watch, report = steps
    clip = tmp_path / "out" / "clips" / "val" / "val_000"
    assert words_of(track, "--calib") == [str(clip)] and words_of(track, "--config-file") == [_quickstart_video.CONFIG]
    fitted = [path.rpartition("/")[2] for path in words_of(calibrate, "--good")]
    assert fitted == [f"{n}.parquet" for n in range(8)]
    counted = (tmp_path / "out" / "good" / "counted.parquet").read_text().split(",")
    assert counted == [str(n) for n in range(8, 50)], "10 h and what windows do not cover"
    assert words_of(watch, "--calibration") == words_of(calibrate, "--calibrate") and not words_of(watch, "--good")
    assert words_of(report, "--truth") == [str(clip)] and words_of(report, "--output") == [
        str(tmp_path / "out" / "report.html")
    ]  # fmt: skip
    times = json.loads((tmp_path / "out" / "times.json").read_text())
    assert list(times) == ["make-data traffic-video", "track", "good traffic of the same view", "threshold", "watch",
                           "report"]  # fmt: skip
    assert times["good traffic of the same view"]["processor_seconds"] >= 100, "of workers, too"
    assert "s of processor in all" in capsys.readouterr().out


def test_what_is_done_is_not_done_again_and_a_killed_watch_begins_anew(steps, tmp_path):
    line = ["--video", "--hours", "1", "--output", str(tmp_path / "out")]
    assert quickstart.main(line) == 0
    assert [one[0] for one in steps] == ["track", "watch", "report"] and len(words_of(steps[1], "--good")) == 4
    steps.clear()
    assert quickstart.main(line) == 0
    assert [one[0] for one in steps] == ["report"]
    watched = tmp_path / "out" / "watched"
    (watched / "watch.json").write_text('{"state": "running"}')
    (watched / "alarms.jsonl").write_text("{}")
    steps.clear()
    assert quickstart.main(line) == 0
    assert [one[0] for one in steps] == ["watch", "report"] and not (watched / "alarms.jsonl").exists()


def test_a_step_that_fails_ends_it_and_options_of_the_training_are_refused(steps, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_quickstart_video, "_verb", lambda *words: 130)
    assert quickstart.main(["--video", "--output", str(tmp_path / "out")]) == 130
    assert quickstart.main(["--video", "--images", "3", "--output", str(tmp_path / "out")]) == 2
    assert "--images: belongs to the training" in capsys.readouterr().err

    def another(folder, seed, **options):
        raise DataError("holds another data set")

    monkeypatch.setattr("d2road.synthetic.traffic_video.make_traffic_video", another)
    assert quickstart.main(["--video", "--output", str(tmp_path / "out")]) == 2
    assert "holds another quickstart" in capsys.readouterr().err
