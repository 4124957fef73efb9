"""docs/extending.md: every section's example runs, in an empty folder."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
SECTIONS = {
    title: "\n".join(re.findall(r"```python\n(.*?)```", body, re.S))
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
}


def test_every_part_of_the_table_has_a_section():
    table = re.findall(r"^\| \[([^\]]+)\]\(#([^)]+)\)", PAGE.read_text(), re.M)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in SECTIONS}
    assert len(table) >= 8 and {anchor for _, anchor in table} == anchors


@pytest.mark.parametrize("title", SECTIONS)
def test_the_example_runs(title, tmp_path, monkeypatch):
    assert SECTIONS[title]
    monkeypatch.chdir(tmp_path)
    exec(compile(SECTIONS[title], f"extending.md: {title}", "exec"), {"__name__": "example"})
