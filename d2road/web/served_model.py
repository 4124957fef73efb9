"""A model behind the page: loaded when it is first asked, once, and asked one request at a time."""

import argparse
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from d2road.checkpoint.stored_classes import stored_class_names
from d2road.config import setup_cfg
from d2road.data.class_names import with_class_names
from d2road.engine import Predictor
from d2road.engine.annotators import Annotator, ImageContext, annotator_class
from d2road.engine.meta_arch import (
    DenoisesBoxes,
    KeepsGoodScores,
    SamplingChoices,
    SamplingSetting,
    needs_camera,
    sampling_choices,
)
from d2road.structures import Camera
from d2road.utils.errors import ConfigError

DETECT, DETECT_3D, ASK, INSPECT = TASKS = ("detect", "detect in 3D", "ask", "inspect")


@dataclass(frozen=True)
class Request:
    """What a model is asked of an image.

    Args:
        image_bgr: (H, W, 3) uint8.
        camera: that took it.
        confidence: lowest score of what is drawn and written; None takes the model's own.
        sentences: for models that answer them.
        sampling: for models that denoise boxes; None takes the config's. with_steps: what each step found too.
        origin: file_name, written with each result.
    """

    image_bgr: np.ndarray
    camera: Camera | None = None
    confidence: float | None = None
    sentences: Sequence[str] = ()
    sampling: SamplingSetting | None = None
    with_steps: bool = False
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a model gave, drawn: image_rgb (H, W', 3) uint8; steps: such drawings of denoising steps; output: of the
    model; rows: of its table, which the page writes."""

    image_rgb: np.ndarray
    steps: list[np.ndarray]
    output: dict[str, Any]
    rows: list[dict[str, Any]]


class ServedModel:
    """A model for one tab of the page. Its config is read at once, its weights with the first request.

    Args:
        config_file, weights: as of `d2road predict`; "" takes MODEL.WEIGHTS.
        opts: KEY, VALUE, KEY, VALUE, ...
        shipped: one that comes with the project, for which the page has examples.
    Raises:
        FileNotFoundError, ConfigError: the config cannot be used.
    """

    # Models share the machine: two inferences at a time would take longer than one after the other, and more memory.
    _one_at_a_time = threading.RLock()

    def __init__(self, config_file: str, weights: str = "", opts: Sequence[str] = (), shipped: bool = False):
        pairs = [*opts, *(("MODEL.WEIGHTS", weights) if weights else ())]
        cfg = setup_cfg(argparse.Namespace(config_file=config_file, opts=pairs), predicts=True)
        self.config_file, self.shipped = config_file, shipped
        self.cfg: CfgNode = with_class_names(cfg, stored_class_names(cfg.MODEL.WEIGHTS))
        self.kind = annotator_class(self.cfg.MODEL.META_ARCHITECTURE)

    @property
    def task(self) -> str:
        """Of TASKS, by what its annotator says."""
        if self.kind.answers_sentences:
            return ASK
        return INSPECT if self.kind.scores_images else DETECT_3D if self.needs_camera else DETECT

    @property
    def needs_camera(self) -> bool:
        """Whether every request needs a camera."""
        return needs_camera(self.cfg)

    @property
    def sampling(self) -> SamplingChoices | None:
        """How boxes may be sampled; None for models that denoise none."""
        return sampling_choices(self.cfg)

    @cached_property
    def predict(self) -> Predictor:
        """The model; raises as `Predictor`."""
        return Predictor(self.cfg)

    @contextmanager
    def alone(self) -> Iterator[Predictor]:
        """The loaded model, while no other request is worked on."""
        with self._one_at_a_time:
            yield self.predict

    def good_scores(self) -> list[float]:
        """Scores of the good images that a model of anomalies took its threshold from; [] where it has none."""
        with self.alone() as predict:
            return predict.model.good_scores() if isinstance(predict.model, KeepsGoodScores) else []

    def ask(self, request: Request) -> Answer:
        """Work on one request.

        Raises:
            ConfigError: a camera, sentences or sampling that the model needs, or cannot take.
            D2RoadError, FileNotFoundError: the weights, or the camera of another image.
        """
        if request.camera is None and self.needs_camera:
            raise ConfigError("this model finds 3D boxes, which need the camera: give its calibration or focal length")
        if request.sampling is not None and self.sampling is None:
            raise ConfigError(f"{self.cfg.MODEL.META_ARCHITECTURE} denoises no boxes: it has no steps to choose")
        with self.alone() as predict:
            annotator = self.kind(predict, self.cfg, request.confidence, request.sentences)
            if isinstance(predict.model, DenoisesBoxes):
                choices = self.sampling
                setting = request.sampling or (choices.setting if choices is not None else None)
                if setting is not None:
                    predict.model.set_sampling(setting)
            extra: dict[str, Any] = {"with_steps": True} if request.with_steps else {}
            output = predict(request.image_bgr, request.camera, **annotator.model_inputs(), **extra)
        return self._drawn(request, annotator, output)

    def _drawn(self, request: Request, annotator: Annotator, output: dict[str, Any]) -> Answer:
        image_rgb, context = request.image_bgr[:, :, ::-1], ImageContext(request.camera, origin=request.origin)
        drawn = annotator.draw(image_rgb, output, context)
        found_by_step = output.get("steps", []) if request.with_steps else []
        steps = [annotator.draw(image_rgb, {"instances": found}, context) for found in found_by_step]
        return Answer(np.ascontiguousarray(drawn), steps, output, annotator.rows(output, context))
