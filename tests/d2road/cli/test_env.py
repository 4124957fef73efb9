"""The report for bug reports."""

import subprocess
import sys

import pandas as pd
import torch

from d2road.cli import env as collect_env


def test_the_report_is_complete_and_keeps_secrets(repo_dir, tmp_path):
    env = {
        "PATH": "/usr/bin:/bin",
        "API_TOKEN": "hush-hush",
        "DETECTRON2_DATASETS": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    index = tmp_path / "rope3d" / "validation" / "val.txt"
    index.parent.mkdir(parents=True)
    index.write_text("x")
    done = subprocess.run(
        [sys.executable, "-m", "d2road.cli.env"], cwd=repo_dir, env=env, capture_output=True, text=True, timeout=300
    )
    text = done.stdout
    assert done.returncode == 0, done.stderr
    assert "failed" not in text
    rows = dict(line.strip().split(maxsplit=1) for line in text.splitlines() if line.startswith("  "))
    assert rows["torch"].startswith(torch.__version__.split("+")[0])
    assert rows["pandas"].startswith(pd.__version__) and "onnxruntime" in rows
    assert rows["rope3d_val"] == "present"
    assert rows["toy_roadside_val"].startswith("absent")
    assert rows["root"] == f"{tmp_path} (DETECTRON2_DATASETS)"
    assert rows["diffusion_det"].endswith("works")
    assert rows["allocator"].startswith("the system's")
    assert "hush" not in text


def test_a_broken_section_does_not_hide_the_others(monkeypatch, capsys):
    def broken():
        yield "first", "1"
        raise OSError("no such thing")

    monkeypatch.setattr(collect_env, "SECTIONS", (("a", broken), ("b", lambda: [("x", "y")])))
    assert collect_env.main([]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["[a]"], ["first", "1"], ["failed:", "OSError:", "no", "such", "thing"], ["[b]"], ["x", "y"]]


def test_revision_of_a_folder(tmp_path):
    assert collect_env.git_revision(tmp_path) == "not a git checkout"
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert collect_env.git_revision(tmp_path).startswith("unknown")
    (tmp_path / "a").write_text("1")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["add", "a"], [*identity, "commit", "-qm", "a"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    commit = collect_env.git_revision(tmp_path)
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert collect_env.git_revision(tmp_path) == f"{commit} with 1 changed files"


def test_allocators():
    assert collect_env.allocator("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2") == "jemalloc"
    assert collect_env.allocator("libtcmalloc_minimal.so.4") == "tcmalloc"
