"""Data sets and mappers by name."""

import importlib

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY

import d2road.data.datasets.builtin as builtin
from d2road.config import add_common_config
from d2road.data import MAPPER_REGISTRY, build_mapper, class_names_of, register_by_name
from d2road.data.mapper_registry import mapper_name
from d2road.evaluation import EVALUATOR_REGISTRY


def _cfg():
    cfg = get_cfg()
    add_common_config(cfg)
    return cfg


def test_builtin_names_are_known_with_their_classes_and_reading_them_is_idempotent():
    names = builtin.index_files(builtin.datasets_root())
    assert len(names) == 10
    before = {n: MetadataCatalog.get(n).as_dict() for n in names}
    importlib.reload(builtin)
    assert {n: MetadataCatalog.get(n).as_dict() for n in names} == before
    assert set(names) <= set(DatasetCatalog.list())
    assert class_names_of("toy_roadside_val") == ["car", "big_vehicle", "cyclist", "pedestrian"]
    assert class_names_of("kitti_object_train") == ["Car", "Pedestrian", "Cyclist"]
    assert class_names_of("rope3d_train") == class_names_of("toy_roadside_train")


@pytest.mark.parametrize(
    ("name", "evaluator", "frame"),
    [
        ("kitti_object_val", "kitti", "camera"),
        ("rope3d_val", "rope3d", "ground"),
        ("toy_roadside3d_val", "rope3d", "ground"),
        ("dair_v2x_i_val", "dair", "ground"),
        ("toy_roadside_val", "coco", None),
        ("omni3d:a.json:b", "omni3d", "camera"),
    ],
)
def test_what_evaluates_a_data_set_and_what_its_headings_turn_about(name, evaluator, frame):
    register_by_name(name)
    metadata = MetadataCatalog.get(name)
    assert (metadata.evaluator_type, metadata.get("ry_frame")) == (evaluator, frame)
    assert evaluator in EVALUATOR_REGISTRY.names()


def test_data_that_is_not_there_says_how_to_get_it(tmp_path):
    from d2road.data.datasets.coco import load_coco

    with pytest.raises(FileNotFoundError, match=r"To get it: d2road make-data toy-roadside --output "):
        load_coco(str(tmp_path / "x.json"), str(tmp_path), hint=builtin.TOY_HINT.format(root="datasets"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toy_roadside_vall", "did you mean 'toy_roadside_val'"),
        ("coco:only.json", "does not read as coco:ANNOTATIONS.json:IMAGE_DIR"),
        ("coco:a.json:", "does not read as"),
        ("coco:a:b:c", "does not read as"),
        ("kitty:root", r"data set format 'kitty' does not exist; did you mean 'kitti'\?"),
        ("x", r"data by path: .*coco:.*kitti:.*rope3d:"),
    ],
)
def test_wrong_names_say_what_is_known(name, message):
    with pytest.raises(ValueError, match=message):
        register_by_name(name)


def test_mapper_is_that_of_the_config_or_of_the_model_or_detectron2s(monkeypatch):
    cfg = _cfg()
    assert mapper_name(cfg) == "DatasetMapper"
    assert isinstance(build_mapper(cfg, True), DatasetMapper)

    class Model:
        default_mapper = "special"

    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "Model", Model)
    monkeypatch.setitem(MAPPER_REGISTRY._obj_map, "special", lambda cfg, is_train: (cfg, is_train))
    cfg.MODEL.META_ARCHITECTURE = "Model"
    assert build_mapper(cfg, False) == (cfg, False)
    cfg.INPUT.MAPPER = "DatasetMapper"
    assert isinstance(build_mapper(cfg, False), DatasetMapper)
    cfg.INPUT.MAPPER = "DatasetMappr"
    with pytest.raises(ValueError, match="did you mean 'DatasetMapper'"):
        build_mapper(cfg, False)
