"""A PatchCore is fitted by the Trainer as others are trained: results, checkpoints, resuming, processes, export."""

import json
import os
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from d2road.cli.__main__ import main
from d2road.data import build_mapper
from d2road.engine import Predictor, Trainer, evaluate
from efficientad.patchcore.patchcore_detector import PatchCore
from tests.factories.bank_models import bank_cfg, bank_data


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    return bank_data(tmp_path_factory.mktemp("data"))


def run_cfg(names, out, *pairs):
    train, test = names
    keys = ["DATASETS.TRAIN", (train,), "DATASETS.TEST", (test,), "OUTPUT_DIR", out, "TEST.ANOMALY.BOOTSTRAP", 0]
    return bank_cfg(*keys, *pairs)


def fit(cfg, resume=False):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    return trainer, trainer.train()


@pytest.fixture(scope="module")
def run(names, tmp_path_factory):
    """A finished run: its folder and results."""
    out = tmp_path_factory.mktemp("run")
    _, results = fit(run_cfg(names, out))
    return out, results


def test_a_fit_is_a_run_as_any_other(run):
    out, results = run
    expected = {"model_final.pth", "last_checkpoint", "metrics.json", "results.json", "run.json", "config.yaml"}
    assert expected <= {path.name for path in out.iterdir()}
    assert results["anomaly"]["image_auroc"] == 1 and results["anomaly"]["pixel_f1_at_good_threshold"] > 0
    row = json.loads((out / "metrics.json").read_text().splitlines()[-1])
    assert row["bank_vectors"] == 400 and row["anomaly/image_auroc"] == 1 and row["threshold"] > 0
    stored = torch.load(out / "model_final.pth", weights_only=True)
    assert stored["model"]["state.vectors"].shape == (400, 152) and stored["run"]["data"]["images"] == 7


