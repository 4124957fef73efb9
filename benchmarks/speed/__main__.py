"""`python -m benchmarks.speed all`: the table of all ratios; with the name of a system, the benchmark of that alone."""

import sys

from benchmarks.speed.benchmark import main as system_main
from benchmarks.speed.speed_all import main as all_main

sys.exit(all_main(sys.argv[2:]) if sys.argv[1:2] == ["all"] else system_main())
