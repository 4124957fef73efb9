"""Published grounding data, and label files, in the schema of docs/grounding_data.md.

    python datasets/convert_grounding.py --source mono3drefer:ROOT:test --out FILE
    python datasets/convert_grounding.py --source monomulti3d:FILE_OR_DIR --images DIR --calib DIR [--denorm DIR]
                                      [--labels DIR] --out FILE
    python datasets/convert_grounding.py --source kitti:ROOT[:SPLIT] --out FILE        (rope3d:ROOT:train|val likewise)

The last makes files without sentences; datasets/make_grounding.py makes them with sentences. The converted data is
used as
grounding:FILE:IMAGES, where IMAGES is the folder that the tool names at its end. The exit code is 0, or 2 for input
that cannot be converted.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.utils.errors import ConfigError, report_errors
from mono3dvg.data.grounding_converters import convert_mono3drefer, convert_monomulti3d
from mono3dvg.data.labelled_sources import grounding_of
from mono3dvg.schema import write_grounding


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Convert, check and write."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    args = parser().parse_args(argv)
    raw, images = convert(args)
    write_grounding(args.out, raw)
    counts = ", ".join(f"{len(raw[name])} {name}" for name in ("images", "annotations", "expressions"))
    print(f"{counts} in {args.out}\nto use it: grounding:{args.out}:{images}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--source", required=True, help="mono3drefer:ROOT:SPLIT, monomulti3d:FILE_OR_DIR, or a data set name"
    )
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="grounding file to write")
    p.add_argument("--images", metavar="DIR", help="folder of the pictures; found by itself but for monomulti3d")
    p.add_argument("--calib", metavar="DIR", help="monomulti3d: Rope3D's calib folder")
    p.add_argument("--denorm", metavar="DIR", help="monomulti3d: Rope3D's denorm folder (ground planes)")
    p.add_argument("--labels", metavar="DIR", help="monomulti3d: folder of label files, with all objects")
    return p


def convert(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The content and the folder of the pictures.

    Raises:
        FileNotFoundError, ValueError: input that cannot be converted.
    """
    kind, _, rest = args.source.partition(":")
    if kind == "mono3drefer":
        root, _, split = rest.rpartition(":")
        if not root:
            raise ConfigError(f"--source {args.source} does not read as mono3drefer:ROOT:train|val|test")
        return convert_mono3drefer(root, split), str(Path(root) / "images")
    if kind == "monomulti3d":
        if not args.images or not args.calib:
            raise ConfigError("monomulti3d needs --images and --calib, Rope3D's folders")
        return convert_monomulti3d(rest, args.images, args.calib, args.denorm, args.labels), args.images
    images = args.images or rest.split(":")[0]
    if not images:
        raise ConfigError(f"--source {args.source} is a name: say where its pictures are by --images")
    return grounding_of(args.source, images), images


if __name__ == "__main__":
    sys.exit(main())
