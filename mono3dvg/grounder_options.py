"""Options of the grounder beside its submodules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class InputOptions:
    """Conventions of images, maps and boxes.

    in_features: names of the backbone's maps, fine to coarse; stride: of the first of them, pixels. pixel_mean,
    pixel_std: by channel. priors_hwl: (C, 3) m. ry_frame: "camera" or "ground". use_given_ground: whether the planes of
    the cameras are used. ablate_input: "" or what is withheld from the model, "sentence" or "image".
    """

    in_features: Sequence[str]
    stride: int
    pixel_mean: Sequence[float]
    pixel_std: Sequence[float]
    priors_hwl: Sequence[Sequence[float]]
    ry_frame: str
    use_given_ground: bool = True
    ablate_input: str = ""


@dataclass(frozen=True)
class InferenceOptions:
    """How candidates are found and answers chosen.

    top_k, min_heat, nms_2d, nms_bev: see `decode_peaks`. heat_exponent: see `final_scores`. min_score: boxes below are
    not returned. sentences_per_chunk: that pass through the fusion together: memory does not grow with their number.
    """

    top_k: int = 50
    min_heat: float = 0.1
    nms_2d: float = 0.75
    nms_bev: float = 0.4
    heat_exponent: float = 0.5
    min_score: float = 0.01
    sentences_per_chunk: int = 16


@dataclass(frozen=True)
class TrainingOptions:
    """stage: see `training_stages`. jitter: of labelled objects as candidates, see `candidates_of_objects`. match_iou,
    loss_weights: see `GroundingCriterion`."""

    stage: str = ""
    jitter: float = 1.0
    match_iou: float = 0.5
    loss_weights: Mapping[str, float] = field(default_factory=dict)
