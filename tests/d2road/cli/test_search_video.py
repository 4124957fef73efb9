"""d2road search-video: answers printed and written, nothing found, what it refuses."""

import csv
import json

import pytest

from d2road.cli import search_video
from d2road.data.roadside_camera_files import write_camera
from tests.factories.searched_tracks import seconds, street, street_camera
from tests.factories.videos import write_video


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    tracks = folder / "tracks"
    tracks.mkdir()
    street().to_parquet(tracks / "tracks.parquet")
    write_camera(folder / "camera.yaml", street_camera())
    write_video(folder / "street.mp4", seconds(0, 30).tolist(), (320, 192))
    (tracks / "summary.json").write_text(json.dumps({"settings": {"input": str(folder / "street.mp4")}}))
    return folder


def words(files, sentence, *more):
    return [sentence, "--tracks", str(files / "tracks"), "--calib", str(files / "camera.yaml"), *more]


def test_answers_are_printed_and_written_with_clips(files, tmp_path, capsys):
    line = words(files, "a vehicle standing for more than 3 seconds", "--output", str(tmp_path), "--top", "1")
    assert search_video.main(line) == 0
    said = capsys.readouterr().out
    assert "understood as: class=vehicle, motion=standing, duration>3 s" in said
    assert "1  track 2" in said and "00:05" in said and "track 4" not in said
    (answer,) = [json.loads(one) for one in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert answer["track"] == 2 and answer["clip"] == "clips/001.mp4" and answer["image_score"] is None
    assert answer["seconds"] == pytest.approx(24, abs=0.3) and (tmp_path / "clips" / "001.mp4").stat().st_size
    (row,) = csv.DictReader((tmp_path / "answers.csv").open())
    assert row["track"] == "2" and row["why"] == answer["why"]
    record = json.loads((tmp_path / "search.json").read_text())
    assert record["answers"] == 2 and record["steps"][0] == {"condition": "tracks", "tracks": 4}


def test_nothing_found_is_an_answer(files, tmp_path, capsys):
    line = words(files, "a truck standing in the left lane", "--output", str(tmp_path), "--no-model")
    assert search_video.main(line) == 0
    assert "nothing found: lane=left rules out the last 1 track (2)" in capsys.readouterr().out
    assert (tmp_path / "answers.jsonl").read_text() == ""
    assert json.loads((tmp_path / "search.json").read_text())["nothing_found"].startswith("lane=left")


def test_the_sentence_may_stand_anywhere_and_a_table_of_tracks_be_a_file(files, capsys):
    line = words(files, "a bus standing")[1:]
    line[1] = str(files / "tracks" / "tracks.parquet")
    assert search_video.main([*line, "--sentence", "a bus standing"]) == 0
    assert "track 4" in capsys.readouterr().out


def test_what_it_cannot_use_is_said(files, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    for line, said in (
        (words(files, "a white truck", "--no-model"), "no track knows 'white'"),
        (words(files, "a rusty truck"), "not understood: 'rusty'"),
        (words(files, "a truck", "--no-model", "--unknown-words", "image"), "leave --no-model out"),
        (words(files, "a white truck", "--video", str(tmp_path / "none.mp4")), "none.mp4 is not there"),
        (words(files, "a truck")[1:], "no sentence"),
        (["a truck", "--tracks", str(tmp_path / "other"), *words(files, "")[3:]], "does not exist"),
    ):
        assert search_video.main(line) == 2
        assert said in capsys.readouterr().err


def test_a_video_that_does_not_fit_leaves_the_answers_and_says_which_clips_are_missing(files, tmp_path, capsys, caplog):
    short, small = tmp_path / "short.mp4", tmp_path / "small.mp4"
    write_video(short, seconds(0, 15).tolist(), (320, 192))
    write_video(small, seconds(0, 30).tolist(), (160, 96))
    for video, clips, said in (
        (short, ["clips/001.mp4", None], ("answer 1 ends at 15.0 s", "no clip of answer 2", "ends at 15.0 s")),
        (small, [None, None], ("no clip of answer 1: the video has 160x96", "made for 320x192")),
    ):
        caplog.clear()
        line = words(files, "a vehicle standing for more than 3 seconds", "--output", str(tmp_path / video.stem))
        assert search_video.main([*line, "--video", str(video)]) == 0
        answers = [json.loads(one) for one in (tmp_path / video.stem / "answers.jsonl").read_text().splitlines()]
        assert [one["track"] for one in answers] == [2, 4] and [one["clip"] for one in answers] == clips
        assert all(text in caplog.text for text in said)
