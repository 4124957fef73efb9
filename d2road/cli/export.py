"""Make a trained anomaly detector predict in lower precision, or calibrate it anew.

    d2road export --precision int8 --config-file output/x/config.yaml --weights output/x/model_final.pth OUT.pth
    d2road eval --config-file OUT.yaml
    d2road predict --config-file OUT.yaml --input IMAGES --output FOLDER

Of EfficientAD the networks, to bfloat16, or 8 bits by onnxruntime: measures what 8 bits need to know, and the maps'
quantiles and the threshold in the new precision. The weights stay as they were trained: fp32 brings the old model back.
Of PatchCore the memory bank, to 8 bits, a quarter of its size, which is not undone; --precision as it is calibrates
anew alone. The good images are those that the config calibrates on, or --calibrate-on. OUT.pth is what MODEL.WEIGHTS
takes; beside it OUT.yaml is the config that belongs to it. The exit code is 0, or 2 for input that cannot be exported.
"""

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from d2road.utils.aliases import present_value
from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import ConfigError, report_errors

PRECISION_KEY = "MODEL.EFFICIENT_AD.INFERENCE.PRECISION"
PRECISIONS = ("fp32", "bf16", "int8")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("export", __doc__)
    parser.add_file("output", "OUT", "the .pth to write")
    parser.add_argument(
        *("--precision", "--arithmetic"),  # the second is the name of version 0.1
        type=partial(present_value, PRECISION_KEY),
        choices=PRECISIONS,
        default="int8",
        help="of the networks, or of the memory bank (default: int8)",
    )
    parser.add_argument("--calibrate-on", type=Path, metavar="DIR", help="folder of good images, searched in depth")
    parser.add_config(required=True)
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Export; returns the exit code."""
    args = build_parser().parse_args(argv)
    if args.output is None:
        raise ConfigError("name OUT, the .pth to write")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from efficientad.conversion import export_model

    export_model(Path(args.output), args.precision, args.config_file, args.opts, args.calibrate_on)
    return 0


if __name__ == "__main__":
    sys.exit(main())
