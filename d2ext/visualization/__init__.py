"""Pictures of what a model sees and says. Arrays in, arrays out; no Detectron2."""

from d2ext.visualization.boxes import class_color, contact_sheet, draw_instances

__all__ = ["class_color", "contact_sheet", "draw_instances"]
