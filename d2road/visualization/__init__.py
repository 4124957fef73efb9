"""Pictures of what a model sees and says. Arrays in, arrays out; no Detectron2."""

from d2road.visualization.bev import BevView, draw_bev, fit_view
from d2road.visualization.boxes import class_color, contact_sheet, draw_instances
from d2road.visualization.boxes3d import draw_boxes3d
from d2road.visualization.heatmap import draw_heatmap, draw_mask_outline
from d2road.visualization.scene import SceneObjects, draw_scene, side_by_side
from d2road.visualization.sentences import draw_sentence

__all__ = [
    "BevView",
    "SceneObjects",
    "class_color",
    "contact_sheet",
    "draw_bev",
    "draw_boxes3d",
    "draw_heatmap",
    "draw_instances",
    "draw_mask_outline",
    "draw_scene",
    "draw_sentence",
    "fit_view",
    "side_by_side",
]
