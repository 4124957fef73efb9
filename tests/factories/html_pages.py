"""A strict reader of HTML pages for tests: elements are closed in order, and nothing is loaded from outside."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br"}
# What makes a browser fetch something, and what may stand there.
INSIDE = ("data:image/", "data:video/mp4;", "#")
LOADING = ("src", "href", "srcset", "data", "action", "poster", "background", "xlink:href")
NO_TEXT = {"html", "head", "table", "thead", "tbody", "tr"}


class StrictReader(HTMLParser):
    """Collects texts and attributes by tag; raises AssertionError where a page is not well-formed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.text: dict[str, list[str]] = {}

    def handle_starttag(self, tag, attrs) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data) -> None:
        if data.strip():
            assert self.open and self.open[-1] not in NO_TEXT, f"text in {self.open[-1:]}: {data!r}"
            self.text.setdefault(self.open[-1], []).append(data)

    def attributes(self, tag: str) -> list[dict]:
        return [found for name, found in self.elements if name == tag]


def parsed(text: str) -> StrictReader:
    """The content of a page that is well-formed, has one head and body, and loads nothing from outside."""
    assert text.startswith("<!DOCTYPE html>\n")
    reader = StrictReader()
    reader.feed(text)
    reader.close()
    assert not reader.open, f"never closed: {reader.open}"
    tags = [tag for tag, _ in reader.elements]
    assert [tags.count(tag) for tag in ("html", "head", "title", "body")] == [1, 1, 1, 1]
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(tags)
    for tag, found in reader.elements:
        for name in LOADING:
            value = found.get(name, "#")
            assert value.startswith(INSIDE), f"<{tag} {name}={value[:60]!r}> is outside of the page"
        assert not any(name.startswith("on") for name in found), f"<{tag}> runs a program"
    style = "".join(reader.text.get("style", ()))
    assert "url(" not in style and "@import" not in style
    identities = [found["id"] for _, found in reader.elements if "id" in found]
    assert len(set(identities)) == len(identities)
    assert {f"#{name}" for name in identities} >= {a["href"] for a in reader.attributes("a")}
    assert all(found.get("alt") for found in reader.attributes("img"))
    return reader
