"""`train_net.py --eval-only` in other precisions and by other libraries: the metrics of the model as it was trained."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from detectron2.modeling import build_model

from d2road.cli import train
from d2road.config import make_cfg
from d2road.engine import Trainer
from d2road.export.engines import OnnxRuntimeSession, OpenVinoSession
from tests.diffusion_det.conftest import SMALL
from tests.factories import anomaly_models, grounders

pytestmark = pytest.mark.slow

PRECISION, BACKEND = "INFERENCE.PRECISION", "INFERENCE.BACKEND"
# Keys, and how far a metric of 0 to 100 may be off: libraries compute in float32, the rest is rounded.
RUNS = {
    "bf16": ((PRECISION, "bf16"), 15.0),
    "onnxruntime": ((BACKEND, "onnxruntime"), 2.0),
    "openvino": ((BACKEND, "openvino"), 2.0),
}
ENGINES = {"onnxruntime": OnnxRuntimeSession, "openvino": OpenVinoSession}


def run_of(folder, cfg, model):
    """A config file and weights of a model that is as it begins."""
    folder.mkdir(exist_ok=True)
    torch.save({"model": model.state_dict()}, folder / "weights.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return SimpleNamespace(folder=folder, out=folder / "out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def data(folder):
    return grounders.make_data(folder)


@pytest.fixture(scope="module")
def detector(repo_dir, folder, data):
    root = data / "toy_roadside"
    name = f"coco:{root}/annotations/instances_val.json:{root}"
    opts = [*SMALL, "MODEL.DEVICE", "cpu", "MODEL.DiffusionDet.NUM_CLASSES", 4, "DATASETS.TEST", (name,)]
    opts += ["DATASETS.TRAIN", (), "DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_SIZE_TEST", 96, "INPUT.FORMAT", "RGB"]
    cfg = make_cfg(str(repo_dir / "configs/diffusion_det/Base-Small.yaml"), [str(o) for o in opts])
    torch.manual_seed(0)
    return run_of(folder / "detector", cfg, build_model(cfg))


@pytest.fixture(scope="module")
def grounder(repo_dir, folder, data):
    cfg = grounders.tiny_cfg(repo_dir, data, folder / "grounder" / "out", "MODEL.DEVICE", "cpu")
    torch.manual_seed(0)
    return run_of(folder / "grounder", cfg, Trainer.build_model(cfg))


@pytest.fixture(scope="module")
def category(folder):
    return anomaly_models.write_category(folder)


@pytest.fixture(scope="module")
def anomaly(folder, category):
    """Calibrated in each precision that it can be."""
    data = ("DATASETS.TRAIN", (), "DATASETS.TEST", (f"mvtec:{category}:test",))
    runs = {}
    for precision in ("fp32", "bf16", "int8"):
        pair = (PRECISION, precision)
        model = anomaly_models.calibrated(*pair)
        runs[precision] = run_of(folder / f"anomaly_{precision}", anomaly_models.small_cfg(*data, *pair), model)
    return runs


def evaluate(run, *keys):
    """The exit code of `--eval-only`."""
    argv = ["--config-file", str(run.folder / "config.yaml"), "--eval-only", "--weights"]
    return train.main([*argv, str(run.folder / "weights.pth"), "OUTPUT_DIR", str(run.out), *map(str, keys)])


def evaluated(run, *keys):
    """The metrics of `--eval-only`, flat."""
    assert evaluate(run, *keys) == 0
    return flat(json.loads((run.out / "results.json").read_text()))


def flat(results, prefix=""):
    found = {}
    for name, value in results.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def need(keys):
    """Skip where the library that the keys name is not installed."""
    for engine in set(ENGINES) & set(keys):
        pytest.importorskip(engine)
        pytest.importorskip("onnx")


def assert_near(found, expected, off):
    assert found.keys() == expected.keys() and len(expected) > 3
    for name, value in expected.items():
        if isinstance(value, float) and not math.isnan(value) and "seconds" not in name:
            assert found[name] == pytest.approx(value, abs=off), name


@pytest.fixture(scope="module")
def exact():
    """Metrics as the models were trained, once each."""
    known = {}

    def of(run):
        if run.folder not in known:
            known[run.folder] = evaluated(run)
        return known[run.folder]

    return of


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("system", ["detector", "grounder"])
def test_metrics_are_those_of_the_model(system, name, request, exact):
    keys, off = RUNS[name]
    need(keys)
    run = request.getfixturevalue(system)
    assert_near(evaluated(run, *keys), exact(run), off)


ANOMALY_RUNS = {
    "bf16": ("bf16", (PRECISION, "bf16"), 0.05),
    "int8": ("int8", (PRECISION, "int8"), 0.1),
    "openvino": ("fp32", (BACKEND, "openvino"), 0.01),
    "openvino bf16": ("fp32", (BACKEND, "openvino", PRECISION, "bf16"), 0.05),
    "openvino int8": ("int8", (BACKEND, "openvino", PRECISION, "int8"), 0.1),
    "auto int8": ("int8", (BACKEND, "auto", PRECISION, "int8"), 0.1),
}


@pytest.mark.parametrize("name", ANOMALY_RUNS)
def test_metrics_of_anomaly_maps_are_those_of_the_model(name, anomaly, exact):
    calibrated, keys, off = ANOMALY_RUNS[name]
    need((*keys, "onnxruntime") if "int8" in keys else keys)
    assert_near(evaluated(anomaly[calibrated], *keys), exact(anomaly["fp32"]), off)


@pytest.mark.parametrize(
    ("system", "engine"), [("detector", "openvino"), ("grounder", "onnxruntime"), ("anomaly", "openvino")]
)
def test_a_library_that_is_missing_is_named_with_the_cure(system, engine, request, monkeypatch, capsys):
    monkeypatch.setattr("d2road.engine.backend_model.is_installed", lambda _: False)
    run = request.getfixturevalue(system)
    run = run["fp32"] if system == "anomaly" else run
    assert evaluate(run, BACKEND, engine) == 2
    assert f"{BACKEND} is {engine}, which is not installed: pip install {engine}" in capsys.readouterr().err


@pytest.mark.parametrize("system", ["detector", "grounder"])
def test_8_bits_are_refused_with_what_can_be_had(system, request, capsys):
    run = request.getfixturevalue(system)
    assert evaluate(run, PRECISION, "int8") == 2
    assert f"{PRECISION} is int8" in capsys.readouterr().err
