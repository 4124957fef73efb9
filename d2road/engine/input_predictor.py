"""One process's part of a prediction on files: images in batches, videos frame by frame, archives as a stream."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm

from d2road.data.input_cameras import CameraFiles
from d2road.engine.annotators import AnnotatingPredictor, Found, ImageContext
from d2road.engine.job_progress import JobProgress
from d2road.engine.prediction_inputs import Source
from d2road.engine.prediction_journal import Entry, Journal, key_of
from d2road.engine.tar_images import read_members
from d2road.structures import Camera
from d2road.utils.errors import DataError, OutputError
from d2road.utils.image_io import ImageBytes, read_still_image, write_image
from d2road.utils.progress import track
from d2road.video import Frame, VideoFile, VideoWriter

logger = logging.getLogger(__name__)

# What one input may raise without ending the others; OutputError, which would hit the next ones alike, does.
OF_ONE_INPUT = (OSError, ValueError, MemoryError, torch.OutOfMemoryError)


@dataclass(frozen=True)
class Job:
    """An input and the name of its annotated copy in the output folder, "" for none."""

    source: Source
    copy: str


@dataclass
class _Tally:
    """What was found so far in the images of an input."""

    images: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    highest: float | None = None

    def add(self, found: Found) -> None:
        self.images += 1
        self.rows += found.rows
        self.highest = max((score for score in (found.highest, self.highest) if score is not None), default=None)


class InputPredictor:
    """Works off inputs: predicts, writes annotated copies, and keeps what was found in the journal.

    Args:
        annotate: the model.
        cameras: of the inputs.
        journal: opened.
        progress: that counts the inputs.
    """

    def __init__(
        self, annotate: AnnotatingPredictor, cameras: CameraFiles, journal: Journal, progress: JobProgress
    ) -> None:
        self.annotate, self.cameras, self.journal, self.progress = annotate, cameras, journal, progress

    def work_off(self, jobs: Sequence[Job]) -> None:
        """Predict on all of them; what is wrong with one is logged and kept in its entry.

        Raises:
            OutputError: what was found cannot be written.
        """
        batch: list[tuple[Job, np.ndarray, ImageContext]] = []
        for job, image in self._read(jobs):
            if isinstance(image, Exception):
                self._keep([self._entry(job, _Tally(), image)])
                continue
            try:
                self.cameras.require_size(image.shape[1], image.shape[0])
                context = ImageContext(self.cameras(job.source.name), origin={"file_name": str(job.source.name)})
            except OF_ONE_INPUT as error:
                self._keep([self._entry(job, _Tally(), error)])
                continue
            batch.append((job, image, context))
            if len(batch) >= self.annotate.batch_size:
                self._predict(batch)
                batch = []
        if batch:
            self._predict(batch)

    def _read(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, np.ndarray | Exception]]:
        """The images of jobs, or why one cannot be read; videos are worked off on the way."""
        for archive, group in groupby(jobs, lambda job: job.source.path if job.source.member else None):
            if archive is not None:
                yield from self._read_archive(archive, list(group))
                continue
            for job in group:
                if job.source.is_video:
                    self._keep([self._predict_video(job)])
                    continue
                try:
                    yield job, read_still_image(job.source.path)
                except OF_ONE_INPUT as error:
                    yield job, error

    def _read_archive(self, path: Path, jobs: Sequence[Job]) -> Iterator[tuple[Job, np.ndarray | Exception]]:
        left = {job.source.member.number: job for job in jobs if job.source.member}
        try:
            for member, content in read_members(path, [job.source.member for job in jobs if job.source.member]):
                job = left.pop(member.number)
                try:
                    if isinstance(content, DataError):
                        raise content
                    image = read_still_image(ImageBytes(str(job.source.name), content))
                except OF_ONE_INPUT as error:
                    yield job, error
                else:
                    yield job, image
        except OutputError:
            raise
        except OF_ONE_INPUT as error:
            yield from ((job, error) for job in left.values())

    def _predict(self, batch: Sequence[tuple[Job, np.ndarray, ImageContext]]) -> None:
        jobs, images, contexts = zip(*batch)
        try:
            found = self.annotate(images, contexts)
        except OF_ONE_INPUT as error:
            if len(batch) > 1:  # which one it is
                for each in batch:
                    self._predict([each])
            else:
                self._keep([self._entry(jobs[0], _Tally(), error)])
            return
        self._keep([self._write_image(job, each) for job, each in zip(jobs, found)])

    def _write_image(self, job: Job, found: Found) -> Entry:
        tally = _Tally()
        tally.add(found)
        error = None
        if found.drawn is not None:
            try:
                write_image(self.journal.output / job.copy, found.drawn, bgr=True)
            except OutputError:
                raise
            except OF_ONE_INPUT as problem:
                error = problem
        return self._entry(job, tally, error)

    def _predict_video(self, job: Job) -> Entry:
        """Annotate a video frame by frame; what could be read of one that is cut off stays."""
        tally = _Tally()
        try:
            camera = self.cameras(job.source.name)
            with VideoFile(job.source.path) as video:
                if job.copy:
                    with VideoWriter(self.journal.output / job.copy, video.fps) as writer:
                        for frame, found in self._frames(job, video, camera):
                            tally.add(found)
                            assert found.drawn is not None  # a name for the copy says that it is drawn
                            writer.write(found.drawn, frame.t)
                else:
                    for _, found in self._frames(job, video, camera):
                        tally.add(found)
            video.raise_if_cut_off()
        except OutputError:
            raise
        except OF_ONE_INPUT as error:
            return self._entry(job, tally, error)
        return self._entry(job, tally, None)

    def _frames(self, job: Job, video: VideoFile, camera: Camera | None) -> Iterator[tuple[Frame, Found]]:
        """Frames with what is found in them, predicted on in batches."""
        tell = None if comm.is_main_process() else _say_nothing
        frames = iter(track(video, total=video.claimed, label=job.source.path.name, log=tell))
        name = str(job.source.name)
        while batch := list(islice(frames, self.annotate.batch_size)):
            for frame in batch:
                self.cameras.require_size(*frame.size_wh)
            contexts = [
                ImageContext(camera, True, {"file_name": name, "frame": frame.index}, image_id=frame.index)
                for frame in batch
            ]
            yield from zip(batch, self.annotate([frame.image_bgr for frame in batch], contexts))

    def _entry(self, job: Job, tally: _Tally, error: BaseException | None) -> Entry:
        text = ""
        if error is not None:
            text = str(error) or type(error).__name__
            logger.error("%s: %s", job.source.name, text)
        file, number = key_of(job.source)
        state = job.source.state
        return Entry(file, number, state, job.copy, tally.images, tally.rows, tally.highest, text)

    def _keep(self, entries: Sequence[Entry]) -> None:
        self.journal.add(entries)
        self.progress.add(len(entries))


def _say_nothing(line: str) -> None:
    """Progress of a video in another process than the first."""
