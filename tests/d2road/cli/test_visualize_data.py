"""Drawings of labels and predictions: as many as asked for, and with the right objects in them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from d2road.cli import check_data, visualize_data
from d2road.data.inspection.label_drawing import choose, drawing_names
from d2road.data.scene_objects import corners_of, read_predictions
from d2road.structures import Camera
from d2road.visualization import class_color
from d2road.visualization.heatmap_drawing import ALARM, CALM
from efficientad.data.dataset_layouts import mvtec_ad
from tests.factories.anomaly_maps import write_category

CLASSES = ["Car", "Pedestrian", "Cyclist"]


def draw(name, out, *options):
    return visualize_data.main([name, "--out", str(out), *options])


def share(image, color, tolerance=40):
    """Share of pixels near an RGB colour; drawings are JPEG."""
    return float((np.abs(image[:, :, ::-1].astype(int) - color).max(-1) < tolerance).mean())


def test_labels_are_drawn_in_3d_with_the_view_from_above(kitti_folder, tmp_path):
    assert draw(f"kitti:{kitti_folder}", tmp_path / "out", "--num", "3") == 0
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["000000.jpg", "000001.jpg", "000003.jpg", "sheet.jpg"], "taken evenly"
    image = cv2.imread(str(tmp_path / "out" / "000000.jpg"))
    assert image.shape[0] == 200 and image.shape[1] > 320
    assert share(image[:, :320], class_color(0)) > 0.002 and share(image[:, :320], class_color(1)) > 0.002
    assert cv2.imread(str(tmp_path / "out" / "000003.jpg")).shape == (200, 320, 3), "no objects, no view"


def test_images_with_a_label_as_a_whole_show_it_and_their_masks(tmp_path, capsys):
    data, _ = write_category(tmp_path, images=2)
    assert draw(f"mvtec:{data}:test", tmp_path / "out", "--num", "0") == 0
    by_kind: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for number, entry in enumerate(mvtec_ad(data).test()):
        name = f"{entry.path.stem}.jpg" if number < 2 else f"{entry.path.stem}_{number // 2 + 1}.jpg"
        drawn = cv2.imread(str(tmp_path / "out" / name))
        by_kind[entry.defect == "good"].append(drawn)
        if entry.masks:
            inside = cv2.imread(str(entry.masks[0]), cv2.IMREAD_GRAYSCALE) > 0
            large = cv2.resize(
                inside.astype(np.uint8), drawn.shape[1::-1][:1] + (512,), interpolation=cv2.INTER_NEAREST
            )
            edge = cv2.morphologyEx(large, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
            body = drawn[-512:].min(axis=2) > 200
            assert body[edge].mean() > 0.15 > 3 * body[~edge].mean()
    assert all(share(image[:20], CALM) > 0.5 for image in by_kind[True])
    assert all(share(image[:20], ALARM) > 0.5 for image in by_kind[False]) and len(by_kind[False]) == 4
    assert check_data.main([f"mvtec:{data}:test"]) == 0
    assert "dent                 2, 2 with a mask" in capsys.readouterr().out


def test_predictions_are_coloured_and_labels_white(kitti_folder, tmp_path, row):
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / "000000.txt").write_text(row("Cyclist", 0, 15) + " 0.9\n" + row("Pedestrian", -3, 15) + " 0.1\n")
    assert draw(f"kitti:{kitti_folder}", tmp_path / "out", "--num", "1", "--predictions", str(folder), "--no-bev") == 0
    image = cv2.imread(str(tmp_path / "out" / "000000.jpg"))
    assert image.shape == (200, 320, 3)
    assert share(image, class_color(2)) > 0.002, "the prediction"
    assert share(image, class_color(0)) == share(image, class_color(1)) == 0, "labels, and what scores 0.1"
    assert share(image, (255, 255, 255), 70) > 0.002, "labels"


def test_coco_results_are_matched_by_image_and_category(kitti_folder, tmp_path):
    file = tmp_path / "results.json"
    rows = [{"image_id": "000002", "category_id": 11, "bbox": [10, 20, 30, 40], "score": 0.7}]
    file.write_text(json.dumps(rows))
    find = read_predictions(file, CLASSES, {11: 1}, "camera")
    found = find({"image_id": "000002"}, None)
    assert found.class_ids.tolist() == [1] and found.boxes_xyxy.tolist() == [[10, 20, 40, 60]]
    assert found.scores.tolist() == [0.7] and not found.has_3d.any()
    assert len(find({"image_id": "000001"}, None)) == 0


def test_seed_decides_the_choice_and_zero_takes_all():
    assert choose(5, 0) == choose(5, 9) == [0, 1, 2, 3, 4]
    assert choose(100, 4) == [0, 33, 66, 99]
    chosen = choose(100, 10, seed=3)
    assert chosen == choose(100, 10, seed=3) != choose(100, 10, seed=4)
    assert len(set(chosen)) == 10 and chosen == sorted(chosen)


def test_equal_stems_get_numbers():
    records = [{"file_name": f"{folder}/1.png"} for folder in "abc"]
    assert drawing_names(records) == ["1.jpg", "1_2.jpg", "1_3.jpg"]


@pytest.mark.parametrize(
    ("predictions", "message"),
    [("none", "no such file or folder"), ("data", "no .txt files"), ("bad.json", "holds no COCO results")],
)
def test_what_cannot_be_drawn_is_said(kitti_folder, tmp_path, capsys, predictions, message):
    (tmp_path / "bad.json").write_text('[{"image_id": 1}]')
    assert draw(f"kitti:{kitti_folder}", tmp_path / "out", "--predictions", str(tmp_path / predictions)) == 2
    assert message in capsys.readouterr().err
    assert draw("nonsense", tmp_path / "out") == 2


def test_corners_by_turn_in_either_frame_and_by_rotation():
    camera = Camera(np.array([[300.0, 0, 160], [0, 300, 60], [0, 0, 1]]), np.array([0.05, -0.95, -0.3, 6]))
    frame = camera.ground_rotation()
    box = {"has_3d": True, "location": [1.0, 2, 15], "dimensions_hwl": [1.5, 2.0, 4.0], "rotation_y": 0.0}
    flat = {**box, "has_3d": False}
    level, unknown = corners_of([box, flat], camera)
    assert np.isnan(unknown).all()
    assert level[0] - level[1] == pytest.approx([4, 0, 0]), "the length runs along the camera's x"
    (grounded,) = corners_of([box], camera, "ground")
    assert grounded[0] - grounded[1] == pytest.approx(4 * frame[:, 0])
    assert grounded[4] - grounded[0] == pytest.approx(-1.5 * frame[:, 1]), "up along the normal"
    (turned,) = corners_of([{**box, "rotation_y": 9.0, "box_rotation": frame.tolist()}], camera)
    assert turned == pytest.approx(grounded)
    assert np.isnan(corners_of([box], None)).all()


@pytest.mark.parametrize("kind", ["text", "coco"])
def test_predictions_of_other_images_or_classes_are_told(kitti_folder, tmp_path, row, caplog, kind):
    ids = [f"{i:06d}" for i in range(4)]

    def predictions(image_id: str, name: str, category: int) -> Path:
        if kind == "coco":
            entry = {"image_id": image_id, "category_id": category, "bbox": [10, 20, 30, 40], "score": 0.7}
            (tmp_path / "results.json").write_text(json.dumps([entry]))
            return tmp_path / "results.json"
        folder = tmp_path / f"found_{image_id}"
        folder.mkdir(exist_ok=True)
        (folder / f"{image_id}.txt").write_text(row(name, 0, 15) + " 0.9\n")
        return folder

    with pytest.raises(ValueError, match="of none of the 4 images"):
        read_predictions(predictions("7", "Cyclist", 1), CLASSES, {}, "camera", ids)
    read_predictions(predictions("000001", "Cyclist", 1), CLASSES, {}, "camera", ids)
    assert not caplog.records
    find = read_predictions(predictions("000001", "Vehicle", 9), CLASSES, {}, "camera", ids)
    assert "1 predictions are of no class of the data" in caplog.text
    assert find({"image_id": "000001"}, None).class_ids.tolist() == [len(CLASSES)]
