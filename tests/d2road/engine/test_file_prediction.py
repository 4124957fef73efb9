"""Prediction on files: inputs of every kind, a data set's classes, files that cannot be read."""

import itertools
import json
import os
import re

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image

from d2road.cli.predict import read_sentences
from d2road.config import make_cfg
from d2road.data.input_cameras import CameraFiles
from d2road.data.roadside_camera_files import write_camera
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
from d2road.structures import Boxes3D, Camera
from d2road.utils.errors import ConfigError, DataError
from d2road.video import VideoFile
from d2road.visualization import class_color
from efficientad.inference.heatmap_annotator import HeatMapAnnotator
from mono3dvg.grounding_annotator import GroundingAnnotator
from tests.factories.tracked_video import small_camera

SIZE = (60, 80)  # height, width


class OneBox:
    """A predictor that finds the same two boxes everywhere."""

    def __init__(self, cfg, batch_size=1):
        pass

    def __call__(self, images_bgr, camera=None, **extra):
        cameras = camera or [None] * len(images_bgr)
        return [self.find(image, *([own] if own else []), **extra) for image, own in zip(images_bgr, cameras)]

    def find(self, image_bgr):
        assert image_bgr.dtype == np.uint8 and image_bgr.flags["C_CONTIGUOUS"]
        found = Instances(image_bgr.shape[:2])
        found.pred_boxes = Boxes(torch.tensor([[10.0, 30, 50, 55], [0, 0, 5, 5]]))
        found.scores = torch.tensor([0.75, 0.25])
        found.pred_classes = torch.tensor([1, 0])
        return {"instances": found}


@pytest.fixture
def cfg(monkeypatch):
    monkeypatch.setattr(annotators, "Predictor", OneBox)
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    return cfg


class PosedBox(OneBox):
    """With a 3D box before the camera, turned about the ground's normal; only frames with a camera are taken."""

    def find(self, image_bgr, camera):
        found = super().find(image_bgr)["instances"]
        frame = camera.ground_rotation()
        rows = torch.tensor([[0.0, 1, 12, 1.5, 1.8, 4, 0.7]] * 2)
        found.pred_boxes3d = Boxes3D.from_kitti(rows, frame)
        found.pred_depth_std_m = torch.tensor([0.5, 2.0])
        return {"instances": found}


def calibration(folder):
    folder.mkdir()
    (folder / "calib.txt").write_text("P2: 100 0 40 0 0 100 20 0 0 0 1 0\n")
    (folder / "denorm.txt").write_text("0 -0.98 -0.2 6\n")
    return str(folder / "calib.txt"), str(folder / "denorm.txt")


def draw_image(path, color=(10, 20, 200)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*SIZE, 3), color, np.uint8))
    return path


def video(path, frames):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12, SIZE[::-1])
    for _ in range(frames):
        writer.write(np.full((*SIZE, 3), 90, np.uint8))
    writer.release()
    return path


def predictions(folder):
    return json.loads((folder / "predictions.json").read_text())


def outputs(folder):
    """Names of all files in an output folder but the journal."""
    return {path.name for path in folder.iterdir() if path.name != ".journal"}


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


