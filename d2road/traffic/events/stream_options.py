"""What a run over a stream is asked for, and what an earlier run left: its state and its threshold."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2road.utils.errors import ConfigError
from d2road.utils.input_files import read_json


@dataclass(frozen=True)
class StreamOptions:
    """A run of `d2road score-stream`.

    Attributes:
        input: SPEC of the trajectories, see `open_trajectories`.
        config_file, weights, opts: what the scores come from; they belong to a state and a threshold, no more.
        batch: windows that are scored together.
        threshold: of the scores, or None.
        calibration: file that holds one. calibrate: file to write one to, from good traffic, with at most `rate` false
            alarms an hour.
        follow: wait for more at the end of the file.
        state: file that keeps where the stream is. scores: CSV file of all windows. pictures: folder of the alarms'.
    """

    input: str
    config_file: str = ""
    weights: str = ""
    opts: tuple[str, ...] = ()
    batch: int = 4
    threshold: float | None = None
    calibration: Path | None = None
    calibrate: Path | None = None
    rate: float = 1.0
    follow: bool = False
    state: Path | None = None
    scores: Path | None = None
    pictures: Path | None = None

    def about(self) -> dict[str, str | list[str]]:
        """What a state or a threshold belongs to, as JSON holds it."""
        return {
            "input": self.input,
            "config_file": self.config_file,
            "weights": self.weights,
            "opts": list(self.opts),
        }


def read_state(options: StreamOptions) -> dict[str, Any]:
    """What an earlier run left; {} without one.

    Raises:
        ConfigError: the file is damaged, or of a run with another input or other options.
    """
    path = options.state
    if path is None or not path.is_file():
        return {}
    try:
        state = read_json(path, "state", "Delete it to begin anew")
        theirs = state["about"]
    except (json.JSONDecodeError, KeyError) as error:
        raise ConfigError(f"{path} is no state of a stream ({error}); delete it to begin anew") from error
    changed = [name for name, value in options.about().items() if theirs.get(name) != value]
    if changed:
        raise ConfigError(
            f"{path} was left by a run with other {', '.join(changed)}: name another --state, or delete it to begin "
            "anew"
        )
    return state


def choose_threshold(options: StreamOptions, of_model: float | None) -> float:
    """The threshold that the options ask for; infinite where one is to be found.

    Args:
        of_model: the model's own, None without one.
    Raises:
        ConfigError: there is none.
    """
    if options.calibrate is not None:
        return math.inf
    if options.threshold is not None:
        return options.threshold
    if options.calibration is None:
        if of_model is None or not math.isfinite(of_model):
            raise ConfigError("the model has no threshold of its own: give --threshold or --calibration")
        print(
            f"threshold {of_model:.4g} is the model's own, for single images; --calibrate sets one for a rate of "
            "false alarms",
            flush=True,
        )
        return of_model
    try:
        return float(read_json(options.calibration, "calibration", "Write it with --calibrate")["threshold"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{options.calibration} holds no threshold ({error}); write it with --calibrate") from error
