"""Traffic of clips, driven by SUMO: nobody jumps sideways, headings agree with motion, positions with speeds."""

import gzip
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from d2road.synthetic.traffic_incidents import sumo
from d2road.synthetic.traffic_incidents.control import NotPossibleError
from d2road.synthetic.traffic_video.clip_labels import ground_tracks
from d2road.synthetic.traffic_video.clip_traffic import clip_scenario, drive, pack_fcd, read_fcd
from d2road.traffic.readers import open_trajectories
from tests.factories.traffic_clips import clip_camera

pytestmark = pytest.mark.skipif(sumo.sumo_home() is None, reason="SUMO is not installed: the extra `traffic` has it")
SECONDS = 20.0


@pytest.fixture(scope="module")
def weaving(tmp_path_factory):
    """Traffic in which somebody changes lanes again and again."""
    scenario = replace(clip_scenario("free", 27.8, "catalogue"), warm_up=20.0)
    for seed in range(10):
        try:
            folder = tmp_path_factory.mktemp("drive")
            return drive(folder, scenario, np.random.default_rng(seed), SECONDS, "lane_changes", "moderate")
        except NotPossibleError:
            continue
    raise AssertionError("lane changes were not possible with any seed")


def steps(table: pd.DataFrame) -> pd.DataFrame:
    """Differences between instants of each vehicle, a second, on the edges behind the ramp."""
    table = table[(table["x"] > 770) & (table["x"] < 1440)].sort_values(["vehicle", "frame"])
    change = table.groupby("vehicle")[["x", "y", "speed", "heading_rad", "frame"]].diff()
    change = change.add_prefix("d").assign(vehicle=table["vehicle"], speed=table["speed"], y=table["y"])
    return change[change["dframe"] == 1]


def test_lane_changes_take_seconds_and_nobody_jumps(weaving):
    change = steps(weaving.table)
    assert change["dy"].abs().max() < 0.13, "1.2 m/s across the road"
    across = change.groupby("vehicle")["dy"].diff().abs()
    assert across.max() < 0.0501, "and it begins and ends smoothly"
    culprit = weaving.table[weaving.table["vehicle"] == weaving.incident.vehicle]
    assert np.ptp(culprit["y"]) > 2.5, "somebody has changed lanes"
    assert culprit["lane"].nunique() > 1


def test_positions_are_the_integral_of_speeds(weaving):
    change = steps(weaving.table)
    mean = change["speed"] - change["dspeed"] / 2
    assert (change["dx"] / 0.1 - mean).abs().max() < 0.002


def test_headings_agree_with_motion(weaving):
    tracks = ground_tracks(weaving, clip_camera(1))
    moving = tracks[(tracks["speed_mps"] > 3) & (tracks["s"] > 770)].sort_values(["id", "frame"])
    assert len(moving) > 1000
    for behind, largest in ((0.35, 1.2), (0.0, 4.0)):
        # A vehicle that turns moves along its heading at its rear axle alone; elsewhere it slips a little.
        x = moving["X"] - behind * moving["length"] * np.cos(moving["heading_rad"])
        y = moving["Y"] - behind * moving["length"] * np.sin(moving["heading_rad"])
        by_id = moving.assign(x=x, y=y).groupby("id")
        course = np.arctan2(by_id["y"].shift(-1) - by_id["y"].shift(1), by_id["x"].shift(-1) - by_id["x"].shift(1))
        apart = np.rad2deg(np.abs((moving["heading_rad"] - course + np.pi) % (2 * np.pi) - np.pi))
        assert apart.max() < largest
        assert apart.mean() < 0.1


