"""Examples of the page: what they show is what the shipped models are for."""

import cv2
import numpy as np

from d2road.data.input_cameras import CameraFiles
from d2road.data.roadside_camera_files import read_roadside_camera
from d2road.structures.principal_point import camera_size_problem
from d2road.video import VideoFile
from d2road.web import examples
from d2road.web.examples import kit_examples, roadside_example, traffic_example, video_example
from d2road.web.result_files import ResultFolders
from d2road.web.traffic_request import TrafficUpload, TrafficWindows, inspect_traffic
from d2road.web.uploads import UploadLimits


def test_a_view_comes_with_its_camera(tmp_path):
    example = roadside_example(tmp_path, 0)
    image = cv2.imread(str(example.image))
    camera = CameraFiles(str(example.calib), str(example.denorm))(example.image)
    assert camera is not None and camera.height_m > 3
    assert camera_size_problem(camera, image.shape[1], image.shape[0]) is None


def test_kits_are_three_images_and_others_for_another_number(tmp_path):
    images = [cv2.imread(str(path)) for path in (*kit_examples(tmp_path, 0), *kit_examples(tmp_path, 1))]
    assert len(images) == 6 and len({image.tobytes() for image in images}) == 6
    again = kit_examples(tmp_path, 0)[1]
    assert np.array_equal(cv2.imread(str(again)), images[1])


def test_a_clip_comes_with_its_camera_and_another_number_is_another_one(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "EXAMPLE_S", 0.2)
    clips = [video_example(tmp_path / str(number), number) for number in range(2)]
    images = [[frame.image_bgr for frame in VideoFile(clip.video)] for clip in clips]
    assert [len(one) for one in images] == [2, 2] and not np.array_equal(images[0][0], images[1][0])
    for clip, (image, _) in zip(clips, images):
        assert read_roadside_camera(clip.calibration, image.shape[1::-1]).road is not None


def test_shipped_rules_find_who_stops_in_the_traffic(tmp_path):
    example = traffic_example(tmp_path, 3)
    upload = TrafficUpload(example.trajectories, "csv", calibration=example.calibration, method="rules_forecast")
    found = inspect_traffic(TrafficWindows(), upload, UploadLimits(), ResultFolders(tmp_path / "results"))
    ((recording, start, end, low, high, *_),) = found.alarms
    assert recording == "traffic_3" and 30 < start < 60 + 10 and end > 105 and low <= 480 <= high
    assert "1 alarm(s)" in found.text and len(found.pictures) == 1
