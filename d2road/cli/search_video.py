"""Find moments of a recorded video by a sentence: which vehicle, from when to when, as clips.

    d2road search-video "a truck standing in the right lane for more than 20 seconds" \\
        --tracks tracks/ --calib camera.yaml
    d2road search-video "a white van changing to the left lane" --tracks tracks/ --calib camera.yaml --video clip.mp4 \\
        --output output/search
    d2road search-video "a car faster than 80 km/h" --tracks tracks/ --calib camera.yaml --no-model

TRACKS is a folder that `d2road track` wrote, or its tracks.csv or tracks.parquet; --video is the one that is named in
its summary.json unless it is given. Class, lane, place, motion, speed, manoeuvres, duration and time come from the
tracks; colours, how much is hidden, and classes that the detector does not tell apart from a model of grounding
(--config-file, --weights; default: the shipped one, of rendered views), which is asked about each candidate in the few
frames in which it is seen best. What was understood is printed as "understood as: ..."; words that are not understood
are an error, or with --unknown-words image are left to the model.

Answers are printed best first: track, from when to when, score, and why. OUTPUT gets answers.jsonl, answers.csv,
search.json and clips/ with the vehicle in a box. "nothing found" is an answer, too, with what ruled out the last
candidates. Exit code 0, found or not; 2 for what you can put right.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import integer_option, number_option

if TYPE_CHECKING:
    from d2road.engine.video_search import ScorePhrases
    from d2road.structures.roadside_camera import RoadsideCamera
    from d2road.traffic.search.query import Query
    from d2road.traffic.search.track_scene import TrackScene
    from d2road.traffic.search.track_search import Candidate, Found
    from d2road.traffic.tracking.ground_tracks import GroundTracks

GROUNDER = "mono3dvg/toy_grounding/demo.yaml"  # the shipped one
COLUMNS = ("rank", "track", "cls", "t0", "t1", "seconds", "score", "image_score", "why", "clip")

logger = logging.getLogger("d2road.search")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("search-video", __doc__)
    parser.add_file("sentence", "SENTENCE", "what to look for, in English")
    parser.add_argument("--tracks", required=True, type=Path, metavar="TRACKS", help="folder of `d2road track`")
    parser.add_argument("--calib", required=True, metavar="FILE", help="camera.yaml, or its folder")
    parser.add_argument("--video", type=Path, metavar="FILE", help="of the tracks (default: the one they name)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of answers and clips; none: print alone")
    parser.add_argument("--top", type=integer_option(1), default=5, metavar="K", help="answers, best first; 5")
    parser.add_argument("--no-clips", action="store_true", help="cut no clips")
    parser.add_argument("--no-model", action="store_true", help="answer by the tracks alone, or say that they cannot")
    parser.add_argument(
        "--frames", type=integer_option(1), default=3, metavar="N", help="in which the model looks at a candidate; 3"
    )
    parser.add_argument(
        "--image-score", type=number_option(0, 1), default=0.5, metavar="S", help="least score of the model; 0.5"
    )
    parser.add_argument(
        "--unknown-words", choices=("error", "image"), default="error", help="whether they are left to the model"
    )
    parser.add_config()
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Search, print, write; returns the exit code."""
    args = build_parser().parse_args(argv)
    if args.sentence is None:
        raise ConfigError("no sentence is given: say what to look for, such as 'a truck standing in the right lane'")
    if args.no_model and args.unknown_words == "image":
        raise ConfigError("--unknown-words image needs a model: leave --no-model out")
    from d2road.data.roadside_camera_files import read_roadside_camera
    from d2road.data.tracked_camera import camera_of_tracks
    from d2road.traffic.search.sentence_parser import parse_sentence
    from d2road.traffic.search.track_scene import TrackScene

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    camera = camera_of_tracks(args.tracks, read_roadside_camera(args.calib), "--tracks")
    tracks = read_tracks(args.tracks)
    query = parse_sentence(args.sentence, tracks.rows["cls"].unique().tolist(), args.unknown_words == "image")
    print(f"understood as: {query}", flush=True)
    scene = TrackScene.of(tracks, camera)
    video = args.video or video_of(args.tracks)
    found = search(args, scene, query, camera, video)
    answers = found.candidates[: args.top]
    for rank, answer in enumerate(answers, 1):
        print(line_of(rank, answer))
    if not answers:
        print(f"nothing found: {found.ruled_out()}")
    if args.output is not None:
        write_answers(args, scene, query, found, video)
    return 0