def test_tracks_are_sumos_vehicles_seen_from_the_pole(weaving):
    camera = clip_camera(1, downstream=False)
    tracks = ground_tracks(weaving, camera)
    assert set(tracks["frame"]) == set(range(round(SECONDS * 10)))
    ahead = np.stack([np.cos(tracks["heading_rad"]), np.sin(tracks["heading_rad"])], axis=1)
    fronts = tracks[["X", "Y"]].to_numpy() + tracks[["length"]].to_numpy() / 2 * ahead
    told = tracks[["frame", "vehicle"]].merge(weaving.table, on=["frame", "vehicle"])
    assert fronts == pytest.approx(camera.to_ground(told[["x", "y"]].to_numpy()), abs=1e-9)
    # Central differences of what SUMO integrates with steps of 0.1 s.
    # Edges before `main` are a bit shorter on the map than SUMO drives.
    apart = (tracks["speed_mps"] - told["speed"])[told["s"].between(770, 1440).to_numpy()].abs()
    assert len(apart) > 1000
    assert apart.quantile(0.99) < 0.1
    assert apart.median() < 0.01


def test_speeds_are_the_derivative_of_positions(weaving):
    tracks = ground_tracks(weaving, clip_camera(1))
    longest = tracks[tracks["id"] == tracks["id"].value_counts().index[0]].sort_values("frame")
    moved = np.hypot(np.gradient(longest["X"], longest["t"]), np.gradient(longest["Y"], longest["t"]))
    assert longest["speed_mps"].to_numpy()[1:-1] == pytest.approx(moved[1:-1], abs=1e-6)


def test_the_kept_fcd_is_sumos_own_of_the_clip_alone(weaving, tmp_path):
    path = tmp_path / "fcd.xml.gz"
    pack_fcd(weaving.fcd, path, weaving.start_s, SECONDS)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert set(lines) <= set(weaving.fcd.read_text().splitlines())
    frame = open_trajectories(f"fcd:{path}", edges="merge:400, main:760").table().frame
    assert frame["t"].min() == pytest.approx(weaving.start_s)
    assert frame["t"].max() == pytest.approx(weaving.start_s + SECONDS - 0.1)
    own = weaving.table[weaving.table["frame"].between(0, SECONDS * 10 - 1) & weaving.table["s"].between(400, 1449)]
    both = frame.assign(
        frame=((frame["t"] - weaving.start_s) * 10).round().astype(int), vehicle=frame["vehicle"].astype(str)
    )
    both = own.merge(both, on=["frame", "vehicle"], suffixes=("", "_read"))
    assert len(both) > 0.98 * len(own)
    assert both["s_read"].to_numpy() == pytest.approx(both["s"].to_numpy(), abs=0.02)


def test_a_ghost_driver_comes_on_the_hard_shoulder_without_jumps(tmp_path):
    scenario = replace(clip_scenario("free", 27.8, "catalogue"), warm_up=5.0)
    made = drive(tmp_path, scenario, np.random.default_rng(0), 30.0, "wrong_way", "severe")
    ghost = made.table[made.table["vehicle"] == made.incident.vehicle].sort_values("frame")
    ghost = ghost[ghost["x"] < 1440]
    assert len(ghost) > 100
    assert set(ghost["lane"]) == {"0"}
    assert np.ptp(ghost["y"]) == 0
    assert np.diff(ghost["x"]) == pytest.approx(-2.4, abs=1e-3)
    assert np.abs(ghost["heading_rad"]).to_numpy() == pytest.approx(np.pi)


def test_instants_without_vehicles_are_instants_too(tmp_path):
    vehicle = '<vehicle id="a" x="1" y="2" angle="90" type="car@1" lane="main_0" speed="3" pos="4"/>'
    steps = [f'<timestep time="{t / 10:.2f}">{vehicle if 12 <= t < 14 else ""}</timestep>' for t in range(20)]
    path = tmp_path / "fcd.xml"
    path.write_text(f"<fcd-export>{''.join(steps)}</fcd-export>")
    table = read_fcd(path, 0.5, 1.0)
    assert table["frame"].tolist() == [7, 8] and table["driver"].tolist() == ["car", "car"]
    with pytest.raises(RuntimeError, match=r"SUMO wrote 16 of 22 instants"):
        read_fcd(path, 0.5, 2.0)
