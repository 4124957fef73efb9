"""Projects are found through entry points."""

import sys

import pytest
from detectron2.config import get_cfg

from d2road.config import add_all_configs, projects


def test_every_system_of_the_project_adds_its_keys_and_twice_is_once():
    cfg = get_cfg()
    add_all_configs(cfg)
    once = cfg.dump()
    assert {"DiffusionDet", "EFFICIENT_AD", "MONO3DVG"} <= set(cfg.MODEL)
    add_all_configs(cfg)
    assert cfg.dump() == once


def test_the_entry_points_are_those_of_pyproject(repo_dir):
    tomllib = pytest.importorskip("tomllib")
    table = tomllib.loads((repo_dir / "pyproject.toml").read_text())["project"]["entry-points"]["d2road.projects"]
    assert projects.project_references().items() >= table.items()


def test_without_entry_points_the_cure_is_to_install(monkeypatch):
    monkeypatch.setattr(projects.importlib.metadata, "entry_points", lambda group: [])
    with pytest.raises(ImportError, match="pip install -e"):
        projects.project_references()


@pytest.mark.parametrize(
    ("source", "reference", "cause"),
    [
        ("raise RuntimeError('half installed')", "broken_system:add", "RuntimeError: half installed"),
        ("add = 3", "broken_system:add", "is no function"),
        ("", "broken_system:add", "has no attribute 'add'"),
        ("", "absent_system:add", "No module named 'absent_system'"),
    ],
)
def test_a_broken_system_is_an_error_with_its_cause(tmp_path, monkeypatch, source, reference, cause):
    (tmp_path / "broken_system.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(projects, "project_references", lambda: {"broken": reference})
    sys.modules.pop("broken_system", None)
    with pytest.raises(ImportError, match=f"system 'broken'.*{cause}"):
        add_all_configs(get_cfg())
    sys.modules.pop("broken_system", None)
