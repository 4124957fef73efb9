"""Parameters of seeing from truth and tracks of a clip; the tracks are made here, by other code than the model's."""

import numpy as np
import pandas as pd
import pytest

from d2road.traffic.seeing.fit_seeing import fit_seeing, match_clip
from d2road.traffic.seeing.seeing_model import SeeingModel
from d2road.utils.errors import DataError
from tests.factories.camera_sites import straight_camera

DT, FRAMES, VEHICLES, TAU = 0.1, 150, 50, 0.6
RADIAL, ACROSS, SPEED, DETECT = (0.1, 0.5), (0.05, 0.2), (0.2, 0.3), (3.0, 0.0, -1.0, 0.0)


def clip(rng, switch=False):
    """Vehicles one after the other on one line away from the camera, and tracks of them."""
    truth, tracks = [], []
    for number in range(VEHICLES):
        t = number * 2.0 * FRAMES * DT + DT * np.arange(FRAMES)
        y = 15 + 4.0 * DT * np.arange(FRAMES)
        x = np.full(FRAMES, -4.0)
        d = np.hypot(x, y)
        noise = rng.standard_normal((FRAMES, 3))
        rho = np.exp(-DT / TAU)
        for i in range(1, FRAMES):
            noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * noise[i]
        ray = np.stack([x, y], axis=1) / d[:, None]
        side = np.stack([-ray[:, 1], ray[:, 0]], axis=1)
        along = noise[:, 0] * (RADIAL[0] + RADIAL[1] * (d / 50) ** 2)
        beside = noise[:, 1] * (ACROSS[0] + ACROSS[1] * d / 50)
        place = np.stack([x, y], axis=1) + ray * along[:, None] + side * beside[:, None]
        seen = rng.random(FRAMES) < 1 / (1 + np.exp(-(DETECT[0] + DETECT[2] * (d / 50) ** 2)))
        truth.append(pd.DataFrame({
            "t": t, "vehicle": number, "x": x, "y": y, "heading": np.pi / 2, "speed": 4.0, "length": 4.4,
            "width": 1.8, "height": 1.5,
        }))  # fmt: skip
        first = 5  # half a second until it is a track
        ids = np.where(np.arange(FRAMES) < 75, 2 * number, 2 * number + 1) if switch else np.full(FRAMES, 2 * number)
        tracks.append(pd.DataFrame({
            "t": t, "track": ids + 1, "x": place[:, 0], "y": place[:, 1], "length": 4.4 * (1 + 0.05 * (-1) ** number),
            "speed": 4.0 + noise[:, 2] * (SPEED[0] + SPEED[1] * (d / 50) ** 2), "seen": seen,
        })[first:])  # fmt: skip
    return pd.concat(truth, ignore_index=True), pd.concat(tracks, ignore_index=True)


@pytest.fixture(scope="module")
def fitted():
    truth, tracks = clip(np.random.default_rng(0))
    return fit_seeing([match_clip(truth, tracks, straight_camera(), 10.0, 90.0)])


def test_noise_and_detections_come_back_from_the_tracks_that_they_made(fitted):
    z = np.array([0.4, 1.0, 1.4])
    for sd, (a, b), growth in (
        (fitted.radial_sd, RADIAL, z**2), (fitted.across_sd, ACROSS, z), (fitted.speed_sd, SPEED, z**2),
    ):  # fmt: skip
        np.testing.assert_allclose(sd(50 * z), a + b * growth, rtol=0.15)
    expected = 1 / (1 + np.exp(-(DETECT[0] + DETECT[2] * z**2)))
    np.testing.assert_allclose(fitted.detection_probability(50 * z, np.ones(3)), expected, atol=0.03)


def test_times_come_back_too(fitted):
    assert fitted.correlation_s == pytest.approx(TAU, rel=0.15)
    assert fitted.birth_s == pytest.approx(0.5, abs=0.01)
    assert fitted.length == pytest.approx(0.05, rel=0.05)
    assert fitted.switches_per_hour == 0 and fitted.ghosts_per_hour == 0


def test_switches_and_ghosts_are_counted():
    truth, tracks = clip(np.random.default_rng(1), switch=True)
    nobody = pd.DataFrame({"t": 20.0 + DT * np.arange(11), "track": 9999, "x": 30.0, "y": 40.0, "length": 4.0,
                           "speed": 0.0, "seen": True})  # fmt: skip
    matched = match_clip(truth, pd.concat([tracks, nobody]), straight_camera(), 10.0, 90.0)
    model = fit_seeing([matched])
    seconds = VEHICLES * (FRAMES - 1 - 5) * DT
    assert model.switches_per_hour == pytest.approx(VEHICLES / seconds * 3600, rel=0.02)
    assert model.ghosts_per_hour == pytest.approx(1 / matched.hours) and model.ghost_s == pytest.approx(1.0)


def test_tracks_of_vehicles_that_do_not_count_are_no_ghosts():
    truth, tracks = clip(np.random.default_rng(3))
    away = pd.DataFrame({"t": 20.0 + DT * np.arange(11), "x": 30.0, "y": 90.0, "length": 4.4, "speed": 0.0})
    far = away.assign(vehicle=777, heading=np.pi / 2, width=1.8, height=1.5)
    follower, beyond = (away.assign(track=number, seen=True, x=x) for number, x in ((8888, 30.5), (9999, -30.0)))
    matched = match_clip(pd.concat([truth, far]), pd.concat([tracks, follower, beyond]), straight_camera(), 10.0, 80.0)
    assert 777 not in set(matched.truth["vehicle"])
    assert (matched.tracks.loc[matched.tracks["track"] > 8000, "truth"] == -1).all()
    assert fit_seeing([matched]).ghosts_per_hour == 0


def test_a_clip_without_pairs_or_columns_is_refused():
    truth, tracks = clip(np.random.default_rng(2))
    camera = straight_camera()
    with pytest.raises(DataError, match="lacks the columns speed"):
        match_clip(truth.drop(columns="speed"), tracks, camera, 10.0, 80.0)
    with pytest.raises(DataError, match="no vehicle"):
        match_clip(truth, tracks, camera, 900.0, 999.0)
    with pytest.raises(DataError, match="200 or more"):
        fit_seeing([match_clip(truth[:150], tracks[:30], camera, 10.0, 80.0)])
    assert SeeingModel().bridge_s == 2.0
