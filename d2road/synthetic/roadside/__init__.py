"""A renderer of roadside camera views with exact 3D labels; `d2road make-data toy-roadside` is its command line.

Data flow: views (camera) -> traffic (road, objects) -> vehicles, people, scenery (meshes) -> ground, raster (images)
-> compose (occlusion order, visible fractions, camera effects) -> labels -> writer (Rope3D layout, COCO JSON).

World frame of a view: the camera's foot point is the origin, x right, y forward (the levelled viewing direction), z up,
metres. Headings are angles from +x towards +y. Colours are B, G, R in 0..1.
"""

from d2road.synthetic.roadside.roadside_writer import make_toy_roadside

__all__ = ["make_toy_roadside"]
