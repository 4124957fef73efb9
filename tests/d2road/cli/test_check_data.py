"""Each kind of damage is found and named, and a good data set is clean."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from d2road.cli import check_data
from d2road.structures import Camera
from d2road.structures.upright_boxes import box_corners, project_boxes


def check(root, tmp_path, *options, name=""):
    """(exit code, report) of the tool on a copy of the name that is not registered yet."""
    name = name or f"kitti:{root}"
    code = check_data.main([name, "--workers", "1", "--json", str(tmp_path / "report.json"), *options])
    return code, json.loads((tmp_path / "report.json").read_text())


def test_a_good_data_set_is_clean(kitti_folder, tmp_path, capsys):
    code, report = check(kitti_folder, tmp_path, "--sheet", str(tmp_path / "out" / "sheet.jpg"))
    assert code == 0 and report["problems"] == report["defects"] == []
    assert (report["images"], report["images_without_objects"], report["objects"]) == (4, 1, 9)
    assert {name: entry["objects"] for name, entry in report["classes"].items()} == {
        "Car": 6, "Pedestrian": 3, "Cyclist": 0,
    }  # fmt: skip
    assert report["dimensions"]["types"]["Car"]["median_hwl"] == [1.5, 1.7, 4.0]
    assert report["projection"]["mean_iou"] > 0.999 and report["projection"]["objects"] == 9
    assert report["ground_plane"] == {"objects": 9, "median_m": 0.0, "p90_m": 0.0, "median_signed_m": 0.0}
    sheet = cv2.imread(str(tmp_path / "out" / "sheet.jpg"))
    assert sheet.shape[1] == 3 * 640 + 4 * 4
    output = capsys.readouterr()
    assert "no problems" in output.out and "frames 4/4 100%" in output.err


def test_all_missing_and_broken_files_are_listed_at_once(kitti_folder, tmp_path, capsys):
    (kitti_folder / "image_2" / "000000.png").write_bytes(b"not an image")
    whole = (kitti_folder / "image_2" / "000001.png").read_bytes()
    (kitti_folder / "image_2" / "000001.png").write_bytes(whole[: len(whole) // 2])
    (kitti_folder / "calib" / "000002.txt").unlink()
    (kitti_folder / "label_2" / "000003.txt").write_text("Car 0 0 nonsense\n")
    code, report = check(kitti_folder, tmp_path)
    assert code == 1
    text = "\n".join(report["defects"])
    for words in (
        "000000.png",
        "000001.png cannot be read",
        "000002.txt does not exist",
        "000003.txt line 1 has 4 fields",
    ):
        assert words in text
    assert len(report["defects"]) == 4 and report["images"] == 2
    assert "PROBLEM: 4 files or labels are missing or broken" in capsys.readouterr().out


def test_quick_does_not_open_images(kitti_folder, tmp_path):
    whole = (kitti_folder / "image_2" / "000001.png").read_bytes()
    (kitti_folder / "image_2" / "000001.png").write_bytes(whole[: len(whole) // 2])
    assert check(kitti_folder, tmp_path, "--quick")[0] == 0
    assert check(kitti_folder, tmp_path)[0] == 1


def test_boxes_that_project_away_are_found_with_their_file(kitti_folder, tmp_path, rewrite, row):
    rewrite(1, row("Car", -2, 12), row("Car", 3, 20, shift=(25, 0)))
    code, report = check(kitti_folder, tmp_path)
    assert code == 1
    (away,) = report["projection"]["away"]
    assert away["file"].endswith("000001.png") and away["iou"] < 0.5 and away["type"] == "Car"
    assert report["projection"]["worst"][0] == away
    assert "1 of 8 3D boxes project away" in report["problems"][0]
    assert check(kitti_folder, tmp_path, "--tolerance", "0.2")[0] == 0


def test_other_order_of_dimensions_is_found(kitti_folder, tmp_path, rewrite, row):
    for frame in range(3):
        words = [row("Car", x, 11 + frame).split() for x in (-2, 2)]
        for w in words:
            w[8], w[10] = w[10], w[8]  # l w h
        rewrite(frame, *(" ".join(w) for w in words))
    code, report = check(kitti_folder, tmp_path)
    assert code == 1 and report["projection"]["num_away"] == 6
    assert any("order of dimensions" in problem for problem in report["problems"])


def test_odd_dimensions_and_objects_off_the_plane(kitti_folder, tmp_path, rewrite, row):
    rewrite(0, *(row("Car", x, 14, y=2.6) for x in (-4, -2, 0, 2, 4)), row("Car", 0, 20, hwl=(1.5, 1.7, 17)))
    code, report = check(kitti_folder, tmp_path, "--tolerance", "0")
    assert code == 1
    (odd,) = report["dimensions"]["odd"]
    assert odd["dimensions_hwl"] == [1.5, 1.7, 17] and odd["file"].endswith("000000.png")
    assert report["ground_plane"]["p90_m"] == 1.0 and report["ground_plane"]["median_m"] == 0.0
    for frame in (1, 2):
        rewrite(frame, row("Car", 0, 14, y=2.6))
    report = check(kitti_folder, tmp_path, name=f"kitti:{kitti_folder}/.")[1]
    assert report["ground_plane"]["median_signed_m"] == -1.0
    assert any("1 m or more off the ground plane" in problem for problem in report["problems"])


def test_a_centre_behind_the_camera_is_listed(kitti_folder, tmp_path, rewrite):
    rewrite(0, "Car 0.9 0 0 0 60 100 200 1.5 1.7 12 -2 1.6 -0.5 1.57")
    code, report = check(kitti_folder, tmp_path)
    assert code == 1 and len(report["behind_camera"]) == 1
    assert "1 of 7 3D boxes have their centre behind the camera" in report["problems"]


def test_coco_data_without_3d(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    images = [{"id": i, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(("a.png", "b.png"))]
    boxes = [{"id": 1, "image_id": 0, "category_id": 7, "bbox": [4, 4, 10, 20]}]
    boxes.append({"id": 2, "image_id": 0, "category_id": 7, "bbox": [0, 0, 30, 30], "iscrowd": 1})
    data = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "cat"}]}
    (tmp_path / "a.json").write_text(json.dumps(data))
    code, report = check(None, tmp_path, name=f"coco:{tmp_path}/a.json:{tmp_path}")
    assert code == 0 and report["crowds"] == 1
    assert report["classes"] == {"cat": {"objects": 1, "types": {}, "height_px": [20.0] * 5}}
    assert "projection" not in report and "ground_plane" not in report
    (tmp_path / "b.png").unlink()
    images.append({"id": 5, "file_name": "a.png", "width": 48, "height": 64})
    (tmp_path / "b.json").write_text(json.dumps(data))
    code, report = check(None, tmp_path, name=f"coco:{tmp_path}/b.json:{tmp_path}")
    assert code == 1 and len(report["defects"]) == 3
    for words, line in zip(("b.png does not exist", "a.png is 64x48", "a.png comes 2 times"), report["defects"]):
        assert words in line
    (tmp_path / "c.json").write_text("{")
    code, report = check(None, tmp_path, name=f"coco:{tmp_path}/c.json:{tmp_path}")
    assert code == 1 and "is not JSON" in report["defects"][0]


def coco(tmp_path, name, *annotations, images=({},), **changes):
    """(exit code, report) of COCO data of one image of 64x48 for each of `images`, which change its entry."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    size = {"file_name": "a.png", "width": 64, "height": 48}
    data = {"images": [{"id": i, **size, **change} for i, change in enumerate(images)]}
    data["annotations"] = [{"id": i, "image_id": 0, "category_id": 7, **a} for i, a in enumerate(annotations)]
    data["categories"] = [{"id": 7, "name": "cat"}]
    (tmp_path / f"{name}.json").write_text(json.dumps({**data, **changes}))
    return check(None, tmp_path, name=f"coco:{tmp_path}/{name}.json:{tmp_path}")


