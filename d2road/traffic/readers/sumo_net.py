"""Where the edges of a SUMO network begin along a road of several."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from d2road.traffic.readers.table_text import kind_of
from d2road.utils.errors import DataError
from d2road.utils.input_files import errors_of_text, open_input, unpacked


def route_offsets(net: str | Path, edges: Sequence[str]) -> dict[str, float]:
    """Metres from the start of the first edge to the start of each edge, and of the junctions' lanes between them.

    Args:
        net: SUMO's .net.xml, or .net.xml.gz.
        edges: ids of the road's edges, in the direction of travel.
    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no network, an edge is not in it, or two following edges are not connected.
    """
    lengths, internal, via = _read(Path(net))
    missing = [edge for edge in edges if edge not in lengths]
    if missing:
        raise DataError(f"{net} has no edges {', '.join(missing)}; it has {', '.join(sorted(lengths)[:20])}")
    offsets, at = {}, 0.0
    for edge, following in zip(edges, [*edges[1:], None]):
        offsets[edge] = at
        at += lengths[edge]
        if following is None:
            break
        if (edge, following) not in via:
            raise DataError(f"{net}: no connection leads from edge {edge} to {following}")
        # A junction may be crossed in several steps, one internal lane after the other.
        step, lane = 0.0, via[edge, following]
        while lane:
            inside = lane.rsplit("_", 1)[0]
            offsets[inside] = at + step
            step += internal.get(inside, 0.0)
            lane = via.get((inside, following), "")
        at += step
    return offsets


def _read(net: Path) -> tuple[dict[str, float], dict[str, float], dict[tuple[str, str], str]]:
    lengths: dict[str, float] = {}
    internal: dict[str, float] = {}
    via: dict[tuple[str, str], str] = {}
    edge, inside = "", False
    if kind_of(net) != "xml":
        raise DataError(f"{net} is no XML: expected SUMO's network, .net.xml")
    try:
        with errors_of_text(net), open_input(net, "SUMO's network") as packed, unpacked(packed) as file:
            for event, element in ElementTree.iterparse(file, ("start", "end")):
                if event == "start" and element.tag == "edge":
                    edge, inside = element.get("id", ""), element.get("function") == "internal"
                elif event == "start" and element.tag == "lane":
                    (internal if inside else lengths).setdefault(edge, float(element.get("length", 0)))
                elif event == "start" and element.tag == "connection":
                    via.setdefault((element.get("from", ""), element.get("to", "")), element.get("via", ""))
                else:
                    element.clear()
    except ElementTree.ParseError as error:
        raise DataError(f"{net} is no XML: {error}") from error
    return lengths, internal, via