def read_tracks(path: Path) -> GroundTracks:
    """The tracks of a folder or a file.

    Raises:
        FileNotFoundError, DataError: there are none, or they cannot be read.
    """
    from d2road.traffic.tracking.ground_tracks import GroundTracks, concat
    from d2road.traffic.tracking.track_files import CSV, PARQUET, read_track_blocks

    if path.is_dir():
        path = path / PARQUET if (path / PARQUET).is_file() else path / CSV  # of a run that was killed
    if path.suffix == ".parquet":
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: tracks are read from there")
        return GroundTracks.from_parquet(path)
    return concat(list(read_track_blocks(path)))


def video_of(tracks: Path) -> Path | None:
    """The video that a folder of tracks names in its record; None where it names none that is there."""
    from d2road.data.tracked_camera import SUMMARY
    from d2road.utils.input_files import read_json

    record = (tracks if tracks.is_dir() else tracks.parent) / SUMMARY
    if not record.is_file():
        return None
    name = read_json(record, "record").get("settings", {}).get("input", "")
    return Path(name) if name and Path(name).is_file() else None


def search(
    args: argparse.Namespace, scene: TrackScene, query: Query, camera: RoadsideCamera, video: Path | None
) -> Found:
    """Answers by the tracks and, where they do not suffice, by the model.

    Raises:
        ConfigError: the model is needed, and it or the video is missing.
    """
    from d2road.engine.video_search import frames_of, image_phrases, search_video
    from d2road.traffic.search.track_search import search_tracks

    found = search_tracks(scene, query)
    why = "; ".join(image_phrases(scene, query, found).values()) if found.candidates else ""
    if not why:
        return found
    if args.no_model:
        if query.image_words:
            raise ConfigError(f"{why}: leave --no-model out, or these words")
        logger.warning("%s; --no-model takes these as they are", why)
        return found
    if video is None or not video.is_file():
        raise ConfigError(
            f"{why}, so that the image has to tell: give --video FILE{f' ({video} is not there)' if video else ''}, or "
            "--no-model for an answer of the tracks alone"
        )
    score, read = phrase_scores(args, camera), frames_of(video)
    return search_video(scene, query, score, read, args.frames, args.image_score)


def phrase_scores(args: argparse.Namespace, camera: RoadsideCamera) -> ScorePhrases:
    """The model of --config-file and --weights, for a camera."""
    from d2road.engine.phrase_grounder import PhraseGrounder, PhraseScores
    from d2road.engine.predictor import read_config

    return PhraseScores(PhraseGrounder(read_config(args.config_file or GROUNDER, opts=args.opts)), camera)


def line_of(rank: int, answer: Candidate) -> str:
    """An answer in a line."""
    when = f"{clock(answer.t0)} to {clock(answer.t1)} ({answer.t1 - answer.t0:.1f} s)"
    return f"{rank:3d}  track {answer.track:<5d} {when}  score {answer.score:.2f}  {answer.why}"


def clock(t: float) -> str:
    """A time of the recording as minutes and seconds."""
    tenths = round(10 * t)
    return f"{tenths // 600:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def write_answers(args: argparse.Namespace, scene: TrackScene, query: Query, found: Found, video: Path | None) -> None:
    """Answers as a table, what ruled the others out, and clips where there is a video.

    Raises:
        FileNotFoundError, DataError, OutputError: the video cannot be read, or the folder not be written.
    """
    import json

    from d2road.engine.video_search import write_answer_clips
    from d2road.utils.output_files import atomic_write, make_folder, write_json

    folder, answers = make_folder(args.output), found.candidates[: args.top]
    clips: list[Path | None] = [None] * len(answers)
    if answers and not args.no_clips:
        if video is None:
            logger.warning("no clips are cut: the tracks name no video that is there, give --video FILE")
        else:
            clips = write_answer_clips(video, scene, answers, folder / "clips")
    names = [None if path is None else str(path.relative_to(folder)) for path in clips]
    rows = [row_of(rank, answer, name) for rank, (answer, name) in enumerate(zip(answers, names), 1)]
    with atomic_write(folder / "answers.jsonl", "w") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with atomic_write(folder / "answers.csv", "w") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    steps = [{"condition": step.words, "tracks": len(step.tracks)} for step in found.steps]
    record = {"sentence": query.sentence, "understood_as": str(query), "answers": len(found.candidates), "steps": steps}
    write_json(folder / "search.json", record | ({} if answers else {"nothing_found": found.ruled_out()}))


def row_of(rank: int, answer: Candidate, clip: str | None) -> dict[str, Any]:
    """An answer as a row of COLUMNS."""
    image = None if answer.image_score is None else round(answer.image_score, 4)
    return {
        "rank": rank, "track": answer.track, "cls": answer.cls, "t0": round(answer.t0, 3), "t1": round(answer.t1, 3),
        "seconds": round(answer.t1 - answer.t0, 3), "score": round(answer.score, 4), "image_score": image,
        "why": answer.why, "clip": clip,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
