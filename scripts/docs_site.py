"""Pages of the documentation site that lie elsewhere in the repository, its links out of docs/, and the API reference.

A hook of MkDocs (`make docs`). README.md is the first page; other pages of the repository come by the names in PAGES.
A link to a page leads to it, one to any other file below `extra.source_url`, or becomes its path where there is none.
Formulas of the pages of mathematics become MathML, which browsers show without a script.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPO = Path(__file__).resolve().parent.parent
# File of the repository -> page of the site.
PAGES = {
    "README.md": "index.md",
    "README.zh.md": "index_zh.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "datasets/README.md": "datasets.md",
    "MODEL_ZOO.md": "model_zoo.md",
}
# What a program that uses d2road imports: one page of reference for each, with its submodules.
REFERENCE = (
    "d2road.engine",
    "d2road.config",
    "d2road.structures",
    "d2road.layers",
    "d2road.modeling",
    "d2road.data",
    "d2road.evaluation",
    "d2road.checkpoint",
    "d2road.model_zoo",
    "d2road.export",
    "d2road.runtime",
    "d2road.visualization",
    "d2road.video",
    "d2road.traffic",
    "diffusion_det",
    "mono3dvg",
    "efficientad",
)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FORMULA_PAGES = "math_"  # how their names begin; elsewhere a dollar is a dollar
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.S)
FENCE = re.compile(r"(^```.*?^```)", re.M | re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/, their images, and the pages of the reference."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(REPO / source).read_text()))
    for package in REFERENCE:
        files.append(File.generated(config, reference_page(package), content=reference_text(package)))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference at the end of the menu."""
    assert config.nav is not None
    config.nav.append({"Reference": [{package: reference_page(package)} for package in REFERENCE]})
    return config


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Make links work on the site, but not in blocks of code."""
    by_page = {name: source for source, name in PAGES.items()}
    name = page.file.src_uri
    source = by_page.get(name, f"docs/{name}")
    if name.startswith(FORMULA_PAGES):
        markdown = with_mathml(markdown)
    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else relink(part, source, name, config) for part in parts)


def relink(text: str, source: str, page: str, config: MkDocsConfig) -> str:
    """Replace the links of a text that was written at `source` and is shown on `page`."""

    def replace(match: re.Match[str]) -> str:
        image, label, target = match.groups()
        path, mark, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match.group(0)
        found = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        inside = PAGES.get(found) or (found.removeprefix("docs/") if found.startswith("docs/") else None)
        if inside is not None:
            return f"{image}[{label}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{mark}{anchor})"
        base = config.extra.get("source_url")
        if base:
            return f"{image}[{label}]({posixpath.join(base, found)})"
        return label if found in label else f"{label} (`{found}`)"

    return LINK.sub(replace, text)


def with_mathml(markdown: str) -> str:
    """Replace formulas between dollars, as GitHub shows them, by MathML."""
    from latex2mathml.converter import convert

    def replace(match: re.Match[str]) -> str:
        block, inline = match.groups()
        if block:
            mathml = convert(" ".join(block.split()), display="block")
            return f'\n\n<div class="formula">{mathml}</div>\n\n'
        return f'<span class="formula">{convert(inline)}</span>'

    return FORMULA.sub(replace, markdown)


def reference_page(package: str) -> str:
    """The page of a package in the reference."""
    return f"reference/{package.replace('.', '-')}.md"


def reference_text(package: str) -> str:
    """A page that mkdocstrings fills with the docstrings of all modules of a package."""
    folder = REPO / package.replace(".", "/")
    files = sorted(path for path in folder.rglob("*.py") if not path.name.startswith("_"))
    names = [".".join(path.relative_to(REPO).with_suffix("").parts) for path in files]
    return "\n\n".join([f"# {package}", *(f"::: {name}" for name in names)]) + "\n"
