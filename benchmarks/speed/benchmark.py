"""Speed and memory of a system: training step, inference by stage, and fast against plain implementations.

    python -m benchmarks.speed.benchmark SYSTEM [options] [KEY VALUE ...]
    python -m benchmarks.speed.benchmark diffusion_det --what infer --batch 1 2 --steps 1 4 --boxes 100 300 --size
        480x640

`python -m benchmarks.speed.benchmark SYSTEM --help` lists the options; docs/benchmarks.md says what the figures mean.
"""

import importlib
import sys
from collections.abc import Sequence

# System -> "module:function", called with the arguments after the system's name and returning an exit code.
BENCHMARKS = {
    "diffusion_det": "benchmarks.speed.speed_diffusion_det:main",
    "efficientad": "benchmarks.speed.speed_efficientad:main",
    "mono3dvg": "benchmarks.speed.speed_mono3dvg:main",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark of the system that comes first on the command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\nsystems: {', '.join(BENCHMARKS)}")
        return 0 if arguments else 2
    system, *rest = arguments
    if system not in BENCHMARKS:
        print(f"no benchmark for '{system}'; systems: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    module, function = BENCHMARKS[system].split(":")
    return getattr(importlib.import_module(module), function)(rest)


if __name__ == "__main__":
    sys.exit(main())