def test_what_is_wrong_with_labels_and_images_is_listed_at_once(tmp_path):
    """A wrong label neither hides the others nor what is wrong with the images."""
    box = {"bbox": [4, 4, 10, 20]}
    labels = box, {**box, "category_id": 5}, {**box, "iscrowd": "0"}, {**box, "image_id": 3}
    images = {}, {"file_name": "gone.png"}, {"file_name": "b.png", "width": 60}, {"width": "64"}
    Image.new("RGB", (64, 48)).save(tmp_path / "b.png")
    code, report = coco(tmp_path, "x", *labels, images=images)
    text = "\n".join(report["defects"])
    for words in ("id 1 has category_id 5", "'iscrowd' is the text '0'", "gone.png does not exist", "size '64'x48"):
        assert words in text
    assert "b.png is 64x48, its annotation says 60x48" in text and len(report["defects"]) == 5
    assert code == 1 and report["objects"] == 1
    assert report["problems"] == ["5 files or labels are missing or broken"]
    # What follows from the first is not told.
    code, report = coco(tmp_path, "y", categories=[{"id": 7}])
    assert code == 1 and report["problems"] == ["1 files or labels are missing or broken"]


def test_boxes_as_corners_are_a_problem(tmp_path):
    corners = [{"bbox": [x, y, x + 8, y + 9]} for x in range(5, 55, 12) for y in range(5, 38, 8)]
    code, report = coco(tmp_path, "x", *corners)
    assert code == 1 and "as corners [x1, y1, x2, y2] they lie within" in report["defects"][0]
    assert report["problems"] == ["1 files or labels are missing or broken"]


