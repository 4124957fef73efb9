"""The benchmark of fused maps: choice on pasted defects, the test afterwards, records, tables, no second run."""

from pathlib import Path

import pytest
import torch

from benchmarks.common import records
from benchmarks.efficientad import anomaly_fusion as bench
from benchmarks.efficientad.anomaly_tables import load_entries
from benchmarks.efficientad.fusion_tables import pooled, write_fusion_tables
from d2road.utils.errors import ConfigError
from tests.factories.anomaly_models import write_category

pytestmark = pytest.mark.slow

SMALL = """
_BASE_: "{base}"
MODEL:
  DEVICE: "cpu"
  EFFICIENT_AD:
    ATTENTION_DIM: 16
    EXTRACTOR:
      LAYERS: ("s8",)
  PATCHCORE:
    BANK_SIZE: 100
    LAYERS: ("s8",)
INPUT:
  IMAGE_SIZE: (256, 256)
DATALOADER:
  NUM_WORKERS: 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, repo_dir):
    """A working folder with a data set and small configs."""
    folder = tmp_path_factory.mktemp("fusion")
    write_category(folder, num_train=12, num_test=3)
    for name in ("Base-Features", "Base-Fusion", "Base-PatchCore"):
        (folder / f"{name}.yaml").write_text(SMALL.format(base=repo_dir / f"configs/efficientad/{name}.yaml"))
    return folder


def test_each_map_alone_and_together_is_chosen_tested_and_told(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("DETECTRON2_DATASETS", "sets")
    monkeypatch.setattr(bench, "STUDENT_CONFIG", "Base-Features.yaml")
    monkeypatch.setattr(bench, "FUSION_CONFIG", "Base-Fusion.yaml")
    monkeypatch.setattr(bench, "BANK_CONFIG", "Base-PatchCore.yaml")
    arguments = ["--data", "mvtec:tiles?held_out=0.3&copies=1", "--seed", "1", "--steps", "4"]
    with pytest.raises(ConfigError, match="run without --test first"):
        bench.main([*arguments, "--test"])
    opened = []
    fill = bench.MapsOnce.fill
    monkeypatch.setattr(bench.MapsOnce, "fill", lambda self, cfg, data: opened.append(data) or fill(self, cfg, data))
    bench.main(arguments)
    assert opened == ["pasted:mvtec:tiles?held_out=0.3&copies=1:test"]
    record = records.read_record(bench.BENCH, "tiles_seed1_4steps/pasted")
    assert set(record["metrics"]) == {*bench.PARTS, *bench.FUSIONS}
    for key in ("student_error", "student_train_error", "student_auroc"):
        assert set(record[key]) == {"1", "2", "3", "4"}
    student = record["metrics"]["student"]
    assert record["student_auroc"]["4"] == pytest.approx(student["image_auroc"], abs=0.01)
    bench.main([*arguments, "--test"])
    assert opened[1:] == ["mvtec:tiles:test"]
    bench.main([*arguments, "--test"])
    assert len(opened) == 2
    entries = load_entries(bench.BENCH)
    chosen = entries[0].record["chosen"]
    assert {entry.variant for entry in entries} == {*bench.ALWAYS_TESTED, chosen, "padim", "pca"}
    assert {entry.steps for entry in entries if entry.variant in ("padim", "pca")} == {0}
    maps = torch.load(place / "output/bench/efficientad_fusion/tiles_seed1_4steps/maps_test.pt", weights_only=True)
    for entry in entries:
        number = {"student": 0, "autoencoder": 1, "bank": 2}.get(entry.variant)
        if number is not None:
            largest = {"/".join(Path(k).with_suffix("").parts[-3:]): float(m[number].max()) for k, m in maps.items()}
            by_score = [name for _, name in sorted(zip(entry.draws.scores, entry.draws.names))]
            assert [largest[name] for name in by_score] == sorted(largest.values())
    page = write_fusion_tables().read_text()
    assert (
        "## Chosen on pasted defects, seed 1" in page and "tiles (4 steps), AU-PRO" in page and "## Test, tiles" in page
    )
    assert f"| {chosen.replace('_', ' ')} - PaDiM | image AUROC | tiles |" in page
    sides = {entry.variant: [entry] for entry in entries}
    found = pooled(sides, chosen, "student", "image_auroc")
    values = [side[0].metrics["image_auroc"] for side in (sides[chosen], sides["student"])]
    assert found.difference == pytest.approx(values[0] - values[1])
