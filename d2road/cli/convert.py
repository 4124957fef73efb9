#!/usr/bin/env python
"""Import whole trained EfficientAD models of other programs, or calibrate one anew.

d2road convert --source anomalib model.ckpt OUT.pth [KEY VALUE ...]
d2road convert --source nelson1425 FOLDER OUT.pth --unsafe-pickle --calibrate-on GOOD_PICTURES
d2road convert --source own --config-file CONFIG --calibrate-on GOOD_PICTURES IN.pth OUT.pth

FOLDER is the output of nelson1425's training (teacher_final.pth, student_final.pth, autoencoder_final.pth). OUT.pth is
what MODEL.WEIGHTS takes; beside it OUT.yaml is the config that belongs to it.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from d2road.checkpoint import Checkpointer
from d2road.config import make_cfg
from d2road.config.merge import raise_problems
from d2road.config.validate import find_problems
from d2road.data import build_mapper
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.io import atomic_write
from efficientad.calibration import measure_maps, measure_teacher
from efficientad.checkpoint.foreign_models import SOURCES, Parts, fill, read_anomalib, read_nelson
from efficientad.data.mapper import find_pictures
from efficientad.detector import EfficientAD

logger = logging.getLogger("d2road.cli.convert")

BASE = Path(__file__).resolve().parents[2] / "configs" / "efficientad" / "Base-EfficientAD.yaml"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, choices=SOURCES)
    parser.add_argument("input", metavar="IN", help="checkpoint, or folder of a nelson1425 training")
    parser.add_argument("output", metavar="OUT", type=Path, help="the .pth to write")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys, e.g. MODEL.EFFICIENT_AD.SIZE medium")
    parser.add_argument("--config-file", default="", help="config of the model; default: the published one")
    parser.add_argument("--calibrate-on", type=Path, metavar="DIR", help="folder of good pictures, searched in depth")
    parser.add_argument(
        "--unsafe-pickle", action="store_true", help="unpickle whole models: this runs what is in the files"
    )
    return parser


def config_for(args: argparse.Namespace, parts: Parts | None) -> CfgNode:
    """The config of the model to write.

    Args:
        parts: of another program, whose size is taken unless the keys say another; None for an own model.
    Raises:
        FileNotFoundError, ValueError: all that is wrong with it.
    """
    node, published = "MODEL.EFFICIENT_AD.", []
    if parts is not None and not args.config_file:
        published = [node + "AUTOENCODER", "conv", node + "BOTTLENECK", 64, node + "COMPAT", args.source]
        published += [node + "SIZE", parts.size]
    cfg = make_cfg(args.config_file or str(BASE), [*published, *args.opts])
    raise_problems(find_problems(cfg), args.config_file or "the config")
    return cfg


class Mapped(Sequence):
    """Pictures of a list of files, through a mapper, one a batch."""

    def __init__(self, mapper, files: list[Path]):
        self.mapper, self.files = mapper, files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> list[dict]:
        return [self.mapper({"file_name": str(self.files[index]), "image_id": index})]


def convert(args: argparse.Namespace) -> EfficientAD:
    """Read, calibrate and write.

    Raises:
        FileNotFoundError, ValueError: what is missing or does not fit, with the cure.
    """
    if args.output.suffix != ".pth":
        raise ConfigError(f"OUT is {args.output}: expected a file name that ends with .pth")
    if args.source == "own" and not args.config_file:
        raise ConfigError("--source own needs --config-file: the config.yaml beside the checkpoint")
    parts = None
    if args.source == "anomalib":
        parts = read_anomalib(args.input)
    elif args.source == "nelson1425":
        parts = read_nelson(args.input, unsafe=args.unsafe_pickle)
    cfg = config_for(args, parts)
    model = build_model(cfg)
    if parts is not None:
        fill(model, parts)
    else:
        Checkpointer(model).load(args.input, checkpointables=[], require="all", use_ema=cfg.MODEL_EMA.ENABLED)
    if args.calibrate_on is not None:
        # Statistics of the teacher that the student has learned by stay as they are.
        calibrate(cfg, model, args.calibrate_on, with_teacher=parts is not None and parts.statistics is None)
    write_model(model, cfg, args.output)
    if not model.state.calibrated_for:
        logger.warning(
            "%s is NOT calibrated and will refuse to predict: convert again with --calibrate-on", args.output
        )
    return model


def write_model(model: EfficientAD, cfg: CfgNode, path: Path) -> None:
    """Write weights and calibration to a `.pth`, and the config that belongs to them beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        torch.save({"model": model.state_dict()}, file)
    cfg.MODEL.WEIGHTS = str(path)
    with atomic_write(path.with_suffix(".yaml"), "w") as file:
        file.write(cfg.dump())
    logger.info("Wrote %s and %s", path, path.with_suffix(".yaml"))


def calibrate(cfg: CfgNode, model: EfficientAD, folder: Path, with_teacher: bool) -> None:
    """Measure maps, and if asked to the teacher, on a folder of good pictures."""
    pictures, node = Mapped(build_mapper(cfg, False), find_pictures(folder)), cfg.MODEL.EFFICIENT_AD.CALIBRATION
    if with_teacher:
        measure_teacher(model, pictures, model.state.teacher_name)
    measure_maps(
        model,
        pictures,
        quantiles=node.QUANTILES,
        false_positive_rate=node.FALSE_POSITIVE_RATE,
        method=node.METHOD,
        training=pictures if model.puad is not None else None,
    )


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Convert; 0, or 2 for input that cannot be converted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    convert(build_parser().parse_args(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
