"""The contract of a meta-architecture: what the engine asks of a model beyond Detectron2, all of it optional.

Detectron2 asks for `forward(batched_inputs)`, losses by name in training, else a dict for each image. A model offers
more by having the methods of the protocols below:

    HasDefaultMapper             which mapper makes its inputs, if the config names none
    TakesResults                 what an evaluation found is kept in the model, such as a threshold
    OffersTestTimeAugmentation   TEST.AUG.ENABLED
    FoldsForInference            faster networks of the same outputs, beside fused batch norms
    LowersPrecision              INFERENCE.PRECISION: other numbers than those of the training
    ResizesImages                images that come without a mapper, where their short side does not decide
    RequiresCalibration          refuses to predict before it is calibrated
    HasAnomalyThreshold          the score above which an image is anomalous
    KeepsGoodScores              scores of the good images that it was taken from
    AcceptsGoodImages            `d2road accept`: good images added after the training, with an audit trail
    FitsWithoutGradients         its training is one step, in which it is fitted to all of its data
    ExportsGraph                 `d2road export OUT.onnx`: the model as one graph that proves itself
    NamesClasses                 `d2road predict --classes`: finds what words say, not what it was trained on alone
    DenoisesBoxes                solver, steps, number of boxes and seed may be chosen for a prediction

and by its name, the key MODEL.META_ARCHITECTURE, what needs the config before there is a model:

    register_training_files      files that a training needs, asked for before it starts
    register_training_hooks      what happens around the steps of a training: teachers, calibration
    register_camera_need         whether its images need a camera, asked for before anything is loaded
    register_sampling_choices    how its boxes may be sampled, for those who choose before it is loaded
    config.register_check        what is wrong with its keys, all at once
    config.register_finalizer    keys that follow from others or from the data, such as the number of classes
    annotators.ANNOTATORS        what `d2road predict` draws and writes of outputs other than `instances`

The engine looks for them here and nowhere else; `Trainer` and `Predictor` work with a model that offers none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from torch import nn

from d2road.data.mapper_registry import HasDefaultMapper
from d2road.engine.box_sampling import SamplingChoices, SamplingSetting
from d2road.export.graph import ExportGraph, ExportOptions
from d2road.modeling.fuse import fuse_for_inference
from d2road.utils.errors import ConfigError
from d2road.utils.registry import Registry

__all__ = [
    "AcceptsGoodImages",
    "DenoisesBoxes",
    "ExportsGraph",
    "FitsWithoutGradients",
    "FoldsForInference",
    "HasAnomalyThreshold",
    "HasDefaultMapper",
    "KeepsGoodScores",
    "LowersPrecision",
    "NamesClasses",
    "OffersTestTimeAugmentation",
    "RequiresCalibration",
    "ResizesImages",
    "SamplingChoices",
    "SamplingSetting",
    "TakesResults",
    "check_training_files",
    "needs_camera",
    "prepare_for_inference",
    "register_camera_need",
    "register_sampling_choices",
    "register_training_files",
    "register_training_hooks",
    "require_calibration",
    "sampling_choices",
    "take_results",
    "training_hooks",
    "with_test_time_augmentation",
]

TrainingHooks = Callable[[CfgNode], list[HookBase]]
TRAINING_HOOKS = Registry("training hooks of meta-architecture")
CAMERA_NEEDS = Registry("need of a camera of meta-architecture")
SAMPLING_CHOICES = Registry("sampling choices of meta-architecture")
TRAINING_FILES = Registry("check of training files of meta-architecture")


@runtime_checkable
class TakesResults(Protocol):
    """A model that keeps what an evaluation found, to be saved with its weights."""

    def take_results(self, results: Mapping[str, Any]) -> None:
        """Keep what matters of {task: {metric: value}}, or of that by data set; called before the next checkpoint."""


@runtime_checkable
class OffersTestTimeAugmentation(Protocol):
    """A model with a test-time augmentation of its own."""

    def with_tta(self, cfg: CfgNode) -> nn.Module:
        """A model with the same contract that answers for all augmentations of TEST.AUG together."""


@runtime_checkable
class FoldsForInference(Protocol):
    """A model with faster networks for inference."""

    def fold_for_inference(self) -> None:
        """Work with networks of the same outputs up to rounding, until the model trains or loads weights again."""


@runtime_checkable
class LowersPrecision(Protocol):
    """A model that can predict in other numbers than those it was trained in.

    Attributes:
        precisions: of `d2road.export.precision`, fp32 among them.
    """

    precisions: tuple[str, ...]

    def set_precision(self, precision: str) -> None:
        """Predict in one of them from now on; the model can then neither be trained nor saved."""


@runtime_checkable
class ResizesImages(Protocol):
    """A model whose images are not resized by their short side to INPUT.MIN_SIZE_TEST."""

    def resize_image(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 to the size of the model's input, as its mapper resizes."""


