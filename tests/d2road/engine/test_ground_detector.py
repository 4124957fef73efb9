"""From a model's boxes to the ground, through a lens or without one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data.catalog import Metadata
from detectron2.structures import Boxes, Instances

from d2road.engine.ground_detector import GroundDetector, PinholeView
from d2road.structures.boxes3d import Boxes3D
from d2road.utils.errors import ConfigError, DataError
from d2road.video import Frame
from tests.factories.tracked_video import small_camera

PLACES = np.array([[2.0, 20.0], [-3.0, 40.0]])
HEADINGS = np.array([1.5, -1.2])


class PlacedBoxes:
    """A predictor that finds two cars at PLACES of the ground."""

    metadata = Metadata(name="placed boxes", thing_classes=["car", "bus"])

    def __init__(self, camera, is_posed=True):
        self.ideal, self.is_posed = PinholeView(camera).camera, is_posed

    def __call__(self, image, camera):
        ground = np.pad(PLACES, ((0, 0), (0, 1)))
        place = self.ideal.ground_to_camera(ground)
        feet = self.ideal.ground_to_image(ground)
        found = Instances(image.shape[:2])
        found.pred_boxes = Boxes(torch.tensor(np.concatenate([feet - [6, 10], feet + [6, 0]], axis=1)))
        found.scores, found.pred_classes = torch.tensor([0.75, 0.25]), torch.tensor([0, 1])
        if self.is_posed:
            rows = np.column_stack([place, [[1.5, 1.8, 4.2]] * 2, self.ideal.ry_of_heading(HEADINGS)])
            found.pred_boxes3d = Boxes3D.from_kitti(torch.tensor(rows), camera.ground_rotation())
        return {"instances": found}


def frame(size_wh=(160, 96)):
    return Frame(7, 3.5, np.zeros((size_wh[1], size_wh[0], 3), np.uint8))


@pytest.mark.parametrize("distortion", [0.0, -0.2])
def test_3d_boxes_stand_where_the_model_puts_them_whatever_the_lens(distortion):
    camera = small_camera(distortion=distortion)
    rows = GroundDetector(PlacedBoxes(camera), camera, 0.1)(frame()).rows
    assert rows[["x", "y"]].to_numpy() == pytest.approx(PLACES, abs=1e-3)
    assert rows["heading"].to_numpy() == pytest.approx(HEADINGS, abs=1e-6)
    assert rows[["length", "width", "height"]].to_numpy() == pytest.approx(np.array([[4.2, 1.8, 1.5]] * 2))
    assert list(rows["cls"]) == ["car", "bus"] and (rows["frame"] == 7).all() and (rows["t"] == 3.5).all()
    assert rows["var_y"].iloc[1] > rows["var_y"].iloc[0] > 0
    seen = rows[["x1", "y2"]].to_numpy() + [6, 0]
    off = np.abs(seen - camera.ground_to_image(PLACES)).max()
    assert off < 2, "boxes are in the image as it is"
    assert (np.abs(seen - PinholeView(camera).camera.ground_to_image(PLACES)).max() > 1e-3) == (distortion != 0)


def test_2d_boxes_stand_below_their_lower_edge_without_size_and_heading():
    camera = small_camera()
    rows = GroundDetector(PlacedBoxes(camera, is_posed=False), camera, 0.1)(frame()).rows
    assert rows[["x", "y"]].to_numpy() == pytest.approx(PLACES, abs=1e-3)
    assert rows[["heading", "length", "width", "height"]].isna().all(axis=None)


def test_low_scores_are_left_out_and_the_highest_remembered():
    camera = small_camera()
    detect = GroundDetector(PlacedBoxes(camera), camera, 0.5)
    assert len(detect(frame())) == 1 and detect.highest == 0.75


def test_frames_of_another_size_and_models_without_classes_are_refused():
    camera = small_camera()
    with pytest.raises(DataError, match="the frame has 80x48 pixels"):
        GroundDetector(PlacedBoxes(camera), camera, 0.5)(frame((80, 48)))
    with pytest.raises(ConfigError, match=r"MODEL\.CLASS_NAMES"):
        GroundDetector(SimpleNamespace(metadata=None), camera, 0.5)


def test_an_undistorted_image_shows_points_where_a_pinhole_camera_has_them():
    camera = small_camera((320, 192), distortion=-0.25)
    image = np.zeros((192, 320, 3), np.uint8)
    view = PinholeView(camera)
    u, v = np.round(camera.ground_to_image(PLACES[0]) - 0.5).astype(int)
    image[v - 2 : v + 3, u - 2 : u + 3] = 255
    bright = np.argwhere(view(image)[:, :, 0] > 128).mean(axis=0)[::-1] + 0.5
    assert bright == pytest.approx(view.camera.ground_to_image(PLACES[0]), abs=0.7)
