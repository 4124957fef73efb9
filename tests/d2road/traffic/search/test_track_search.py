"""Search on tracks: intervals by definition, what ruled the others out, classes that a detector does not tell apart."""

from dataclasses import replace

import numpy as np
import pytest

from d2road.traffic.search.key_frames import key_rows
from d2road.traffic.search.sentence_parser import parse_sentence
from d2road.traffic.search.track_scene import TrackScene
from d2road.traffic.search.track_search import search_tracks
from d2road.utils.errors import ConfigError, DataError
from tests.factories.searched_tracks import LEFT_X, RIGHT_X, driven, seconds, street, street_camera, tracks_of


@pytest.fixture(scope="module")
def scene():
    return TrackScene.of(street(), street_camera())


def found(scene, sentence):
    return [
        (one.track, round(one.t0, 1), round(one.t1, 1))
        for one in search_tracks(scene, parse_sentence(sentence)).candidates
    ]


def test_who_stands_where_and_for_how_long(scene):
    ((track, start, end),) = found(scene, "a truck standing in the right lane for more than 20 seconds")
    assert track == 2 and abs(start - 5) < 0.15 and abs(end - 29) < 0.15
    assert found(scene, "a truck standing in the left lane") == []
    assert [one[0] for one in found(scene, "a vehicle standing for less than 10 seconds")] == [4]
    assert [one[0] for one in found(scene, "what stands")] == [2, 4]  # the longer one first


def test_what_ruled_the_last_candidates_out_is_told(scene):
    result = search_tracks(scene, parse_sentence("a truck standing in the left lane"))
    assert result.ruled_out() == "lane=left rules out the last 1 track (2)"
    result = search_tracks(scene, parse_sentence("a bus standing for more than 10 s"))
    assert result.ruled_out() == "duration 10 s or more rules out the last 1 track (4)"
    assert [len(step.tracks) for step in result.steps] == [4, 1, 1, 0, 0]


def test_manoeuvres_last_from_before_to_after_their_instant(scene):
    ((track, start, end),) = found(scene, "a car changing lanes to the left")
    assert track == 3 and start == pytest.approx(10.5, abs=0.15) and end == pytest.approx(13.5, abs=0.15)
    assert found(scene, "a car changing lanes to the right") == []
    assert len(found(scene, "a car moving from the right lane to the left lane")) == 1
    assert found(scene, "a car in the left lane changing lanes") == []
    assert found(scene, "a car overtaking") == []  # the truck that it passes stands


def test_who_passes_a_standing_vehicle_overtakes_nobody():
    t = seconds(0, 10)
    moving = tracks_of(driven(1, t, LEFT_X, 10 + 6 * t), driven(2, t, RIGHT_X, 25 + 3 * t))
    standing = tracks_of(driven(1, t, LEFT_X, 10 + 6 * t), driven(2, t, RIGHT_X, 40.0))
    assert [one[0] for one in found(TrackScene.of(moving, street_camera()), "overtaking")] == [1]
    assert found(TrackScene.of(standing, street_camera()), "overtaking") == []


def test_speed_pace_trend_time_place_and_distance():
    t = seconds(0, 10)
    y = np.cumsum(np.where(t < 5, 2.0, 8.0)) * 0.1
    scene = TrackScene.of(tracks_of(driven(1, t, RIGHT_X, 10 + y), driven(2, t, LEFT_X, 60 - 5 * t)), street_camera())
    ((track, start, end),) = found(scene, "a car faster than 20 km/h moving away")
    assert track == 1 and start == pytest.approx(5, abs=0.2) and end == 10
    assert found(scene, "a car slower than 10 km/h")[0] == (1, 0.0, pytest.approx(5, abs=0.3))
    assert [one[0] for one in found(scene, "a car coming closer")] == [2]
    ((track, start, end),) = found(scene, "a car accelerating")
    assert track == 1 and start < 5 < end
    assert found(scene, "a car after 4 s before 6 s") == [(1, 4.0, 6.0), (2, 4.0, 6.0)]
    ((track, _, end),) = found(scene, "a car more than 40 m away before 4 s")
    assert (track, end) == (2, pytest.approx(4, abs=0.1))
    assert {one[0] for one in found(scene, "a car on the right side of the image")} == {1}


