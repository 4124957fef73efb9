"""The benchmarks of EfficientAD from end to end on tiny data and networks: training, records, images, tables."""

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.common import records
from benchmarks.efficientad import anomaly_loco as loco
from benchmarks.efficientad import anomaly_mvtec as mvtec
from benchmarks.efficientad import anomaly_screw as screw
from benchmarks.efficientad import feature_runs
from benchmarks.efficientad.anomaly_runs import find_teacher, relative
from benchmarks.efficientad.bootstrap_draws import read_draws
from benchmarks.efficientad.heat_map_sheet import choose
from benchmarks.efficientad.released_data import find_categories
from efficientad.modeling.pdn import PDN
from tests.factories.anomaly_models import narrow_networks, write_category

TYPES = ("logical_anomalies", "structural_anomalies")
TINY = """
_BASE_: "{base}"
MODEL:
  DEVICE: "cpu"
  EFFICIENT_AD:
    AUTOENCODER: "{kind}"
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
    """A working folder with data in mvtec and kits, tiny configs, a teacher."""
    folder = tmp_path_factory.mktemp("study")
    write_category(folder / "mvtec").rename(folder / "mvtec" / "screw")
    write_category(folder / "mvtec", num_train=4, num_test=2)
    write_kit(folder / "kits")
    base = repo_dir / "configs" / "efficientad" / "Base-EfficientAD.yaml"
    for kind in ("linear_attention", "softmax_attention"):
        (folder / f"{kind}.yaml").write_text(TINY.format(base=base, kind=kind))
    torch.manual_seed(0)
    torch.save(PDN("small", 8).state_dict(), folder / "teacher.pth")
    return folder


def write_kit(root) -> None:
    """Both types of anomalies of MVTec LOCO, a mask folder each."""
    category = write_category(root).rename(root / "fastener_kit")
    for kind in TYPES:
        shutil.copytree(category / "test" / "blot", category / "test" / kind)
        for mask in (category / "ground_truth" / "blot").glob("*.png"):
            target = category / "ground_truth" / kind / mask.name.removesuffix("_mask.png") / "000.png"
            target.parent.mkdir(parents=True)
            shutil.copy(mask, target)
    shutil.rmtree(category / "test" / "blot")
    shutil.rmtree(category / "ground_truth" / "blot")
    entry = {"defect_name": "blot", "pixel_value": 255, "saturation_threshold": 1.0, "relative_saturation": True}
    (category / "defects_config.json").write_text(json.dumps([entry]))


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(screw, "CONFIG", "linear_attention.yaml")
    monkeypatch.setattr(loco, "CONFIGS", ".")
    return place


def run_screw(*arguments) -> int:
    return screw.main(["--data", "mvtec", "--seed", "1", "--steps", "4", "--teacher", "teacher.pth", *arguments])


def read(name: str) -> dict:
    found = list(records.RESULTS.glob(f"efficientad_screw/teacher_*/{name}.json"))
    assert len(found) == 1, found
    return json.loads(found[0].read_text())


def test_screw_from_training_to_tables(here):
    run_screw("--variant", "linear_attention")
    run_screw("--variant", "memory_bank")
    run_screw("--variant", "memory_bank_whitened")
    record = read("linear_attention_seed1_4steps/final")
    assert record["steps"] == 4 and record["published_steps"] == 70000 and record["penalty_images"] == "none"
    assert record["teacher"].startswith("teacher.pth (") and len(record["teacher_sha256"]) == 12
    assert (record["train_images"], record["validation_images"], record["test_images"]) == (7, 1, 6)
    assert record["command"].startswith("python -m benchmarks.efficientad.anomaly_screw --data mvtec --variant linear")
    low, high = record["metrics"]["intervals"]["image_auroc"]
    assert low <= record["metrics"]["image_auroc"] <= high and "good_threshold" in record["metrics"]
    assert set(record["metrics"]["losses"]) >= {"loss_hard", "loss_autoencoder", "total_loss"}
    # The whole curve has records, and the checkpoints on the way are gone.
    assert [read(f"linear_attention_seed1_4steps/steps{n}")["steps"] for n in (1, 2, 3)] == [1, 2, 3]
    (output,) = here.glob("output/bench/efficientad_screw/teacher_*/linear_attention_seed1_4steps")
    assert [path.name for path in output.glob("*.pth")] == ["model_final.pth"]
    assert len(list((output / "pictures").glob("*.png"))) == 6
    # Draws are of the same images as the record.
    draws = read_draws(next(records.RESULTS.glob("*/*/linear_attention_seed1_4steps/final.npz")))
    labels = [kind != "good" for kind in draws.kinds]
    assert roc_auc_score(labels, draws.scores) == pytest.approx(record["metrics"]["image_auroc"])
    assert np.percentile(draws.metrics["image_auroc"], [2.5, 97.5]) == pytest.approx([low, high], abs=1e-6)
    baseline = read("memory_bank_seed1/final")
    assert baseline["teacher"] == record["teacher"] and baseline["steps"] == 0 and baseline["bank"] == 7 * 24 * 24
    whitened = read("memory_bank_whitened_seed1/final")
    assert whitened["bank"] == baseline["bank"]
    assert whitened["metrics"]["good_threshold"] != pytest.approx(baseline["metrics"]["good_threshold"], rel=0.01)
    page = (records.RESULTS / "efficientad_screw" / "table.md").read_text()
    assert "| memory bank, whitened, no training | 1 |" in page
    assert "| linear attention | 1 |" in page and "| memory bank, no training | 1 |" in page
    assert "| image AUROC | memory bank, whitened, no training - memory bank, no training | " in page
    assert "linear attention - memory bank, no training" in page and "0.0 % of the published 70000" in page
    assert list(records.RESULTS.glob("efficientad_screw/curve_*_4steps.png"))
    # The same checkpoint in fewer bits, with its own calibration.
    narrow = read("linear_attention_seed1_4steps/final_int8")
    assert narrow["precision"] == "int8" and narrow["test_images"] == 6
    assert narrow["metrics"]["good_threshold"] != record["metrics"]["good_threshold"]
    assert "| linear attention | 1 | int8 | " in page


def test_a_finished_run_is_not_repeated(here):
    run_screw("--variant", "linear_attention")
    before = read("linear_attention_seed1_4steps/final")
    shutil.rmtree(here / "output")  # a copy of the repository has the records alone
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.common.trainings.train_to_end", None)
        run_screw("--variant", "linear_attention")
    assert read("linear_attention_seed1_4steps/final") == before


def test_own_keys_make_another_run(here):
    run_screw("--variant", "linear_attention", "MODEL.EFFICIENT_AD.BOTTLENECK", "8")
    names = [path.parent.name for path in records.RESULTS.glob("*/*/linear_attention+*/final.json")]
    assert len(names) == 1 and names[0].endswith("_seed1_4steps")
    assert "BOTTLENECK 8" in read(f"{names[0]}/final")["config"]["keys"]


def test_loco_crosses_attention_and_bottleneck(here):
    for variant in ("linear_attention-64", "softmax_attention-0"):
        loco.main(["--data", "kits", "--variant", variant, "--seed", "2", "--steps", "2", "--teacher", "teacher.pth"])
    results = {}
    for variant in ("linear_attention-64", "softmax_attention-0"):
        (path,) = records.RESULTS.glob(f"efficientad_loco/teacher_*/{variant}_seed2_2steps/final.json")
        results[variant] = json.loads(path.read_text())
        assert f"BOTTLENECK {variant.split('-')[1]}" in results[variant]["config"]["keys"]
        assert results[variant]["data"] == "loco:kits/fastener_kit"
        assert set(results[variant]["metrics"]["auspro"]) == {*TYPES, "mean"}
        draws = read_draws(path.with_suffix(".npz"))
        assert {"auspro/mean/0.05", "image_auroc_by_type/mean"} <= set(draws.metrics)
        assert "auspro/mean/0.3" not in draws.metrics  # kept small
    assert results["linear_attention-64"]["metrics"]["losses"] != results["softmax_attention-0"]["metrics"]["losses"]
    page = (records.RESULTS / "efficientad_loco" / "table.md").read_text()
    assert "| linear attention, bottleneck 64 | 2 |" in page and "| softmax attention, no bottleneck | 2 |" in page


def test_every_category_once(here, capsys):
    arguments = ["--data", "mvtec", "--config-file", "linear_attention.yaml", "--seed", "1", "--steps", "2"]
    arguments += ["--teacher", "teacher.pth", "--variant", "linear_attention"]
    mvtec.main([*arguments, "--category", "tiles"])
    assert "category 1/1: tiles, linear_attention: image_auroc" in capsys.readouterr().out
    mvtec.main(arguments)
    said = capsys.readouterr().out
    assert "category 1/2: screw, linear_attention: image_auroc" in said
    assert "category 2/2: tiles, linear_attention: done already" in said
    logs = [path.read_text() for path in sorted(here.glob("output/bench/efficientad_mvtec/*/*/*/log.txt"))]
    assert len(logs) == 2 and all(log.count("teacher statistics") for log in logs)
    assert "mvtec/screw" not in logs[1]  # each has its own
    names = sorted(path.parent.name for path in records.RESULTS.glob("efficientad_mvtec/*/*/*/final.json"))
    assert names == ["screw", "tiles"]
    assert "**mean of 2**" in (records.RESULTS / "efficientad_mvtec" / "table.md").read_text()
    with pytest.raises(FileNotFoundError, match="--category bolt: mvtec holds screw, tiles"):
        mvtec.main([*arguments, "--category", "bolt"])
    with pytest.raises(FileNotFoundError, match="no category"):
        mvtec.main(["--data", "kits/fastener_kit", "--seed", "1"])


def test_patchcore_and_plain_baselines_by_one_command(here, repo_dir, monkeypatch, capsys):
    monkeypatch.setattr(feature_runs, "PATCHCORE_CONFIG", str(repo_dir / "configs/efficientad/Base-PatchCore.yaml"))
    arguments = ["--data", "mvtec", "--category", "tiles", "--variant", "patchcore", "padim", "pca", "--seed", "2"]
    keys = ["MODEL.DEVICE", "cpu", "INPUT.IMAGE_SIZE", "(64, 64)", "MODEL.PATCHCORE.BANK_SIZE", "100"]
    mvtec.main([*arguments, *keys, "DATALOADER.NUM_WORKERS", "0"])
    said = capsys.readouterr().out
    assert all(f"category 1/1: tiles, {variant}: image_auroc" in said for variant in ("patchcore", "padim", "pca"))
    found = {}
    for path in records.RESULTS.glob("efficientad_mvtec/teacher_efficientnet_lite0/*_seed2/tiles/final.json"):
        found[path.parent.parent.name.partition("+")[0]] = json.loads(path.read_text())
        draws = read_draws(path.with_suffix(".npz"))
        assert len(draws.names) == 4
    assert set(found) == {"patchcore", "padim", "pca"}
    for record in found.values():
        assert record["steps"] == 0 and record["seconds_to_calibrated"] <= record["seconds"] + 0.1
        assert "good_threshold" in record["metrics"] and "aupro" in record["metrics"]["intervals"]
    assert found["patchcore"]["fitted"]["bank_vectors"] <= 100
    page = (records.RESULTS / "efficientad_mvtec/table.md").read_text()
    assert "PatchCore (own keys" in page and "Seconds to a calibrated model" in page
    mvtec.main([*arguments, *keys, "DATALOADER.NUM_WORKERS", "0"])
    assert capsys.readouterr().out.count("done already") == 3


def test_efficientad_needs_no_teacher_of_its_own(here, repo_dir, monkeypatch):
    monkeypatch.setattr(mvtec, "WITHOUT_TEACHER", str(repo_dir / "configs/efficientad/Base-Features.yaml"))
    arguments = ["--data", "mvtec", "--category", "tiles", "--variant", "linear_attention", "--seed", "1"]
    keys = ["MODEL.DEVICE", "cpu", "INPUT.IMAGE_SIZE", "(256, 256)", "MODEL.EFFICIENT_AD.ATTENTION_DIM", "16"]
    arguments += ["--steps", "2"]
    mvtec.main([*arguments, *keys, "DATALOADER.NUM_WORKERS", "0"])
    (path,) = records.RESULTS.glob("efficientad_mvtec/*/linear_attention+*_seed1_2steps/tiles/final.json")
    record = json.loads(path.read_text())
    assert record["teacher"].startswith("features of EfficientNet-Lite0")
    assert "Base-Features.yaml" in record["command"] and record["metrics"]["image_auroc"] is not None


def test_released_data_sets_are_told_by_their_folders(tmp_path, monkeypatch):
    for folder in ("ad/wood/train/good", "ad/notes", "two/can/train/good", "two/can/test_public", "btad/01/train/ok"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("loco/pins/train/good/000.png", "loco/pins/defects_config.json", "visa/split_csv/1cls.csv"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "visa/candle/Data").mkdir(parents=True)
    (tmp_path / "real/realiad_jsons/realiad_jsons").mkdir(parents=True)
    (tmp_path / "real/realiad_jsons/realiad_jsons/pcb.json").touch()
    monkeypatch.chdir(tmp_path)
    assert find_categories("ad") == {"wood": "mvtec:ad/wood"}
    assert find_categories("two") == {"can": "mvtec_ad_2:two/can"}
    assert find_categories("loco") == {"pins": "loco:loco/pins"}
    assert find_categories("visa") == {"candle": "visa:visa:candle"}
    assert find_categories("btad") == {"01": "btad:btad/01"}
    assert find_categories("real") == {"pcb": "real_iad:real:pcb"}
    (tmp_path / "datasets").mkdir()
    (tmp_path / "ad").rename(tmp_path / "datasets/mvtec_ad")
    monkeypatch.setenv("DETECTRON2_DATASETS", "datasets")
    assert find_categories("mvtec_ad") == {"wood": "mvtec:datasets/mvtec_ad/wood"}


def test_bad_arguments(here):
    with pytest.raises(FileNotFoundError, match="make teacher IMAGES=mvtec/screw/train"):
        screw.main(["--data", "mvtec", "--seed", "1"])
    with pytest.raises(FileNotFoundError, match=r"gone\.pth does not exist"):
        screw.main(["--data", "mvtec", "--seed", "1", "--teacher", "gone.pth"])
    with pytest.raises(SystemExit):
        screw.main(["--seed", "1"])
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
    shipped = "zoo:efficientad_teacher_narrow_own"
    assert find_teacher(shipped) == relative(shipped) == shipped


def test_records_name_no_folder_of_the_machine(here):
    assert relative(str(here / "mvtec")) == "mvtec" and relative("../a") == "../a" and relative("") == ""


def test_images_to_show():
    kinds, scores = ["good", "dent", "good", "dent", "dent", "good"], [0.1, 0.9, 0.5, 0.2, 0.4, 0.3]
    expected = {"missed": 3, "typical": 4, "clear": 1, "calm": 0, "good": 5, "false_alarm": 2}
    assert choose(kinds, scores) == expected
    assert choose(["dent"], [1.0]) == {"missed": 0, "typical": 0, "clear": 0}
