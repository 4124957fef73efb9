"""Show and check the models that are shipped, and say where those of others are to be had.

    d2road zoo list                            all entries: system, size, what it is
    d2road zoo info diffusion_det_toy          one entry: use, config, metrics, data, seed, command, machine, licence
    d2road zoo verify                          compare every shipped file with its SHA-256

A name works as zoo:NAME wherever weights are taken: --weights zoo:diffusion_det_toy, MODEL.WEIGHTS,
MODEL.EFFICIENT_AD.TEACHER, Predictor(config, "zoo:NAME"), score-stream --calibration zoo:NAME. An entry of others has
no file here: `info` says what to fetch, from which project, and where to put it. Nothing is downloaded.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from d2road.utils.arguments import ArgumentParser, verb_parser
from d2road.utils.errors import D2RoadError, report_errors

if TYPE_CHECKING:
    from d2road.model_zoo import Entry

ACTIONS = ("list", "info", "verify")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = verb_parser("zoo", __doc__)
    parser.add_argument("action", choices=ACTIONS, help="list, info NAME or verify [NAME]")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of an entry, or its beginning, with or without zoo:")
    return parser


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Print what is asked for; 1 if a shipped file is not what it should be."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if (args.action == "info") > bool(args.name) or (args.action == "list" and args.name):
        parser.error("info needs the NAME of an entry, list takes none")
    from d2road.model_zoo import find_entry_by_prefix, read_catalogue, shipped_entries
    from d2road.utils.addresses import zoo_name

    name = zoo_name(args.name or "") or args.name
    if args.action == "list":
        print("\n".join(table(list(read_catalogue().values()))))
        return 0
    if args.action == "info":
        print("\n".join(describe(find_entry_by_prefix(name))))
        return 0
    return verify([find_entry_by_prefix(name)] if name else list(shipped_entries().values()))


def table(entries: Sequence["Entry"]) -> list[str]:
    """A line an entry: name, system, size or that it is to be fetched, title."""
    rows = [("NAME", "SYSTEM", "MB", "WHAT")]
    for entry in entries:
        rows.append((entry.name, entry.system, f"{entry.size / 1e6:.1f}" if entry.file else "fetch", entry.title))
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    return ["  ".join([*(text.ljust(width) for text, width in zip(row, widths)), row[3]]) for row in rows]


def describe(entry: "Entry") -> list[str]:
    """All that the catalogue knows of an entry."""
    rows = [("name", f"zoo:{entry.name}" if entry.file else entry.name), ("what", entry.title)]
    rows += [
        ("system", entry.system),
        ("use", entry.use),
        ("config", f"configs/{entry.config}" if entry.config else ""),
    ]
    if entry.fetch is None:
        rows += [("file", str(entry.path)), ("bytes", str(entry.size)), ("storage", entry.storage)]
        rows += [("builds on", f"zoo:{entry.base}, whose weights its file does not repeat" if entry.base else "")]
        rows += [("needs", entry.needs)]
        rows += [("sha256", entry.sha256), ("classes", ", ".join(entry.class_names))]
    else:
        rows += [("fetch", f"{entry.fetch.file} of {entry.fetch.project}"), ("put it at", entry.fetch.put)]
        rows += [("sha256", entry.fetch.sha256 or "not known here: compare with its project's")]
    for metric in entry.metrics:
        origin = f"benchmarks/results/{metric.record}" if metric.record else metric.source
        rows.append(("metric", f"{metric.value:g}  {metric.what} [{origin}]"))
    rows += [("data", entry.data), ("seed", "" if entry.seed is None else str(entry.seed))]
    rows += [("made by", entry.command), ("machine", entry.machine), ("licence", entry.licence)]
    return [f"{key:<10}{text}" for key, text in rows if text]


def verify(entries: Sequence["Entry"]) -> int:
    """Check the files of entries; 1 if one is missing or another one."""
    from d2road.model_zoo import checked_file, fetch_hint

    bad = 0
    for entry in entries:
        if entry.fetch is not None:
            print(f"{entry.name}: nothing to check here, {fetch_hint(entry)}")
            continue
        try:
            print(f"{entry.name}: good, {checked_file(entry).name}, {entry.size} bytes")
        except (D2RoadError, FileNotFoundError) as error:
            bad += 1
            print(f"{entry.name}: BAD: {error}", file=sys.stderr)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
