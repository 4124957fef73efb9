"""HTML from nested elements: what is not markup is escaped, and every element is closed."""

import base64
import html
import re
from collections.abc import Iterable, Sequence

VOID = ("meta", "img", "br")
# What HTML's text may not hold: control characters, and halves of surrogate pairs, as broken file names have them.
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already."""


def escaped(text: object) -> Markup:
    """Any text as HTML; characters that HTML forbids become U+FFFD."""
    return text if isinstance(text, Markup) else Markup(html.escape(FORBIDDEN.sub("�", str(text)), quote=True))


def element(tag: str, *children: object, **attributes: str) -> Markup:
    """An element; `class_` stands for class. Children that are no Markup are escaped."""
    named = "".join(f' {name.rstrip("_").replace("_", "-")}="{escaped(v)}"' for name, v in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{named}>")
    return Markup(f"<{tag}{named}>{joined(children)}</{tag}>")


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after the other."""
    return Markup(between.join(escaped(part) for part in parts))


def table(head: Sequence[object], rows: Iterable[Sequence[object]], class_: str = "") -> Markup:
    """A table; an empty head leaves it out."""
    top = element("thead", element("tr", *(element("th", cell) for cell in head))) if head else Markup("")
    body = element("tbody", *(element("tr", *(element("td", cell) for cell in row)) for row in rows))
    return element("table", top, body, **({"class_": class_} if class_ else {}))


def embedded_image(content: bytes, kind: str, alt: str) -> Markup:
    """An image within the page; `kind` is png or jpeg."""
    data = base64.b64encode(content).decode("ascii")
    return element("img", src=f"data:image/{kind};base64,{data}", alt=alt)


def embedded_video(content: bytes, label: str) -> Markup:
    """An mp4 video within the page, played when somebody asks for it."""
    data = base64.b64encode(content).decode("ascii")
    return element("video", src=f"data:video/mp4;base64,{data}", controls="", preload="metadata", aria_label=label)


def page(title: str, style: str, *body: object) -> str:
    """A whole document, which may load nothing from anywhere."""
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(style)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', joined(body, chr(10))), lang='en')}\n"