@runtime_checkable
class RequiresCalibration(Protocol):
    """A model, or a part of one, whose outputs mean nothing before it is calibrated."""

    def require_calibration(self) -> None:
        """Raise CheckpointError, with the cure, unless it is calibrated."""


@runtime_checkable
class HasAnomalyThreshold(Protocol):
    """An anomaly detector with a threshold of its scores."""

    def anomaly_threshold(self) -> float | None:
        """The score above which an image is anomalous; None where none was set."""


@runtime_checkable
class KeepsGoodScores(Protocol):
    """An anomaly detector that knows what its threshold was taken from."""

    def good_scores(self) -> list[float]:
        """Scores of those good images, rising; [] where they are not known, as of earlier versions."""


@runtime_checkable
class AcceptsGoodImages(Protocol):
    """An anomaly detector that takes in single good images after its training, such as one with a memory bank.

    Whatever changes what it knows voids the guarantee of its threshold, which only `recalibrate` gives anew.
    """

    def accept_image(self, model_input: Mapping[str, Any], image_id: int) -> int:
        """Take in an image under an id of 1 or more; returns the number of vectors that came."""

    def remove_image(self, image_id: int) -> int:
        """Take back the image of an id; returns the number of vectors that went."""

    def recalibrate(self, cfg: CfgNode, images: Iterable[Mapping[str, Any]]) -> None:
        """Set the threshold by model inputs of good images that were drawn at random and are not in the model."""

    def anomaly_guarantee(self) -> str:
        """What the threshold promises, in words; it begins with "without guarantee" where that is nothing."""

    def audit_trail(self) -> str:
        """JSON lines of what was accepted, see `d2road.engine.audit_trail`; "" for nothing."""

    def set_audit_trail(self, text: str) -> None:
        """Replace them; they are saved with the weights."""


@runtime_checkable
class FitsWithoutGradients(Protocol):
    """A model without a gradient step, such as a memory bank: SOLVER.MAX_ITER is 1, and that step is its fit."""

    def fit(self, cfg: CfgNode) -> dict[str, float]:
        """Fit the model, in eval mode, to DATASETS.TRAIN by SEED; called in every process, equal in all afterwards.

        Returns:
            numbers by name for the metrics of the run.
        """


@runtime_checkable
class ExportsGraph(Protocol):
    """A model that can be written as one graph of tensors, with its pre- and post-processing inside."""

    def export_graph(self, cfg: CfgNode, images: Sequence[np.ndarray], options: ExportOptions) -> ExportGraph:
        """The graph, and test images with the outputs that this model computes without it.

        The model is in eval mode, loaded, calibrated, and neither fused nor folded.

        Args:
            cfg: of the model.
            images: two of (H, W, 3) uint8 in RGB order, of any size; a model that takes one size resizes them.
            options: flags of the command.
        Raises:
            ConfigError: what the config asks for has no graph.
        """


@runtime_checkable
class NamesClasses(Protocol):
    """A detector whose classes may be words."""

    def set_classes(self, words: Sequence[str]) -> None:
        """Find these from now on, numbered in their order. Raises ConfigError where that cannot be, with the cure."""


