"""Ways to damage and twist a valid file, drawn by Hypothesis: its bytes, its text, its values, what it is at all."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy], Any]
LARGEST = 1 << 20  # bytes of a file that is taken apart by value; beyond it, bytes alone are changed

# What stands in files that other people's programs, scripts and hands have made.
ODD_JSON = [
    "null", "true", "[]", "{}", '""', '"x"', '"1"', "-1", "0", "1e308", "-1e308", "1e999", "NaN", "Infinity", "0.5",
    "9" * 400, "9223372036854775808", "[[]]", '{"a": {}}', "[null]", '"\\u0000"', '"../../x"', "3.0", "[1, 2, 3, 4, 5]",
]  # fmt: skip
ODD_TEXT = [
    "", "nan", "inf", "-inf", "1e999", "-1", "0", "x", "1,5", '"', "'", "0x10", "1_000", "٣", "\x00", "9" * 400, "None",
    "-", "1e-320", "true", "<", "&amp;", "1;2", "\t", " ", "é", "\x0c", "-0", "+5", ".", "5 6",
]  # fmt: skip
ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"]


def mutate(draw: Draw, path: Path) -> str:
    """Change one file in place; returns what was done, for the report."""
    content = path.read_bytes()
    kind = draw(st.sampled_from(["bytes", "text", "values", "values", "form"]))
    if kind == "form":
        return _change_form(draw, path, content)
    if kind != "bytes" and len(content) <= LARGEST:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        if text:
            changed, what = (_change_text if kind == "text" else _change_values)(draw, text)
            path.write_bytes(changed)
            return f"{path.name}: {what}"
    changed, what = _change_bytes(draw, content)
    path.write_bytes(changed)
    return f"{path.name}: {what}"


def _change_form(draw: Draw, path: Path, content: bytes) -> str:
    """Something else in the place of the file."""
    form = draw(
        st.sampled_from(["missing", "empty", "folder", "pipe", "loop", "device", "gzip mark", "pickle", "sparse"])
    )
    path.unlink()
    if form == "empty":
        path.write_bytes(b"")
    elif form == "folder":
        path.mkdir()
    elif form == "pipe":
        os.mkfifo(path)
    elif form == "loop":
        path.symlink_to(path)
    elif form == "device":
        path.symlink_to("/dev/zero")
    elif form == "gzip mark":
        path.write_bytes(b"\x1f\x8b\x08\x00" + content[:64])
    elif form == "pickle":
        path.write_bytes(b"\x80\x04}q\x00.")
    elif form == "sparse":
        with open(path, "wb") as file:
            file.truncate(1 << 36)
    return f"{path.name}: {form}"


def _change_bytes(draw: Draw, content: bytes) -> tuple[bytes, str]:
    changed = bytearray(content)
    size = len(changed)
    action = draw(st.sampled_from(["cut", "flip", "zeros", "drop", "repeat", "prepend"]))
    place = draw(st.integers(0, max(size - 1, 0)))
    if action == "cut":
        del changed[place:]
    elif action == "flip" and size:
        for _ in range(draw(st.integers(1, 8))):
            place = draw(st.integers(0, size - 1))
            changed[place] ^= 1 << draw(st.integers(0, 7))
    elif action == "zeros":
        count = min(draw(st.sampled_from([1, 16, 4096])), size - place)
        changed[place : place + count] = bytes(count)
    elif action == "drop":
        del changed[place : place + draw(st.integers(1, 64))]
    elif action == "repeat":
        changed[place:place] = changed[place : place + 512]
    else:
        changed[:0] = draw(st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b" ", b"\x00", b"#\n"]))
    return bytes(changed), f"{action} at byte {place} of {size}"


def _change_text(draw: Draw, text: str) -> tuple[bytes, str]:
    lines = text.splitlines(keepends=True) or [""]
    row = draw(st.integers(0, len(lines) - 1))
    action = draw(
        st.sampled_from(["encode", "ends", "drop line", "repeat line", "cut line", "swap lines", "join", "field"])
    )
    if action == "encode":
        encoding = draw(st.sampled_from(ENCODINGS))
        return ("é" * (encoding == "latin-1") + text).encode(encoding, "replace"), f"as {encoding}"
    if action == "ends":
        end = draw(st.sampled_from(["\r\n", "\r", "\n\n", " \n", ""]))
        return text.replace("\n", end).encode(), f"lines end in {end!r}"
    if action == "drop line":
        del lines[row]
    elif action == "repeat line":
        lines[row] = lines[row] * draw(st.sampled_from([2, 50]))
    elif action == "cut line":
        lines[row:] = [lines[row][: draw(st.integers(0, len(lines[row])))]]
    elif action == "swap lines":
        other = draw(st.integers(0, len(lines) - 1))
        lines[row], lines[other] = lines[other], lines[row]
    elif action == "join":
        lines[row] = lines[row].rstrip("\n")
    else:
        lines[row], what = _odd_field(draw, lines[row])
        action = f"field {what}"
    return "".join(lines).encode("utf-8", "replace"), f"{action}, line {row + 1} of {len(lines)}"


def _odd_field(draw: Draw, line: str) -> tuple[str, str]:
    """A line with one of its fields replaced; fields stand between commas, semicolons, quotes or white space."""
    separator = next((s for s in (",", ";", '"', ":") if s in line), None)
    fields = line.rstrip("\n").split(separator) or [""]
    place = draw(st.integers(0, len(fields) - 1))
    fields[place] = odd = draw(st.sampled_from(ODD_TEXT))
    return (separator or " ").join(fields) + "\n", f"{place} as {odd[:20]!r}"


def _change_values(draw: Draw, text: str) -> tuple[bytes, str]:
    """A value of a JSON file replaced, dropped or doubled; of other text, a field."""
    try:
        tree = json.loads(text)
    except ValueError:
        return _change_text(draw, text)
    marker = "@@@odd@@@"
    parent: Any = None
    place: Any = None
    node = tree
    steps = []
    while isinstance(node, (dict, list)) and node and (parent is None or draw(st.integers(0, 5))):
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        parent, place = node, draw(st.sampled_from(keys))
        steps.append(str(place))
        node = parent[place]
    where = ".".join(steps) or "the whole"
    action = draw(st.sampled_from(["replace", "replace", "replace", "drop", "double", "deep"]))
    if parent is None or action == "deep":
        odd = draw(st.sampled_from(ODD_JSON)) if action != "deep" else "[" * 1200 + "]" * 1200
    elif action == "drop":
        del parent[place]
        return json.dumps(tree).encode(), f"without {where}"
    elif action == "double":
        if isinstance(parent, list):
            parent.insert(place, node)
        else:
            parent[f"{place} "] = node
        return json.dumps(tree).encode(), f"{where} twice"
    else:
        odd = draw(st.sampled_from(ODD_JSON))
    if parent is None:
        return odd.encode(), f"the whole is {odd[:20]}"
    parent[place] = marker
    return json.dumps(tree).replace(f'"{marker}"', odd).encode(), f"{where} is {odd[:20]}"
