"""Search in videos by a sentence: recall at 1 at a temporal IoU of 0.5, and "nothing found", on seen and exact tracks.

    python -m benchmarks.traffic.video_search --clips datasets/traffic_video --names test_000 test_001 test_003 --record

Questions are drawn with their exact answers (search_questions, search_truth): 100 in the wordings that the parser was
first written with, 50 in held-out ones, 50 in those of a second test (search_wordings.json; the parser has learned both
since), and 50 in sentences of somebody who knew nothing of it (search_sentences.json). Seen tracks are those of
`d2road track`'s tracker on the detections of `clip_predictions`; the model of grounding is the shipped one. Settings
were chosen on validation clips.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common.markdown import table, write_page
from benchmarks.common.records import RESULTS, write_record
from benchmarks.traffic.clip_predictions import clip_folder
from benchmarks.traffic.clip_truth import Clip, detector_table, read_clip, to_ground
from benchmarks.traffic.search_answers import ClipAnswers
from benchmarks.traffic.search_questions import Question, draw_questions
from benchmarks.traffic.search_sentences import sentence_questions
from benchmarks.traffic.search_truth import ClipTruth, film_colors
from benchmarks.traffic.tracking_benchmark import OURS, run_ours
from d2road.engine.phrase_grounder import PhraseGrounder
from d2road.engine.predictor import read_config
from d2road.engine.video_search import image_phrases, rows_to_ask, search_video
from d2road.traffic.search.query import Query
from d2road.traffic.search.sentence_parser import parse_sentence
from d2road.traffic.search.track_scene import TrackScene
from d2road.traffic.search.track_search import Candidate, search_tracks
from d2road.traffic.tracking.ground_tracks import GroundTracks
from d2road.utils.bootstrap import draw_weights, percentile_interval
from d2road.utils.errors import ConfigError
from d2road.utils.output_files import make_folder, write_json
from d2road.utils.progress import track

BENCH = "video_search"
CONFIG = "mono3dvg/toy_grounding/demo.yaml"
LEAST_IOU, SAME_PLACE_M, SAME_PLACE_SHARE = 0.5, 3.0, 0.1
DRAWS = 2000
SHARE_WITHOUT = 0.25  # of questions, that have no answer
NOT_UNDERSTOOD = "not understood"
METHODS = {
    "seen": "seen tracks and the model of grounding",
    "seen_alone": "seen tracks alone, colours left out",
    "seen_class": "seen tracks, the class alone",
    "exact": "exact tracks and the model of grounding",
    "exact_alone": "exact tracks alone, colours left out",
}


@dataclass(frozen=True)
class Recording:
    """A clip with what is searched in, and the model's answers in its frames."""

    truth: ClipTruth
    seen: TrackScene
    exact: TrackScene
    answers: ClipAnswers

    def scene(self, method: str) -> TrackScene:
        """What a method searches in."""
        return self.exact if method.startswith("exact") else self.seen


def exact_tracks(clip: Clip) -> GroundTracks:
    """The ground truth of a clip as tracks: of each vehicle the rows from the first that counts to the last."""
    rows = ClipTruth(clip, {}).rows
    small = np.full(len(rows), 1e-4)
    moves = rows["speed_mps"] >= 0.5
    frame = pd.DataFrame({
        "frame": rows["frame"], "t": rows["t"], "track": rows["id"], "cls": rows["cls"], "score": 1.0, "x": rows["X"],
        "y": rows["Y"], "var_x": small, "cov_xy": 0.0, "var_y": small, "heading": rows["heading_rad"],
        "length": rows["length"], "width": rows["width"], "height": rows["height"], "x1": rows["x1"], "y1": rows["y1"],
        "x2": rows["x2"], "y2": rows["y2"], "speed": rows["speed_mps"], "speed_sd": 0.01, "acceleration": np.nan,
        "course": rows["heading_rad"].where(moves), "course_sd": np.where(moves, 0.01, np.nan),
        "motion": np.where(moves, "moving", "standing"), "seen": rows["visible"] > 0,
    })  # fmt: skip
    return GroundTracks.from_frame(frame)


def answer(recording: Recording, question: Question, method: str) -> Candidate | str | None:
    """The first answer of a method, None for nothing, NOT_UNDERSTOOD where the sentence is refused."""
    scene = recording.scene(method)
    try:
        query = parse_sentence(question.sentence, sorted(set(scene.cls)))
        if method == "seen_class":
            query = Query(query.sentence, tuple(one for one in query.conditions if one.kind == "class"))
        if method in ("seen", "exact"):
            found = search_video(scene, query, recording.answers.score, recording.answers.read)
        else:
            found = search_tracks(scene, query)
    except ConfigError:
        return NOT_UNDERSTOOD
    return found.candidates[0] if found.candidates else None


