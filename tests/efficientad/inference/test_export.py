"""From a training to a model in lower precision and its evaluation, through the programs that a user runs."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from d2road.cli.export import build_parser, main
from d2road.engine import Trainer, evaluate
from efficientad.conversion import export_model
from efficientad.inference.quantization import QuantizedNetworks
from tests.factories.anomaly_models import narrow_networks, small_cfg, write_category


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return write_category(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(category, tmp_path_factory):
    """Folder of a finished short training with its config, and its results."""
    folder = tmp_path_factory.mktemp("run")
    cfg = small_cfg(
        *("OUTPUT_DIR", str(folder), "DATASETS.TRAIN", (f"mvtec:{category}",)),
        *("DATASETS.TEST", (f"mvtec:{category}:test",), "SOLVER.MAX_ITER", 12, "SOLVER.BASE_LR", 1e-3),
        *("SOLVER.STEPS", (10,), "TEST.ANOMALY.BOOTSTRAP", 0),
    )
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    results = trainer.train()
    (folder / "config.yaml").write_text(cfg.dump())
    return folder, results


def arguments(trained, out, *more):
    folder, _ = trained
    return ["--config-file", str(folder / "config.yaml"), "--weights", str(folder / "model_final.pth"), *more, str(out)]


def export(line):
    """The model that a command line exports."""
    args = build_parser().parse_args(line)
    return export_model(Path(args.output), args.precision or "int8", args.config_file, args.opts, args.calibrate_on)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_exported_models_evaluate_as_the_trained_one_did(precision, trained, tmp_path):
    out = tmp_path / "sub" / "narrow.pth"
    out_dir = str(tmp_path / "results")
    assert main(arguments(trained, out, "--precision", precision) + ["OUTPUT_DIR", out_dir]) == 0
    cfg = small_cfg()
    cfg.merge_from_file(str(out.with_suffix(".yaml")))
    assert precision == cfg.INFERENCE.PRECISION and str(out) == cfg.MODEL.WEIGHTS
    results = evaluate(cfg)["anomaly"]
    expected = trained[1]["anomaly"]
    for name in ("image_auroc", "pixel_auroc", "aupro"):
        assert results[name] == pytest.approx(expected[name], abs=0.12), name
    assert results["good_threshold"] != expected["good_threshold"]
    assert json.loads((tmp_path / "results" / "results.json").read_text())["anomaly"]["image_auroc"] is not None


def test_it_is_8_bits_that_predict(trained, tmp_path):
    model = export(arguments(trained, tmp_path / "a.pth"))
    assert isinstance(model.inference.prepared, QuantizedNetworks)
    weights = torch.load(tmp_path / "a.pth", weights_only=True)["model"]
    before = torch.load(trained[0] / "model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(weights[name], value) for name, value in before.items() if name.startswith("networks."))


def test_on_a_folder_of_good_images(trained, category, tmp_path, capsys):
    more = ("--calibrate-on", str(category / "train" / "good"))
    model = export(arguments(trained, tmp_path / "a.pth", *more))
    other = export(arguments(trained, tmp_path / "b.pth"))
    assert model.state.calibrated_for == other.state.calibrated_for
    assert not torch.equal(model.state.map_quantiles, other.state.map_quantiles)
    assert (model.state.ranges[1:, 1] >= other.state.ranges[1:, 1]).all()  # more images, the same ones among them


def test_names_of_version_0_1_are_taken():
    line = ["--config-file", "x.yaml", "--arithmetic", "bfloat16", "o.pth"]
    assert build_parser().parse_args(line).precision == "bf16"


def test_what_is_wrong_is_said(trained, tmp_path, capsys):
    config = ["--config-file", str(trained[0] / "config.yaml")]
    for command, said in (
        ([*config, str(tmp_path / "out.bin")], "ends with .pth, .onnx, .xml, .pt2"),
        ([*config, "--format", "torch", str(tmp_path / "out.onnx")], "a file of --format torch ends with .pt2"),
        ([*config, "--precision", "int8", str(tmp_path / "out.onnx")], "--precision is for a checkpoint"),
        ([*config, "--image-size", "9", "9", str(tmp_path / "out.pth")], "OUT is a checkpoint: leave it out"),
        ([*config, "--weights", str(tmp_path / "gone.pth"), str(tmp_path / "o.pth")], "gone.pth"),
        ([*config, str(tmp_path / "o.pth")], "name a checkpoint with --weights"),
        (arguments(trained, tmp_path / "o.pth") + ["MODEL.EFFICIENT_AD.ATTENTION_DIM", "32"], "another network"),
        (arguments(trained, tmp_path / "o.pth") + ["MODEL.EFFICIENT_AD.PUAD.ENABLED", "True"], "PUAD needs fp32"),
    ):
        assert main(command) == 2, command
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("o.*"))
    untrained = small_cfg()
    (tmp_path / "untrained.yaml").write_text(untrained.dump())
    torch.save({"model": build_model(untrained).state_dict()}, tmp_path / "untrained.pth")
    command = ["--config-file", str(tmp_path / "untrained.yaml"), "--weights", str(tmp_path / "untrained.pth")]
    assert main([*command, str(tmp_path / "o.pth")]) == 2 and "train it with train_net.py" in capsys.readouterr().err
