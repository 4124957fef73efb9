"""MODEL_ZOO.md from the catalogue of the model zoo, and the catalogue's metrics from the records.

python -m benchmarks.zoo.page            take the metrics from the records, write the page
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.records import RESULTS
from d2road.model_zoo.catalogue import CATALOGUE, Entry, Metric, read_catalogue
from d2road.utils.errors import DataError, report_errors
from d2road.utils.input_files import read_json
from d2road.utils.markdown import markdown_table
from d2road.utils.output_files import atomic_write, write_json

PAGE = Path("MODEL_ZOO.md")
INTRO = """# Model zoo

Models that come with the project, small enough for its repository and its wheel, and where those of others are to be
had. A name works as `zoo:NAME` wherever weights are taken: `--weights zoo:NAME`, `MODEL.WEIGHTS`,
`MODEL.EFFICIENT_AD.TEACHER`, `Predictor(config, "zoo:NAME")`. `d2road zoo list`, `d2road zoo info NAME` and `d2road zoo
verify` show and check them; nothing is downloaded. The addresses of version 0.1, `d2road://FILE.pth`, are still read.

This page is made by `python -m benchmarks.zoo.page` from [`catalogue.json`](d2road/model_zoo/catalogue.json) and the
[records](benchmarks/results); a test fails where they disagree. Storage: `half` is 16-bit; `int8` has convolution and
linear weights as 8-bit integers per output channel ([docs/weights.md](docs/weights.md#weights-in-8-bits)), what that
costs is measured below; both compute in 32 bits. An entry that builds on another one holds the weights that differ
alone, and the checksum of its base; both are read together."""


def read_value(record: str) -> float:
    """The number of a record, "BENCH/RUN:key/key".

    Raises:
        FileNotFoundError, DataError: there is no such record, or no number in it.
    """
    name, _, keys = record.partition(":")
    value: Any = read_json(RESULTS / f"{name}.json", "record")
    for key in keys.split("/"):
        if not isinstance(value, dict) or key not in value:
            raise DataError(f"{RESULTS / name}.json has no {keys}: {key!r} is not there")
        value = value[key]
    if not isinstance(value, (int, float)):
        raise DataError(f"{RESULTS / name}.json: {keys} is no number")
    return float(value)


def rounded(record: str) -> float:
    """The number of a record as the catalogue has it, to four digits."""
    return float(f"{read_value(record):.4g}")


def take_metrics() -> None:
    """Write the values of all records into the catalogue."""
    rows = read_json(CATALOGUE, "catalogue")
    for metric in (metric for row in rows for metric in row["metrics"] if "record" in metric):
        metric["value"] = rounded(metric["record"])
    write_json(CATALOGUE, rows)
    read_catalogue.cache_clear()


def render_page(entries: Sequence[Entry]) -> str:
    """The text of MODEL_ZOO.md."""
    shipped, others = [e for e in entries if e.file], [e for e in entries if e.fetch]
    rows = [[f"[`{e.name}`](#{e.name})", e.system, e.title, f"{e.size / 1e6:.1f} MB, {e.storage}"] for e in shipped]
    total = sum(entry.size for entry in shipped)
    parts = [INTRO, "## Shipped", _table(["name", "system", "what", "file"], rows)]
    parts.append(f"Together {total / 1e6:.1f} MB; at most 8 MB a file and 25 MB together.")
    parts += [_section(entry) for entry in shipped]
    note = "Not shipped. What to fetch, where to put it, and what its authors measured; names of `d2road zoo info`."
    head = ["name", "file, put below `models/`", "from", "use", "published", "licence"]
    parts += ["## Of others", note, _table(head, [_other(entry) for entry in others])]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(markdown_table(head, rows))


def _section(entry: Entry) -> str:
    lines = [f"### {entry.name}", f"{entry.title}.", f"```\n{entry.use}\n```"]
    facts = [f"- config: [`configs/{entry.config}`](configs/{entry.config})"] if entry.config else []
    facts += [f"- classes: {', '.join(entry.class_names)}"] if entry.class_names else []
    facts += [f"- trained on: {entry.data}", f"- seed {entry.seed}, made by `{entry.command}` ({entry.machine})"]
    facts += [f"- builds on [`{entry.base}`](#{entry.base}): its file holds what differs"] if entry.base else []
    facts += [f"- needs: `{entry.needs}`"] if entry.needs else []
    facts += [f"- licence: {entry.licence}", f"- `{entry.file}`, SHA-256 `{entry.sha256}`"]
    lines += ["\n".join(facts), _table(["measured", "value", "record"], [_measured(one) for one in entry.metrics])]
    return "\n\n".join(lines)


def _measured(metric: Metric) -> list[str]:
    path, _, keys = metric.record.partition(":")
    return [metric.what, f"{metric.value:g}", f"[{path}]({RESULTS / path}.json), `{keys}`"]


def _other(entry: Entry) -> list[str]:
    assert entry.fetch is not None
    published = "; ".join(f"{metric.value:g} {metric.what} ({metric.source})" for metric in entry.metrics)
    digest = f", SHA-256 `{entry.fetch.sha256}`" if entry.fetch.sha256 else ""
    file = f"`{entry.fetch.file}`{digest}"
    return [f"`{entry.name}`", file, entry.fetch.project, f"`{entry.use}`", published, entry.licence]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the catalogue's metrics and the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    take_metrics()
    with atomic_write(PAGE, "w") as file:
        file.write(render_page(list(read_catalogue().values())))
    print(f"page: {PAGE}")


if __name__ == "__main__":
    sys.exit(report_errors(main)())
