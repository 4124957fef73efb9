"""The fused model: its maps are those of its parts, its training, its file, and what it refuses."""

import copy

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from d2road.cli import accept, export
from d2road.config.validate import find_problems
from d2road.engine import Predictor, Trainer, evaluate, load_weights
from d2road.engine.meta_arch import check_training_files
from d2road.export.engines import OnnxRuntimeSession
from d2road.export.graph import ExportOptions
from d2road.export.test_images import generated_images
from d2road.utils.errors import CheckpointError, ConfigError, DataError
from efficientad.data.image_iteration import DatasetImages, calibration_names
from efficientad.fusion import fusion_detector
from tests.factories.anomaly_models import calibrated, entries, narrow_networks
from tests.factories.bank_models import bank_data
from tests.factories.exported_files import onnx_file
from tests.factories.fused_models import fusion_cfg


@pytest.fixture(scope="module", autouse=True)
def narrow():
    with narrow_networks():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Config and final checkpoint of a fusion, trained as a user does."""
    root = tmp_path_factory.mktemp("fusion")
    torch.save({"model": calibrated().state_dict()}, root / "student.pth")
    train, test = bank_data(root, num_train=20)
    keys = ["DATASETS.TRAIN", (train,), "DATASETS.TEST", (test,), "OUTPUT_DIR", str(root / "out")]
    cfg = fusion_cfg(*keys, "MODEL.ANOMALY_FUSION.STUDENT_WEIGHTS", str(root / "student.pth"))
    assert not find_problems(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    results = trainer.train()
    return cfg, root / "out" / "model_final.pth", results


@pytest.fixture
def model(run):
    cfg = run[0].clone()
    cfg.MODEL.WEIGHTS = str(run[1])
    return Predictor(cfg).model


def good_entries(cfg):
    return [batch[0] for batch in DatasetImages(cfg, calibration_names(cfg))]


def test_one_file_is_the_whole_model(run):
    cfg, weights, results = run[0].clone(), run[1], run[2]
    cfg.MODEL.WEIGHTS, cfg.MODEL.ANOMALY_FUSION.STUDENT_WEIGHTS = str(weights), "/gone.pth"
    assert evaluate(cfg)["anomaly"] == pytest.approx(results["anomaly"], nan_ok=True)


@torch.no_grad()
def test_its_maps_are_those_of_its_parts_by_quantiles_of_good_images(run, model):
    cfg = run[0]
    good = good_entries(cfg)
    maps = [model.part_maps(entry) for entry in good]
    for number, quantiles in enumerate(model.state.map_quantiles):
        values = np.concatenate([of_image[number].flatten().numpy() for of_image in maps])
        np.testing.assert_allclose(quantiles.numpy(), np.quantile(values, (0.9, 0.995)), rtol=1e-4)
    entry = good[0]
    embedding = model.patchcore.embed(model.patchcore.preprocess([entry]))[0]
    distances = torch.cdist(embedding.flatten(1).T, model.patchcore.state.bank.vectors).amin(1)
    torch.testing.assert_close(maps[0][2].flatten(), distances, rtol=1e-3, atol=5e-3)
    (raw,) = model.efficient_ad.raw_maps(model.efficient_ad.preprocess([entry]))
    # A PDN of 128 px without padding has 24 cells and a border of 4; the bank has 16 of 8 px.
    inside = maps[0][:2, 4:12, 4:12]
    padded = torch.nn.functional.pad(raw.tiles, (4,) * 4, mode="replicate")
    expected = torch.nn.functional.interpolate(padded, size=(16, 16), mode="bilinear")[0]
    torch.testing.assert_close(inside, expected[:, 4:12, 4:12])
    result = model([entry])[0]
    parts = [result[key] for key in ("map_student_teacher", "map_autoencoder", "map_bank")]
    assert float(result["anomaly_score"]) == pytest.approx(float(torch.stack(parts).mean(0).max()), rel=1e-5)
    assert result["anomaly_map"].shape == (entry["height"], entry["width"])


@torch.no_grad()
def test_one_look_of_the_extractor_is_enough_where_teacher_and_bank_compare_the_same():
    keys = ["MODEL.EFFICIENT_AD.TEACHER", "features:efficientnet_lite0", "INPUT.IMAGE_SIZE", (256, 256)]
    model = build_model(fusion_cfg(*keys)).eval()
    assert not model.shares_features  # as initialised, at random each
    model.patchcore.extractor.load_state_dict(model.efficient_ad.networks.teacher.extractor.state_dict())
    assert model.shares_features
    model.patchcore.state.set_bank(torch.rand(50, 152), torch.zeros(50), "random")
    (entry,) = entries(1, 256)
    once = model.part_maps(entry)
    model.patchcore.neighbourhood = 1
    assert not model.shares_features
    distances = model.part_maps(entry)[2]
    assert not torch.allclose(distances, once[2], rtol=1e-3)
    model.patchcore.neighbourhood = 3
    embedding = model.patchcore.embed(model.patchcore.preprocess([entry]))[0]
    torch.testing.assert_close(model.patchcore.state.bank.distance_map(embedding), once[2], rtol=1e-4, atol=1e-4)
    (raw,) = model.efficient_ad.raw_maps(model.efficient_ad.preprocess([entry]))
    torch.testing.assert_close(raw.tiles[0], once[:2], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_weights_are_compared_once_and_again_after_any_of_them_was_loaded(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append(compare_weights(one, other))
        return compared[-1]

    compare_weights = fusion_detector._have_equal_weights
    monkeypatch.setattr(fusion_detector, "_have_equal_weights", compare)
    keys = ["MODEL.EFFICIENT_AD.TEACHER", "features:efficientnet_lite0", "INPUT.IMAGE_SIZE", (256, 256)]
    model = build_model(fusion_cfg(*keys)).eval()
    teacher, extractor = model.efficient_ad.networks.teacher.extractor, model.patchcore.extractor
    extractor.load_state_dict(teacher.state_dict())
    assert model.shares_features and model.shares_features and compared == [True]
    for part in (teacher, extractor):  # a submodule of either, by itself
        child = next(module for module in part.modules() if isinstance(module, torch.nn.Conv2d))
        kept = {name: value.clone() for name, value in child.state_dict().items()}
        child.load_state_dict({name: value + 1 for name, value in kept.items()})
        assert not model.shares_features and not model.shares_features and compared.pop() is False
        child.load_state_dict(kept)
        assert model.shares_features and compared.pop() is True
    model.load_state_dict(model.state_dict())  # all, as a checkpoint does
    assert model.shares_features and compared == [True, True]
    assert copy.deepcopy(model).shares_features and len(compared) == 3  # its weights are others
    extractor.state_dict()[next(iter(extractor.state_dict()))].add_(1)  # in place, without loading
    assert not model.shares_features


@torch.no_grad()
def test_the_bank_alone_says_what_patchcore_says(run):
    cfg = run[0].clone()
    cfg.MODEL.ANOMALY_FUSION.WEIGHTS = (0.0, 0.0, 1.0)
    alone = build_model(cfg).eval()
    load_weights(cfg, alone, str(run[1]))
    start, end = alone.state.map_quantiles[2]
    for entry in good_entries(cfg)[:2]:
        (fused,), (theirs,) = alone.detect([entry]), alone.patchcore.detect([entry])
        for key in ("anomaly_map", "anomaly_score"):
            torch.testing.assert_close(fused[key], 0.1 * (theirs[key] - start) / (end - start), rtol=1e-4, atol=1e-5)


def test_its_threshold_is_that_of_good_images_and_promises_nothing(run, model):
    good = [model([entry])[0] for entry in good_entries(run[0])]
    scores = [float(result["anomaly_score"]) for result in good]
    assert model.anomaly_threshold() == pytest.approx(max(scores), rel=1e-3)
    assert max(scores) <= model.anomaly_threshold()
    assert good[0]["anomaly_guarantee"].startswith("without guarantee: the good images that set the threshold also")
    assert float(good[0]["map_threshold"]) >= max(float(result["map_score"]) for result in good)


def test_it_is_calibrated_for_its_weights_and_not_on_images_of_its_bank(run, model):
    cfg, weights = run[0].clone(), run[1]
    cfg.MODEL.WEIGHTS, cfg.MODEL.ANOMALY_FUSION.COMBINE = str(weights), "max"
    with pytest.raises(CheckpointError, match="calibrated for the mean of maps 1 : 1 : 1"):
        Predictor(cfg)
    cfg.DATASETS.CALIBRATION = cfg.DATASETS.TRAIN
    with pytest.raises(DataError, match="the memory bank was made of this image"):
        model.calibrate(cfg)
    with pytest.raises(CheckpointError, match="not calibrated"):
        build_model(run[0]).eval()(good_entries(run[0])[:1])


def test_verbs_that_are_not_for_it_say_so(run, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(run[0].dump())
    common = ["--config-file", str(config), "--weights", str(run[1])]
    image = str(next(run[1].parent.parent.rglob("*.png")))
    assert accept.main([*common, "--input", image, "--output", str(tmp_path / "a.pth"), "--reason", "x"]) == 2
    assert "takes in no images after its training" in capsys.readouterr().err
    assert export.main([*common, "--precision", "int8", str(tmp_path / "b.pth")]) == 2
    told = capsys.readouterr().err
    assert "export is for EfficientAD and PatchCore" in told and "OUT.onnx" in told and str(config) in told


def test_what_cannot_be_is_said_before_anything_is_built(tmp_path):
    def problems(*pairs):
        return " ".join(find_problems(fusion_cfg(*pairs)))

    assert not problems()
    node = "MODEL.ANOMALY_FUSION."
    assert "choose one of mean, max" in problems(node + "COMBINE", "median")
    assert "three numbers" in problems(node + "WEIGHTS", (1.0, 1.0))
    assert "not all 0" in problems(node + "WEIGHTS", (0.0, 0.0, 0.0))
    assert "PUAD.ENABLED" in problems("MODEL.EFFICIENT_AD.PUAD.ENABLED", True)
    assert "multiples of 16" in problems("INPUT.IMAGE_SIZE", (130, 130))
    assert "fused in fp32" in problems("INFERENCE.PRECISION", "int8")
    with pytest.raises(ConfigError, match="train an EfficientAD with the same keys first"):
        check_training_files(fusion_cfg())
    with pytest.raises(FileNotFoundError, match="BANK_WEIGHTS: there is no file"):
        check_training_files(fusion_cfg(node + "STUDENT_WEIGHTS", __file__, node + "BANK_WEIGHTS", "/gone.pth"))


def test_a_file_says_what_the_model_says(model, tmp_path):
    graph = model.export_graph(None, generated_images(), ExportOptions())
    session = OnnxRuntimeSession(onnx_file(graph, tmp_path))
    rgb = np.random.default_rng(3).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    pixels = torch.from_numpy(model.resize_image(rgb).transpose(2, 0, 1).astype(np.float32))
    (expected,) = model([{"image": pixels, "height": 150, "width": 200}])
    found = session.run({"images": np.stack([rgb, rgb])})
    for row in range(2):
        np.testing.assert_allclose(found["anomaly_map"][row], expected["anomaly_map"], atol=1e-4, rtol=1e-4)
        assert found["anomaly_score"][row] == pytest.approx(float(expected["anomaly_score"]), rel=1e-4)
