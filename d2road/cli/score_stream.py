"""Score traffic as it is recorded: reads a growing file of trajectories and prints alarms.

Without any model, by rules that are fitted on a file of good traffic:

    d2road score-stream --method rules --good "fcd:good.xml?edges=main:0" --input "fcd:traffic.xml?edges=main:0" \\
        --follow --state stream.json --pictures alarms

--method rules_forecast adds what drivers would do there, learned from the same good traffic (scikit-learn fits it): it
finds more, above all who is slow or changes lanes where nobody would. By an anomaly detector:

    d2road score-stream --input "fcd:traffic.xml?edges=main:0" --config-file CONFIG --weights MODEL.pth \\
        --calibration threshold.json --follow --state stream.json --pictures alarms

INPUT is READER:PATH?OPTIONS (docs/trajectories.md). FCD (XML or CSV) and plain CSV files may grow: with --follow the
tool waits for more at the end of the file, and no byte is read twice. --state keeps where it is: a later run with the
same file goes on there (and reads what the next window still needs); a file that was replaced meanwhile is refused. An
interrupt (Ctrl-C, SIGTERM) ends it in order, with everything saved.

While it follows, standard error tells at once, with the time: another file under the name (rotation; it is read as
another recording, NAME.2), a clock that goes back or leaps, rows that are dropped, and silence.

A calibration of rules in the model zoo is named by --calibration zoo:NAME or --weights zoo:NAME; --weights beside
--calibrate keeps its rules and counts a threshold of yours, and --threshold beside --weights keeps its rules with that
threshold in place of its own.

The node TIME_SPACE of the config says what windows are: stretch of road, stride, drawing; KEY VALUE changes it, also
without a config, and a calibration keeps what it was written with. Rules need to know where the road ends, in metres:
TIME_SPACE.S_RANGE "(FIRST, LAST)". Without it they take it to end where, for the time of a window, no vehicle is seen
further on, and say so: who is lost ahead of or behind all others is then not found.

A threshold comes from good traffic, once:

    d2road score-stream --input INPUT --config-file CONFIG --weights MODEL.pth \\
        --calibrate threshold.json --rate 1
    d2road score-stream --method rules --good GOOD --input MORE_GOOD --calibrate rules.json --rate 1
    d2road score-stream --method rules --calibration rules.json --input INPUT --follow

scores at least 10 hours and writes the lowest threshold with at most --rate false alarms an hour; that of rules holds
the rules too, so that nothing is fitted again. Rules are fitted on all of --good. Where no option gives a threshold,
they are fitted on its first 60 % alone, and the rest gives one: counted where that is 10 hours or more, else
extrapolated, a first guess.
Each alarm is a line

    ALARM  t 00:17:33.4  s 812 m  score 0.41 (threshold 0.18)  window 00:17:14.4-00:17:40.0, 410-922 m  a/000003.png

and when it is over a second one; rules name the vehicle and what it does. With a calibration, a line that begins with
DRIFT says when scores or speeds no longer look like those of its traffic: the threshold may not hold any more. The exit
code is 0 at the end of the file,
130 after Ctrl-C, 143 after SIGTERM, or 2 for input that cannot be used.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from d2road.utils.addresses import ZOO, zoo_name
from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import integer_option, number_option

if TYPE_CHECKING:
    from d2road.traffic.events.stop_request import StopRequest
    from d2road.traffic.events.stream_options import StreamOptions
    from d2road.traffic.events.stream_session import StreamModel, StreamSession


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("score-stream", __doc__)
    parser.add_argument(
        "--input", required=True, metavar="INPUT", help="READER:PATH?OPTIONS, or a path whose suffix tells the reader"
    )
    parser.add_argument(
        "--method",
        choices=("model", "rules", "rules_forecast", "rules_camera"),
        help="what scores; rules where --good is given, else model",
    )
    parser.add_argument(
        "--good", action="append", default=[], metavar="INPUT", help="good traffic for rules; may be given repeatedly"
    )
    parser.add_config()
    parser.add_argument(
        "--batch", type=integer_option(1), default=4, help="windows that pass through the network together; 4"
    )
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument(
        "--threshold", type=number_option(), help="a window that scores above it alarms; it wins over that of --weights"
    )
    threshold.add_argument(
        "--calibration", type=calibration_path, metavar="FILE", help="that --calibrate wrote, or zoo:NAME"
    )
    threshold.add_argument("--calibrate", type=Path, metavar="FILE", help="write a threshold from this good traffic")
    parser.add_argument(
        "--rate", type=number_option(1e-6), default=1.0, help="false alarms an hour that --calibrate allows; 1"
    )
    parser.add_argument("--follow", action="store_true", help="wait for more at the end of the file")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep where it is, and go on there another time")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="write the score of every window as CSV")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write a picture of every alarm")
    return parser


def calibration_path(text: str) -> Path:
    """The path of a calibration, or its address in the model zoo, of which Path would fold `d2road://`."""
    name = zoo_name(text)
    return Path(text if name is None else f"{ZOO}{name}")


def shipped_calibration(address: Path | None) -> Path | None:
    """The file of a calibration in the model zoo; None for other paths.

    Raises:
        ConfigError, CheckpointError: the entry is no calibration, or cannot be read.
    """
    name = zoo_name(str(address or ""))
    if name is None:
        return None
    from d2road.model_zoo import find_entry, shipped_file

    if find_entry(name).storage != "json":
        raise ConfigError(f"--calibration {address} is no calibration; `d2road zoo list` says what it is")
    return shipped_file(name)


def options_of(args: argparse.Namespace) -> StreamOptions:
    """The run that a command line asks for.

    Raises:
        ConfigError: options do not go together.
    """
    from d2road.traffic.events.stream_options import MODEL, RULES, StreamOptions

    take_shipped_rules(args)
    method = args.method or (RULES if args.good else MODEL)
    if method == MODEL and not args.config_file:
        raise ConfigError("--method model needs --config-file; rules need neither: --method rules --good INPUT")
    opts = list(args.opts)
    if args.weights:  # the parser appends them as a key; a saved state and a threshold name them by themselves
        place = max(i for i in range(len(opts) - 1) if opts[i : i + 2] == ["MODEL.WEIGHTS", args.weights])
        del opts[place : place + 2]
    taken = ("opts", "device", "method", "good")
    values = {name: value for name, value in vars(args).items() if name not in taken}
    return StreamOptions(**values, method=method, good=tuple(args.good), opts=tuple(opts))


def take_shipped_rules(args: argparse.Namespace) -> None:
    """Put the file of the model zoo in the place of its address, and its method where none is given.

    Raises:
        ConfigError, CheckpointError: there is no such entry, it is none of rules, or there are two calibrations.
    """
    address = str(args.calibration or "")
    if zoo_name(args.weights or "") is None and zoo_name(address) is None:
        return
    from d2road.model_zoo import find_entry, shipped_file
    from d2road.traffic.events.stream_options import method_of_calibration

    name = zoo_name(args.weights or "")
    if name is None or find_entry(name).storage != "json":  # of a network, which the config describes
        shipped = shipped_calibration(args.calibration)
        if shipped is None:
            return
    elif args.calibration:
        raise ConfigError(
            f"--weights {args.weights} and --calibration {args.calibration} are two calibrations: leave one out"
        )
    else:
        place = max(i for i in range(len(args.opts) - 1) if args.opts[i : i + 2] == ["MODEL.WEIGHTS", args.weights])
        del args.opts[place : place + 2]
        args.weights, shipped = "", shipped_file(name)
    args.calibration = shipped
    args.method = args.method or method_of_calibration(args.calibration)


def load_model(options: StreamOptions) -> StreamModel:
    """An anomaly detector as what scores windows, with the grid of its config.

    Raises:
        FileNotFoundError, D2RoadError: the config or the weights cannot be used.
    """
    from d2road.config import make_cfg
    from d2road.config.time_space import window_grid_of
    from d2road.engine import Predictor
    from d2road.engine.meta_arch import HasAnomalyThreshold
    from d2road.traffic.events.stream_options import opts_of_run
    from d2road.traffic.events.stream_session import StreamModel
    from d2road.traffic.events.window_stream import window_scorer

    cfg = make_cfg(options.config_file, opts_of_run(options))
    grid = window_grid_of(cfg)
    predict = Predictor(cfg, options.weights or None, options.batch)
    threshold = predict.model.anomaly_threshold() if isinstance(predict.model, HasAnomalyThreshold) else None
    return StreamModel(grid, window_scorer(predict), threshold)


def fit_rules(options: StreamOptions, stop: StopRequest | None = None) -> StreamModel:
    """Rules as what scores windows, fitted or of a calibration, with the grid of the config's TIME_SPACE.

    Raises:
        FileNotFoundError, D2RoadError: the config, the good traffic or the calibration cannot be used.
        StoppedError: `stop` asks for the end before they are fitted.
    """
    from d2road.config import make_cfg
    from d2road.config.time_space import window_grid_of
    from d2road.traffic.events.rules_stream import load_rules
    from d2road.traffic.events.stream_options import opts_of_run

    return load_rules(options, window_grid_of(make_cfg(options.config_file, opts_of_run(options))), stop)


def open_session(options: StreamOptions, stop: StopRequest | None = None) -> StreamSession:
    """The run, scored by the model of its config and weights or by rules; ends where `stop` asks for it."""
    from d2road.traffic.events.stream_options import MODEL
    from d2road.traffic.events.stream_session import StreamSession

    if options.method == MODEL:
        return StreamSession(options, lambda: load_model(options), stop)
    return StreamSession(options, lambda: fit_rules(options, stop), stop)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Score, print, write; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.traffic.events.stop_request import StopRequest
    from d2road.traffic.readers.growing_file import StoppedError

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    stop = StopRequest()
    with stop.listening():  # also while the model is loaded
        try:
            return open_session(options_of(args), stop).run()
        except StoppedError:  # while rules were fitted: there is nothing to save
            return stop.exit_code


if __name__ == "__main__":
    sys.exit(main())