def is_right(recording: Recording, question: Question, given: Candidate | str | None, method: str) -> tuple[bool, bool]:
    """Whether an answer of a method is right in time, and whether it is, of the right vehicle."""
    if not question.answers:
        return given is None, given is None
    if not isinstance(given, Candidate):
        return False, False
    fits = [one for one in question.answers if temporal_iou(given.t0, given.t1, one.t0, one.t1) >= LEAST_IOU]
    scene = recording.scene(method)
    return bool(fits), any(_is_same(recording.truth.rows, scene, given, one.vehicle) for one in fits)


def temporal_iou(a0: float, a1: float, b0: float, b1: float) -> float:
    """Overlap of two intervals over their union."""
    return max(0.0, min(a1, b1) - max(a0, b0)) / max(max(a1, b1) - min(a0, b0), 1e-9)


def _is_same(truth: pd.DataFrame, scene: TrackScene, given: Candidate, vehicle: int) -> bool:
    rows = truth[truth["id"] == vehicle].set_index("frame")
    common = [row for row in given.rows if scene.frame[row] in rows.index]
    if not common:
        return False
    place = rows.loc[scene.frame[common], ["X", "Y"]].to_numpy()
    off = np.hypot(place[:, 0] - scene.x[common], place[:, 1] - scene.y[common])
    return bool(np.median(off / np.maximum(SAME_PLACE_M, SAME_PLACE_SHARE * scene.distance[common])) <= 1)


def seen_tracks(clip: Clip, pred: Path) -> GroundTracks:
    """Tracks on the detector's predictions, smoothed, as `d2road track` writes them."""
    return GroundTracks.from_frame(run_ours(clip, to_ground(clip, detector_table(pred, clip)), clip.camera)[OURS[1]])


def phrases_of(questions: Sequence[Question]) -> list[str]:
    """All phrases that the model may be asked for."""
    found: set[str] = set()
    for question in questions:
        try:
            query = parse_sentence(question.sentence)
        except ConfigError:
            continue
        found |= {query.phrase, query.class_phrase, *(one for c in query.conditions for one in c.other)}
    return sorted(found - {"", "all vehicles"})


def frames_to_ask(scene: TrackScene, question: Question) -> set[int]:
    """Frames in which the model is asked for a question."""
    try:
        query = parse_sentence(question.sentence)
        found = search_tracks(scene, query)
    except ConfigError:
        return set()
    if not image_phrases(scene, query, found):
        return set()
    return {int(scene.frame[row]) for rows in rows_to_ask(scene, found).values() for row in rows}


def make_recordings(
    clips: Path, truths: Sequence[ClipTruth], pred: Path, questions: Sequence[Question], work: Path
) -> dict[str, Recording]:
    """Recordings by name, with the model's answers in the frames that questions need."""
    grounder = PhraseGrounder(read_config(CONFIG))
    found = {}
    for truth in truths:
        clip = truth.clip
        own = [one for one in questions if one.clip == clip.name]
        phrases = phrases_of(own)
        store = make_folder(work) / f"{clip.name}.json"
        answers = ClipAnswers(clip, clip_folder(clips, clip.name) / "video.mp4", phrases, grounder, store)
        scenes = [TrackScene.of(one, clip.camera) for one in (seen_tracks(clip, pred), exact_tracks(clip))]
        answers.prepare({frame for scene in scenes for one in own for frame in frames_to_ask(scene, one)})
        found[clip.name] = Recording(truth, *scenes, answers)
        print(f"{clip.name}: {len(phrases)} phrases asked for in {len(answers.answers)} frames", flush=True)
    return found


def evaluate(recordings: Mapping[str, Recording], questions: Sequence[Question], seed: int) -> tuple[dict, list[dict]]:
    """Scores of each method, and what each question got."""
    outcomes: list[dict[str, Any]] = []
    for question in track(questions, len(questions), "questions"):
        recording = recordings[question.clip]
        outcome: dict[str, Any] = {
            "clip": question.clip, "sentence": question.sentence, "color": question.has_color,
            "answers": [[one.vehicle, one.t0, one.t1] for one in question.answers],
        }  # fmt: skip
        for method in METHODS:
            given = answer(recording, question, method)
            told = [given.track, round(given.t0, 2), round(given.t1, 2)] if isinstance(given, Candidate) else given
            in_time, right = is_right(recording, question, given, method)
            outcome[method] = {"given": told, "in_time": in_time, "right": right}
        outcomes.append(outcome)
    for recording in recordings.values():
        recording.answers.save()
    return {method: _scores(outcomes, method, seed) for method in METHODS}, outcomes


