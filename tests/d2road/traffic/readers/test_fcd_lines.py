"""Lines of vehicles that are read as a table give the rows that expat alone gives."""

import random

import pandas as pd
import pytest

from d2road.traffic.data_quality import QualityReport
from d2road.traffic.readers.fcd_xml import FcdParser
from d2road.utils.errors import DataError

ATTRIBUTES = ("id", "type", "lane", "edge", "speed", "pos", "acceleration")
HEAD = """<?xml version="1.0" encoding="UTF-8"?>

<!-- generated on 2026-05-01 by Eclipse SUMO sumo
<sumoConfiguration>
        <vehicle id="of the comment" pos="1"/>
</sumoConfiguration>
-->

<fcd-export>
"""
PLAIN = (
    '        <vehicle id="f.{k}" x="1.5" y="-1.60" type="car" speed="{v:.2f}" pos="{s:.2f}" lane="main_{k}" '
    'slope="0"/>\n'
)


def document(line=PLAIN, extra="", steps=8, vehicles=2, head=HEAD):
    """FCD whose vehicles are written as `line`; `extra` stands in the middle of the fourth and following timesteps."""
    parts = [head]
    for i in range(steps):
        rows = [line.format(k=k, v=10 + k, s=5.0 * k + i) for k in range(vehicles)]
        rows.insert(1, extra if i > 3 else "")
        parts.append(f'    <timestep time="{i / 10:.2f}">\n{"".join(rows)}    </timestep>\n')
    return "".join([*parts, "</fcd-export>\n"])


def parsed(pieces):
    """Rows, the number of persons, and the message of an error, without the column."""
    parser, problems, frames, error = FcdParser(ATTRIBUTES, "a.xml"), QualityReport(), [], ""
    try:
        for piece in pieces:
            parser.feed(piece)
            if len(pieces) < 10:
                frames.append(parser.take(problems))
        parser.close()
    except DataError as problem:
        error = str(problem)
    frames.append(parser.take(problems))
    frame = pd.concat([frame.astype(dict.fromkeys(ATTRIBUTES[:4], object)) for frame in frames])
    return frame.reset_index(drop=True), problems.counts["persons and containers"], error.partition(", column")[0]


def cuts(data, seed):
    draw = random.Random(seed)
    places = sorted(draw.sample(range(1, len(data)), 4))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)])]


