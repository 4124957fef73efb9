"""Search in a recorded video by a sentence: tracks say when, a model of grounding which of them the words mean."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from d2road.traffic.search.key_frames import key_rows
from d2road.traffic.search.query import Condition, Query
from d2road.traffic.search.track_scene import TrackScene
from d2road.traffic.search.track_search import Candidate, Found, search_tracks
from d2road.traffic.search.vehicle_pairs import related_rows
from d2road.utils.errors import DataError
from d2road.utils.output_files import make_folder
from d2road.video import Frame, VideoFile
from d2road.video.clip_cutter import cut_clip
from d2road.visualization.boxes2d_drawing import line_width

logger = logging.getLogger(__name__)

KEY_FRAMES = 3  # of a candidate
ASKED = 60  # candidates, best first by their tracks
LEAST_IMAGE_SCORE = 0.5  # of 0.2 to 0.5 that with most right answers on validation clips
MARGIN_S = 2.0  # of a clip, before and after its answer
SAME_TIME_S = 0.02
BOX_BGR = (0, 200, 255)

# (image, boxes (N, 4), phrases) gives (P, N) scores; (indices) gives these frames of the video.
ScorePhrases = Callable[[np.ndarray, np.ndarray, Sequence[str]], np.ndarray]
ReadFrames = Callable[[Collection[int]], Iterable[Frame]]


def image_phrases(scene: TrackScene, query: Query, found: Found) -> dict[str, str]:
    """Phrases that the image has to be asked for, and why tracks cannot answer them, in words; none where they can."""
    phrases = {}
    if query.image_words:
        phrases[query.phrase] = f"no track knows {', '.join(repr(one) for one in query.image_words)}"
    wanted = next((one for one in query.conditions if one.kind == "class"), None)
    rows = [one.rows[0] for one in found.candidates]
    if wanted is not None and not (wanted.negated or scene.is_surely(wanted.value)[rows].all()):
        names = sorted({str(scene.cls[row]) for row in rows if not scene.is_surely(wanted.value)[row]})
        phrases[query.class_phrase] = f"the tracks know {', '.join(names)} alone, which may be other than {wanted}"
    for condition in query.conditions if found.candidates else ():
        for phrase in other_phrases(scene, condition):
            phrases[phrase] = f"the tracks do not tell for sure who the other vehicle of {condition} is"
    return phrases


def other_phrases(scene: TrackScene, condition: Condition) -> tuple[str, ...]:
    """Phrases that the other vehicle of a relation has to fit and the tracks do not know of it."""
    if condition.kind != "relation" or condition.negated:
        return ()
    _, classes = condition.value
    unsure = scene.is_class(classes) & ~scene.is_surely(classes)
    return condition.other if unsure.any() else condition.other[1:]


def search_video(
    scene: TrackScene,
    query: Query,
    score_phrases: ScorePhrases,
    read_frames: ReadFrames,
    count: int = KEY_FRAMES,
    least: float = LEAST_IMAGE_SCORE,
) -> Found:
    """Answers to a query, best first; the image is asked where tracks alone cannot answer.

    A candidate has the lowest score of the phrases, of each the mean over its key frames; of a phrase about the other
    vehicle of a relation it has in each frame the score of the one that fits best of those in the relation.

    Args:
        score_phrases: the model. read_frames: of the video of the tracks.
        count: key frames of a candidate. least: image score of an answer.
    Raises:
        ConfigError, DataError: as `search_tracks`; a video of other times than the tracks.
    """
    found = search_tracks(scene, query)
    phrases = list(image_phrases(scene, query, found))
    if not phrases:
        return found
    asked = found.candidates[:ASKED]
    if len(asked) < len(found.candidates):
        logger.warning("the image is asked for %d of %d candidates, best first", ASKED, len(found.candidates))
    rows = rows_to_ask(scene, found, count)
    others = {row: _others(scene, query, row) for own in rows.values() for row in own}
    wanted = set(others) | {row for of_row in others.values() for _, found_rows in of_row for row in found_rows}
    scores = score_rows(scene, wanted, phrases, score_phrases, read_frames)
    place = {phrase: number for number, phrase in enumerate(phrases)}
    own_places = [place[one] for one in (query.phrase, query.class_phrase) if one in place]

    def at_row(row: int) -> list[float]:
        told = [float(scores[row][number]) for number in own_places]
        for asked_for, candidates in others[row]:
            fits = [min(float(scores[other][place[one]]) for one in asked_for) for other in candidates]
            told.append(max(fits, default=0.0))
        return told

    def score_of(one: Candidate) -> float:
        return float(np.mean([at_row(row) for row in rows[one.track, one.t0]], axis=0).min())

    told = f"image {' and '.join(map(repr, phrases))} from {least:g} on"
    return Found(asked, found.steps).with_image(told, score_of, least)


def _others(scene: TrackScene, query: Query, row: int) -> list[tuple[tuple[str, ...], list[int]]]:
    """Phrases about others and the rows that they may be of, for each relation that the image is asked about."""
    asked = [(other_phrases(scene, one), one) for one in query.conditions]
    return [(phrases, related_rows(scene, one.value, row).tolist()) for phrases, one in asked if phrases]


def rows_to_ask(scene: TrackScene, found: Found, count: int = KEY_FRAMES) -> dict[tuple[int, float], list[int]]:
    """Rows at the key frames of the candidates that the image is asked for, by their track and beginning."""
    return {(one.track, one.t0): key_rows(scene, one.rows, count) for one in found.candidates[:ASKED]}


def score_rows(
    scene: TrackScene, rows: Collection[int], phrases: Sequence[str], score_phrases: ScorePhrases, read: ReadFrames
) -> dict[int, np.ndarray]:
    """(P,) scores of P phrases for rows of the scene, each in its frame of the video.

    Raises:
        DataError: frames are missing, or of other times than the tracks.
    """
    by_frame: dict[int, list[int]] = {}
    for row in sorted(rows):
        by_frame.setdefault(int(scene.frame[row]), []).append(row)
    scores: dict[int, np.ndarray] = {}
    for frame in read(by_frame.keys()):
        own = by_frame[frame.index]
        expected = float(scene.t[own[0]])
        if abs(frame.t - expected) > SAME_TIME_S:
            raise DataError(
                f"frame {frame.index} of the video is at {frame.t:.3f} s, in the tracks at {expected:.3f} s: give the "
                "video that they are of"
            )
        scores.update(zip(own, score_phrases(frame.image_bgr, scene.boxes[own], phrases).T))
    if len(scores) < len(rows):
        raise DataError("the video ends before the tracks do: give the video that they are of")
    return scores


def frames_of(video: Path) -> ReadFrames:
    """Reads frames of a video file. Raises FileNotFoundError, DataError: there is none, or it cannot be read."""

    def read(indices: Collection[int]) -> Iterator[Frame]:
        with VideoFile(video) as source:
            for frame in source:
                if frame.index > max(indices):
                    return
                if frame.index in indices:
                    yield frame

    return read


def write_answer_clips(video: Path, scene: TrackScene, answers: Sequence[Candidate], folder: Path) -> list[Path | None]:
    """A clip of each answer, from MARGIN_S before it to MARGIN_S after it, with the vehicle in a box.

    Returns:
        FOLDER/001.mp4 and so on; None, and a warning, where the video holds nothing of an answer or is of another size.
    """
    paths: list[Path | None] = []
    for number, answer in enumerate(answers, 1):
        path = make_folder(folder) / f"{number:03d}.mp4"
        draw = _BoxDrawer(scene, answer)
        try:
            cut_clip(video, answer.t0 - MARGIN_S, answer.t1 + MARGIN_S, path, draw)
        except DataError as error:  # the answer itself matters more
            logger.warning("no clip of answer %d: %s", number, error)
            paths.append(None)
            continue
        paths.append(path)
        if draw.last_t < answer.t1 - SAME_TIME_S:
            logger.warning(
                "the clip of answer %d ends at %.1f s and the answer at %.1f s, as %s goes no further: is it cut off, "
                "or another video?", number, draw.last_t, answer.t1, video,
            )  # fmt: skip
    return paths


class _BoxDrawer:
    """Draws the box of a candidate's track, thick while the answer lasts."""

    def __init__(self, scene: TrackScene, answer: Candidate):
        own = np.flatnonzero(scene.track == answer.track)
        self.t, self.boxes, self.answer, self.camera = scene.t[own], scene.boxes[own], answer, scene.camera
        self.last_t = float("-inf")

    def __call__(self, t: float, image_bgr: np.ndarray) -> np.ndarray:
        self.camera.require_size(image_bgr.shape[1], image_bgr.shape[0])
        self.last_t = t
        nearest = int(np.argmin(np.abs(self.t - t)))
        if abs(self.t[nearest] - t) > SAME_TIME_S or not np.isfinite(self.boxes[nearest]).all():
            return image_bgr
        canvas = np.ascontiguousarray(image_bgr)
        x1, y1, x2, y2 = (round(float(v)) for v in self.boxes[nearest])
        width = line_width(canvas) * (2 if self.answer.t0 <= t <= self.answer.t1 else 1)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), BOX_BGR, width)
        return canvas
