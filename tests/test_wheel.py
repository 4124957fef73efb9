"""The wheel: built from a clean copy, it holds the four packages and the configs, and trains from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from d2road import __version__

ROOTS = {"d2road", "diffusion_det", "efficientad", "mono3dvg"}


def pip(*words: str | Path, cwd: Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, words), "--no-deps", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def files(repo_dir: Path) -> list[str]:
    """What a clean checkout holds, and files that are not committed yet."""
    if not (repo_dir / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout: what belongs to it cannot be told")
    listing = ["git", "-C", str(repo_dir), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if (repo_dir / name).is_file()]


@pytest.fixture(scope="module")
def wheel(repo_dir: Path, files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in files:
        target = folder / name
        if name.startswith("tests/"):
            continue  # not part of it; golden files take time to copy
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repo_dir / name, target)
    pip("wheel", "--no-build-isolation", "--wheel-dir", "dist", ".", cwd=folder)
    (path,) = (folder / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed into."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--target", folder, wheel, cwd=folder)
    return folder


@pytest.mark.slow
def test_it_holds_the_packages_and_the_configs_and_nothing_else(wheel: Path, files: list[str]):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [archive.read(n).decode() for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        (points,) = [archive.read(n).decode() for n in archive.namelist() if n.endswith("entry_points.txt")]
    sources = {name for name in files if name.split("/")[0] in ROOTS}
    configs = {f"d2road/{name}" for name in files if name.startswith("configs/") and name.endswith(".yaml")}
    assert held == sources | configs
    assert {f"{root}/py.typed" for root in ROOTS} <= held and "d2road/model_zoo/diffusion_det_toy.safetensors" in held
    assert f"\nVersion: {__version__}\n" in metadata and "The d2road developers" in metadata
    assert not re.search(r"Requires-Dist: (torch|torchvision|detectron2)\b", metadata)
    assert "d2road = d2road.cli.__main__:main" in points
    for root in ROOTS - {"d2road"}:
        assert f"{root} = {root}:add_{root}_config" in points


@pytest.mark.slow
def test_installed_elsewhere_it_trains_from_an_empty_folder(installed: Path, repo_dir: Path, tmp_path: Path):
    # Python looks into PYTHONPATH before site-packages, where another d2road may be installed, and -m adds tmp_path.
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment.pop("DETECTRON2_DATASETS", None)

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = "import d2road, diffusion_det, efficientad, mono3dvg as m; import importlib.metadata as i; "
    where += "print(d2road.__file__, diffusion_det.__file__, efficientad.__file__, m.__file__); "
    where += "print(*(e.dist.locate_file('') for e in i.entry_points(group='d2road.projects')))"
    paths = run("-c", where).split()
    assert len(paths) == 7 and all(Path(path).is_relative_to(installed) for path in paths)

    said = run("-m", "d2road.cli", "quickstart", "--images", "4", "--iterations", "2", "--output", "run")
    assert "zoo:diffusion_det_toy" in said
    assert (tmp_path / "run" / "results.md").is_file() and (tmp_path / "run" / "train" / "model_final.pth").is_file()
    assert len(list((tmp_path / "run" / "pictures").glob("*.jpg"))) == 3
    log = (tmp_path / "run" / "train" / "log.txt").read_text()
    assert f"Config file {installed}/d2road/configs/" in log and str(repo_dir / "configs") not in log
    script = installed / "bin" / "d2road"
    assert run(str(script), "--version") == f"d2road {__version__}\n"