ID = 'id="f.{k}"'
DOCUMENTS = {
    "as SUMO writes": document(),
    "with acceleration": document(PLAIN.replace("slope", "acceleration")),
    "mesoscopic": document(PLAIN.replace("lane=", "edge=")),
    "an id with an entity": document(PLAIN.replace(ID, 'id="a&amp;b.{k}"')),
    "one id with an entity": document(extra='        <vehicle id="a&lt;b" pos="3" speed="1"/>\n'),
    "an id of other letters": document(PLAIN.replace(ID, 'id="Straße {k}"')),
    "a tab in an id": document(PLAIN.replace(ID, 'id="a\tb{k}"')),
    "a line break in an id": document(PLAIN.replace(ID, 'id="a\nb{k}"')),
    "a tag's end in an id": document(PLAIN.replace(ID, 'id="a>b{k}"')),
    "single quotes": document(PLAIN.replace('"', "'")),
    "single quotes in values": document(PLAIN.replace(ID, 'id="it\'s {k}"')),
    "spaces before the end": document(PLAIN.replace("/>", " />")),
    "two spaces between": document(PLAIN.replace(' type="', '  type="')),
    "tabs before": document(PLAIN.replace("        <", "\t\t<")),
    "nothing before": document(PLAIN.lstrip()),
    "lines as on Windows": document().replace("\n", "\r\n"),
    "all on one line": document().replace("\n", ""),
    "two on a line": document(PLAIN.rstrip() + PLAIN.lstrip()),
    "with parameters": document(PLAIN.replace("/>", '><param key="a" value="b"/></vehicle>')),
    "no numbers": document(PLAIN.replace('speed="{v:.2f}"', 'speed="fast"')),
    "a number that is none": document(extra=PLAIN.format(k=9, v=1, s=1).replace('"1.00"', '"x"')),
    "numbers of all kinds": document(extra=PLAIN.format(k=9, v=1, s=1).replace('"1.00"', '"1e-3"')),
    "numbers with spaces": document(PLAIN.replace('"{v:.2f}"', '" {v:.2f} "')),
    "empty values": document(PLAIN.replace('"car"', '""').replace('"{v:.2f}"', '""')),
    "nothing of a vehicle": document(extra="        <vehicle/>\n"),
    "an attribute twice": document(PLAIN.replace("slope", "id")),
    "other attributes midway": document(extra='        <vehicle id="z" pos="1.0" lane="a_0" speed="2.0"/>\n'),
    "another order midway": document(extra=PLAIN.replace(" slope", ' edge="e" slope').format(k=7, v=7, s=7)),
    "persons": document(extra='        <person id="p" x="1" y="2" pos="3" edge="e"/>\n'),
    "a comment in between": document(extra="<!-- \n" + PLAIN.format(k=5, v=5, s=5) + " -->\n"),
    "a comment that never ends": document(extra="<!-- \n"),
    "two dashes in a comment": document(extra="<!-- a -- b -->\n"),
    "a section of characters": document(extra="<![CDATA[\n" + PLAIN.format(k=5, v=5, s=5) + "]]>\n"),
    "an instruction": document(extra="<?a\n" + PLAIN.format(k=5, v=5, s=5) + "?>\n"),
    "a document type": document(head='<!DOCTYPE f [<!ENTITY e "x">]>\n<fcd-export>\n'),
    "another encoding": document(PLAIN, head=HEAD.replace("UTF-8", "ISO-8859-1")),
    "no declaration": document(head="<fcd-export>\n"),
    "a tag over lines": document().replace("<timestep time", "<timestep\n    time"),
    "vehicles behind the end": document() + PLAIN.format(k=1, v=1, s=1) * 3,
    "a tag that is not closed": document(extra="        <vehicle id='a'>\n"),
    "a forbidden character": document(PLAIN.replace(ID, 'id="a\x01{k}"')),
    "a tag within a value": document(PLAIN.replace(ID, 'id="a<b{k}"')),
    "a timestep without a time": document(extra="<timestep>\n"),
    "cut off": document()[:-300],
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_rows_are_those_of_expat_however_the_file_is_cut(name):
    data = DOCUMENTS[name].encode("latin-1" if name == "another encoding" else "utf-8")
    # Of single bytes, no piece holds a line.
    wanted, persons, error = parsed([data[i : i + 1] for i in range(len(data))])
    for pieces in ([data], *(cuts(data, seed) for seed in range(5))):
        # The first timesteps are there: what comes then can be lines.
        found, found_persons, found_error = parsed(pieces)
        if not error:
            pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
            assert found_persons == persons
        assert found_error == error, found_error


def test_most_rows_of_a_file_of_sumo_are_read_as_lines(monkeypatch):
    elements = []
    start = FcdParser._start_element
    monkeypatch.setattr(FcdParser, "_start_element", lambda self, *args: elements.append(args[0]) or start(self, *args))
    data = document(steps=200).encode()
    half = data.index(b"    <timestep", len(data) // 20)
    found, _, error = parsed([data[:half], data[half:]])
    assert len(found) == 400 and not error
    assert elements.count("vehicle") < 40 and elements.count("timestep") == 200


def test_an_error_names_the_line_behind_lines_that_were_read():
    data = document(extra="", steps=30).encode()
    broken = data[:-50] + b"<broken" + data[-50:]
    messages = {parsed(pieces)[2] for pieces in ([broken[:2000], broken[2000:]], [broken])}
    assert len(messages) == 1 and "no complete XML" in messages.pop()
