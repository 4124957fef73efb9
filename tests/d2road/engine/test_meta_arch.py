"""The contract of a model, over every system: what each offers, and that the engine works with any of them."""

import ast
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import nn

from d2road.config import make_cfg
from d2road.data.mapper_registry import MAPPER_REGISTRY, mapper_name
from d2road.engine import load_weights, meta_arch
from d2road.structures import Camera
from d2road.utils.errors import CheckpointError, ConfigError
from efficientad.conformal import split_threshold
from tests.factories.anomaly_models import narrow_networks
from tests.factories.bank_models import bank_cfg
from tests.factories.fused_models import fusion_cfg
from tests.factories.tiny_system import make_data, tiny_cfg

STORED = Path(__file__).resolve().parents[2] / "stored" / "v0_1"
CAMERA = Camera(np.array([[120.0, 0, 80], [0, 120.0, 45], [0, 0, 1]]), [0.0, -0.97, -0.24, 6.0])
PROTOCOLS = (
    meta_arch.AcceptsGoodImages, meta_arch.DenoisesBoxes, meta_arch.ExportsGraph,
    meta_arch.FitsWithoutGradients, meta_arch.FoldsForInference, meta_arch.HasAnomalyThreshold,
    meta_arch.HasDefaultMapper, meta_arch.OffersTestTimeAugmentation, meta_arch.RequiresCalibration,
    meta_arch.KeepsGoodScores, meta_arch.LowersPrecision, meta_arch.NamesClasses, meta_arch.ResizesImages,
    meta_arch.TakesResults,
)  # fmt: skip
# Of each registered system, what the model itself, or a part of it, offers.
OFFERS = {
    "DiffusionDet": {
        "HasDefaultMapper", "DenoisesBoxes", "OffersTestTimeAugmentation", "ExportsGraph", "LowersPrecision",
        "FoldsForInference", "NamesClasses",
    },
    "Mono3DVG": {"HasDefaultMapper", "TakesResults", "ExportsGraph", "LowersPrecision"},
    "EfficientAD": {
        "HasDefaultMapper", "FoldsForInference", "ResizesImages", "RequiresCalibration", "HasAnomalyThreshold",
        "ExportsGraph", "KeepsGoodScores", "LowersPrecision",
    },
    "PatchCore": {
        "HasDefaultMapper", "FitsWithoutGradients", "ResizesImages", "RequiresCalibration", "HasAnomalyThreshold",
        "AcceptsGoodImages", "ExportsGraph", "KeepsGoodScores",
    },
    "AnomalyFusion": {
        "HasDefaultMapper", "FitsWithoutGradients", "FoldsForInference", "ResizesImages", "RequiresCalibration",
        "HasAnomalyThreshold", "AcceptsGoodImages", "ExportsGraph", "KeepsGoodScores", "LowersPrecision",
    },
    "TeacherDistillation": {"HasDefaultMapper"},
    "TinyDetector": set(),
}  # fmt: skip
FOLDERS = {"DiffusionDet": "diffusion_det", "Mono3DVG": "mono3dvg", "EfficientAD": "efficientad"}


@pytest.fixture(scope="module")
def systems(tmp_path_factory) -> dict[str, tuple[CfgNode, nn.Module]]:
    """A small model of each system with its config."""
    cfgs = {name: make_cfg(str(STORED / folder / "config.yaml.txt")) for name, folder in FOLDERS.items()}
    cfgs["TeacherDistillation"] = make_cfg("efficientad/teacher_small_lite0.yaml", ["MODEL.DEVICE", "cpu"])
    cfgs["PatchCore"], cfgs["AnomalyFusion"] = bank_cfg(), fusion_cfg()
    root = tmp_path_factory.mktemp("tiny")
    cfgs["TinyDetector"] = tiny_cfg(make_data(root / "data"), root / "output")
    made = {}
    for name, cfg in cfgs.items():
        assert name == cfg.MODEL.META_ARCHITECTURE
        with narrow_networks() if name == "EfficientAD" else nullcontext():
            made[name] = cfg, build_model(cfg).eval()
    cfg, model = made["Mono3DVG"]
    load_weights(cfg, model, str(STORED / "mono3dvg" / "model_final.pth"))  # it has no tokenizer before
    return made


def parts_of(model: nn.Module) -> Iterator[nn.Module]:
    yield model
    yield from model.modules()


def test_every_system_of_the_project_is_tried():
    own = ("diffusion_det", "efficientad", "mono3dvg", "tests.factories")
    assert {name for name, kind in META_ARCH_REGISTRY if kind.__module__.startswith(own)} == set(OFFERS)


