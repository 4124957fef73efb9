"""`d2road zoo`: what is shipped, what each is, and whether the files are whole."""

import pytest

from d2road.cli.__main__ import main
from d2road.model_zoo import catalogue, read_catalogue, shipped_files
from tests.factories.blocked_imports import run_without


def test_list_has_every_entry_in_a_line(capsys):
    assert main(["zoo", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", *read_catalogue()]
    sizes = {line.split()[0]: line.split()[2] for line in lines}
    assert sizes["diffusion_det_toy"] == "7.7" and sizes["efficientad_teacher_small"] == "fetch"


@pytest.mark.parametrize("name", ["diffusion_det_toy", "zoo:diffusion_det_toy", "d2road://diffusion_det_toy.pth"])
def test_info_by_any_name(capsys, name):
    assert main(["zoo", "info", name]) == 0
    text = capsys.readouterr().out
    for part in (
        "zoo:diffusion_det_toy",
        "toy_roadside/effnet_lite0.yaml",
        "licence",
        "benchmarks/results/",
        "car, big",
    ):
        assert part in text


def test_info_by_the_beginning_of_a_name(capsys):
    assert main(["zoo", "info", "patch"]) == 0 and "zoo:patchcore_fasteners" in capsys.readouterr().out
    assert main(["zoo", "info", "diffusion_det_toy"]) == 0  # of which another name is the beginning of more
    assert "zoo:diffusion_det_toy\n" in capsys.readouterr().out
    assert main(["zoo", "info", "efficientad_teacher_narrow"]) == 2
    said = capsys.readouterr().err
    assert "2 models begin with" in said and "efficientad_teacher_narrow_own, efficientad_teacher_narrow_ph" in said
    assert main(["zoo", "verify", "zoo:patch"]) == 0 and "patchcore_fasteners: good" in capsys.readouterr().out


def test_info_of_weights_of_others_says_what_to_fetch_and_invents_no_checksum(capsys):
    assert main(["zoo", "info", "diffusion_det_coco_resnet50"]) == 0
    text = capsys.readouterr().out
    assert "diffdet_coco_res50.pth of github.com/ShoufaChen/DiffusionDet" in text and "45.5" in text
    assert "CC-BY-NC" in text and "not known here" in text


def test_verify_tells_a_damaged_file(capsys, tmp_path, monkeypatch):
    assert main(["zoo", "verify"]) == 0
    shipped_files._packaged_file.cache_clear()
    name = "efficientad_teacher_narrow_own"
    whole = read_catalogue()[name].path.read_bytes()
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    (tmp_path / f"{name}.safetensors").write_bytes(whole[:-1] + b"x")
    assert main(["zoo", "verify", name]) == 1
    assert f"{name}: BAD" in capsys.readouterr().err
    shipped_files._packaged_file.cache_clear()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["info", "difusion_det_toy"], "did you mean 'diffusion_det_toy'"),
        (["info"], "needs the NAME"),
        (["show"], "list"),
    ],
)
def test_what_cannot_be_asked_is_said(capsys, words, said):
    try:
        code = main(["zoo", *words])
    except SystemExit as end:  # of argparse
        code = end.code
    assert code == 2 and said in capsys.readouterr().err


def test_it_needs_neither_torch_nor_detectron2(repo_dir):
    asked = (["list"], ["info", "patch"], ["verify", "patch"])
    code = f"from d2road.cli.zoo import main\nassert not any([main(words) for words in {asked}])"
    said = run_without(("torch", "detectron2"), code, repo_dir)
    assert "patchcore_fasteners: good" in said and "efficientad_teacher_small " in said


def test_an_address_is_known_where_detectron2_was_imported_first(repo_dir):
    code = """
from detectron2.utils.file_io import PathManager
import d2road.model_zoo
print(PathManager.isfile("zoo:traffic_rules_forecast"))
"""
    assert run_without((), code, repo_dir) == "True\n"
