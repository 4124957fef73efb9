"""A generator of images of fastener kits in MVTec LOCO's layout; `d2road make-data fastener-kit` is its command line.

Data flow: kit (what lies where) -> logic (what is wrong with it) -> render (surfaces of tray and parts) -> damage
(scratches, stains) -> render (light, camera) -> image (with masks) -> writer.
"""

from d2road.synthetic.fastener_kit.kit_writer import make_toy_loco

__all__ = ["make_toy_loco"]
