"""Add good images that were called anomalous to a trained model with a memory bank, and keep a record of it.

    d2road accept --config-file output/mine/config.yaml --weights output/mine/model_final.pth --input alarm_17.png \\
        --output output/mine/accepted.pth --reason "new supplier, brighter coating" [--by NAME]
    d2road accept --config-file output/mine/accepted.yaml --output output/mine/calibrated.pth --reason "monthly draw" \\
        --calibrate-on drawn_in_may --randomly-drawn
    d2road accept --config-file output/mine/accepted.yaml --output output/mine/undone.pth --reason "was a dent" \\
        --remove 3

The model that is read stays as it is. --output FILE.pth is what MODEL.WEIGHTS takes; beside it FILE.yaml is its config
and FILE.audit.jsonl the audit trail, which the checkpoint holds too: for each image its id, time in UTC, who, file
name, SHA-256 of the decoded pixels, vectors added, score and threshold before and after, reason. --remove takes images
back.

From then on the model says "without guarantee" in `d2road predict` and `d2road eval`: its threshold was set for
another bank. --calibrate-on sets it anew by a folder of good images, searched in depth, with the rate of the config. It
needs --randomly-drawn, your statement that they were drawn at random from the production, none left out or chosen by
its look or score. Images that were ever accepted are refused there. The exit code is 0, or 2 for what cannot be done.
"""

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from d2road.utils.arguments import ArgumentParser, add_verbose, verb_parser
from d2road.utils.console import start_console
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import integer_option


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("accept", __doc__)
    parser.add_argument("--input", nargs="+", default=[], help="good images: files, folders, patterns like 'a/*.png'")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.pth", help="the model to write")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for the audit trail")
    parser.add_argument("--by", default="", metavar="NAME", help="who, for the audit trail (default: the user's name)")
    parser.add_argument(
        "--remove", nargs="+", type=integer_option(1), default=[], metavar="ID", help="accepted images to take back"
    )
    parser.add_argument("--calibrate-on", default="", metavar="DIR", help="good images to set the threshold by")
    parser.add_argument(
        "--randomly-drawn", action="store_true", help="those of --calibrate-on were drawn at random from the production"
    )
    add_verbose(parser)
    parser.add_config(required=True)
    return parser


def user_name() -> str:
    """The name of the user of this machine.

    Raises:
        ConfigError: the system knows none.
    """
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        raise ConfigError("the system knows no name of the user: give --by NAME") from error


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Accept; returns the exit code."""
    args = build_parser().parse_args(argv)
    if bool(args.calibrate_on) != args.randomly_drawn:
        raise ConfigError(
            "--calibrate-on DIR and --randomly-drawn go together: a threshold from images that were chosen promises "
            "nothing. If they were drawn at random from the production, say so; else leave out --calibrate-on"
        )
    from d2road.config import setup_cfg
    from d2road.engine.accepted_images import Change, change_model

    start_console("d2road", verbose=args.verbose)
    change = Change(args.by or user_name(), args.reason, tuple(args.input), tuple(args.remove), args.calibrate_on)
    if args.output.with_suffix(".yaml").resolve() == Path(args.config_file).resolve():
        raise ConfigError(f"--output {args.output} would replace its config {args.config_file}: choose another name")
    change_model(setup_cfg(args, predicts=True), change, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