def test_a_video_is_annotated_frame_by_frame(cfg, tmp_path):
    clip = video(tmp_path / "clip.mp4", frames=4)
    assert predict_files(cfg, [str(clip)], tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == {"clip.mp4", "predictions.json"}
    assert [p["frame"] for p in predictions(tmp_path / "out")] == [0, 1, 2, 3]
    copy = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    frames = []
    while (read := copy.read())[0]:
        frames.append(read[1])
    assert len(frames) == 4 and frames[0].shape == (*SIZE, 3)
    assert round(copy.get(cv2.CAP_PROP_FPS)) == 12
    assert np.abs(frames[2][50:57, 15:45].astype(int) - 90).max() > 40, "a box edge at y 55"


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


def test_a_gif_becomes_a_video_and_one_without_motion_an_image(cfg, tmp_path):
    frames = [Image.new("RGB", SIZE[::-1], color) for color in ("red", "blue", "green")]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in/moves.gif", save_all=True, append_images=frames[1:], duration=200)
    frames[0].save(tmp_path / "in/still.gif")
    assert predict_files(cfg, [str(tmp_path / "in")], tmp_path / "out") == 0
    assert outputs(tmp_path / "out") == {"moves.mp4", "still.png", "predictions.json"}
    assert [row.get("frame") for row in predictions(tmp_path / "out")] == [0, 1, 2, None]
    with VideoFile(tmp_path / "out/moves.mp4") as copy:
        assert [frame.t for frame in copy] == pytest.approx([0, 0.2, 0.4], abs=1e-3)


def test_a_pattern_of_any_depth_ends_in_a_loop_of_links(cfg, tmp_path):
    draw_image(tmp_path / "in" / "deep" / "a.png")
    (tmp_path / "in" / "deep" / "back").symlink_to(tmp_path / "in")
    assert predict_files(cfg, [str(tmp_path / "in" / "**" / "*.png")], tmp_path / "out") == 0
    assert len(predictions(tmp_path / "out")) == 1


def test_a_video_that_is_cut_off_is_annotated_as_far_as_it_goes_and_told(cfg, tmp_path, caplog):
    whole = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 12, SIZE[::-1])
    rng = np.random.default_rng(0)
    for _ in range(40):
        writer.write(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    writer.release()
    (tmp_path / "cut.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert predict_files(cfg, [str(tmp_path / "cut.avi")], tmp_path / "out") == 1
    assert re.search(r"only \d+ of 40 frames can be decoded|no frame can be decoded", caplog.text)


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


def test_models_with_3d_get_the_camera_and_bring_the_view_from_above(cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(annotators, "Predictor", PosedBox)
    cameras = CameraFiles(*calibration(tmp_path / "calibration"))
    clip, still = video(tmp_path / "clip.mp4", frames=2), draw_image(tmp_path / "a.png")
    assert predict_files(cfg, [str(clip), str(still)], tmp_path / "out", cameras=cameras) == 0
    results = predictions(tmp_path / "out")
    assert [r.get("frame") for r in results] == [0, 1, None]
    for result in results:
        assert result["location"] == [0, 1, 12] and result["dimensions_hwl"] == pytest.approx([1.5, 1.8, 4])
        assert result["rotation_y"] == pytest.approx(0.7, abs=1e-5), "about the ground's normal"
        assert result["depth_std_m"] == 0.5
    drawn = cv2.imread(str(tmp_path / "out" / "a.png"))
    assert drawn.shape[0] == SIZE[0] and drawn.shape[1] > SIZE[1] + 20
    wire = np.abs(drawn[20:35, 25:60, ::-1].astype(int) - class_color(1)).max(-1) < 60
    assert wire.sum() > 20, "the wire frame around (40, 28)"
    assert tuple(drawn[50, 10, ::-1]) != class_color(1), "instead of the 2D box"
    copy = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert copy.read()[1].shape[1] > SIZE[1] + 20


def test_calibrations_by_file_and_by_folder(tmp_path):
    calib, denorm = calibration(tmp_path / "a")
    assert CameraFiles()(tmp_path / "x.png") is None
    assert CameraFiles(calib, denorm)(tmp_path / "x.png").height_m == pytest.approx(6 / np.hypot(0.98, 0.2))
    assert isinstance(CameraFiles(str(tmp_path / "a"))(tmp_path / "calib.jpg"), Camera)
    with pytest.raises(FileNotFoundError, match=r"x\.txt does not exist"):
        CameraFiles(str(tmp_path / "a"))(tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="which --calib must give"):
        CameraFiles("", denorm)


def test_the_camera_of_a_video_is_taken_for_images_of_its_size(cfg, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(annotators, "Predictor", PosedBox)
    height, width = SIZE
    camera = small_camera((width, height))
    write_camera(tmp_path / "camera.yaml", camera)
    cameras = CameraFiles(str(tmp_path / "camera.yaml"))
    assert cameras(tmp_path / "x.png").P.tolist() == camera.pinhole.P.tolist()
    assert cameras(tmp_path / "x.png").ground.tolist() == camera.ground.tolist()
    clip, still = video(tmp_path / "clip.mp4", frames=2), draw_image(tmp_path / "a.png")
    assert predict_files(cfg, [str(clip), str(still)], tmp_path / "out", cameras=cameras) == 0
    assert [r["location"] for r in predictions(tmp_path / "out")] == [[0, 1, 12]] * 3
    write_camera(tmp_path / "camera.yaml", small_camera((2 * width, 2 * height)))
    other = CameraFiles(str(tmp_path))
    assert predict_files(cfg, [str(clip), str(still)], tmp_path / "none", cameras=other) == 2
    assert caplog.text.count("calibration was made for") >= 2
    assert not (tmp_path / "none" / "predictions.json").exists()
    with pytest.raises(ConfigError, match="leave --denorm away"):
        CameraFiles(str(tmp_path), "denorm.txt")
    write_camera(tmp_path / "camera.yaml", small_camera((width, height), distortion=-0.1))
    with pytest.raises(DataError, match="the lens distorts"):
        CameraFiles(str(tmp_path / "camera.yaml"))


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