def test_relations_are_those_that_the_camera_sees():
    t = seconds(0, 4)
    scene = TrackScene.of(
        tracks_of(
            driven(1, t, 0.0, 20.0, "bus", 11.0), driven(2, t, 0.0, 40.0), driven(3, t, 4.0, 20.0),
            driven(4, t, 0.0, 8.0),
        ),
        street_camera(),
    )  # fmt: skip
    for words, tracks in (("behind a bus", [2]), ("in front of a bus", [4]), ("next to a bus", [3]),
                          ("closer than a bus", [4]), ("to the right of a bus", [3])):  # fmt: skip
        assert sorted(one[0] for one in found(scene, f"a car {words}")) == tracks, words


def test_a_gap_ends_an_interval_and_a_short_failure_does_not():
    t = np.concatenate([seconds(0, 5), seconds(8, 12)])
    scene = TrackScene.of(tracks_of(driven(1, t, RIGHT_X, 30.0)), street_camera())
    assert found(scene, "a car standing") == [(1, 0.0, 5.0), (1, 8.0, 12.0)]
    rows = driven(1, seconds(0, 10), RIGHT_X, 30.0)
    rows.loc[rows["t"].between(4.0, 4.5), "motion"] = "unknown"
    assert found(TrackScene.of(tracks_of(rows), street_camera()), "a car standing") == [(1, 0.0, 10.0)]


def test_what_was_hardly_seen_is_no_answer():
    rows = driven(1, seconds(0, 10), RIGHT_X, 30.0)
    rows.loc[rows["t"] > 1, "seen"] = False
    result = search_tracks(TrackScene.of(tracks_of(rows), street_camera()), parse_sentence("a car standing"))
    assert result.ruled_out() == "detections in 20% of the frames rules out the last 1 track (1)"


def test_coarse_classes_are_candidates_of_the_finer_ones_but_not_for_sure():
    t = seconds(0, 4)
    scene = TrackScene.of(
        tracks_of(driven(1, t, RIGHT_X, 20.0, "big_vehicle", 9.0), driven(2, t, LEFT_X, 20.0)), street_camera()
    )
    assert [one[0] for one in found(scene, "a truck")] == [1] == [one[0] for one in found(scene, "a bus")]
    assert [one[0] for one in found(scene, "a van")] == [2]  # Rope3D's cars are vans, too
    assert not scene.is_surely(("truck",)).any() and scene.is_surely(("car", "van"))[scene.track == 2].all()


def test_lanes_are_the_drivers_and_must_be_known(scene):
    camera = street_camera()
    road = replace(camera.road, directions=np.array([-1, -1]))
    turned = TrackScene.of(street(), replace(camera, road=road))
    assert found(turned, "a truck standing in the left lane") == found(scene, "a truck standing in the right lane")
    with pytest.raises(ConfigError, match="lane 3"):
        found(scene, "a truck in the third lane from the right")
    with pytest.raises(DataError, match="knows none"):
        found(TrackScene.of(street(), replace(camera, road=None)), "a truck in the right lane")
    assert found(scene, "a truck in the second lane from the middle of the road")[0][0] == 2


def test_key_frames_are_where_a_vehicle_is_large_and_free():
    t = seconds(0, 8)
    late = seconds(6, 8)
    truck = driven(2, late, RIGHT_X, 43 - 4 * late, "truck", 8.0)
    scene = TrackScene.of(tracks_of(driven(1, t, RIGHT_X, 50 - 4 * t), truck), street_camera())
    rows = np.flatnonzero(scene.track == 1)
    chosen = key_rows(scene, rows, 3)
    assert scene.t[chosen].tolist() == [3, 4, 5]  # it is larger later, and behind a truck
    assert key_rows(scene, rows[:3], 3) == [rows[0]]
