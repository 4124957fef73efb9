"""Rebuild the model zoo from the trainings that are here: pack and measure every entry, then its page.

python -m benchmarks.zoo.rebuild [NAME ...]    all with a file, or those named; ends with 1 if some could not be
python -m benchmarks.zoo.rebuild --plan        which could be, and what the others need first; changes nothing

An entry whose trained model is not here, or that cannot be packed or measured, does not stop the others: all that is
left is listed at the end, each with what is to be done first.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.zoo.measure import MEASURES
from d2road.model_zoo import Entry, shipped_entries
from d2road.utils.addresses import ZOO
from d2road.utils.errors import ConfigError, report_errors
from d2road.utils.registry import unknown_name


def needed_first(entries: Mapping[str, Entry], names: Iterable[str]) -> dict[str, str]:
    """What has to be done before each entry can be rebuilt, "" for those that can be.

    An entry that others build on is rebuilt together with them or not at all: with another base they are not readable.

    Args:
        entries: all with a file, by name.
        names: of those that are to be rebuilt.
    """
    names = list(names)
    needs = {name: "" if Path(entries[name].source).is_file() else _training(entries[name]) for name in names}
    for name in names:
        above = [other.name for other in entries.values() if other.base == name and needs.get(other.name, "-")]
        if above and not needs[name]:
            first = "; ".join(needs.get(other) or f"ZOO has to name {other} too" for other in above)
            needs[name] = f"{' and '.join(ZOO + other for other in above)} builds on it and could not follow: {first}"
    return needs


def _training(entry: Entry) -> str:
    return f"{entry.source} is not there: `{entry.command}`"


def rebuild(name: str) -> str:
    """Pack and measure an entry, each in a process of its own; what went wrong, "" for nothing."""
    for step in ("pack", "measure") if name in MEASURES else ("pack",):
        command = [sys.executable, "-m", f"benchmarks.zoo.{step}", name]
        print(f"{name}: {step}", flush=True)
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        sys.stderr.write(done.stderr)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
            return f"`python -m benchmarks.zoo.{step} {name}` failed: {said[-1].removeprefix('error: ')}"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild what the arguments ask for; 1 if some of it could not be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of entries; default: all with a file")
    parser.add_argument("--plan", action="store_true", help="only say what could be rebuilt")
    args = parser.parse_args(argv)
    entries = shipped_entries()
    for name in args.names:
        if name not in entries:
            raise ConfigError(unknown_name("entry with a file", name, entries))
    needs = needed_first(entries, [name for name in entries if not args.names or name in args.names])
    if not args.plan:
        for name in [name for name, need in needs.items() if not need]:
            needs[name] = rebuild(name)
        subprocess.run([sys.executable, "-m", "benchmarks.zoo.page"], check=True)
    left = {name: need for name, need in needs.items() if need}
    done = [name for name in needs if name not in left]
    print(f"{len(done)} of {len(needs)} {'can be rebuilt' if args.plan else 'rebuilt'}: {', '.join(done) or 'none'}")
    for name, need in left.items():
        print(f"left: {name}: {need}")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(report_errors(main)())
