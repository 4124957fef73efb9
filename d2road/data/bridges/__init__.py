"""Bridges of 2D detection data: COCO to and from YOLO, Pascal VOC and Label Studio, and from CVAT.

One module a format, each with functions from files to `CocoContent` and back; see docs/bridges.md.
"""

from d2road.data.bridges.coco_content import CocoContent
from d2road.data.bridges.conversion import SOURCES, TARGETS, Conversion, convert_boxes

__all__ = ["SOURCES", "TARGETS", "CocoContent", "Conversion", "convert_boxes"]
