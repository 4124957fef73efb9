"""Traffic is analysed without torch, Detectron2 or a model: at import, and while a file is read."""

import pkgutil
import subprocess
import sys

import pytest

import d2road.traffic
from d2road.utils.errors import USER_ERROR

HEAVY = ("torch", "torchvision", "detectron2", "efficientad", "diffusion_det", "mono3dvg")
PACKAGES = [m.name for m in pkgutil.walk_packages(d2road.traffic.__path__, "d2road.traffic.") if m.ispkg]
MODULES = [m.name for m in pkgutil.walk_packages(d2road.traffic.__path__, "d2road.traffic.")]


def loaded_by(code: str, repo_dir) -> str:
    """Which of HEAVY a program loads, as it prints them."""
    program = f"import sys\n{code}\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=repo_dir, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_every_package_is_covered():
    expected = {"readers", "time_space", "events", "baselines", "tracking", "seeing", "watch", "calibration", "search"}
    assert {name.rpartition(".")[2] for name in PACKAGES} == expected


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_loads_torch_or_a_model(package, repo_dir):
    modules = [name for name in MODULES if name.startswith(package)]
    assert loaded_by(f"import {', '.join(modules)}", repo_dir) == ""


def test_neither_does_reading_rendering_and_fitting(tmp_path, repo_dir):
    path = tmp_path / "a.csv"
    rows = [f"{i / 10:.1f},v{k},{20 * (i / 10 - k)}" for i in range(600) for k in range(60) if 0 <= i / 10 - k < 30]
    path.write_text("\n".join(["t,vehicle,s", *rows, ""]))
    code = f"""
from d2road.traffic.baselines import ImagePca
from d2road.traffic.readers import open_trajectories
from d2road.traffic.time_space.render import TimeSpaceRenderer
from d2road.traffic.time_space.traffic_window import TrafficWindow
from d2road.traffic.time_space.window_grid import WindowGrid
source = open_trajectories("csv:{path}?ordered=1")
renderer = TimeSpaceRenderer(size=(32, 32), ds=8.0)
windows = [TrafficWindow.rendered(one, renderer) for one in WindowGrid(renderer, 1.6).over(source.chunks())]
assert ImagePca().fit(windows).scores(windows).shape == (len(windows),) and not source.problems.wrong
"""
    assert loaded_by(code, repo_dir) == ""


@pytest.mark.parametrize("verb", ["score_stream", "render_trajectories"])
def test_help_and_usage_errors_need_neither_torch_nor_pandas(verb, repo_dir):
    code = f"""
import d2road.cli.{verb} as verb
for words, code in ((["--help"], 0), ([], {USER_ERROR})):
    try:
        verb.main(words)
    except SystemExit as end:
        assert end.code == code
assert "pandas" not in sys.modules
"""
    assert loaded_by(code, repo_dir) == ""