def test_data_without_any_object_is_a_problem(tmp_path):
    crowd = {"bbox": [4, 4, 9, 9], "iscrowd": 1}
    for name, labels, said in (("x", (), "no image has a label"), ("y", (crowd,), "its 1 labelled regions are all")):
        code, report = coco(tmp_path, name, *labels)
        assert code == 1 and report["problems"][0].startswith(f"there is no object to train on: {said}")
    content = json.loads((tmp_path / "x.json").read_text())
    del content["annotations"]  # test data
    (tmp_path / "test.json").write_text(json.dumps(content))
    assert check(None, tmp_path, name=f"coco:{tmp_path}/test.json:{tmp_path}")[0] == 0


def test_data_of_images_alone_has_no_table_of_objects(tmp_path, capsys):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    assert check(None, tmp_path, name=f"images:{tmp_path}")[0] == 0
    assert capsys.readouterr().out == f"images:{tmp_path}: 2 images\n\nno problems\n"


@pytest.mark.parametrize(("name", "words"), [("nonsense", "known are"), ("kitti:/nowhere", "no images in /nowhere")])
def test_what_is_not_there_cannot_be_checked(name, words, capsys):
    assert check_data.main([name]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("start", [["d2road.cli.check_data"], ["d2road.cli", "check-data"]])
def test_as_module_and_as_verb(repo_dir, kitti_folder, start):
    command = [sys.executable, "-m", *start, f"kitti:{kitti_folder}", "--quick"]
    done = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no problems (images were not opened: --quick)" in done.stdout


def test_real_labels_project_where_they_say(shared_dir, tmp_path):
    code, rope = check(None, tmp_path, name=f"rope3d:{shared_dir}/data/rope3d_sample:val")
    assert code == 0 and rope["projection"]["objects"] == 44
    assert rope["projection"]["mean_iou"] > 0.98 and rope["ground_plane"]["median_m"] < 0.11
    code, kitti = check(None, tmp_path, name=f"kitti:{shared_dir}/data/kitti")
    assert code == 0 and kitti["images"] == 14
    assert kitti["projection"]["median_iou"] > 0.95 and "ground_plane" not in kitti
    assert np.isclose(kitti["dimensions"]["types"]["Car"]["median_hwl"], [1.51, 1.62, 3.69]).all()


def test_omni3d_with_boxes_of_any_rotation(kitti_folder, tmp_path):
    """A car on a slope: its whole rotation is needed to project it where its label says."""
    camera = Camera(np.array([[300.0, 0, 160], [0, 300, 60], [0, 0, 1]]))
    slope = Camera(camera.P, np.array([0.1, -0.9, -0.35, 5])).ground_rotation()
    h, w, l = 1.5, 1.8, 4.2  # noqa: E741
    center = np.array([0.5, 1.2, 12])
    corners = box_corners(center + slope[:, 1] * h / 2, [h, w, l], 0.0, slope)
    box = [float(v) for v in project_boxes(camera, corners)[0][0]]
    label = {"id": 1, "image_id": 3, "category_id": 5, "category_name": "car", "valid3D": True, "behind_camera": False}
    label |= {"bbox2D_tight": [-1] * 4, "bbox2D_proj": box, "bbox2D_trunc": box, "visibility": 1, "truncation": 0}
    label |= {"center_cam": center.tolist(), "dimensions": [w, h, l], "R_cam": slope.tolist(), "depth_error": 0}
    label |= {"bbox3D_cam": corners[0].tolist(), "lidar_pts": 9, "segmentation_pts": -1}
    image = {"id": 3, "width": 320, "height": 200, "file_path": "000000.png", "K": camera.K.tolist(), "dataset_id": 0}
    data = {"info": {}, "images": [image], "categories": [{"id": 5, "name": "car"}], "annotations": [label]}
    (tmp_path / "omni.json").write_text(json.dumps(data))
    code, report = check(None, tmp_path, name=f"omni3d:{tmp_path}/omni.json:{kitti_folder}/image_2")
    assert code == 0, report["problems"] + report["defects"] + report["notes"]
    assert report["projection"]["objects"] == 1 and report["projection"]["mean_iou"] > 0.999


def test_a_removed_image_whose_label_remains_is_a_problem(kitti_folder, tmp_path):
    (kitti_folder / "image_2" / "000001.png").unlink()
    code, report = check(kitti_folder, tmp_path)
    assert code == 1 and report["images"] == 3
    assert "1 label files" in report["defects"][0] and "000001" in report["defects"][0]
    code, report = check(None, tmp_path, name=f"rope3d:{kitti_folder}:val")
    assert code == 1 and "1 label files" in report["defects"][0]


def test_two_images_of_one_frame_are_a_problem(kitti_folder, tmp_path):
    Image.new("RGB", (320, 200)).save(kitti_folder / "image_2" / "000001.jpg")
    code, report = check(kitti_folder, tmp_path)
    assert code == 1 and report["images"] == 4
    assert "two images of frame '000001'" in report["defects"][0]
