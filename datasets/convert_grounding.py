"""Published grounding data, and label files, in the schema of docs/grounding_data.md.

    python datasets/convert_grounding.py --source mono3drefer:ROOT:test --out FILE
    python datasets/convert_grounding.py --source monomulti3d:FILE_OR_DIR --images DIR --calib DIR [--denorm DIR]
                                         [--labels DIR] --out FILE
    python datasets/convert_grounding.py --source kitti:ROOT[:SPLIT] --out FILE        (rope3d:ROOT:train|val likewise)

The last makes files without sentences; datasets/make_grounding.py makes them with sentences. The result is used as
grounding:FILE:IMAGES, where IMAGES is the folder that the program names at its end. The exit code is 0, or 2 for input
that cannot be converted.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file, from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from d2road.utils.errors import report_errors
from mono3dvg.data.grounding_creation import convert_grounding


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Convert, check and write."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    args = parser().parse_args(argv)
    folders = {name: getattr(args, name) for name in ("images", "calib", "denorm", "labels")}
    written = convert_grounding(args.source, args.out, **folders)
    print(f"{written.contents}\nto use it: {written.dataset}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--source", required=True, help="mono3drefer:ROOT:SPLIT, monomulti3d:FILE_OR_DIR, or a data set name"
    )
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="grounding file to write")
    p.add_argument("--images", default="", metavar="DIR", help="folder of the images; found but for monomulti3d")
    p.add_argument("--calib", default="", metavar="DIR", help="monomulti3d: Rope3D's calib folder")
    p.add_argument("--denorm", default="", metavar="DIR", help="monomulti3d: Rope3D's denorm folder (ground planes)")
    p.add_argument("--labels", default="", metavar="DIR", help="monomulti3d: folder of label files, with all objects")
    return p


if __name__ == "__main__":
    sys.exit(main())
