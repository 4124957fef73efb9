"""How a model that denoises boxes samples them: what is chosen, and what may be."""

from dataclasses import dataclass

from d2road.utils.errors import ConfigError


@dataclass(frozen=True)
class SamplingSetting:
    """How a diffusion model samples boxes.

    Args:
        sampler: name of the solver.
        steps: of denoising. num_boxes: random boxes that an image begins with; both 1 or more.
        seed: with what identifies an image it seeds its noise.
    """

    sampler: str
    steps: int
    num_boxes: int
    seed: int

    def __post_init__(self) -> None:
        if self.steps < 1 or self.num_boxes < 1:
            raise ConfigError(f"{self.steps} steps of {self.num_boxes} boxes: expected 1 or more of both")


@dataclass(frozen=True)
class SamplingChoices:
    """What may be chosen: names of samplers and the most steps; `setting` is what the config says."""

    samplers: tuple[str, ...]
    max_steps: int
    setting: SamplingSetting
