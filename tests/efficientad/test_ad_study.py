"""The benchmarks of EfficientAD from end to end on tiny data and networks: training, records, pictures, tables."""

import json
import shutil

import numpy as np
import pytest
import torch
from ad_world import narrow_networks, write_category
from sklearn.metrics import roc_auc_score

from efficientad.pdn import PDN
from tools import bench_efficientad_screw as screw
from tools import records
from tools.anomaly_study.draws import read_draws
from tools.anomaly_study.pictures import choose
from tools.anomaly_study.runs import find_teacher

TINY = """
_BASE_: "{base}"
MODEL:
  DEVICE: "cpu"
  EFFICIENT_AD:
    OUT_CHANNELS: 8
    ATTENTION_DIM: 16
    ATTENTION_HEADS: 2
INPUT:
  IMAGE_SIZE: (128, 128)
DATALOADER:
  NUM_WORKERS: 0
"""


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def place(narrow, tmp_path_factory, repo_dir):
    """A working folder with data in mvtec/screw, a tiny config, a teacher."""
    folder = tmp_path_factory.mktemp("study")
    write_category(folder / "mvtec").rename(folder / "mvtec" / "screw")
    base = repo_dir / "configs" / "efficientad" / "Base-EfficientAD.yaml"
    (folder / "tiny.yaml").write_text(TINY.format(base=base))
    torch.manual_seed(0)
    torch.save(PDN("small", 8).state_dict(), folder / "teacher.pth")
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(screw, "CONFIG", "tiny.yaml")
    return place


def run_screw(*arguments) -> int:
    return screw.main(["--data", "mvtec", "--seed", "1", "--steps", "4", "--teacher", "teacher.pth", *arguments])


def read(name: str) -> dict:
    found = list(records.RESULTS.glob(f"efficientad_screw/teacher_*/{name}.json"))
    assert len(found) == 1, found
    return json.loads(found[0].read_text())


def test_screw_from_training_to_tables(here):
    run_screw("--variant", "linear_attention")
    run_screw("--variant", "neighbours")
    record = read("linear_attention_seed1_4steps/final")
    assert record["steps"] == 4 and record["published_steps"] == 70000 and record["penalty_images"] == "none"
    assert record["teacher"].startswith("teacher.pth (") and len(record["teacher_sha256"]) == 12
    assert (record["train_pictures"], record["validation_pictures"], record["test_pictures"]) == (7, 1, 6)
    assert record["command"].startswith("python -m tools.bench_efficientad_screw --data mvtec --variant linear")
    low, high = record["metrics"]["intervals"]["image_auroc"]
    assert low <= record["metrics"]["image_auroc"] <= high and "good_threshold" in record["metrics"]
    assert set(record["metrics"]["losses"]) >= {"loss_hard", "loss_autoencoder", "total_loss"}
    # The whole curve has records, and the checkpoints on the way are gone.
    assert [read(f"linear_attention_seed1_4steps/steps{n}")["steps"] for n in (1, 2, 3)] == [1, 2, 3]
    (output,) = here.glob("output/bench/efficientad_screw/teacher_*/linear_attention_seed1_4steps")
    assert [path.name for path in output.glob("*.pth")] == ["model_final.pth"]
    assert len(list((output / "pictures").glob("*.png"))) == 6
    # Draws are of the same pictures as the record.
    draws = read_draws(next(records.RESULTS.glob("*/*/linear_attention_seed1_4steps/final.npz")))
    labels = [kind != "good" for kind in draws.kinds]
    assert roc_auc_score(labels, draws.scores) == pytest.approx(record["metrics"]["image_auroc"])
    assert np.percentile(draws.metrics["image_auroc"], [2.5, 97.5]) == pytest.approx([low, high], abs=1e-6)
    baseline = read("neighbours_seed1/final")
    assert baseline["teacher"] == record["teacher"] and baseline["steps"] == 0 and baseline["bank"] == 7 * 24 * 24
    page = (records.RESULTS / "efficientad_screw" / "table.md").read_text()
    assert "| linear attention | 1 |" in page and "| nearest neighbours, no training | 1 |" in page
    assert "linear attention - nearest neighbours, no training" in page and "0.0 % of the published 70000" in page
    assert list(records.RESULTS.glob("efficientad_screw/curve_*_4steps.png"))


def test_a_finished_run_is_not_repeated(here):
    run_screw("--variant", "linear_attention")
    before = read("linear_attention_seed1_4steps/final")
    shutil.rmtree(here / "output")  # a copy of the repository has the records alone
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.trainings.train_to_end", None)
        run_screw("--variant", "linear_attention")
    assert read("linear_attention_seed1_4steps/final") == before


def test_own_keys_make_another_run(here):
    run_screw("--variant", "linear_attention", "MODEL.EFFICIENT_AD.BOTTLENECK", "8")
    names = [path.parent.name for path in records.RESULTS.glob("*/*/linear_attention+*/final.json")]
    assert len(names) == 1 and names[0].endswith("_seed1_4steps")
    assert "BOTTLENECK 8" in read(f"{names[0]}/final")["config"]["keys"]


def test_bad_arguments(here):
    with pytest.raises(FileNotFoundError, match="make teacher IMAGES=mvtec/screw/train"):
        screw.main(["--data", "mvtec", "--seed", "1"])
    with pytest.raises(FileNotFoundError, match=r"gone\.pth does not exist"):
        screw.main(["--data", "mvtec", "--seed", "1", "--teacher", "gone.pth"])
    with pytest.raises(FileNotFoundError, match="train/good"):
        screw.main(["--data", "nowhere", "--seed", "1", "--teacher", "teacher.pth"])
    with pytest.raises(ValueError, match="this teacher has 8 channels"):
        run_screw("--variant", "linear_attention", "MODEL.EFFICIENT_AD.OUT_CHANNELS", "16")


def test_the_usual_places_of_a_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "output" / "teacher_small_lite0" / "model_final.pth"
    other.parent.mkdir(parents=True)
    other.touch()
    assert find_teacher() == "output/teacher_small_lite0/model_final.pth"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "teacher_small.pth").touch()
    assert find_teacher() == "models/teacher_small.pth"
    assert find_teacher("random") == "random"


def test_pictures_to_show():
    kinds, scores = ["good", "dent", "good", "dent", "dent", "good"], [0.1, 0.9, 0.5, 0.2, 0.4, 0.3]
    expected = {"missed": 3, "typical": 4, "clear": 1, "calm": 0, "good": 5, "false_alarm": 2}
    assert choose(kinds, scores) == expected
    assert choose(["dent"], [1.0]) == {"missed": 0, "typical": 0, "clear": 0}
