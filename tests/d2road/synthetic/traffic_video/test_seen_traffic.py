"""Good traffic of a clip's view, seen: in its stretch, at SUMO's speeds, resumed piece by piece, the same each time."""

import json

import numpy as np
import pytest

from d2road.data.roadside_camera_files import write_camera_folder
from d2road.synthetic.traffic_incidents import sumo
from d2road.synthetic.traffic_video import seen_traffic
from d2road.synthetic.traffic_video.clip_traffic import ROAD
from d2road.synthetic.traffic_video.seen_traffic import make_seen_traffic, site_of_clip
from d2road.traffic.seeing.shipped_detector import SHIPPED_DETECTOR
from d2road.traffic.table import Trajectories
from d2road.utils.errors import DataError
from tests.factories.camera_sites import straight_camera
from tests.factories.peers import ROOT
from tests.factories.traffic_clips import clip_camera

needs_sumo = pytest.mark.skipif(sumo.sumo_home() is None, reason="SUMO is not installed: the extra `traffic` has it")
ABOUT = {"name": "val_000", "scenario": "free", "limit_mps": 22.2, "sizes": "catalogue"}


@pytest.fixture
def clip(tmp_path):
    """The folder of a clip's calibration, and its record."""
    camera = clip_camera(3)
    write_camera_folder(tmp_path, camera.model)
    return tmp_path, {**ABOUT, "camera_s_m": camera.x_m}, camera


def test_lanes_of_the_site_are_where_the_clip_has_them(clip):
    _, about, camera = clip
    site = site_of_clip(camera.model, about)
    for lane in ROAD.lanes:
        sumo = np.array([about["camera_s_m"] + 30.0, ROAD.lane_y(lane)])
        ground = site.ground(np.array([30.0]), np.array([site.lanes[lane]]))[0]
        assert ground == pytest.approx(camera.to_ground(sumo), abs=1e-6)
    with pytest.raises(DataError, match="knows no road of 3 lanes"):
        site_of_clip(straight_camera(), about)


@needs_sumo
def test_pieces_are_seen_in_the_view_and_made_once(clip, monkeypatch):
    folder, about, camera = clip
    monkeypatch.setattr(seen_traffic, "PIECE_S", 60.0)
    paths, took = make_seen_traffic(folder / "good", folder, about, SHIPPED_DETECTOR, 2 / 60, 1, 1)
    assert took > 0
    low, high = site_of_clip(camera.model, about).view
    tables = [Trajectories.from_parquet(path) for path in paths]
    assert [table.recordings for table in tables] == [["piece_000"], ["piece_001"]]
    for table in tables:
        s, speed = table.frame["s"].to_numpy(), table.frame["speed"].to_numpy()
        assert len(table) > 50 and s.min() > low - 5 and s.max() < high + 25 and set(table.directions) == {1}
        assert 10 < np.median(speed) < 28
    assert not np.array_equal(tables[0].frame["s"], tables[1].frame["s"])
    paths[1].with_suffix(".json").unlink()
    content, unchanged = paths[1].read_bytes(), paths[0].stat().st_mtime_ns
    paths[1].unlink()
    assert make_seen_traffic(folder / "good", folder, about, SHIPPED_DETECTOR, 2 / 60, 1, 1)[0] == paths
    assert make_seen_traffic(folder / "good", folder, about, SHIPPED_DETECTOR, 2 / 60, 1, 1)[1] == 0
    assert paths[1].read_bytes() == content and paths[0].stat().st_mtime_ns == unchanged


def test_the_model_of_the_shipped_detector_is_that_of_the_record():
    record = json.loads((ROOT / "benchmarks/results/camera_view/seeing_model.json").read_text())
    assert SHIPPED_DETECTOR.to_json() == record
