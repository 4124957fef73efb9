"""Run an exported file on the two test images that it holds, and compare with what the model found in them.

    d2road export-check OUT.onnx

A .onnx file runs in onnxruntime and, where it is installed, in OpenVINO; a .xml file in OpenVINO, a .pt2 file in
PyTorch. Prints the largest deviation of each output beside what is allowed. The exit code is 1 if an engine on this
machine deviates further: then do not use the file with it. It is 2 for a file that cannot be checked.
"""

import sys
from collections.abc import Sequence

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import report_errors


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("export-check", __doc__)
    parser.add_argument("file", metavar="FILE", help="of d2road export: .onnx, .xml or .pt2")
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Check; returns the exit code."""
    args = build_parser().parse_args(argv)
    from d2road.export.check_file import check_file, failure_of, table_of

    rows = check_file(args.file)
    print(table_of(rows))
    failure = failure_of(args.file, rows)
    if failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"{args.file}: as the model within the tolerances")
    return 0


if __name__ == "__main__":
    sys.exit(main())