def _scores(outcomes: Sequence[Mapping[str, Any]], method: str, seed: int) -> dict[str, Any]:
    answered = [one for one in outcomes if one["answers"]]
    groups = {
        "recall_at_1": (answered, "in_time"),
        "recall_at_1_of_the_vehicle": (answered, "right"),
        "recall_at_1_with_color": ([one for one in answered if one["color"]], "in_time"),
        "recall_at_1_without_color": ([one for one in answered if not one["color"]], "in_time"),
        "nothing_right": ([one for one in outcomes if not one["answers"]], "in_time"),
        "all_right": (outcomes, "in_time"),
    }
    scores = {name: _share([one[method][entry] for one in chosen], seed) for name, (chosen, entry) in groups.items()}
    return scores | {"not_understood": sum(one[method]["given"] == NOT_UNDERSTOOD for one in outcomes)}


def _share(right: Sequence[bool], seed: int) -> dict[str, Any]:
    """A share with its bootstrap interval."""
    values = np.array(right, dtype=float)
    if not len(values):
        return {"share": None, "count": 0, "interval": None}
    draws = draw_weights(["question"] * len(values), DRAWS, seed) @ values / len(values)
    return {"share": float(values.mean()), "count": len(values), "interval": percentile_interval(draws)}


def write_table(path: Path, record: Mapping[str, Any]) -> None:
    """The record as a page."""
    about = f"`{record['command']}`; {record['machine']}; {record['data']}."
    sections = [["# Search in videos by a sentence", "", about]]
    columns = {
        "recall_at_1": "recall at 1", "recall_at_1_of_the_vehicle": "of the right vehicle",
        "recall_at_1_with_color": "with a colour", "recall_at_1_without_color": "without",
        "nothing_right": "nothing found, rightly", "all_right": "all",
    }  # fmt: skip
    for wording, scores in record["metrics"].items():
        counts = scores["seen"]
        rows = [
            [METHODS[method], *(_told(scores[method][name]) for name in columns), str(scores[method]["not_understood"])]
            for method in METHODS
        ]
        head = [f"{text} ({counts[name]['count']})" for name, text in columns.items()]
        note = "Temporal IoU of 0.5 or more; shares of the questions that are counted in brackets, 95 % intervals."
        sections.append(table(f"{wording} wordings", note, ["", *head, "not understood"], rows))
    write_page(path, sections)


def _told(share: Mapping[str, Any]) -> str:
    if share["share"] is None:
        return "-"
    low, high = share["interval"]
    return f"{share['share']:.2f} ({low:.2f} to {high:.2f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Draw questions, answer them, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=Path("datasets/traffic_video"))
    parser.add_argument("--names", nargs="+", required=True, help="clips with predictions")
    parser.add_argument("--pred", type=Path, help="folder of predictions; CLIPS/pred unless given")
    parser.add_argument("--work", type=Path, default=Path("output/video_search"), help="keeps the model's answers")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--held-out", type=int, default=50, help="questions in held-out wordings")
    parser.add_argument("--later", type=int, default=50, help="questions in wordings of the second test")
    parser.add_argument("--no-sentences", action="store_true", help="leave those of search_sentences.json out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", metavar="NAME", help="of the record")
    args = parser.parse_args(argv)
    begun = time.time()
    clips = [read_clip(args.clips, name) for name in args.names]
    truths = [ClipTruth(clip, film_colors(clip, args.seed)) for clip in clips]
    counts = {"seen": args.questions, "held_out": args.held_out, "later": args.later}
    sets = {
        name: draw_questions(truths, count, round(SHARE_WITHOUT * count), name, args.seed + place)
        for place, (name, count) in enumerate(counts.items())
        if count
    }
    if not args.no_sentences:
        sets["sentences"] = sentence_questions(truths)
    print(
        f"{ ({name: len(of) for name, of in sets.items()}) } questions drawn, {time.time() - begun:.0f} s", flush=True
    )
    together = [question for questions in sets.values() for question in questions]
    recordings = make_recordings(args.clips, truths, args.pred or args.clips / "pred", together, args.work)
    results = {name: evaluate(recordings, questions, args.seed) for name, questions in sets.items()}
    metrics = {name: scores for name, (scores, _) in results.items()}
    for name, scores in metrics.items():
        for method, values in scores.items():
            print(name, method, {key: _told(v) if isinstance(v, dict) else v for key, v in values.items()})
    for name, (_, outcomes) in results.items():
        write_json(args.work / f"outcomes_{name}.json", outcomes)
    if args.record:
        record = write_record(
            BENCH, args.record, metrics=metrics, seed=args.seed, seconds=time.time() - begun, config=CONFIG,
            command=f"python -m benchmarks.traffic.video_search --names {' '.join(args.names)} --questions "
            f"{args.questions} --held-out {args.held_out} --later {args.later} --seed {args.seed} "
            f"{'--no-sentences ' * args.no_sentences}--record {args.record}",
            data=f"make-data traffic-video --seed {args.seed}: {', '.join(args.names)}",
            questions={name: outcomes for name, (_, outcomes) in results.items()},
        )  # fmt: skip
        write_table(RESULTS / BENCH / f"{args.record}.md", record)


if __name__ == "__main__":
    main()
