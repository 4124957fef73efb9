"""The scripts beside the data are the verbs make-data and convert."""

import runpy
import sys

import pytest

SCRIPTS = {
    "make_toy_roadside": "make-data toy-roadside",
    "make_toy_loco": "make-data fastener-kit",
    "make_traffic_incidents": "make-data traffic-incidents",
    "make_traffic_video": "make-data traffic-video",
    "make_toy_grounding": "make-data toy-grounding",
    "make_grounding": "make-data grounding",
    "prepare_kitti": "make-data kitti-lists",
    "convert_grounding": "convert",
}


def test_every_script_is_listed(repo_dir):
    assert {path.stem for path in (repo_dir / "datasets").glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_a_verb(name, repo_dir, monkeypatch, capsys):
    path = str(repo_dir / "datasets" / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [path, "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(path, run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: d2road {SCRIPTS[name]} ")