def test_the_page_names_every_protocol():
    assert {p.__name__ for p in PROTOCOLS} == {
        name for name, kind in vars(meta_arch).items() if getattr(kind, "_is_protocol", False) and name != "Protocol"
    }
    for protocol in PROTOCOLS:
        assert protocol.__name__ in meta_arch.__all__ and f"    {protocol.__name__} " in meta_arch.__doc__


@pytest.mark.parametrize("name", OFFERS)
def test_a_system_offers_what_it_says(systems, name):
    _, model = systems[name]
    found = {p.__name__ for p in PROTOCOLS for part in parts_of(model) if isinstance(part, p)}
    assert found == OFFERS[name]


@pytest.mark.parametrize("name", OFFERS)
def test_its_mapper_and_hooks_are_registered(systems, name):
    cfg, model = systems[name]
    assert mapper_name(cfg) in MAPPER_REGISTRY
    if isinstance(model, meta_arch.HasDefaultMapper):
        assert mapper_name(cfg) == model.default_mapper
    hooks = meta_arch.training_hooks(cfg)
    assert all(isinstance(hook, HookBase) for hook in hooks)
    assert bool(hooks) == (name in ("EfficientAD", "TeacherDistillation"))


@pytest.mark.parametrize("name", OFFERS)
def test_constants_of_the_pixels_are_not_saved(systems, name):
    _, model = systems[name]
    assert any(name.rpartition(".")[2] == "pixel_mean" for name, _ in model.named_buffers())
    assert not [key for key in model.state_dict() if key.rpartition(".")[2].startswith("pixel_")]


@pytest.mark.parametrize("name", [*FOLDERS, "PatchCore", "TinyDetector"])
def test_a_batch_may_hold_images_of_different_sizes(systems, name):
    _, model = systems[name]
    torch.manual_seed(3)
    batch = [model_input(136, 160), model_input(128, 192)]
    if name in ("EfficientAD", "PatchCore"):
        for part in parts_of(model):
            if isinstance(part, meta_arch.RequiresCalibration):
                with pytest.raises(CheckpointError, match=r"not calibrated|no memory bank yet"):
                    part.require_calibration()
        if name == "PatchCore":
            model.state.set_bank(torch.rand(20, 152), torch.zeros(20), "random")
            model.state.set_thresholds(0.5, 0.5, 0.0, split_threshold([0.5], 0.5, True).guarantee)
        else:
            model.state.set_map_quantiles(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), 0.5)
        meta_arch.require_calibration(model)
        assert model.anomaly_threshold() == 0.5
    with torch.no_grad():
        outputs = model(batch)
    assert len(outputs) == 2 and all(isinstance(output, dict) for output in outputs)


@pytest.mark.parametrize("name", OFFERS)
def test_test_time_augmentation_is_offered_or_refused(systems, name):
    cfg, model = systems[name]
    if "OffersTestTimeAugmentation" in OFFERS[name]:
        augmented = meta_arch.with_test_time_augmentation(cfg, model)
        assert isinstance(augmented, nn.Module) and not augmented.training
    else:
        with pytest.raises(ConfigError, match=rf"{name} has no test-time augmentation; set TEST\.AUG\.ENABLED False"):
            meta_arch.with_test_time_augmentation(cfg, model)


def test_results_go_to_those_that_take_them(systems):
    for _, model in systems.values():
        meta_arch.take_results(model, {"grounding": {"score_threshold": 0.125, "f1": 3.0}})
    assert systems["Mono3DVG"][1].score_threshold == 0.125


def test_offers_are_found_by_protocols_and_nowhere_by_name(repo_dir):
    """`hasattr` or `getattr` with a default on what a protocol declares would be a contract that is written nowhere."""
    declared = {name for p in PROTOCOLS for name in (*vars(p), *p.__annotations__) if not name.startswith("_")}
    assert {"with_tta", "default_mapper", "anomaly_threshold"} <= declared
    declared |= {"state", "anomaly_map"}
    found = []
    for root in ("d2road", "diffusion_det", "efficientad", "mono3dvg", "benchmarks"):
        for path in sorted((repo_dir / root).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
                    by_name = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
                    if by_name and isinstance(node.args[1], ast.Constant) and node.args[1].value in declared:
                        found.append(f"{path.relative_to(repo_dir)}:{node.lineno}")
    assert not found


def model_input(height: int, width: int) -> dict:
    """An image with a bright rectangle and what any of the systems asks for beside it."""
    image = torch.randint(0, 100, (3, height, width), dtype=torch.uint8)
    image[:, 20:40, 30:60] += 150
    expressions = [{"id": 0, "text": "the red car"}]
    return {
        "image": image,
        "height": height,
        "width": width,
        "image_id": 1,
        "camera": CAMERA,
        "expressions": expressions,
    }
