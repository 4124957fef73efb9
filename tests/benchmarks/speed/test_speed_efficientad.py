"""The benchmark runs, its plain layers are the published ones, and it compares what is equal."""

import json
import subprocess

import pytest
import torch

from benchmarks.speed import benchmark
from benchmarks.speed import efficientad_candidates as candidates
from benchmarks.speed import speed_efficientad as bench
from benchmarks.speed.plain_efficientad import PlainEfficientAD, plain_autoencoder, plain_pdn
from efficientad.modeling.networks import difference_maps
from tests.factories.anomaly_models import narrow_networks


@pytest.fixture(autouse=True)
def narrow():
    with narrow_networks():
        yield
    candidates.calibrated.cache_clear()


def test_quick_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["efficientad", "--quick", "--json", "rows.json", "--record", "tiny", "--batch", "1", "2"]
    assert benchmark.main(command) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["what"], row["batch"]) for row in rows] == [("infer", 1), ("infer", 2), ("train", 1)]
    for row in rows:
        found = row["candidates"]
        assert set(found) - {"anomalib"} == set(bench.INFER if row["what"] == "infer" else bench.TRAIN) - {"anomalib"}
        assert found["plain"]["ratio"] == 1 and all(entry["ms"] > 0 for entry in found.values())
        if row["what"] == "infer":
            assert found["fp32"]["difference"] < 1e-4 and found["int8"]["correlation"] > 0.99
            assert ("anomalib" in found) or any("anomalib is not installed" in note for note in row["notes"])
    record = json.loads((tmp_path / "benchmarks/results/benchmark/tiny.json").read_text())
    assert record["metrics"]["rows"] == rows and record["command"].startswith(
        "python -m benchmarks.speed.benchmark efficientad"
    )
    assert "x plain" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["small", "medium"])
def test_plain_layers_agree_with_ours(size):
    model = candidates.calibrated(size, 0)
    plain, entry = PlainEfficientAD(model).eval(), candidates.random_images(1, 3)[0]
    expected = model([entry])[0]
    (found, score), = plain([entry["image"]])  # fmt: skip
    torch.testing.assert_close(found, expected["anomaly_map"], rtol=0, atol=1e-4)
    assert score == pytest.approx(expected["anomaly_score"].item(), abs=1e-4)
    image = model.preprocess_image(entry)[None]
    twin, penalty = image * 0.9, image.flip(-1)
    with torch.no_grad():
        ours = sum(model.networks.losses(image, twin, penalty).values())
        assert float(plain.loss(image, twin, penalty)) == pytest.approx(float(ours), rel=1e-4)
        assert difference_maps(model.networks.features(image)).shape == (1, 2, 56, 56)


def test_plain_layers_have_the_published_numbers_of_parameters():
    """COUNTS of test_pdn.py, which are the paper's; the autoencoder's is width times kernel, summed by hand."""
    weights = sum(p.numel() for p in plain_autoencoder(384).parameters())
    encoder = 3 * 32 * 16 + 32 * 32 * 16 + 32 * 64 * 16 + 2 * 64 * 64 * 16 + 64 * 64 * 64
    assert weights == encoder + 6 * 64 * 64 * 16 + 64 * 64 * 9 + 64 * 384 * 9 + 32 * 2 + 64 * 4 + 64 * 7 + 384
    assert plain_pdn("small", 8)(torch.zeros(1, 3, 256, 256)).shape == (1, 8, 56, 56)


def test_maps_that_differ_stop_the_benchmark(monkeypatch):
    monkeypatch.setattr(bench, "MAP_TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="differ from those of the plain layers"):
        next(bench.measure(bench.parse(["--quick", "--only", "fp32"])))
    monkeypatch.setattr(bench, "LOSS_TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="the plain loop"):
        next(bench.measure(bench.parse(["--quick", "--what", "train", "--only", "fp32"])))


def test_memory_is_that_of_a_process_of_its_own(monkeypatch, capsys):
    for what in ("infer", "train"):
        assert benchmark.main(["efficientad", "--memory-of", what, "fp32"]) == 0
        assert 50 < float(capsys.readouterr().out.split()[-1]) < 20000
    seen = []

    def run(command, **options):
        seen.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="a line\n321.5\n")

    monkeypatch.setattr(subprocess, "run", run)
    args = bench.parse(["--seed", "4"])
    assert bench.memory_of(args, "train", "plain", "medium", 2) == 321.5
    asked = bench.parse(seen[0][4:])
    assert (asked.memory_of, asked.sizes, asked.batch, asked.seed) == (["train", "plain"], ["medium"], [2], 4)


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--only", "fast"], ["--runs", "0"], ["--clock", "sun"]])
def test_wrong_options(arguments, capsys):
    with pytest.raises(SystemExit):
        bench.parse(arguments)
    assert "expected" in capsys.readouterr().err or arguments[0] == "--clock"
