"""The command line that turns trajectories into a folder of images."""

import csv
import json

import cv2
import numpy as np
import pandas as pd
import pytest
from detectron2.data import DatasetCatalog

from d2road.cli import render_trajectories
from d2road.data import register_by_name
from d2road.traffic.readers import open_trajectories
from d2road.traffic.time_space import window_folder
from d2road.traffic.time_space.render import TimeSpaceRenderer

SMALL = ["TIME_SPACE.SIZE", "(32, 32)", "TIME_SPACE.DS", "8.0", "TIME_SPACE.STRIDE", "1.6"]


@pytest.fixture
def source(tmp_path):
    rows = []
    for k in range(8):
        t = k + 0.1 * np.arange(80)
        rows.append(pd.DataFrame({"vehicle": k, "t": t.round(1), "s": 5 + 20 * (t - k), "speed": 20.0, "length": 4.0}))
    path = tmp_path / "cars.csv"
    pd.concat(rows).to_csv(path, index=False)
    return path


def run(source, out, *more):
    return render_trajectories.main(["--source", f"csv:{source}", "--out", str(out), *more])


def meta(out):
    with open(out / "meta.csv") as file:
        return list(csv.DictReader(file))


def test_images_are_the_windows_and_meta_tells_where(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(source, out, "--chunk", "2", *SMALL) == 0
    rows = meta(out)
    assert "is complete" in capsys.readouterr().out
    assert [row["file"] for row in rows] == [f"train/good/{i:06d}.png" for i in range(len(rows))] and len(rows) == 8
    assert [float(row["t0_s"]) for row in rows] == pytest.approx([1.6 * i for i in range(8)])
    table = open_trajectories(source).table()
    renderer = TimeSpaceRenderer(size=(32, 32), ds=8.0)
    for row in rows:
        image = cv2.imread(str(out / row["file"]))[:, :, ::-1]
        assert np.array_equal(image, renderer.render(table, float(row["t0_s"]), float(row["s0_m"])))
    assert int(rows[0]["vehicles"]) == 4
    assert json.loads((out / ".time_space/train_good/problems.json").read_text())["rows"] == 640
    assert not list(out.rglob("*.tmp")) and not list(out.rglob(".*.tmp"))


def test_interrupted_it_goes_on(source, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert run(source, whole, *SMALL) == 0
    drawn = []
    write = window_folder.write_image

    def stops(path, image):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(path.name)
        write(path, image)

    monkeypatch.setattr(window_folder, "write_image", stops)
    with pytest.raises(KeyboardInterrupt):
        run(source, out, *SMALL)
    assert meta(out) == []
    monkeypatch.setattr(window_folder, "write_image", lambda path, image: (drawn.append(path.name), write(path, image)))
    assert run(source, out, *SMALL) == 0
    assert len(drawn) == len(set(drawn)) == 8
    for path in sorted(whole.rglob("*.png")):
        assert path.read_bytes() == (out / path.relative_to(whole)).read_bytes()
    assert (out / "meta.csv").read_text() == (whole / "meta.csv").read_text()


def test_other_parameters_are_not_mixed(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(source, out, *SMALL) == 0
    assert run(source, out, *SMALL, "TIME_SPACE.MAX_SPEED", "30.0") == 2
    assert "other parameters (MAX_SPEED 40.0 there, 30.0 asked for)" in capsys.readouterr().err
    before = (out / "train/good/000000.png").read_bytes()
    assert run(source, out, "--overwrite", *SMALL, "TIME_SPACE.MAX_SPEED", "30.0") == 0
    assert (out / "train/good/000000.png").read_bytes() != before


def test_a_source_that_was_wrong_can_be_put_right(tmp_path, capsys):
    """The first call fails before it draws anything, so the second one may ask for something else."""
    fcd, out = tmp_path / "fcd.csv", tmp_path / "out"
    rows = [f"{t:.1f};v;{20 * t:.1f};{edge}_0;20;car" for t in np.arange(0, 40, 0.1) for edge in [f"e{int(t > 20)}"]]
    names = "timestep_time;vehicle_id;vehicle_pos;vehicle_lane;vehicle_speed;vehicle_type"
    fcd.write_text("\n".join([names, *rows, ""]))
    line = ["--output", str(out), *SMALL]
    assert render_trajectories.main(["--input", f"fcd:{fcd}", *line]) == 2
    assert "say where each begins" in capsys.readouterr().err
    assert render_trajectories.main(["--input", f"fcd:{fcd}?edges=e0:0,e1:0", *line]) == 0
    assert list((out / "train" / "good").glob("*.png"))


def test_the_folder_is_a_data_set_with_views_beside_it(source, tmp_path):
    out = tmp_path / "out"
    assert run(source, out, "--views", "3", "--whole", *SMALL) == 0
    names = sorted(path.name for path in (out / "views").iterdir())
    last = len(meta(out)) - 1
    windows = [f"{number:06d}.png" for number in (0, round(last / 2), last)]
    assert names[:3] == windows and names[3].startswith("recording_") and len(names) == 4
    assert render_trajectories.main(
        ["--source", f"csv:{source}?start=10", "--out", str(out), "--folder", "validation/good", *SMALL]
    ) == 0  # fmt: skip
    assert [row["file"] for row in meta(out)][7:] == [
        "train/good/000007.png", *(f"validation/good/{i:06d}.png" for i in range(2))
    ]  # fmt: skip
    name = f"loco:{out}"
    for split, count in (("train", 8), ("validation", 2)):
        register_by_name(f"{name}:{split}")
        assert len(DatasetCatalog.get(f"{name}:{split}")) == count


@pytest.mark.parametrize("wrong", ["units=speed=mph", "columns=t=speed,speed=t", "start=1e6", "limit=-1"])
def test_after_a_wrong_option_the_right_one_draws_into_the_same_folder(source, tmp_path, wrong):
    out = tmp_path / "out"
    for _ in range(2):
        assert render_trajectories.main(["--input", f"csv:{source}?{wrong}", "--output", str(out), *SMALL]) == 2
    assert run(source, out, *SMALL) == 0
    assert len(list((out / "train" / "good").iterdir())) == len(meta(out)) == 8


def test_foreign_files_stay(source, tmp_path, capsys):
    (tmp_path / "out/train/good").mkdir(parents=True)
    (tmp_path / "out/train/good/mine.png").touch()
    assert run(source, tmp_path / "out", *SMALL) == 2
    assert "holds files that this tool did not write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["TIME_SPACE.LANE_LAYOUT", "stacked"], "need the names of their lanes"),
        (["TIME_SPACE.DIRECTION", "-1"], "no window holds a vehicle"),
        (["TIME_SPACE.SPEED", "3"], "TIME_SPACE.SPEED"),
    ],
)
def test_messages(source, tmp_path, capsys, more, message):
    assert run(source, tmp_path / "out", *SMALL, *more) == 2
    assert message in capsys.readouterr().err
    assert render_trajectories.main(["--source", "csv:none.csv", "--out", str(tmp_path / "x")]) == 2
    assert "none.csv does not exist" in capsys.readouterr().err
