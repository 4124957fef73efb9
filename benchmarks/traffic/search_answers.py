"""Answers of the model of grounding to all phrases of a clip, frame by frame, kept in a file: methods share them."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.traffic.clip_truth import Clip
from d2road.engine.ground_detector import PinholeView
from d2road.engine.phrase_grounder import PhraseGrounder, overlapping_scores
from d2road.engine.video_search import frames_of
from d2road.utils.input_files import read_json
from d2road.utils.output_files import write_json
from d2road.video import Frame

Answers = dict[str, tuple[list, list]]  # phrase -> boxes, scores


class ClipAnswers:
    """Frames and scores of one clip, as `search_video` takes them.

    Args:
        clip, video: whose frames are read. phrases: all that are asked for.
        grounder: the model. store: file that keeps the answers.
    """

    def __init__(self, clip: Clip, video: Path, phrases: Sequence[str], grounder: PhraseGrounder, store: Path):
        self.clip, self.video, self.grounder, self.store = clip, video, grounder, store
        self.phrases, self.view = sorted(set(phrases)), PinholeView(clip.camera)
        kept = read_json(store, "answers") if store.is_file() else {}
        self.answers: dict[int, Answers] = {int(frame): found for frame, found in kept.items()}
        self.current = -1

    def prepare(self, frames: Collection[int]) -> None:
        """Ask for all phrases in frames that have no answers yet."""
        for frame in self._decode([k for k in frames if self._missing(k)]):
            self._ask(frame.index, frame.image_bgr)
        self.save()

    def save(self) -> None:
        """Keep the answers."""
        write_json(self.store, {str(frame): found for frame, found in self.answers.items()}, indent=None)

    def read(self, indices: Collection[int]) -> Iterator[Frame]:
        """Frames; of those whose answers are known the time alone."""
        missing = [k for k in indices if self._missing(k)]
        nothing = np.zeros((0, 0, 3), dtype=np.uint8)
        for index in set(indices) - set(missing):
            self.current = index
            yield Frame(index, float(self.clip.times[index]), nothing)
        for frame in self._decode(missing):
            self.current = frame.index
            yield frame

    def score(self, image_bgr: np.ndarray, boxes: np.ndarray, phrases: Sequence[str]) -> np.ndarray:
        """(P, N) as `PhraseScores`, of the frame that `read` gave last."""
        if self._missing(self.current):
            self._ask(self.current, image_bgr)
        known = self.answers[self.current]
        return np.stack([overlapping_scores(boxes, *map(np.array, known[one])) for one in phrases])

    def _missing(self, frame: int) -> list[str]:
        return [one for one in self.phrases if one not in self.answers.get(frame, {})]

    def _ask(self, frame: int, image_bgr: np.ndarray) -> None:
        missing = self._missing(frame)
        found = self.grounder(image_bgr, self.view, missing)
        kept = {
            one: (boxes.round(2).tolist(), scores.round(5).tolist()) for one, (boxes, scores) in zip(missing, found)
        }
        self.answers.setdefault(frame, {}).update(kept)

    def _decode(self, indices: Collection[int]) -> Iterator[Frame]:
        if indices:
            yield from frames_of(self.video)(indices)
