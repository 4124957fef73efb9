"""Pages of Markdown tables, as the benchmarks write them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from d2road.utils.markdown import markdown_table
from d2road.utils.output_files import atomic_write


def table(title: str, note: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown section; none without rows."""
    rows = list(rows)
    if not rows:
        return []
    return [f"## {title}", "", *([note, ""] if note else []), *markdown_table(head, rows)]


def write_page(path: Path, sections: Iterable[Sequence[str]]) -> Path:
    """Write sections, each a list of lines, with a blank line between; empty ones are left out. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        file.write("\n\n".join("\n".join(lines) for lines in sections if lines) + "\n")
    return path
