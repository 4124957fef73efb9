#!/usr/bin/env python
"""Make a trained EfficientAD predict in narrower arithmetic: bfloat16, or 8 bits by onnxruntime.

d2road export --arithmetic int8 --config-file output/x/config.yaml \\
    --weights output/x/model_final.pth OUT.pth [KEY VALUE ...]
python train_net.py --eval-only --config-file OUT.yaml
d2road predict --config-file OUT.yaml --input PICTURES --output FOLDER

Measures what 8 bits need to know, and the maps' quantiles and the threshold in the new arithmetic, on the good
pictures that the config calibrates on (or --calibrate-on). OUT.pth is what MODEL.WEIGHTS takes; beside it OUT.yaml is
the config that belongs to it. The weights stay as they were trained: float32 brings the old model back.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.modeling import build_model

from d2road.cli.convert import calibrate as calibrate_on
from d2road.cli.convert import write_model
from d2road.config import make_cfg
from d2road.config.merge import raise_problems
from d2road.config.validate import find_problems
from d2road.engine.defaults import load_weights
from d2road.utils.errors import ConfigError, report_errors
from efficientad.calibration import calibrate
from efficientad.detector import EfficientAD
from efficientad.inference.onnx_graph import require_onnx
from efficientad.inference.quantization import ARITHMETICS

logger = logging.getLogger("d2road.cli.export")

KEY = "MODEL.EFFICIENT_AD.INFERENCE.ARITHMETIC"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", metavar="OUT", type=Path, help="the .pth to write")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys, e.g. DATASETS.TEST ...")
    parser.add_argument("--config-file", required=True, help="the config.yaml beside the checkpoint")
    parser.add_argument("--weights", default="", help="checkpoint; default: the config's MODEL.WEIGHTS")
    parser.add_argument("--arithmetic", choices=ARITHMETICS, default="int8")
    parser.add_argument("--calibrate-on", type=Path, metavar="DIR", help="folder of good pictures, searched in depth")
    return parser


def export(args: argparse.Namespace) -> EfficientAD:
    """Load, measure and write.

    Raises:
        FileNotFoundError, ValueError: what is missing or does not fit, with the cure.
        ImportError: int8 without onnx and onnxruntime.
    """
    if args.output.suffix != ".pth":
        raise ConfigError(f"OUT is {args.output}: expected a file name that ends with .pth")
    if args.arithmetic == "int8":
        require_onnx()
    cfg = make_cfg(args.config_file, [*args.opts, KEY, args.arithmetic])
    raise_problems(find_problems(cfg), args.config_file)
    weights = args.weights or cfg.MODEL.WEIGHTS
    if not weights:
        raise ConfigError("there are no weights: name a checkpoint with --weights, the config's MODEL.WEIGHTS is empty")
    model = build_model(cfg).eval()
    load_weights(cfg, model, weights)
    if not model.state.teacher_name:
        raise ConfigError(
            f"{weights}: its teacher was never measured, so nothing was trained; train it with train_net.py"
        )
    if args.calibrate_on is not None:
        calibrate_on(cfg, model, args.calibrate_on, with_teacher=False)
    else:
        calibrate(cfg, model)
    write_model(model, cfg, args.output)
    return model


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Export; 0, or 2 for input that cannot be exported."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    export(build_parser().parse_args(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
