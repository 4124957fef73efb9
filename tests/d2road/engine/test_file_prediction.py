"""Prediction on files: inputs of every kind, a data set's classes, files that cannot be read."""

import itertools
import os
import re

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from d2road.cli.predict import read_sentences
from d2road.config import make_cfg
from d2road.data.input_cameras import CameraFiles
from d2road.engine import annotators
from d2road.engine.annotators import (
    AnnotatingPredictor,
    DetectionAnnotator,
    ImageContext,
    annotator_class,
    nothing_found,
)
from d2road.engine.file_prediction import predict_files, require_camera
from d2road.engine.prediction_inputs import Source, output_paths
from d2road.structures import Camera
from d2road.utils.errors import ConfigError
from d2road.visualization import class_color
from efficientad.inference.heatmap_annotator import HeatMapAnnotator
from mono3dvg.grounding_annotator import GroundingAnnotator
from tests.factories.box_predictors import SIZE, OneBox, box_cfg, calibration, draw_image, outputs, predictions


@pytest.fixture
def cfg(monkeypatch):
    return box_cfg(monkeypatch)


def test_a_folder_gives_annotated_copies_and_coco_results(cfg, tmp_path):
    for name in ("b.png", "a.png"):
        draw_image(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    assert predict_files(cfg, [str(tmp_path / "in")], tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == {"a.png", "b.png", "predictions.json"}
    expected = {"category_id": 1, "bbox": [10, 30, 40, 25], "score": 0.75}
    names = [str(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    assert predictions(tmp_path / "out") == [{"image_id": i, "file_name": n, **expected} for i, n in enumerate(names)]
    drawn = cv2.imread(str(tmp_path / "out" / "a.png"))
    assert tuple(drawn[45, 10, ::-1]) == class_color(1), "channels keep their order"
    assert tuple(drawn[58, 75]) == (10, 20, 200)


def test_patterns_equal_stems_and_lower_confidence(cfg, tmp_path):
    for name in ("x/1.jpg", "y/1.jpg", "y/2.bmp"):
        draw_image(tmp_path / name)
    assert predict_files(cfg, [str(tmp_path / "**" / "*.*")], tmp_path / "out", confidence=0.2) == 0
    assert outputs(tmp_path / "out") == {"1.jpg", "1_2.jpg", "2.png", "predictions.json"}
    assert len(predictions(tmp_path / "out")) == 6


def test_copies_of_many_files_get_names_of_their_own_and_others_are_told(cfg, tmp_path, caplog):
    names = ["a/x.png", "a/x.bmp", "a/x.webp", "a/y.bmp", "b/x.png", "b/y.bmp", "b/z.jpg", "c/x.bmp.png"]
    files = [draw_image(tmp_path / "in" / name) for name in names]
    targets = [path.name for path in output_paths([Source(file) for file in files], tmp_path / "out")]
    assert targets == ["x.png", "x.bmp.png", "x.webp.png", "y.png", "x_2.png", "y.bmp.png", "z.jpg", "x.bmp_2.png"]
    orders = itertools.permutations([Source(file) for file in files[:4]])
    assert len({tuple(sorted(p.name for p in output_paths(order, tmp_path))) for order in orders}) == 1
    with caplog.at_level("INFO"):
        predict_files(cfg, [str(path) for path in files], tmp_path / "out")
    assert outputs(tmp_path / "out") == {*targets, "predictions.json"}
    (line,) = [record.getMessage() for record in caplog.records if "by other names" in record.getMessage()]
    assert "x.webp -> x.webp.png" in line and "and 1 more" in line and "z.jpg" not in line


def test_nothing_above_the_confidence_tells_the_highest_score_and_what_would_show_it(cfg, tmp_path, caplog):
    image = draw_image(tmp_path / "in" / "a.png")
    with caplog.at_level("INFO"):
        predict_files(cfg, [str(image)], tmp_path / "out", confidence=0.9)
    hint = re.search(r"highest score is 0\.75, below 0\.9; try --confidence (0\.\d+)", caplog.text)
    assert hint
    predict_files(cfg, [str(image)], tmp_path / "out", confidence=float(hint[1]))
    assert len(predictions(tmp_path / "out")) == 1
    assert "gave nothing" in nothing_found(None, 0.5)


def test_bad_inputs_are_reported_and_the_others_go_on(cfg, tmp_path, caplog):
    good = draw_image(tmp_path / "good.jpg")
    (tmp_path / "half.jpg").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "broken.mp4").write_bytes(b"\x00" * 100)
    (tmp_path / "empty").mkdir()
    names = ["half.jpg", "text.png", "broken.mp4", "empty", "missing.jpg", "good.jpg"]
    assert predict_files(cfg, [str(tmp_path / name) for name in names], tmp_path / "out") == 5
    assert outputs(tmp_path / "out") == {"good.jpg", "predictions.json"}
    assert len(predictions(tmp_path / "out")) == 1
    reported = [
        "half.jpg: cannot be read as an image",
        "text.png: cannot be read as an image",
        "broken.mp4: cannot be read as a video",
        "empty: no images",
        "missing.jpg: no such file",
    ]
    for words in reported:
        assert words in caplog.text


def huge_png(path):
    """A PNG that says to have 20000 x 20000 pixels, and holds none."""
    import struct
    import zlib

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_whatever_is_in_a_folder_the_images_in_it_are_annotated_and_the_rest_is_named(cfg, tmp_path, caplog):
    folder = tmp_path / "in"
    draw_image(folder / "a.png")
    draw_image(folder / "z.jpg")
    huge_png(folder / "huge.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.jpg").mkdir()
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "nowhere.png").symlink_to(folder / "none.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "z.jpg").read_bytes()[:200])
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(folder / "moves.png", save_all=True, append_images=frames[1:])
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(1 << 40)
    assert predict_files(cfg, [str(folder)], tmp_path / "out") == 10
    assert outputs(tmp_path / "out") >= {"a.png", "z.jpg", "predictions.json"}
    assert outputs(tmp_path / "out") == {"a.png", "z.jpg", "predictions.json"}
    reasons = {
        "huge.png": "20000x20000|exceeds",
        "pipe.png": "named pipe",
        "pipe.mp4": "named pipe",
        "folder.jpg": "is a folder",
        "loop.png": "loop of links",
        "nowhere.png": "does not exist",
        "moves.png": "holds 2 frames",
        "cut.jpg": "cannot be read",
    }
    for name, reason in reasons.items():
        assert re.search(rf"{name}: .*({reason})", caplog.text), name


def test_a_pattern_of_any_depth_ends_in_a_loop_of_links(cfg, tmp_path):
    draw_image(tmp_path / "in" / "deep" / "a.png")
    (tmp_path / "in" / "deep" / "back").symlink_to(tmp_path / "in")
    assert predict_files(cfg, [str(tmp_path / "in" / "**" / "*.png")], tmp_path / "out") == 0
    assert len(predictions(tmp_path / "out")) == 1


def test_models_that_need_a_camera_ask_for_it_before_they_are_loaded():
    cfg = make_cfg()
    cfg.MODEL.META_ARCHITECTURE = "Mono3DVG"
    with pytest.raises(ConfigError, match=r"--calib is missing: Mono3DVG .* give --calib FILE"):
        require_camera(cfg, False)
    require_camera(cfg, True)
    cfg.MODEL.META_ARCHITECTURE = "DiffusionDet"
    cfg.MODEL.DiffusionDet.POSE.ENABLED = False
    require_camera(cfg, False)
    cfg.MODEL.DiffusionDet.POSE.ENABLED = True
    with pytest.raises(ConfigError, match="--calib is missing"):
        require_camera(cfg, False)


def test_calibrations_by_file_and_by_folder(tmp_path):
    calib, denorm = calibration(tmp_path / "a")
    assert CameraFiles()(tmp_path / "x.png") is None
    assert CameraFiles(calib, denorm)(tmp_path / "x.png").height_m == pytest.approx(6 / np.hypot(0.98, 0.2))
    assert isinstance(CameraFiles(str(tmp_path / "a"))(tmp_path / "calib.jpg"), Camera)
    with pytest.raises(FileNotFoundError, match=r"x\.txt does not exist"):
        CameraFiles(str(tmp_path / "a"))(tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="which --calib must give"):
        CameraFiles("", denorm)


def test_inputs_are_never_replaced(cfg, tmp_path):
    draw_image(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="holds the inputs, which would be replaced"):
        predict_files(cfg, [str(tmp_path)], tmp_path)


def test_names_and_ids_come_from_the_data_set(cfg, tmp_path):
    DatasetCatalog.register("demo_names", list)
    MetadataCatalog.get("demo_names").set(
        thing_classes=["cat", "dog"], thing_dataset_id_to_contiguous_id={17: 0, 18: 1}
    )
    try:
        cfg.DATASETS.TEST = ("demo_names",)
        predict_files(cfg, [str(draw_image(tmp_path / "a.jpg"))], tmp_path / "out")
    finally:
        DatasetCatalog.remove("demo_names")
        MetadataCatalog.remove("demo_names")
    (result,) = predictions(tmp_path / "out")
    assert (result["category_id"], result["category_name"]) == (18, "dog")


class Listener(OneBox):
    """Answers every sentence by one box, of low score for the second sentence."""

    class model:
        score_threshold = 0.4

    def find(self, image_bgr, camera, expressions):
        row = torch.tensor([[0.0, 1, 12, 1.5, 1.8, 4, 0.7]])
        answers = []
        for number, expression in enumerate(expressions):
            text = expression["text"]
            answers.append({
                "expression_id": expression["id"], "boxes": row, "scores": torch.tensor([0.45 - 0.1 * number]),
                "boxes_xyxy": torch.tensor([[10.0, 30, 50, 55]]), "classes": torch.tensor([1]),
                "words": text.split(), "spans": [(0, len(text.split()[0]))], "relevance": [0.8],
            })  # fmt: skip
        return {"groundings": answers}


def test_sentences_are_answered(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(annotators, "Predictor", Listener)
    cfg.MODEL.META_ARCHITECTURE = "Mono3DVG"
    cfg.MODEL.MONO3DVG = type(cfg)({"CLASSES": ("car", "bus")})
    calib, denorm = calibration(tmp_path / "camera")
    wide = cv2.resize(np.zeros((4, 4, 3), np.uint8), (400, 240))
    cv2.imwrite(str(tmp_path / "a.png"), wide)
    files = [str(tmp_path / "a.png")]
    sentences = read_sentences(["the bus"], "")
    (tmp_path / "more.txt").write_text("a car\n\n  第二辆车  \n", encoding="utf-8")
    sentences = read_sentences(sentences, str(tmp_path / "more.txt"))
    assert sentences == ["the bus", "a car", "第二辆车"]
    assert predict_files(cfg, files, tmp_path / "out", None, CameraFiles(calib, denorm), sentences) == 0
    answers = predictions(tmp_path / "out")
    assert [(a["text"], len(a["boxes"])) for a in answers] == [("the bus", 1), ("a car", 0), ("第二辆车", 0)]
    assert answers[0]["category_names"] == ["bus"] and answers[0]["words"][0]["text"] == "the"
    drawn = cv2.imread(str(tmp_path / "out" / "a.png"))
    assert len(drawn) > 3 * 240 and drawn.shape[1] > 400  # three images, each with a strip; the first with a view
    assert predict_files(cfg, files, tmp_path / "low", 0.2, CameraFiles(calib, denorm), sentences) == 0
    assert all(len(a["boxes"]) == 1 for a in predictions(tmp_path / "low"))


def test_annotators_are_found_by_meta_architecture(cfg, tmp_path, monkeypatch):
    assert annotator_class("EfficientAD") is HeatMapAnnotator and annotator_class("Mono3DVG") is GroundingAnnotator
    assert annotator_class("DiffusionDet") is annotator_class("GeneralizedRCNN") is DetectionAnnotator
    with pytest.raises(ConfigError, match="--text: GeneralizedRCNN answers no sentences"):
        AnnotatingPredictor(cfg, sentences=["the car"])
    monkeypatch.setattr(OneBox, "find", lambda self, image: {"sem_seg": None})
    with pytest.raises(ConfigError, match="GeneralizedRCNN gives no instances"):
        AnnotatingPredictor(cfg)([np.zeros((*SIZE, 3), np.uint8)], [ImageContext()])
    cfg.MODEL.META_ARCHITECTURE = "Mono3DVG"
    with pytest.raises(ConfigError, match="give them by --text or --text-file"):
        AnnotatingPredictor(cfg)
