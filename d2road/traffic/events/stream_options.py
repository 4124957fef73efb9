"""What a run over a stream is asked for, and the threshold of its scores."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2road.traffic.readers.source import split_spec
from d2road.utils.errors import ConfigError, DataError
from d2road.utils.input_files import read_json
from d2road.utils.output_files import check_output, make_folder
from d2road.utils.values import as_integer, as_list, as_number, as_object, as_text, field

LEAST_RATE = 1e-6  # false alarms an hour
TIME_SPACE = "TIME_SPACE."  # keys of what windows are
MODEL, RULES, RULES_FORECAST, RULES_CAMERA = METHODS = ("model", "rules", "rules_forecast", "rules_camera")
MODELS_THRESHOLD = (
    "threshold {:.4g} is the model's own, for single images; --calibrate sets one for a rate of false alarms"
)


@dataclass(frozen=True)
class StreamOptions:
    """A run of `d2road score-stream`.

    Attributes:
        input: SPEC of the trajectories, see `open_trajectories`.
        method: what scores: "model", by config_file and weights, or, fitted on `good` or of the calibration, "rules" or
            "rules_forecast", with a learned forecast of driving, or "rules_camera", the same at the scale of a camera.
        good: SPECs of good traffic for rules.
        config_file, weights, opts: what the scores come from; they belong to a state and a threshold, no more.
        batch: windows that are scored together.
        threshold: of the scores, or None.
        calibration: file that holds one. calibrate: file to write one to, from good traffic, with at most `rate` false
            alarms an hour.
        follow: wait for more at the end of the file.
        state: file that keeps where the stream is. scores: CSV file of all windows. pictures: folder of the alarms'.
    Raises:
        ConfigError: a number is not finite or out of range, or options do not go together.
    """

    input: str
    method: str = MODEL
    good: tuple[str, ...] = ()
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

    def __post_init__(self) -> None:
        try:
            as_integer(self.batch, "--batch", 1)
            as_number(self.rate, "--rate", LEAST_RATE)
            if self.threshold is not None:
                as_number(self.threshold, "--threshold")
        except DataError as error:
            raise ConfigError(str(error)) from error
        if self.method not in METHODS:
            raise ConfigError(f"--method {self.method} is unknown, choose one of {', '.join(METHODS)}")
        self._check_method()

    def _check_method(self) -> None:
        if self.method == MODEL:
            if self.good:
                raise ConfigError("--good is what rules are fitted on: give --method rules, or leave it away")
            return
        if self.weights:
            raise ConfigError(f"--method {self.method} has no weights: leave --weights away, or give --method model")
        if not self.good and self.calibration is None:
            raise ConfigError(
                f"--method {self.method} needs good traffic to be fitted on, --good INPUT, or a --calibration that "
                "holds the rules: --calibrate writes one"
            )
        if self.good and self.calibration is not None:
            raise ConfigError(f"the calibration {self.calibration} holds its rules already: leave --good away")
        if self.calibrate is not None and self.input in self.good:
            raise ConfigError(
                f"--calibrate would count the alarms of {self.input}, which the rules are fitted on: give other good "
                "traffic as --input, or leave --calibrate away; a part of --good is held out for a threshold"
            )

    def check_outputs(self) -> None:
        """Make sure before a long run that its outputs can be written and are different files.

        Raises:
            ConfigError: two options name one file, or an output is the input.
            OutputError, FileNotFoundError: the system refuses one.
        """
        named = {"--input": Path(split_spec(self.input)[1])}
        for option in ("calibration", "calibrate", "state", "scores"):
            path = getattr(self, option)
            if path is None:
                continue
            other = next((name for name, one in named.items() if _same_file(path, one)), None)
            if other is not None and not _is_stream(path):
                raise ConfigError(f"--{option} and {other} name one file, {path}: each needs its own")
            named[f"--{option}"] = path
            if option != "calibration":
                make_folder(path.parent)
                check_output(path)
        if self.pictures is not None:
            check_output(make_folder(self.pictures) / "000001.png")

    def about(self) -> dict[str, str | list[str]]:
        """What a state or a threshold belongs to, as JSON holds it."""
        rules: dict[str, str | list[str]] = {"method": self.method, "good": list(self.good)}
        return {
            **(rules if self.method != MODEL else {}),  # files of earlier versions know no method
            "input": self.input,
            "config_file": self.config_file,
            "weights": self.weights,
            "opts": list(self.opts),
        }


def choose_threshold(options: StreamOptions, of_model: float | None, note: str = MODELS_THRESHOLD) -> float:
    """The threshold that the options ask for; infinite where one is to be found.

    Args:
        of_model: the model's own, None without one.
        note: printed where that one is taken, with its place in braces.
    Raises:
        ConfigError: there is none, or the calibration is of another method.
    """
    if options.calibrate is not None:
        return math.inf
    if options.threshold is not None:
        return options.threshold
    if options.calibration is None:
        if of_model is None or not math.isfinite(of_model):
            raise ConfigError("the model has no threshold of its own: give --threshold or --calibration")
        print(note.format(of_model), flush=True)
        return of_model
    return read_calibration(options.calibration, options.method, "threshold", as_number)


def read_calibration(path: Path, method: str, name: str, check: Callable[..., Any], required: bool = True) -> Any:
    """A value of a calibration, checked; None where it is neither there nor required.

    Args:
        method: that the calibration has to be of.
        name, check: of the value, see `d2road.utils.values.field`.
    Raises:
        FileNotFoundError, ConfigError: the file is no calibration, or one of another method.
    """
    cure = "Write it with --calibrate"
    source = f"calibration {path}"
    try:
        values = as_object(read_json(path, "calibration", cure), source)
        theirs = field(values, "method", as_text, source) if "method" in values else MODEL
        if theirs != method:
            raise ConfigError(f"{source} is of --method {theirs}, this run of --method {method}: give the same")
        return field(values, name, check, source) if required or name in values else None
    except DataError as error:
        text = str(error) if str(path) in str(error) else f"{source}: {error}"
        raise ConfigError(text if cure in text else f"{text}. {cure}") from error


def opts_of_run(options: StreamOptions) -> list[str]:
    """KEY VALUE pairs of a run; of TIME_SPACE, where it names none, those that its calibration was written with.

    Raises:
        FileNotFoundError, ConfigError: the calibration is none of this method.
    """
    if options.calibration is None:
        return list(options.opts)
    theirs = read_calibration(options.calibration, options.method, "opts", _texts, required=False) or []
    taken = [
        word
        for key, value in zip(theirs[::2], theirs[1::2])
        if key.startswith(TIME_SPACE) and key not in options.opts[::2]
        for word in (key, value)
    ]
    if taken:
        print(f"{' '.join(taken)}: windows as in the calibration", flush=True)
    return [*taken, *options.opts]


def method_of_calibration(path: Path) -> str:
    """The method that a calibration is of.

    Raises:
        FileNotFoundError, DataError: the file is no calibration.
    """
    source = f"calibration {path}"
    values = as_object(read_json(path, "calibration", "Write it with --calibrate"), source)
    return field(values, "method", as_text, source) if "method" in values else MODEL


def _texts(value: Any, source: str) -> list[str]:
    return [as_text(word, source) for word in as_list(value, source)]


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()


def _is_stream(path: Path) -> bool:
    """Whether this is a pipe or a device, which several outputs may share."""
    return path.exists() and not path.is_file()
