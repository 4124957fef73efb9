"""Predicting on images from an exported file."""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import PIL.Image

from d2road.export.engines import engine_named, entries_of_session
from d2road.export.file_metadata import parse_entries
from d2road.export.precision import FP32, choose_precision
from d2road.runtime.task import Result, RuntimeTask
from d2road.utils.errors import ConfigError, D2RoadError, DataError
from d2road.utils.image_io import AnyImage as Image
from d2road.utils.image_io import read_pixels


class Runtime:
    """An exported file, called as `d2road.engine.Predictor` is.

    Args:
        path: .onnx for onnxruntime, .xml for OpenVINO, .pt2 for PyTorch, which that one imports.
        batch_size: images of one size that pass through together; what is found in one does not depend on the others.
        threads: of the processor; 0 for the engine's own choice.
        backend: onnxruntime, openvino or torch; "" for the first of them that runs the file.
        precision: fp32, bf16, or auto, see `d2road.export.precision`.
    Raises:
        FileNotFoundError, ConfigError, DataError: no such file, no engine for it, one of another program or with
            damaged metadata, a batch that it does not take, or a precision that the engine has not.

    Attributes:
        metadata: of the model, see `d2road.export.graph.ExportGraph`.
        precision: fp32 or bf16.

    Example:
        runtime = Runtime("model.onnx")
        runtime("image.jpg")["is_anomalous"]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        batch_size: int = 1,
        threads: int = 0,
        backend: str = "",
        precision: str = FP32,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
        self.batch_size = batch_size
        engine = engine_named(backend, path)
        self.precision = choose_precision(precision, engine.offered, engine.native(), f"{path} in {engine.engine}")
        self.session = engine(path, threads=threads, precision=self.precision)
        content = parse_entries(entries_of_session(self.session, path), str(path))
        self.metadata = content.metadata
        self.task = task_of(content.task, self.metadata, str(path))
        most = self.task.most_images
        if most is not None and batch_size > most:
            raise ConfigError(
                f"batch_size is {batch_size}: {path} is for {content.task} and takes {most} image at a time; leave it "
                f"at {most}"
            )

    @overload
    def __call__(self, images: Image, **extra: Any) -> Result: ...

    @overload
    def __call__(self, images: Sequence[Image], **extra: Any) -> list[Result]: ...

    def __call__(self, images: Image | Sequence[Image], **extra: Any) -> Result | list[Result]:
        """Predict on an image or a list of images.

        Args:
            images: (H, W, 3) uint8 arrays in BGR order as cv2.imread gives them, Pillow's images, or paths; one or a
                list.
            extra: further inputs of the task that hold for every image.
        Returns:
            for each image what the module of the task says, a dict. A list for a list.
        Raises:
            FileNotFoundError, DataError: no such image, a file that is none, or an input that the file does not take.
            ValueError: an array of another shape or type.
        """
        if isinstance(images, (np.ndarray, str, Path, PIL.Image.Image)):
            return self([images], **extra)[0]
        results: list[Result] = [{}] * len(images)
        for start in range(0, len(images), self.batch_size):
            bgr = map(read_pixels, images[start : start + self.batch_size])
            pixels = [np.ascontiguousarray(image[:, :, ::-1]) for image in bgr]
            for places in _by_size(pixels):
                chosen = [pixels[place] for place in places]
                outputs = self.session.run(self.task.inputs(chosen, **extra))
                for place, result in zip(places, self.task.results(outputs, chosen, **extra), strict=True):
                    results[start + place] = result
        return results


def task_of(task: str, metadata: Any, path: str) -> RuntimeTask:
    """What a task adds to the runtime.

    Raises:
        DataError: one that this version does not know, or metadata that lack what it needs.
    """
    name = f"d2road.runtime.{task}"
    if not task.isidentifier() or importlib.util.find_spec(name) is None:
        raise DataError(f"{path}: the task {task!r} has no runtime in this version of d2road")
    try:
        return importlib.import_module(name).make_task(metadata)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, D2RoadError):
            raise
        said = f"lack {error}" if isinstance(error, KeyError) else f"hold what cannot be ({error})"
        raise DataError(f"{path}: its metadata are damaged: they {said}; export the model anew") from error


def _by_size(images: Sequence[np.ndarray]) -> list[list[int]]:
    """Places of images of equal size together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(image.shape, []).append(place)
    return list(groups.values())