def test_what_was_fitted_is_loaded_without_weights_of_the_extractor(run, names, tmp_path, monkeypatch):
    out, results = run
    keys = ["MODEL.WEIGHTS", out / "model_final.pth", "MODEL.PATCHCORE.FEATURE_WEIGHTS", "/gone.pth"]
    monkeypatch.setattr("d2road.modeling.backbone.packaged_weights.find_spec", lambda name: None)
    cfg = run_cfg(names, tmp_path, *keys, "MODEL.PATCHCORE.BANK_SIZE", 50)
    assert evaluate(cfg)["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)
    path = names[0].removeprefix("mvtec:") + "/test/blot/000.png"
    predict = Predictor(cfg)
    found, mapped = predict(path), build_mapper(cfg, False)({"file_name": path})
    assert torch.allclose(found["anomaly_map"], predict.model([mapped])[0]["anomaly_map"], rtol=1e-4)
    assert torch.allclose(predict(cv2.imread(path))["anomaly_map"], found["anomaly_map"], rtol=1e-4)
    assert predict.model.anomaly_threshold() == pytest.approx(float(found["anomaly_threshold"]))


def test_a_finished_fit_is_not_done_again_on_resuming(run, names, monkeypatch):
    out, results = run
    before = (out / "model_final.pth").read_bytes()
    monkeypatch.setattr(PatchCore, "fit", lambda *_: pytest.fail("fitted again"))
    _, again = fit(run_cfg(names, out), resume=True)
    assert again["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)
    assert (out / "model_final.pth").read_bytes() == before


def test_a_fit_that_was_cut_short_begins_anew(run, names, tmp_path, monkeypatch):
    _, results = run
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit(run_cfg(names, tmp_path))
    assert not (tmp_path / "model_final.pth").exists() and (tmp_path / "run.json").exists()
    _, again = fit(run_cfg(names, tmp_path), resume=True)
    assert again["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)


def test_a_fit_from_a_fitted_model_keeps_its_extractor_and_makes_a_new_bank(run, names, tmp_path):
    out, _ = run
    cfg = run_cfg(names, tmp_path, "MODEL.WEIGHTS", out / "model_final.pth", "MODEL.PATCHCORE.BANK_SIZE", 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("efficientad.patchcore.patchcore_detector.build_extractor", without_weights)
        trainer, _ = fit(cfg)
    assert len(trainer.bare_model.state.bank) == 60


def without_weights(name, weights, layers):
    from efficientad.modeling.feature_extractors import build_extractor

    assert weights is None, "weights of an extractor that a checkpoint brought"
    return build_extractor(name, weights, layers)


def test_more_than_one_step_is_refused(names, tmp_path):
    with pytest.raises(ValueError, match=r"SOLVER\.MAX_ITER is 5: PatchCore is fitted in one step; set it to 1"):
        Trainer(run_cfg(names, tmp_path, "SOLVER.MAX_ITER", 5))


def test_several_processes_make_the_same_bank(run, names, tmp_path, repo_dir):
    out, _ = run
    (tmp_path / "config.yaml").write_text(run_cfg(names, tmp_path / "two").dump())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    command = [*launcher, "-m", "d2road.cli.train", "--config-file", str(tmp_path / "config.yaml")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        env={**os.environ, "PYTHONPATH": str(repo_dir), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"] for folder in (out, tmp_path / "two")
    )
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_exported_bank_predicts_nearly_the_same(run, names, tmp_path, precision):
    out, _ = run
    line = ["export", "--precision", precision, "--config-file", str(out / "config.yaml")]
    line += ["--weights", str(out / "model_final.pth"), str(tmp_path / "small.pth"), "MODEL.DEVICE", "cpu"]
    (out / "config.yaml").write_text(run_cfg(names, out).dump())
    assert main(line) == 0
    sizes = [path.stat().st_size for path in (out / "model_final.pth", tmp_path / "small.pth")]
    assert sizes[1] < sizes[0]
    path = names[0].removeprefix("mvtec:") + "/test/blot/000.png"
    whole, small = Predictor(run_cfg(names, out), out / "model_final.pth"), Predictor(str(tmp_path / "small.yaml"))
    assert small.model.state.precision == precision
    torch.testing.assert_close(small(path)["anomaly_score"], whole(path)["anomaly_score"], rtol=0.02, atol=0)
    if precision == "int8":
        line[2], line[6] = "fp32", str(tmp_path / "small.pth")
        line[4] = str(tmp_path / "small.yaml")
        assert main(line) == 2  # what was lost does not come back


def test_thresholds_are_measured_anew_on_a_folder(run, names, tmp_path):
    out, _ = run
    (out / "config.yaml").write_text(run_cfg(names, out).dump())
    good = names[0].removeprefix("mvtec:") + "/test/good"
    line = ["export", "--precision", "fp32", "--config-file", str(out / "config.yaml"), "--calibrate-on", good]
    line += ["--weights", str(out / "model_final.pth"), str(tmp_path / "again.pth"), "MODEL.DEVICE", "cpu"]
    assert main(line) == 0
    model = Predictor(str(tmp_path / "again.yaml")).model
    assert model.state.guarantee.n == 3 and model.state.guarantee.method == "split"


def test_heat_maps_and_verdicts_are_written(run, names, tmp_path):
    out, _ = run
    (out / "config.yaml").write_text(run_cfg(names, out).dump())
    images = names[0].removeprefix("mvtec:") + "/test/blot"
    line = ["predict", "--config-file", str(out / "config.yaml"), "--weights", str(out / "model_final.pth")]
    assert main([*line, "--input", images, "--output", str(tmp_path), "MODEL.DEVICE", "cpu"]) == 0
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert rows[0] == "file,score,threshold,verdict,teacher,guarantee" and len(rows) == 4
    assert all(",anomalous,EfficientNet-Lite0" in row for row in rows[1:])
    drawn = cv2.imread(str(tmp_path / "000.png"))
    mask = cv2.imread(images.replace("/test/", "/ground_truth/") + "/000_mask.png", cv2.IMREAD_GRAYSCALE) > 0
    assert cv2.imread(f"{images}/000.png")[mask].max() == 0  # black, drawn in light, enlarged below a title
    large = cv2.resize(mask.astype(np.uint8), (512, 512), interpolation=cv2.INTER_NEAREST) > 0
    assert drawn[-512:, :512][large].mean() > 150
