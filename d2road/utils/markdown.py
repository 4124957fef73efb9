"""Markdown tables, the one writer of them."""

from collections.abc import Iterable, Sequence

from tabulate import tabulate


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; cells are texts, written as they are and not padded."""
    # A cell "0.50" stays as it is: to tabulate it would be a number.
    return tabulate(list(rows), list(head), "github", disable_numparse=True, stralign=None).splitlines()
