"""Every evaluation of files runs where torch and Detectron2 are not installed, and gives the same there."""

import json

import pytest

from benchmarks.speed.speed_kitti_eval import write_frames
from d2road.cli import eval_anomaly, eval_grounding, eval_kitti, eval_rope
from tests.factories.anomaly_maps import write_category
from tests.factories.blocked_imports import run_without
from tests.factories.grounding_files import annotation, answer, box, expression, grounding_content, write_files
from tests.factories.rope_folder import rope_arguments, write_rope_folder

HEAVY = ("torch", "torchvision", "detectron2")


def kitti(folder):
    write_frames(folder, frames=3, objects=20, detections=30)
    return ["--gt", folder / "gt", "--pred", folder / "pred"]


def rope(folder):
    write_rope_folder(folder)
    return rope_arguments(folder)


def grounding(folder):
    things = [annotation(1, box(0, 20)), annotation(2, box(6, 20), bbox=None)]
    content = grounding_content(things, [expression("a", [1]), expression("both", [1, 2])])
    for image in content["images"]:
        image["ground_plane"] = [0.02, -0.97, -0.24, 7.0]
    answers = [answer("a", [box(0.3, 20)]), answer("both", [box(0, 20), box(6, 20.5)], [0.9, 0.6])]
    gt, pred = write_files(folder, content, answers)
    return ["--gt", gt, "--pred", pred]


def anomaly(folder):
    data, maps = write_category(folder)
    return ["--data", data, "--maps", maps]


@pytest.mark.parametrize(
    ("verb", "write"), [(eval_kitti, kitti), (eval_rope, rope), (eval_grounding, grounding), (eval_anomaly, anomaly)]
)
def test_evaluates_where_torch_cannot_be_imported(tmp_path, repo_dir, verb, write):
    arguments = [str(word) for word in write(tmp_path)]
    code = f"from {verb.__name__} import main\nassert main({[*arguments, '--json', str(tmp_path / 'a.json')]!r}) == 0"
    run_without(HEAVY, code, repo_dir)
    assert verb.main([*arguments, "--json", str(tmp_path / "b.json")]) == 0
    without, with_torch = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert without == with_torch and without


PACKAGES = (
    "d2road",
    "d2road.data",
    "d2road.evaluation",
    "d2road.structures",
    "diffusion_det",
    "mono3dvg",
    "efficientad",
)


def test_packages_are_imported_without_torch(repo_dir):
    run_without(HEAVY, f"import {', '.join(PACKAGES)}", repo_dir)


@pytest.mark.parametrize(
    "start",
    [
        "import detectron2.modeling, {packages}",
        "import {packages}; from d2road.config import make_cfg; make_cfg()",
        "from diffusion_det.config import add_diffusion_det_config as a; from mono3dvg.config import "
        "add_mono3dvg_config as b; from efficientad.config import add_efficientad_config as c; "
        "from detectron2.config import get_cfg; cfg = get_cfg(); a(cfg); b(cfg); c(cfg)",
    ],
)
def test_everything_is_registered_once_a_config_can_name_it(repo_dir, start):
    code = (
        start.format(packages=", ".join(PACKAGES))
        + """
from detectron2.data import DatasetCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from d2road.data.mapper_registry import MAPPER_REGISTRY
from d2road.evaluation.evaluator_registry import EVALUATOR_REGISTRY
for name in ("DiffusionDet", "Mono3DVG", "EfficientAD", "PatchCore", "AnomalyFusion", "TeacherDistillation"):
    assert name in META_ARCH_REGISTRY, name
for name in ("toy_roadside_train", "kitti_object_val", "lvis_v1_val", "toy_grounding_val"):
    assert name in DatasetCatalog.list(), name
for name in ("DiffusionDetMapper", "EfficientADMapper", "Mono3DVGMapper"):
    assert name in MAPPER_REGISTRY.names(), name
from d2road.data.dataset_formats import DATASET_FAMILIES
assert {"mvtec_ad", "visa", "btad"} <= set(DATASET_FAMILIES.names())
for name in ("anomaly", "coco", "dair", "grounding", "kitti", "lvis", "omni3d", "rope3d"):
    assert name in EVALUATOR_REGISTRY.names(), name
import sys
slow = {"scipy", "pandas", "matplotlib", "sklearn"} & set(sys.modules)
assert not slow, f"each costs every start of a program half a second: {slow}"
"""
    )
    run_without((), code, repo_dir)