@runtime_checkable
class DenoisesBoxes(Protocol):
    """A detector that denoises random boxes, which may be done otherwise for each prediction.

    Where a model input says `with_steps`, its result has "steps" too: the Instances of each step by itself.
    """

    def set_sampling(self, setting: SamplingSetting) -> None:
        """Sample so from now on. Raises ConfigError where that cannot be."""

    def graph_noise(self, entry: Mapping[str, Any]) -> np.ndarray:
        """The noise with which the graph of `export_graph` finds in a model input what this model finds."""


def register_training_hooks(meta_arch: str) -> Callable[[TrainingHooks], TrainingHooks]:
    """Register `hooks(cfg) -> list of HookBase` as what a Trainer of this META_ARCHITECTURE does around the steps.

    They run after the averages are updated and before anything is evaluated or saved.
    """
    return lambda function: TRAINING_HOOKS.register(function, name=meta_arch)


def register_training_files(meta_arch: str) -> Callable[[Callable[[CfgNode], None]], Callable[[CfgNode], None]]:
    """Register `check(cfg)`, which raises where a new training of this META_ARCHITECTURE lacks a file."""
    return lambda function: TRAINING_FILES.register(function, name=meta_arch)


def check_training_files(cfg: CfgNode) -> None:
    """Let the meta-architecture say that a file is missing that its training needs."""
    name = cfg.MODEL.META_ARCHITECTURE
    if name in TRAINING_FILES:
        TRAINING_FILES.get(name)(cfg)


def register_camera_need(meta_arch: str) -> Callable[[Callable[[CfgNode], bool]], Callable[[CfgNode], bool]]:
    """Register `needs(cfg)`: whether a model of this META_ARCHITECTURE cannot predict without a camera."""
    return lambda function: CAMERA_NEEDS.register(function, name=meta_arch)


def needs_camera(cfg: CfgNode) -> bool:
    """Whether the model of a config cannot predict on an image without its camera."""
    name = cfg.MODEL.META_ARCHITECTURE
    return name in CAMERA_NEEDS and CAMERA_NEEDS.get(name)(cfg)


def register_sampling_choices(
    meta_arch: str,
) -> Callable[[Callable[[CfgNode], SamplingChoices | None]], Callable[[CfgNode], SamplingChoices | None]]:
    """Register `choices(cfg)`: how boxes of this META_ARCHITECTURE may be sampled, see `DenoisesBoxes`; None: not."""
    return lambda function: SAMPLING_CHOICES.register(function, name=meta_arch)


def sampling_choices(cfg: CfgNode) -> SamplingChoices | None:
    """How the boxes of the model of a config may be sampled; None where it denoises none."""
    name = cfg.MODEL.META_ARCHITECTURE
    return SAMPLING_CHOICES.get(name)(cfg) if name in SAMPLING_CHOICES else None


def training_hooks(cfg: CfgNode) -> list[HookBase]:
    """The registered hooks of MODEL.META_ARCHITECTURE; none if there are none."""
    name = cfg.MODEL.META_ARCHITECTURE
    return TRAINING_HOOKS.get(name)(cfg) if name in TRAINING_HOOKS else []


def take_results(model: nn.Module, results: Mapping[str, Any]) -> None:
    """Tell a model the results of an evaluation, if it takes any."""
    if isinstance(model, TakesResults):
        model.take_results(results)


def with_test_time_augmentation(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model under the test-time augmentation of TEST.AUG, in eval mode.

    Raises:
        ConfigError: it offers none.
    """
    if not isinstance(model, OffersTestTimeAugmentation):
        raise ConfigError(
            f"TEST.AUG.ENABLED: {cfg.MODEL.META_ARCHITECTURE} has no test-time augmentation; set TEST.AUG.ENABLED False"
        )
    return model.with_tta(cfg).eval()


def prepare_for_inference(model: nn.Module) -> nn.Module:
    """Fuse batch norms, see `fuse_for_inference`, and fold what the model itself can; in place.

    Raises:
        ValueError: as `fuse_for_inference`.
    """
    fuse_for_inference(model)
    if isinstance(model, FoldsForInference):
        model.fold_for_inference()
    return model


def require_calibration(model: nn.Module) -> None:
    """Let every part that needs a calibration say so before the first image does."""
    for part in model.modules():
        if isinstance(part, RequiresCalibration):
            part.require_calibration()
