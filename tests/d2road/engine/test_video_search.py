"""Search with the image: where it is asked, what its answer does to candidates, clips; the stored grounder is asked."""

import numpy as np
import pytest

from d2road.engine.phrase_grounder import PhraseGrounder, PhraseScores, overlapping_scores
from d2road.engine.predictor import read_config
from d2road.engine.video_search import frames_of, image_phrases, search_video, write_answer_clips
from d2road.traffic.search.sentence_parser import parse_sentence
from d2road.traffic.search.track_scene import TrackScene
from d2road.traffic.search.track_search import search_tracks
from d2road.utils.errors import ConfigError, DataError
from d2road.video import Frame, VideoFile
from tests.factories.searched_tracks import LEFT_X, RIGHT_X, driven, seconds, street, street_camera, tracks_of
from tests.factories.stored_grounder import grounder_files
from tests.factories.videos import write_video


def scene_of(*vehicles):
    return TrackScene.of(tracks_of(*vehicles) if vehicles else street(), street_camera())


def black_frames(indices):
    for index in sorted(indices):
        yield Frame(index, index / 10, np.zeros((192, 320, 3), np.uint8))


class Scorer:
    """Says that what is left of the middle of the image is meant."""

    def __init__(self):
        self.asked = []

    def __call__(self, image, boxes, phrases):
        self.asked += phrases
        return np.tile(np.where(boxes[:, 0] < 160, 0.9, 0.1), (len(phrases), 1))


def test_the_image_decides_where_tracks_cannot():
    scene, scorer = scene_of(), Scorer()
    found = search_video(scene, parse_sentence("a white vehicle standing"), scorer, black_frames)
    assert [one.track for one in found.candidates] == [4]  # of the two that stand, the one on the left
    assert set(scorer.asked) == {"all white vehicles"}
    (answer,) = found.candidates
    assert answer.image_score == pytest.approx(0.9) and "image 0.90" in answer.why
    found = search_video(scene, parse_sentence("a white truck standing"), scorer, black_frames)
    assert found.ruled_out() == "image 'all white vehicles' from 0.5 on rules out the last 1 track (2)"


def test_the_image_is_not_asked_without_need():
    scorer = Scorer()
    assert search_video(scene_of(), parse_sentence("a truck standing"), scorer, black_frames).candidates
    assert not search_video(scene_of(), parse_sentence("a red tram"), scorer, black_frames).candidates
    assert not scorer.asked


def test_classes_that_the_tracks_do_not_tell_apart_are_asked_for():
    t = seconds(0, 5)
    scene = scene_of(driven(1, t, LEFT_X, 25.0, "big_vehicle", 9.0), driven(2, t, RIGHT_X, 25.0, "big_vehicle", 9.0))
    query, scorer = parse_sentence("a blue bus standing"), Scorer()
    found = search_video(scene, query, scorer, black_frames)
    assert [one.track for one in found.candidates] == [1] and set(scorer.asked) == {"all blue vehicles", "all buses"}
    why = image_phrases(scene, query, search_tracks(scene, query))["all buses"]
    assert "big_vehicle" in why and "class=bus" in why


def test_the_other_vehicle_of_a_relation_is_asked_of_the_image_by_its_own_box():
    t = seconds(0, 5)
    behind = (driven(1, t, LEFT_X, 35.0, "car", 4.0), driven(3, t, RIGHT_X, 35.0, "car", 4.0))
    scene = scene_of(
        *behind, driven(2, t, LEFT_X, 25.0, "big_vehicle", 9.0), driven(4, t, RIGHT_X, 25.0, "big_vehicle", 9.0)
    )
    seen = {}

    def score(image, boxes, phrases):
        seen.update({phrase: len(boxes) for phrase in phrases})
        left = boxes[:, [0, 2]].mean(axis=1) < 160
        return np.stack(
            [np.where(left, 0.9, 0.1) if "bus" in phrase else np.full(len(boxes), 0.8) for phrase in phrases]
        )

    found = search_video(scene, parse_sentence("a vehicle behind a bus"), score, black_frames)
    assert [one.track for one in found.candidates] == [1] and seen == {"all buses": 4}
    found = search_video(scene, parse_sentence("a car behind a blue truck"), score, black_frames)
    assert [one.track for one in found.candidates] == [1, 3] and {"all trucks", "all blue vehicles"} <= set(seen)
    assert not search_video(scene, parse_sentence("a vehicle in front of a bus"), score, black_frames).candidates


def test_the_video_must_be_that_of_the_tracks():
    query = parse_sentence("a white truck")
    late = lambda indices: (Frame(f.index, f.t + 0.5, f.image_bgr) for f in black_frames(indices))  # noqa: E731
    with pytest.raises(DataError, match="give the video that they are of"):
        search_video(scene_of(), query, Scorer(), late)
    with pytest.raises(DataError, match="ends before the tracks"):
        search_video(scene_of(), query, Scorer(), lambda indices: iter(()))


def test_scores_are_those_of_boxes_that_overlap():
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], float)
    answers = np.array([[1, 1, 11, 11], [0, 0, 9, 9], [0, 0, 60, 60]], float)
    assert overlapping_scores(boxes, answers, np.array([0.4, 0.7, 0.9])).tolist() == [0.7, 0.0]
    assert overlapping_scores(boxes, answers[:0], np.zeros(0)).tolist() == [0.0, 0.0]


def test_clips_show_the_vehicle_in_a_box(tmp_path):
    scene = scene_of()
    write_video(tmp_path / "street.mp4", seconds(0, 30).tolist(), (320, 192))
    (answer,) = search_tracks(scene, parse_sentence("a bus standing")).candidates
    (path,) = write_answer_clips(tmp_path / "street.mp4", scene, [answer], tmp_path / "clips")
    assert path.name == "001.mp4"
    with VideoFile(path) as clip, VideoFile(tmp_path / "street.mp4") as whole:
        shown = [frame.image_bgr.astype(int) for frame in clip]
        middle = next(f.image_bgr.astype(int) for f in whole if abs(f.t - (answer.t0 + answer.t1) / 2) < 0.06)
    assert len(shown) == pytest.approx(10 * (answer.t1 - answer.t0 + 4), abs=2)
    x1, y1, x2, y2 = scene.boxes[answer.rows[len(answer.rows) // 2]].round().astype(int)
    edge, inside = (slice(y1, y2), x1), (slice(y1 + 6, y2 - 6), slice(x1 + 6, x2 - 6))
    drawn = shown[len(shown) // 2]
    assert (drawn[edge][:, 1] - middle[edge][:, 1]).mean() > 30  # a bright line
    assert np.abs(drawn[inside] - middle[inside]).mean() < 30


def test_the_stored_grounder_is_asked_in_frames_of_a_video(tmp_path):
    grounder_files(tmp_path)
    write_video(tmp_path / "street.mp4", seconds(0, 6).tolist(), (320, 192))
    cfg = read_config(tmp_path / "config.yaml", opts=["MODEL.WEIGHTS", str(tmp_path / "weights.pth")])
    scorer, scene = (
        PhraseScores(PhraseGrounder(cfg), street_camera()),
        scene_of(driven(1, seconds(0, 5), RIGHT_X, 25.0)),
    )
    query, read = parse_sentence("a white car standing"), frames_of(tmp_path / "street.mp4")
    (answer,) = search_video(scene, query, scorer, read, 1, 0.0).candidates
    assert 0 <= answer.image_score <= 1
    with pytest.raises(ConfigError, match="answers no sentences"):
        PhraseGrounder(read_config("diffusion_det/toy_roadside3d/demo.yaml"))
