"""The benchmark of PatchCore's parts runs, and refuses to compare what does not agree."""

import pytest
import torch

from benchmarks.common.records import read_record
from benchmarks.speed import speed_patchcore as bench


def test_every_method_and_precision_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    features = torch.rand(4, 50, 6, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(bench, "image_features", lambda args: features)
    monkeypatch.setattr(bench, "has_anomalib", lambda: False)
    assert bench.main(["--size", "40", "--runs", "2", "--record", "t"]) == 0
    said = capsys.readouterr().out
    assert "coreset of 40 among 200 vectors" in said
    assert "scoring 50 patches against 40 vectors, principal search anomalib is not" in said
    coreset, scoring = read_record("benchmark", "t")["metrics"]["rows"]
    assert list(coreset["candidates"]) == ["greedy", "approximate", "random"]
    assert coreset["candidates"]["greedy"]["radius_ratio"] == 1 < coreset["candidates"]["random"]["radius_ratio"]
    assert scoring["candidates"]["fp32"]["ratio"] == 1 and scoring["candidates"]["int8"]["difference"] < 0.01
    assert bench.PRINCIPAL in scoring["candidates"]


def test_searches_that_differ_are_refused(monkeypatch):
    features = torch.rand(2, 50, 6, generator=torch.Generator().manual_seed(0))
    monkeypatch.setitem(bench.CANDIDATES, bench.PRINCIPAL, {"precision": "int8"})
    with pytest.raises(RuntimeError, match="the two searches differ"):
        bench.scoring_row(features, features.flatten(0, 1), bench.parse(["--runs", "1"]), peer=False)


def test_features_are_those_of_strides_8_and_16():
    args = bench.parse(["--images", "2"])
    assert bench.image_features(args).shape == (2, 32 * 32, 152)


def test_results_that_differ_are_refused():
    distances = torch.linspace(1, 2, 50)
    bench.agree((distances, distances.max()), (distances + 1e-3, distances.max()))
    with pytest.raises(RuntimeError, match="ours and anomalib"):
        bench.agree((distances, distances.max()), (distances, distances.max() + 0.1))


def test_a_folder_without_images_is_said(tmp_path, capsys):
    assert bench.main(["--data", str(tmp_path)]) == 2
    assert "found no image" in capsys.readouterr().err
