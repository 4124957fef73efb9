"""Systems are found through entry points."""

import sys

import pytest
from detectron2.config import get_cfg

from d2road.config import add_all_configs
from d2road.config import projects as systems


def test_every_system_of_the_project_adds_its_keys_and_twice_is_once():
    cfg = get_cfg()
    add_all_configs(cfg)
    once = cfg.dump()
    assert {"DiffusionDet", "EFFICIENT_AD", "MONO3DVG"} <= set(cfg.MODEL)
    add_all_configs(cfg)
    assert cfg.dump() == once


def test_the_table_beside_the_package_is_what_a_toml_reader_reads(repo_dir):
    tomllib = pytest.importorskip("tomllib")
    table = tomllib.loads((repo_dir / "pyproject.toml").read_text())["project"]["entry-points"]["d2road.systems"]
    assert systems._read_pyproject(systems.PYPROJECT) == table
    assert systems.system_references().items() >= table.items()


def test_an_uninstalled_checkout_reads_its_own_table(tmp_path, monkeypatch):
    table = '# why\na = "m:f"\n"b-c" = \'n.o:g\'\n'
    text = f'[project]\nname = "x"\n[project.entry-points."d2road.systems"]\n{table}\n[tool.x]\nd = "e"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.setattr(systems, "PYPROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(systems.importlib.metadata, "entry_points", lambda group: [])
    assert systems.system_references() == {"a": "m:f", "b-c": "n.o:g"}
    monkeypatch.setattr(systems, "PYPROJECT", tmp_path / "none.toml")
    assert systems.system_references() == {}


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
    monkeypatch.setattr(systems, "system_references", lambda: {"broken": reference})
    sys.modules.pop("broken_system", None)
    with pytest.raises(ImportError, match=f"system 'broken'.*{cause}"):
        add_all_configs(get_cfg())
    sys.modules.pop("broken_system", None)
