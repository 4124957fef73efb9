"""XML files of annotation programs: parsed with the errors of files that other people made."""

import xml.etree.ElementTree as ET
from pathlib import Path

from d2road.utils.errors import DataError
from d2road.utils.input_files import read_text
from d2road.utils.values import as_integer, as_number


def read_xml(path: str | Path, root: str) -> ET.Element:
    """The root of an XML file, which must have the tag `root`.

    Raises:
        OSError, DataError: it cannot be read, is no XML, declares entities, or has another root.
    """
    text = read_text(path, "XML file")
    if "<!ENTITY" in text:  # which may grow without bounds
        raise DataError(f"XML file {path} declares entities, which no annotation program does: save it without")
    try:
        # As bytes, since a declaration may name an encoding that the text is not in any more.
        tree = ET.fromstring(text.encode("utf-8"), parser=ET.XMLParser(encoding="utf-8"))
    except ET.ParseError as error:
        raise DataError(f"XML file {path} cannot be read: {error}. Cut off? Export it again") from error
    if tree.tag != root:
        raise DataError(f"XML file {path} holds <{tree.tag}>, expected <{root}>: is it of another format?")
    return tree


def number_of(text: str | None, source: str) -> float:
    """A finite number from the text of an element or attribute.

    Raises:
        DataError: there is none, or something else.
    """
    try:
        value: float | str | None = float(text) if text is not None else None
    except ValueError:
        value = text
    return as_number(value, source)


def whole_number_of(text: str | None, source: str) -> int:
    """A whole number, see `number_of`."""
    return as_integer(number_of(text, source), source, 0)
