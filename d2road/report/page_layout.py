"""Layout of a report: a header with facts and links, sections with headings, figures side by side."""

from collections.abc import Sequence
from datetime import datetime

import d2road
from d2road.report.html_elements import Markup, element, embedded_image, page, table
from d2road.visualization.figure_data import Figure

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 1440px;
  margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; } h2 { font-size: 1.25rem; margin-top: 2.5rem;
  border-bottom: 1px solid #ccc; } h3 { font-size: 1.05rem; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 0.5rem 0; }
th, td { text-align: left; padding: 0.15rem 0.9rem 0.15rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top;
  overflow-wrap: anywhere; }
table.numbers td:last-child { text-align: right; font-variant-numeric: tabular-nums; padding-right: 0; }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 600px), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: 0.85rem; color: #444; overflow-wrap: anywhere; }
img, video { max-width: 100%; height: auto; display: block; border: 1px solid #e4e4e4; }
pre { font-size: 0.75rem; overflow-x: auto; background: #f6f6f6; padding: 0.75rem; }
summary { cursor: pointer; } .note { background: #fff4e0; padding: 0.5rem 0.75rem; }
nav a { margin-right: 1rem; } .alarm { border-left: 4px solid #d55e00; padding-left: 1rem; margin: 1.5rem 0; }
"""
Section = tuple[str, str, list[Markup]]  # id, heading, content


def page_of_sections(title: str, name: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The HTML of a report; sections without content are left out."""
    sections = [section for section in sections if section[2]]
    links = element("nav", *(element("a", heading, href=f"#{anchor}") for anchor, heading, _ in sections))
    body = [
        element("section", element("h2", heading), *content, id=anchor) for anchor, heading, content in sections
    ]  # fmt: skip
    made = f"Made by d2road {d2road.__version__} on {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}."
    header = element("header", element("h1", name), table((), facts), links)
    return page(title, STYLE, header, element("main", *body), element("footer", element("p", made)))


def figures_of(figures: Sequence[tuple[str, Figure]]) -> Markup:
    """Figures of numbers, drawn, with their alternative texts."""
    from d2road.visualization.figure_drawing import figure_png  # matplotlib takes a second

    drawn = [element("figure", embedded_image(figure_png(figure), "png", alt)) for alt, figure in figures]
    return element("div", *drawn, class_="figures")


def captioned(image: Markup, caption: str) -> Markup:
    """An image or a video with its caption."""
    return element("figure", image, element("figcaption", caption))
