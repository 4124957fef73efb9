"""Faults of a followed file: replaced by a longer one, cut and rewritten, or begun anew with earlier times."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.reliability.training_program import Program

WAIT_S = 30.0
SECONDS = 150
STANDS = range(60, 90)  # s after the beginning of a file at which a vehicle stands
KINDS = ("replaced", "rewritten", "begun anew")


def fcd_csv(begin_s: float, seconds: int) -> str:
    """CSV of made-up traffic, 2 Hz: vehicles every 3 s at 25 m/s on 600 m, and one that stands for half a minute."""
    lines = ["t,vehicle,s,lane,v"]
    for step in range(2 * seconds):
        t = step / 2
        for number in range(int(t // 3) + 1):
            s = 25 * (t - 3 * number)
            if s < 600:
                lines.append(f"{begin_s + t:.1f},v{begin_s:.0f}_{number},{s:.2f},0,25")
        if int(t) in STANDS:
            lines.append(f"{begin_s + t:.1f},x{begin_s:.0f},300.00,0,0")
    return "\n".join(lines) + "\n"


def replaced_files(program: Program, folder: Path, count: int, rng: random.Random, failures: list[str]) -> Counter:
    """The second file's incident must be found, or the fault be said."""
    counts: Counter = Counter(alarmed=0, said=0, silent=0, failed=0)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        path = folder / f"stream_{number}.csv"
        path.write_text(fcd_csv(0, SECONDS))
        begin = 0 if kind == "begun anew" else 2 * SECONDS
        following = fcd_csv(begin, SECONDS + rng.randrange(20, 90))
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.reliability.stream_program", f"csv:{path}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        words = _read_until(process, "OVER")
        if kind == "rewritten":
            path.write_text(following)
        else:
            new = path.with_suffix(".new")
            new.write_text(following)
            os.replace(new, path)
        time.sleep(6)
        process.send_signal(signal.SIGTERM)
        words += process.communicate(timeout=WAIT_S)[0]
        alarms = words.count("ALARM")
        told = any(word in words.lower() for word in ("replaced", "rewritten", "truncated", "shorter", "went back"))
        outcome = "alarmed" if alarms == 2 else "said" if told else "failed" if process.returncode else "silent"
        counts.update(streams=1, **{outcome: 1})
        if outcome in ("silent", "failed"):
            failures.append(f"stream {number} ({kind}): exit code {process.returncode}, {words[-300:]}")
    return counts


def _read_until(process: "subprocess.Popen[str]", marker: str) -> str:
    words = ""
    assert process.stdout is not None
    for line in process.stdout:
        words += line
        if marker in line:
            break
    return words
