"""Serve a page in the browser that asks models about uploaded files.

    d2road web
    d2road web --model output/mine/config.yaml output/mine/model_final.pth
    d2road web --config-file configs/diffusion_det/toy_roadside3d/effnet_lite0.yaml \\
        --weights output/toy_roadside3d/effnet_lite0/model_final.pth --port 8000

Tabs: Detect (a detector in 2D, one in 3D, or both), Ask (a model of grounding, which answers sentences about an image
and its camera), Inspect (a model of anomalies), Video (a short clip of a calibrated roadside camera to tracks and
speeds, by the detector in 3D where there is one) and Traffic (trajectories, drawn and scored by rules as score-stream
does). Each model goes to the tab of its kind; --model may be given repeatedly. The other tabs have the shipped toy
models, with examples. KEY VALUE pairs belong to the model of --config-file, those of TIME_SPACE to the windows of
Traffic, --device to all. Weights are loaded with the first request, and requests are worked on one after the other.

The page is for this machine alone unless --host says otherwise; for others it asks for a password, of --auth FILE (a
line USER:PASSWORD each, readable by you alone) or of the environment variable D2ROAD_WEB_AUTH, and refuses to start
without one unless --no-auth says that something else guards it. Passwords travel as they are: over a network that is
not yours, put a server with HTTPS before the page. It sends nothing anywhere and loads nothing from elsewhere. Uploads
and results are kept in a temporary folder for an hour, at most until the page ends. It ends with Ctrl-C or SIGTERM.

It needs gradio: pip install 'd2road[web]'.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.values import integer_option, number_option

if TYPE_CHECKING:
    from d2road.web.served_model import ServedModel

# Of the tabs for which no other model is given.
SHIPPED = (
    ("diffusion_det/toy_roadside/demo.yaml", "zoo:diffusion_det_toy"),
    ("diffusion_det/toy_roadside3d/demo.yaml", "zoo:diffusion_det_toy3d"),
    ("mono3dvg/toy_grounding/demo.yaml", "zoo:mono3dvg_toy"),
    ("efficientad/toy_loco/patchcore.yaml", "zoo:patchcore_fasteners"),
)
FRAMES_A_SECOND = 30  # of the longest clip
INTERRUPTED = 130  # exit codes, as a shell gives them to a program that SIGINT or SIGTERM ended
TERMINATED = 143


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("web", __doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    parser.add_argument(
        "--port", type=integer_option(0, 65535), default=7860, help="0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--model", nargs=2, action="append", default=[], metavar=("CONFIG", "WEIGHTS"), help="a model for its tab"
    )
    parser.add_argument(
        "--max-upload-mb", type=number_option(0.001), default=20.0, help="largest file (default: %(default)s)"
    )
    parser.add_argument(
        "--max-megapixels", type=number_option(0.001), default=33.6, help="largest image (default: %(default)s)"
    )
    parser.add_argument(
        "--max-seconds", type=number_option(1), default=20.0, metavar="S", help="longest clip (default: %(default)s)"
    )
    parser.add_argument("--auth", type=Path, metavar="FILE", help="users that may enter, a line USER:PASSWORD each")
    parser.add_argument("--no-auth", action="store_true", help="ask for no password, whatever --host is")
    parser.add_config()
    return parser


def load_models(args: argparse.Namespace) -> dict[str, ServedModel]:
    """The models of all tabs, by task: those that a command line names, else the shipped ones.

    Raises:
        FileNotFoundError, ConfigError: a config cannot be used, or two models are of one kind.
    """
    from d2road.web.served_model import DETECT, DETECT_3D, TASKS, ServedModel

    device = ["MODEL.DEVICE", args.device] if args.device else []
    own = [word for pair in pairs_of(args.opts, time_space=False) for word in pair]
    given = [ServedModel(config, weights, device) for config, weights in args.model]
    if args.config_file:
        given.append(ServedModel(args.config_file, "", own))
    elif own != device:
        raise ConfigError(f"{' '.join(own)}: belongs to the model of --config-file, which is not given")
    models: dict[str, ServedModel] = {}
    for model in given:
        if model.task in models:
            raise ConfigError(
                f"{models[model.task].config_file} and {model.config_file} are both models to {model.task}: a page has "
                "one of each kind; serve the other one at another --port"
            )
        models[model.task] = model
    own_detector = bool({DETECT, DETECT_3D} & set(models))
    for config, weights in SHIPPED:
        model = ServedModel(config, weights, device, shipped=True)
        if not (own_detector and model.task in (DETECT, DETECT_3D)):  # whose classes would be others
            models.setdefault(model.task, model)
    return {task: models[task] for task in TASKS if task in models}


def pairs_of(opts: Sequence[str], time_space: bool) -> list[tuple[str, ...]]:
    """The KEY VALUE pairs below TIME_SPACE, or the others; a key whose value is missing stays alone."""
    pairs = [tuple(opts[i : i + 2]) for i in range(0, len(opts), 2)]
    return [pair for pair in pairs if pair[0].startswith("TIME_SPACE.") == time_space]


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until somebody interrupts; returns the exit code."""
    args = build_parser().parse_args(argv)
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("d2road web needs gradio: pip install 'd2road[web]'")
    from d2road.web.page import Address, serve
    from d2road.web.page_users import check_users, users_of_page
    from d2road.web.traffic_request import TrafficWindows
    from d2road.web.uploads import MEGABYTE, UploadLimits

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    users = users_of_page(args.auth)
    check_users(args.host, users, args.no_auth)
    size = round(args.max_upload_mb * MEGABYTE), round(args.max_megapixels * 1e6)
    limits = UploadLimits(*size, max_seconds=args.max_seconds, max_frames=round(FRAMES_A_SECOND * args.max_seconds))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that the temporary folder goes
    try:
        windows = TrafficWindows([word for pair in pairs_of(args.opts, time_space=True) for word in pair])
        serve(load_models(args), windows, Address(args.host, args.port, users), limits)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
